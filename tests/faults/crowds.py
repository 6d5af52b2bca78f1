"""Clients that harm: those that never read, those that are too many, and those that never say what they want."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, NamedTuple

import aiohttp

from schemas.metrics import Talker
from tests.benchmarks.crowd import CrowdClient, Frame
from tests.benchmarks.gateways import GatewayRig, running_gateway
from tests.benchmarks.tables import quantile
from tests.faults.report import Run
from tests.faults.strikes import run_strikes
from tests.faults.system import Kind, System, descriptors_of
from tests.gateway.support import never_reading
from tests.stack import wait_for

__all__ = ["flood", "never_read"]

_READERS: Final = 1_000
_DEAF: Final = (1, 10, 50)
_CHANGES: Final = 100
_EVERY_S: Final = 0.1
_WISH: Final = {"op": "subscribe", "channels": ["federation"], "rate": 0}
# A frame of some kilobytes: this many are more than the sockets of one connection take.
_TALKERS: Final = 20
_FILL: Final = 300
_CLOSED_S: Final = 45
# Two of these without them differ by half where others work on the machine, too.
_MOST_RATIO: Final = 2.0
_SLACK_MS: Final = 5.0

_CAP: Final = 100
_SLOW: Final = 50
_HEAD_S: Final = 10
_LATE_S: Final = 10
"""How much later than their deadline connections may be closed on a busy machine."""


class _Crowd:
    """A thousand clients that read; all must get the newest change, and each that is not replaced at once."""

    def __init__(self, rig: GatewayRig) -> None:
        self._rig = rig
        self._written = 0
        # When each change was written, ns, and how many have it.
        self._moments: list[int] = [0]
        self._counts: list[int] = [0]
        # Of each delivery since `forget`.
        self.delays_ms: list[float] = []
        # Set when all have the newest change.
        self._all = asyncio.Event()
        self._clients = [CrowdClient(self._took) for _ in range(_READERS)]

    async def join(self) -> None:
        await self.change()
        for client in self._clients:
            await client.connect(self._rig.port)
            client.say(_WISH)
        await self.until_all()

    async def change(self) -> None:
        """Write one more change."""
        if self._written % 20 == 0:
            await self._rig.world.heartbeat()  # or what becomes stale would be one more frame
        self._written += 1
        self._all.clear()
        self._counts.append(0)
        self._moments.append(time.monotonic_ns())
        talkers = [Talker(id=f"{number:0100}", bytes=self._written) for number in range(_TALKERS)]
        await self._rig.world.summary(sync_failures_total=self._written, top_talkers=talkers)

    def _took(self, _client: CrowdClient, frame: Frame, moment: int) -> None:
        number = frame.get("data", {}).get("sync_failures_total") if frame["type"] in {"snapshot", "delta"} else None
        if number is not None:
            self._counts[number] += 1
            self.delays_ms.append((moment - self._moments[number]) / 1e6)
            if number == self._written and self._counts[number] == _READERS:
                self._all.set()

    async def until_all(self) -> None:
        """Return once all clients have the newest change. Raises TimeoutError."""
        async with asyncio.timeout(_CLOSED_S):
            await self._all.wait()

    async def p99_ms(self) -> float:
        """Of the deliveries of so many changes, one after the other."""
        self.delays_ms.clear()
        for _ in range(_CHANGES):
            await self.change()
            await asyncio.sleep(_EVERY_S)
        await self.until_all()
        return quantile(self.delays_ms, 0.99)

    def replaced(self) -> int:
        """How many deliveries there were not, because a newer state was there; of what all joined after."""
        return sum(_READERS - count for count in self._counts[2:])

    def close(self) -> None:
        for client in self._clients:
            client.close()


@contextlib.asynccontextmanager
async def _deaf(port: int, count: int) -> AsyncIterator[None]:
    with contextlib.ExitStack() as sockets:
        for _ in range(count):
            raw = await never_reading(f"http://127.0.0.1:{port}", "/ws", _WISH)
            sockets.enter_context(contextlib.closing(raw))
        yield


async def _served(port: int) -> int:
    """How many clients the gateway says it has."""
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/api/health") as answer:
        said: dict[str, Any] = await answer.json()
        return sum(said["clients"].values())


async def _slow(rig: GatewayRig, run: Run, deaf: int) -> None:
    crowd = _Crowd(rig)
    await crowd.join()
    before = await crowd.p99_ms()
    async with _deaf(rig.port, deaf):
        for _ in range(_FILL):
            await crowd.change()
        await crowd.until_all()
        behind, meanwhile = time.monotonic(), await crowd.p99_ms()
        while await _served(rig.port) > _READERS:
            run.compare("I4", "it is not closed" if time.monotonic() - behind > _CLOSED_S else "")
            await crowd.change()
            await asyncio.sleep(0.5)
        run.recovered_s.append(time.monotonic() - behind)
    after = await crowd.p99_ms()
    run.strikes.append(f"{deaf} that never read")
    run.compare("I3", "", 3 * _READERS)  # until_all
    run.figures["deliveries of changes to the others that a later one replaced"] += crowd.replaced()
    p99s = {"without, before": before, "with": meanwhile, "without, after": after}
    run.measured.update({f"p99 of the others, ms, {name}": value for name, value in p99s.items()})
    most = _MOST_RATIO * max(before, after) + _SLACK_MS
    run.compare("I4", f"p99 of the others {p99s} ms" if meanwhile > most else "")
    crowd.close()


def never_read(run: Run, seconds: float) -> None:
    """1, 10 or 50 clients with tiny receive buffers that never read, beside a thousand that do."""
    began, deaf = time.monotonic(), _DEAF[run.seed % len(_DEAF)]
    while not run.strikes or time.monotonic() - began < seconds:
        with running_gateway() as rig:
            rig.run(_slow(rig, run, deaf))


class _Answered(NamedTuple):
    status: int
    writer: asyncio.StreamWriter


async def _ask(port: int) -> _Answered:
    """Ask for a WebSocket, and keep the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    line = await reader.readline()
    return _Answered(int(line.split()[1]), writer)


async def _trickle(port: int) -> float:
    """Begin a request, and send one byte of it a second; returns how long that was borne."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began, text = time.monotonic(), iter(b"GET / HTTP/1.1\r\nX-Slow: " + b"x" * 1_000)
    ended = asyncio.create_task(reader.read())
    with contextlib.closing(writer), contextlib.suppress(OSError):
        while not ended.done():
            writer.write(bytes((next(text),)))
            await asyncio.wait({ended}, timeout=1)
    with contextlib.suppress(OSError):
        await ended
    return time.monotonic() - began


async def _all_at_once(port: int, count: int) -> tuple[list[int], list[float]]:
    """So many WebSockets, and slow requests beside them: the statuses, and how long the latter were borne."""
    slow = [asyncio.create_task(_trickle(port)) for _ in range(_SLOW)]
    answered = await asyncio.gather(*(_ask(port) for _ in range(count)))
    borne = await asyncio.gather(*slow)
    for each in answered:
        each.writer.close()
    return [each.status for each in answered], borne


def _judge(run: Run, statuses: Sequence[int], borne: Sequence[float], others: int) -> None:
    taken, refused = statuses.count(101), statuses.count(503)
    is_right = taken + refused == len(statuses) and _CAP - others <= taken <= _CAP
    run.compare("I4", "" if is_right else f"{taken} taken and {refused} refused of {len(statuses)}", len(statuses))
    run.compare("I4", f"borne for {max(borne):.1f} s" if max(borne) > _HEAD_S + _LATE_S else "", len(borne))
    run.figures.update({"taken": taken, "refused with 503": refused, "requests without end, closed": len(borne)})
    run.measured["longest that a request without end was borne, s"] = max(borne)


def flood(run: Run, seconds: float) -> None:
    """Twice as many WebSockets as may be, and fifty requests of one byte a second, while others follow."""

    def strike(system: System, _chance: random.Random) -> None:
        port, gateway, others = system.stack.port, system.running("gateway"), len(system.clients)
        before = descriptors_of(gateway)
        statuses, borne = asyncio.run(_all_at_once(port, 2 * _CAP))
        _judge(run, statuses, borne, others)
        wait_for("descriptors are where they were", lambda: descriptors_of(gateway) <= before + others)
        run.compare("I4", "")

    run_strikes(run, seconds, {"flood": strike}, Kind(settings={"ARK_MAX_CLIENTS": str(_CAP)}))
