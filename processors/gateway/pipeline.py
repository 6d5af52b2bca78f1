"""Who works what, and what waits, over HTTP.

Bound: the bus is asked once a second, however many ask us; who comes within that second is told the same. Where its
answer takes long, because large entries wait in all partitions, it is asked every five seconds at least.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import web

from processors.gateway.handlers import BUS_S, asking_bus
from processors.runtime.bus import Bus
from processors.runtime.connection import in_one_trip
from processors.runtime.http import json_answer
from processors.runtime.observation import server_name
from processors.runtime.partitions import read_partitions
from schemas import streams
from schemas.answers import BusState, PipelineAnswer

__all__ = ["KEPT_S", "Pipeline"]

KEPT_S: Final = 1.0
"""How long an answer is given at least, seconds."""

# And as many times as long as the bus took for it, at most so long: who looks at it is not to hold it up.
_KEPT_TIMES: Final = 20
_MOST_KEPT_S: Final = 5.0


class Pipeline:
    """Reads it, once for all who ask. `state` tells how the bus is, `clients` those of each path."""

    def __init__(self, bus: Bus, state: Callable[[], BusState], clients: Callable[[], dict[str, int]]) -> None:
        self._bus = bus
        self._state = state
        self._clients = clients
        self._lock = asyncio.Lock()
        # What was read last, when by the loop's time, and how long it is given at least, s; None before the first.
        self._kept: tuple[PipelineAnswer, float, float] | None = None

    async def show(self, _request: web.Request) -> web.StreamResponse:
        """Answer with it. Raises HTTPServiceUnavailable: if the bus does not answer. Cancellation: safe."""
        with asking_bus():
            return json_answer(await self.newest(BUS_S, KEPT_S))

    async def newest(self, within_s: float, kept_s: float) -> PipelineAnswer:
        """What was read last, or what is read now if that was `kept_s` ago. Cancellation: safe.

        Raises redis-py's errors, TimeoutError: if the bus does not answer `within_s`.
        """
        now_s = asyncio.get_running_loop().time
        async with asyncio.timeout(within_s), self._lock:
            began_s = now_s()
            if self._kept is None or began_s >= self._kept[1] + max(kept_s, self._kept[2]):
                answer, ended_s = await self._read(), now_s()
                self._kept = answer, ended_s, min(_KEPT_TIMES * (ended_s - began_s), _MOST_KEPT_S)
        return self._kept[0]

    async def _read(self) -> PipelineAnswer:
        client, now = self._bus.client, self._bus.clock.now_ms()
        servers = await self._bus.servers()
        heard_after = now - streams.AGGREGATOR_GONE_MS
        members, dead = await in_one_trip(
            client, [("ZRANGEBYSCORE", streams.AGGREGATORS, heard_after, "+inf"), ("XLEN", streams.DEAD)]
        )
        most = [server["maxmemory"] for server in servers]
        full = [server["used_memory"] / server["maxmemory"] for server in servers if server["maxmemory"]]
        return PipelineAnswer(
            timestamp=now,
            bus=self._state(),
            server=", ".join(sorted({server_name(server) for server in servers})),
            used_bytes=sum(server["used_memory"] for server in servers),
            most_bytes=sum(most) if all(most) else 0,
            fullest=max(full, default=None),
            partitions=list(await read_partitions(client)),
            aggregators=[member.decode("utf-8", "replace") for member in members],
            dead=dead,
            clients=self._clients(),
        )
