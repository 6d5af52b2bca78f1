from processors.runtime.restarts import FIRST_DELAY_MS, GOOD_RUN_MS, LONGEST_DELAY_MS, Restarts


def test_all_programs_are_due_at_once_in_their_order() -> None:
    assert Restarts(["b", "a"], 5).due(5) == ["b", "a"]


def test_a_running_program_is_not_due() -> None:
    restarts = Restarts(["a", "b"], 0)
    restarts.started("a", 0)
    assert restarts.due(0) == ["b"]


def test_nothing_is_due_while_all_run() -> None:
    restarts = Restarts(["a"], 0)
    restarts.started("a", 0)
    assert restarts.next_deadline() is None


def test_a_program_that_ended_is_due_after_its_delay() -> None:
    restarts = Restarts(["a"], 0)
    restarts.started("a", 0)
    restarts.ended("a", 1_000)
    assert (restarts.due(1_099), restarts.due(1_100)) == ([], ["a"])


def test_the_deadline_is_that_of_the_first_one_due() -> None:
    restarts = Restarts(["a", "b"], 0)
    for name in ("a", "b"):
        restarts.started(name, 0)
    restarts.ended("a", 700)
    restarts.ended("b", 500)
    assert restarts.next_deadline() == 600


def test_the_delay_doubles_up_to_its_bound() -> None:
    restarts = Restarts(["a"], 0)
    delays, now = [], 0
    for _ in range(9):
        restarts.started("a", now)
        delays.append(restarts.ended("a", now))
        now += delays[-1]
    assert delays == [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]


def test_a_program_that_cannot_be_started_waits_longer_each_time() -> None:
    restarts = Restarts(["a"], 0)
    assert [restarts.ended("a", 0) for _ in range(3)] == [100, 200, 400]


def test_the_delay_begins_anew_after_a_good_run() -> None:
    restarts = Restarts(["a"], 0)
    for _ in range(5):
        restarts.ended("a", 0)
    restarts.started("a", 5_000)
    assert restarts.ended("a", 5_000 + GOOD_RUN_MS) == FIRST_DELAY_MS


def test_a_run_that_was_a_little_too_short_is_no_good_run() -> None:
    restarts = Restarts(["a"], 0)
    restarts.ended("a", 0)
    restarts.started("a", 100)
    assert restarts.ended("a", 99 + GOOD_RUN_MS) == 2 * FIRST_DELAY_MS


def test_programs_have_delays_of_their_own() -> None:
    restarts = Restarts(["a", "b"], 0)
    while restarts.ended("a", 0) < LONGEST_DELAY_MS:
        pass
    assert restarts.ended("b", 0) == FIRST_DELAY_MS
