"""The short form of `make soak`."""

import pytest

from tests.faults.kills import SERVERS, VICTIMS, run_kills
from tests.servers import redis_binary


@pytest.mark.parametrize("server", SERVERS)
def test_seeded_kills_of_every_process_lose_nothing_and_tell_nothing_twice(server: str) -> None:
    if server == "redis" and redis_binary() is None:
        pytest.skip("variant redis-7.0: redis-server is not installed")
    report = run_kills(seed=0, kills=len(VICTIMS), server=server)
    assert set(report.kills) == set(VICTIMS)
