"""A thousand clients with positions, whose gateway is ended and started again while everything goes on changing.

All of them come back in the moment in which it listens, none waits for the random delay that it is asked for. What is
timed goes from that moment until the last of them holds everything that had been written by then. Afterwards nothing
changes any more, and each client is compared with what was written: the states, and every record exactly once. All
clients and the server of the bus have one core, the gateway has the other.
"""

import asyncio
import contextlib
import statistics
import time
from collections import Counter
from typing import Final, NamedTuple

from tests.benchmarks.crowd import Frame, HoldingClient
from tests.benchmarks.gateways import GatewayRig, running_gateway
from tests.benchmarks.receiver import OTHERS, on_core
from tests.benchmarks.tables import table
from tests.gateway.support import row, sync

__all__ = ["measure"]

_CLIENTS: Final = 1_000
_ROUNDS: Final = 5
_CHANNELS: Final = ("federation", "peers", "sync")
_PEERS: Final = 50
# Of each channel.
_CHANGES_A_S: Final = 20
# Two frames a second and channel: the clients are one process, and are to have time left.
_RATE: Final = 2
_BEFORE_S: Final = 2.0
_MOST_S: Final = 30


class _Turn(NamedTuple):
    # Milliseconds from the gateway's first answer until all hold what was written by then; until all are connected.
    consistent_ms: float
    connected_ms: float
    # How many resets all clients were told since the restart, by channel and reason.
    resets: Counter[str]
    # Changes of a channel that were written while no gateway listened.
    missed: int


class _Herd:
    """The clients, and what is written for them: change k is in the federation, in a peer, and in a sync record."""

    def __init__(self, rig: GatewayRig) -> None:
        self._rig = rig
        self.written = 0
        # Whether there are changes enough.
        self._ending = False
        self._rows: dict[str, int] = {}
        self._clients = [HoldingClient(self._took) for _ in range(_CLIENTS)]
        self._resets: Counter[str] = Counter()
        # Clients that do not hold the change that all are waited for to hold; and set when there are none.
        self._goal = 0
        self._missing: set[HoldingClient] = set()
        self._all = asyncio.Event()

    async def run(self) -> _Turn:
        """One restart."""
        await self._write()
        await asyncio.gather(*(self._join(client) for client in self._clients))
        await self._until_all_hold(self.written)
        writing = asyncio.create_task(self._go_on())
        await asyncio.sleep(_BEFORE_S)
        self._resets.clear()
        await asyncio.to_thread(self._rig.stop)
        await asyncio.gather(*(client.left.wait() for client in self._clients))
        before = self.written
        self._rig.spawn()
        await self._until_listening()
        began, goal = time.monotonic(), self.written
        await asyncio.gather(*(self._join(client) for client in self._clients))
        connected = time.monotonic()
        await self._until_all_hold(goal)
        consistent = time.monotonic()
        self._ending = True
        await writing
        await self._until_all_hold(self.written)
        self._check()
        for client in self._clients:
            client.close()
        return _Turn(1e3 * (consistent - began), 1e3 * (connected - began), self._resets, goal - before)

    async def _write(self) -> None:
        number = self.written + 1
        peer = f"peer-{number % _PEERS}"
        await self._rig.world.roster({peer: row(peer, latency_ms=float(number))})
        await self._rig.world.sync(sync(bytes=number))
        await self._rig.world.summary(heartbeats_total=number)
        self._rows[peer] = number
        self.written = number

    async def _go_on(self) -> None:
        while not self._ending:
            if self.written % (5 * _CHANGES_A_S) == 0:
                await self._rig.world.heartbeat()
            await asyncio.sleep(1 / _CHANGES_A_S)
            await self._write()

    async def _until_listening(self) -> None:
        """It is the restart that is waited for, which nothing tells but an answer."""
        async with asyncio.timeout(_MOST_S):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self._rig.port)
                    writer.close()
                    return
                await asyncio.sleep(0.005)

    async def _join(self, client: HoldingClient) -> None:
        await client.connect(self._rig.port)
        client.say({"op": "subscribe", "channels": _CHANNELS, "since": client.positions, "rate": _RATE})

    async def _until_all_hold(self, goal: int) -> None:
        self._goal = goal
        self._missing = {client for client in self._clients if not self._holds(client)}
        self._all.clear()
        if self._missing:
            async with asyncio.timeout(_MOST_S):
                await self._all.wait()

    def _took(self, client: HoldingClient, frame: Frame, _moment: int) -> None:
        if frame["type"] == "reset":
            self._resets[f"{frame['channel']}: {frame['reason']}"] += 1
        if client in self._missing and self._holds(client):
            self._missing.remove(client)
            if not self._missing:
                self._all.set()

    def _holds(self, client: HoldingClient) -> bool:
        """Whether a client holds the goal in all channels: each is told in order."""
        records, peers = client.records.get("sync"), client.states.get("peers") or {}
        return bool(
            client.states.get("federation", {}).get("heartbeats_total", 0) >= self._goal
            and records
            and records[-1]["bytes"] >= self._goal
            and max((each["latency_ms"] for each in peers.values()), default=0) >= self._goal
        )

    def _check(self) -> None:
        records = list(range(1, self.written + 1))
        for client in self._clients:
            assert [each["bytes"] for each in client.records["sync"]] == records, "a record is missing, or came twice"
            assert {name: each["latency_ms"] for name, each in client.states["peers"].items()} == self._rows
            assert client.states["federation"]["heartbeats_total"] == self.written


def _turn() -> _Turn:
    with running_gateway() as rig:
        return rig.run(_Herd(rig).run())


def _told(resets: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(resets.items())) or "none"


def measure() -> str:
    """The table."""
    with on_core(OTHERS):
        turns = [_turn() for _ in range(_ROUNDS)]
    rows: list[list[object]] = [
        [f"{turn.consistent_ms:.0f}", f"{turn.connected_ms:.0f}", turn.missed, _told(turn.resets), "yes"]
        for turn in turns
    ]
    rows.append([f"**{statistics.median(turn.consistent_ms for turn in turns):.0f}** (<= 2000)", *[""] * 4])
    header = [f"{_CLIENTS:,} clients: ms until all are consistent", "until all are connected", "changes meanwhile"]
    return table([*header, "resets", "states equal, each record once"], rows)
