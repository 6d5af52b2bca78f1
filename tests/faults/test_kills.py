"""The short form of `make soak`."""

import pytest

from tests.faults.kills import JOURNALS, SERVERS, VICTIMS, run_kills
from tests.servers import redis_binary


@pytest.fixture(params=[*zip(SERVERS, JOURNALS, strict=True)], ids=SERVERS)
def kind(request: pytest.FixtureRequest) -> tuple[str, str]:
    """What the bus runs on, and the journal of ARK's databases."""
    server, journal = request.param
    if server == "redis" and redis_binary() is None:
        pytest.skip("variant redis-7.0: redis-server is not installed")
    return server, journal


def test_seeded_kills_of_every_process_lose_nothing_and_tell_nothing_twice(kind: tuple[str, str]) -> None:
    server, journal = kind
    report = run_kills(seed=0, kills=len(VICTIMS), server=server, journal=journal)
    assert set(report.kills) == set(VICTIMS)


def test_on_a_cluster_kills_of_aggregators_and_nodes_lose_nothing_either(kind: tuple[str, str]) -> None:
    server, journal = kind
    victims = ("aggregators", "second", "bus")
    report = run_kills(0, len(victims), victims, server=server, topology="cluster", journal=journal)
    assert set(report.kills) == set(victims)


def test_a_bus_without_its_newest_writes_gets_them_again_from_the_sources() -> None:
    assert run_kills(0, 2, ("tail",)).kills == ["tail", "tail"]
