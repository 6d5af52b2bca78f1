"""The short form of `make soak`."""

from tests.faults.kills import VICTIMS, run_kills


def test_seeded_kills_of_every_process_lose_nothing_and_count_nothing_twice() -> None:
    report = run_kills(seed=0, kills=8)
    assert set(report.kills) == set(VICTIMS)
