from processors.gateway.meter import EXCESS_PER_S, Meter


def test_two_hundred_messages_a_second_are_answered() -> None:
    meter = Meter()
    assert not any(meter.count(0) for _ in range(EXCESS_PER_S))


def test_the_next_one_is_too_many() -> None:
    meter = Meter()
    assert [meter.count(0) for _ in range(EXCESS_PER_S + 1)][-1]


def test_a_second_later_the_count_begins_again() -> None:
    meter = Meter()
    for _ in range(EXCESS_PER_S):
        meter.count(0)
    assert meter.count(999)
    assert not meter.count(1_000)


def test_a_client_is_told_once_a_second_that_it_is_not_understood() -> None:
    meter = Meter()
    assert [meter.may_complain(now) for now in (0, 500, 999, 1_000, 1_500)] == [True, False, False, True, False]
