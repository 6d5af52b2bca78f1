"""Fixtures of the fault tests."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from processors.runtime.bus import Bus
from tests.faults.proxy import Proxy, proxied
from tests.faults.victims import Aggregators


@pytest.fixture
async def proxy(server_url: str) -> AsyncIterator[Proxy]:
    """A proxy before the session's server."""
    async with proxied(server_url) as proxy:
        yield proxy


@pytest.fixture
def victim(proxy: Proxy, tmp_path: Path) -> Iterator[Aggregators]:
    """An aggregators' process that has not been started yet, and speaks with the bus by way of the proxy."""
    environment = {**os.environ, "ARK_BUS_URL": proxy.url, "ARK_STATE_DIR": str(tmp_path)}
    victim = Aggregators(environment, tmp_path / "victim.log")
    yield victim
    if victim.runs:
        # To end in order it would need the proxy, which stands still as long as this waits.
        victim.kill()


@pytest.fixture
async def bus(bus: Bus) -> Bus:
    """The open bus, in a loop without debug mode, in which every request would take three times as long."""
    asyncio.get_running_loop().set_debug(False)
    return bus
