"""The short form of `make soak`."""

import pytest

from tests.faults.kills import JOURNALS, SERVERS, VICTIMS, run_kills
from tests.servers import redis_binary


@pytest.mark.parametrize(("server", "journal"), [*zip(SERVERS, JOURNALS, strict=True)])
def test_seeded_kills_of_every_process_lose_nothing_and_tell_nothing_twice(server: str, journal: str) -> None:
    if server == "redis" and redis_binary() is None:
        pytest.skip("variant redis-7.0: redis-server is not installed")
    report = run_kills(seed=0, kills=len(VICTIMS), server=server, journal=journal)
    assert set(report.kills) == set(VICTIMS)
