from processors.collectors.backoff import Backoff


def test_delays_double_up_to_their_bound() -> None:
    backoff = Backoff(lambda: 0.0, least_s=1, most_s=5)
    assert [backoff.next_s() for _ in range(5)] == [1, 2, 4, 5, 5]


def test_delays_are_shortened_at_random_by_up_to_a_half() -> None:
    assert Backoff(lambda: 0.5, least_s=1).next_s() == 0.75


def test_after_a_success_the_shortest_delay_comes_again() -> None:
    backoff = Backoff(lambda: 0.0, least_s=1)
    backoff.next_s()
    backoff.reset()
    assert backoff.next_s() == 1
