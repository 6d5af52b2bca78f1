"""The short form of what `make soak` kills."""

import pytest

from tests.faults.kills import BUS, GATEWAY, TAIL, WORKERS, forgetful
from tests.faults.report import Run
from tests.faults.strikes import Strike, run_strikes
from tests.faults.system import JOURNALS, SERVERS, Kind, own_bus
from tests.servers import redis_binary

# Each process once; the bus on both kinds of server.
SHARES = [
    {name: WORKERS[name] for name in ("collectors", "federation", "gateway")},
    {**{name: WORKERS[name] for name in ("aggregators", "second aggregators")}, **GATEWAY},
]


def skip_without(server: str) -> None:
    if server == "redis" and redis_binary() is None:
        pytest.skip("variant redis-7.0: redis-server is not installed")


@pytest.mark.parametrize(("server", "journal", "share"), [*zip(SERVERS, JOURNALS, SHARES, strict=True)], ids=SERVERS)
def test_seeded_kills_of_every_process_lose_nothing_and_tell_nothing_twice(
    server: str, journal: str, share: dict[str, Strike]
) -> None:
    skip_without(server)
    # The embedded bus is a process of the stack's.
    bus = None if server == "valkey" else own_bus(server)
    run_strikes(Run("kills", 0), 0, {**share, **BUS}, Kind(server, journal, bus, clients=2))


@pytest.mark.parametrize(("server", "journal"), [*zip(SERVERS, JOURNALS, strict=True)], ids=SERVERS)
def test_on_a_cluster_kills_of_aggregators_and_nodes_lose_nothing_either(server: str, journal: str) -> None:
    skip_without(server)
    strikes = {"aggregators": WORKERS["aggregators"], **BUS}
    run_strikes(Run("kills", 0), 0, strikes, Kind(server, journal, own_bus(server, "cluster"), clients=2))


def test_a_bus_without_its_newest_writes_gets_them_again_from_the_sources() -> None:
    run_strikes(Run("tail", 0), 0, TAIL, forgetful(0))
