"""Clients that follow a gateway through every fault: what they hold must be what there is, each record once.

Raw ones do what docs/protocol.md tells a client to do; one is the typed Python client.
"""

import asyncio
import contextlib
import random
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeAlias

import aiohttp
import msgspec

from processors.client.channel_client import connect
from processors.client.updates import Outage, Records, Reset, State
from processors.runtime.tasks import end_tasks
from tests.gateway.model import apply_patch

__all__ = ["NAMED", "TOTALS", "Watchers"]

TOTALS: Final = ("heartbeats_total", "sync_events_total", "sync_bytes_total", "sync_failures_total")
"""Fields of the federation that a client must hold as the gateway answers them."""

NAMED: Final[Mapping[str, str]] = {"sync": "bytes", "logs": "id"}
"""Channels of records, and the field by which a record is told from all others."""

_CHANNELS: Final = ("federation", "peers", *NAMED)
_RATES: Final = (10, 0, 2)
_GOING_AWAY: Final = 1001
_GOING_AWAY_S: Final = 2.0
_LEAST_S: Final = 0.25
_MOST_S: Final = 4.0

Intended: TypeAlias = Callable[[], int]
"""How many syncs were written at least so far."""


class _Watcher:
    """What one client holds."""

    def __init__(self, name: str, intended: Intended) -> None:
        self.name = name
        self.states: dict[str, Any] = {}
        self.records: dict[str, list[Any]] = {}
        self.resets: Counter[str] = Counter()
        # Connections that were lost, and whether the gateway ever said stale.
        self.outages = 0
        self.was_stale = False
        # What was shown and cannot be; the newest.
        self.made_up = ""
        self._intended = intended

    def show(self, channel: str, state: Any, source: str | None) -> None:
        """Hold a state, and look whether it may be."""
        self.states[channel] = state
        self.was_stale |= source == "stale"
        if source == "simulated":
            self.made_up = f"{channel} is simulated"
        total = (state or {}).get("sync_events_total", 0) if channel == "federation" else 0
        if total > self._intended():
            self.made_up = f"{total} syncs are shown, {self._intended()} were written"

    def wrong(self, federation: Mapping[str, Any], peers: Mapping[str, Any], told: Mapping[str, Sequence[Any]]) -> str:
        """How what it holds differs from what the gateway answers and the streams hold; empty if it does not."""
        held = {name: self.states.get("federation", {}).get(name) for name in TOTALS}
        due = {name: federation.get(name) for name in TOTALS}
        if held != due:
            return f"{self.name} holds {held} and not {due}"
        rows = {name: row.get("latency_ms") for name, row in (self.states.get("peers") or {}).items()}
        if rows != peers:
            return f"{self.name} holds other peers: {[*(rows.items() ^ peers.items())][:4]}"
        for channel, name in NAMED.items():
            records, stream = [record[name] for record in self.records.get(channel, ())], told[channel]
            if records != [*stream[len(stream) - len(records) :]]:
                return (
                    f"{self.name} holds {len(records)} of {channel}, not those that are told: {_first(records, stream)}"
                )
        return ""


def _first(records: Sequence[Any], told: Sequence[Any]) -> str:
    """Where they begin to differ, from the newest on."""
    for back, (held, due) in enumerate(zip(reversed(records), reversed(told), strict=False), 1):
        if held != due:
            return f"{held} and not {due}, {back} from the end"
    return f"{len(records)} are held, {len(told)} are told"


class _Raw(_Watcher):
    """A client of the protocol itself."""

    def __init__(self, name: str, intended: Intended, rate: float, chance: random.Random) -> None:
        super().__init__(name, intended)
        self._rate = rate
        self._chance = chance
        # Newest position of each channel.
        self._positions: dict[str, str] = {}
        # Of a snapshot that is not whole yet.
        self._pieces: dict[str, Any] = {}

    async def follow(self, http: aiohttp.ClientSession, url: str) -> None:
        """Follow until cancelled, over any number of connections."""
        failures = 0
        while True:
            code = None
            with contextlib.suppress(aiohttp.ClientError, OSError):
                async with http.ws_connect(f"{url}/ws", max_msg_size=0) as ws:
                    wish = {"op": "subscribe", "channels": _CHANNELS, "since": self._positions, "rate": self._rate}
                    await ws.send_str(msgspec.json.encode(wish).decode())
                    async for message in ws:
                        self._take(msgspec.json.decode(message.data))
                        failures = 0
                    code = ws.close_code
            self._pieces.clear()
            self.outages += 1
            longest_s = _GOING_AWAY_S if code == _GOING_AWAY else min(_MOST_S, _LEAST_S * 2**failures)
            failures += code != _GOING_AWAY
            await asyncio.sleep(longest_s * self._chance.random())

    def _take(self, frame: Mapping[str, Any]) -> None:
        kind, channel = frame["type"], frame.get("channel", "")
        if kind == "reset":
            self.resets[f"{channel}: {frame['reason']}"] += 1
            self._positions.pop(channel, None)
        elif kind == "snapshot":
            self._hold(channel, frame)
        elif kind == "delta":
            self.show(channel, apply_patch(self.states.get(channel), frame["data"]), frame.get("source"))
        elif kind == "event":
            self.records.setdefault(channel, []).extend(frame["data"])
        if "pos" in frame:
            self._positions[channel] = frame["pos"]

    def _hold(self, channel: str, frame: Mapping[str, Any]) -> None:
        if channel in NAMED:
            self.records[channel] = [*frame["data"]]
            return
        data = self._pieces.pop(channel, {}) | (frame["data"] or {})
        if frame.get("more"):
            self._pieces[channel] = data
        else:
            self.show(channel, data, frame.get("source"))


class _Typed(_Watcher):
    """The Python client."""

    async def follow(self, _http: aiohttp.ClientSession, url: str) -> None:
        """The same."""
        async with connect(url) as pulse:
            async for update in pulse.subscribe(*_CHANNELS):
                match update:
                    case State():
                        self.show(update.channel, update.value, update.source)
                    case Records(snapshot=True):
                        self.records[update.channel] = [*update.records]
                    case Records():
                        self.records.setdefault(update.channel, []).extend(update.records)
                    case Reset():
                        self.resets[f"{update.channel}: {update.reason}"] += 1
                    case Outage():
                        self.outages += 1


class Watchers:
    """`count` clients of the gateway at `url`, in a thread of their own; one of them is the typed client."""

    def __init__(self, url: str, count: int, seed: int, intended: Intended) -> None:
        chance = random.Random(seed)
        raw = [_Raw(f"client {each}", intended, _RATES[each % len(_RATES)], chance) for each in range(count - 1)]
        self._watchers: list[_Raw | _Typed] = [*raw, _Typed("the typed client", intended)]
        self._url = url
        # Set, in its own loop, to end the thread.
        self._ended = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        # What a client raised, which none should; None so far.
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="watchers", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Let all of them go."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self._loop.close()

    def __len__(self) -> int:
        return len(self._watchers)

    def wrong(self, federation: Mapping[str, Any], peers: Mapping[str, Any], told: Mapping[str, Sequence[Any]]) -> str:
        """How what the first of them holds that is not right differs; empty if all are."""
        assert self._failure is None, f"a client ended: {self._failure!r}"
        return next((wrong for each in self._watchers if (wrong := each.wrong(federation, peers, told))), "")

    @property
    def made_up(self) -> str:
        """What one of them was shown although it cannot be."""
        return next((f"{each.name}: {each.made_up}" for each in self._watchers if each.made_up), "")

    def resets(self) -> Counter[str]:
        """How often a client was told to begin anew, by channel and reason."""
        return sum((each.resets for each in self._watchers), Counter[str]())

    def outages(self) -> int:
        """Connections that all of them lost, or could not make."""
        return sum(each.outages for each in self._watchers)

    def forget_staleness(self) -> None:
        """From now on `were_stale` is of what comes."""
        for each in self._watchers:
            each.was_stale = False

    def were_stale(self) -> int:
        """How many were shown something stale."""
        return sum(each.was_stale for each in self._watchers)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._follow())

    async def _follow(self) -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            works: list[Coroutine[Any, Any, None]] = [each.follow(http, self._url) for each in self._watchers]
            tasks = [asyncio.create_task(work) for work in works]
            ended = asyncio.create_task(self._ended.wait())
            done, _ = await asyncio.wait([*tasks, ended], return_when=asyncio.FIRST_COMPLETED)
            if ended not in done:
                [self._failure, *_] = [task.exception() for task in done]
                await ended
            await end_tasks(tasks)
