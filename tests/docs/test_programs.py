"""The programs of the documents, run as they stand where no other test does it."""

import asyncio
import sys
from asyncio.subprocess import PIPE

from redis.asyncio import Redis

from tests.docs.blocks import ROOT, blocks_of
from tests.gateway.support import World


async def test_the_example_in_python_prints_health_when_it_changes(redis_client: Redis, server_url: str) -> None:
    world = World(redis_client)
    (example,) = [block.text for block in blocks_of(ROOT / "docs" / "streams.md") if block.language == "python"]
    program = await asyncio.create_subprocess_exec(sys.executable, "-c", example, server_url, stdout=PIPE)
    assert program.stdout is not None

    async def tell(health: float) -> None:
        while True:  # what came before it listened it does not hear
            await world.summary(network_health=health)
            await asyncio.sleep(0.05)

    async with asyncio.timeout(20):
        for health in (100.0, 50.0):
            telling = asyncio.create_task(tell(health))
            assert (await program.stdout.readline()).decode() == f"live {health}\n"
            telling.cancel()
    program.terminate()
    await program.wait()
