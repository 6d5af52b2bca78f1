"""The load of the fault tests, one producer for each source: each counts in plain Python what it wrote.

What a producer counted is the oracle. Once everything is published again, the summaries, the roster and the feeds must
say the same, neither less nor more. A producer does only what loses nothing by itself: it trims the list below what may
not be published yet, and removes it while all of it is.
"""

import http.client
import json
import random
import time
import urllib.error
import urllib.request
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import redis

from processors.collectors.overlap import CHANGED, GONE, REPEATED
from tests.federation.support import Node

__all__ = ["Feed", "Manifests", "Peers", "Producer", "Seen", "Syncs", "difference"]

_RECENT: Final = 20_000
_GAPS: Final = {CHANGED, GONE, REPEATED}
_TIERS: Final = ("core", "trusted", "verified", "untrusted")
_STATUSES: Final = ("online", "online", "offline", "syncing")
_SURE: Final = 8.0


class Seen(NamedTuple):
    """What a client is shown at one moment."""

    federation: Mapping[str, Any]
    memory: Mapping[str, Any]
    # Rows of the roster by id.
    peers: Mapping[str, Mapping[str, Any]]


class Feed:
    """One stream that tells every item of a source once. `name_of` an entry is None if it is not of this source."""

    def __init__(self, stream: str, name_of: Callable[[Any], object]) -> None:
        self._stream = stream
        self._name_of = name_of
        # What was written, in order, as often as it was.
        self._due: list[object] = []

    def expect(self, name: object) -> None:
        """It is to be told once more."""
        self._due.append(name)

    def wrong(self, bus: "redis.Redis") -> str:
        """What is told too often, or is missing among the newest: the stream keeps some ten thousand. Else empty."""
        entries: Any = bus.xrange(self._stream)
        told = Counter(self._name_of(json.loads(fields[b"d"])) for _, fields in entries)
        del told[None]
        surplus, missing = told - Counter(self._due), Counter(self._due[-_RECENT:]) - told
        return f"{self._stream}: {_some(surplus)} too often, {_some(missing)} missing" if surplus or missing else ""


class Producer:
    """Writes to one source, `rate` times a second."""

    rate = 1.0
    # What is broken if something is `wrong`: totals are I1, values and states I2.
    invariant = "I1"

    def __init__(self, seed: str) -> None:
        self.chance = random.Random(seed)
        # How many of what were written, for the report.
        self.written: Counter[str] = Counter()
        self.feeds: list[Feed] = []

    def step(self) -> None:
        """Write something, and count it once it is written."""
        raise NotImplementedError

    def rest(self) -> None:
        """Do what is done only while everything that was written is published."""

    def wrong(self, seen: Seen) -> str:
        """How what is seen differs from what was written; empty if it does not."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the source."""


class Syncs(Producer):
    """Pushes to `sync_events`: one by one and in bursts, now and then twice the same, or what cannot be read."""

    rate = 40.0

    def __init__(self, seed: str, client: "redis.Redis", *, keeps: bool = False) -> None:
        super().__init__(seed)
        self._client = client
        # Whether the list keeps what is published.
        self._keeps = keeps
        self._bytes = self._failures = 0
        # Of the newest sync. It is the sync's size too: by it the feed tells which one it is.
        self._number = 0
        # Items that may not be published yet: those since everything was.
        self._fresh = 0
        # Of the newest, when it was written, and when it says that it was, seconds; the first is never wrong.
        self._moments: deque[tuple[float, float]] = deque(maxlen=_RECENT)
        # How far the writer's clock is off; and how far that of the bus may have been at a moment.
        self.writer_off_s = 0.0
        self.bus_off_s: Callable[[float], Collection[float]] = lambda _moment: (0.0,)
        self._told = Feed("ark:feed:sync", lambda record: record["bytes"])
        self._dead = Feed(
            "ark:dead",
            # A list that was emptied is a gap each time, though nothing of it was lost.
            lambda letter: (
                letter["excerpt"] if letter["rejected_by"] == "sync_events" and letter["reason"] not in _GAPS else None
            ),
        )
        self.feeds = [self._told, self._dead]

    def step(self) -> None:
        count = self.chance.randrange(2, 50) if self.chance.random() < 0.05 else 1
        items = [self._sync() for _ in range(count)]
        if self.chance.random() < 0.05:
            items.append(items[-1])
        self._push(list(map(json.dumps, items)))
        for item in items:
            self._count(item)
        if self.chance.random() < 0.02:
            text = f"no json {self.written['unreadable']}"
            self._push([text])
            self._dead.expect(text)
            self.written["unreadable"] += 1
        if self.chance.random() < 0.02 and not self._keeps:
            # Into what is published, down to the newest item of it.
            self._client.ltrim("sync_events", 0, self._fresh + self.chance.randrange(64))

    def _push(self, items: Sequence[str]) -> None:
        self._fresh += len(items)
        self._client.lpush("sync_events", *items)

    def _sync(self) -> dict[str, Any]:
        self._number += 1
        sender, target = self.chance.sample(range(50), 2)
        said_ms = int((time.time() + self.writer_off_s) * 1000)
        return {
            "timestamp": said_ms, "source": f"k-{sender}", "target": f"k-{target}",
            "event_type": "memory_sync", "bytes": self._number,
            "success": self.chance.choice([True] * 8 + [False, None]),
        }  # fmt: skip

    def _count(self, item: Mapping[str, Any]) -> None:
        self.written["syncs"] += 1
        self._bytes += item["bytes"]
        self._failures += item["success"] is False
        self._told.expect(item["bytes"])
        self._moments.append((time.time(), item["timestamp"] / 1000))

    def rest(self) -> None:
        self._fresh = 0
        if self.chance.random() < 0.2 and not self._keeps:
            self._client.delete("sync_events")

    def wrong(self, seen: Seen) -> str:
        expected = {
            "sync_events_total": self.written["syncs"],
            "sync_bytes_total": self._bytes,
            "sync_failures_total": self._failures,
        }
        return difference(seen.federation, expected) or self._wrong_rate(seen.federation)

    def _wrong_rate(self, federation: Mapping[str, Any]) -> str:
        """How many syncs of the last minute, by the bus's clock, are counted and were none, or were and are not."""
        now, counted = federation["ts"] / 1000, round(60 * (federation.get("sync_rate") or 0))
        least = most = 0
        for moment, said in self._moments:
            # What is said to be ahead of the bus by more than this counts when it came.
            ages = [now - (said if said <= moment + off + 5 else moment + off) for off in self.bus_off_s(moment)]
            least += all(0 <= age < 59 for age in ages)
            most += any(-2 <= age < 62 for age in ages)
        return "" if least <= counted <= most else f"{counted} syncs in a minute, and not {least} to {most}"


class Peers(Producer):
    """Writes, deletes and expires hashes `peer:k-*`."""

    rate = 40.0
    invariant = "I2"

    def __init__(self, seed: str, client: "redis.Redis") -> None:
        super().__init__(seed)
        self._client = client
        # What each peer said last; None if its key is gone.
        self._rows: dict[str, dict[str, Any] | None] = {}
        # Whether the bus's clock was set: who was offline while it was ahead is so until the next heartbeat, and who
        # went while it was back is not before the failure detector says so.
        self.clock_was_set = False

    def step(self) -> None:
        name = f"k-{self.chance.randrange(50)}"
        chance = self.chance.random()
        if chance < 0.05:
            self._client.delete(f"peer:{name}")
        elif chance < 0.10:
            self._client.pexpire(f"peer:{name}", 1)
        else:
            self._put(name)
            return
        if name in self._rows:
            self._rows[name] = None

    def _put(self, name: str) -> None:
        self.written["peer writes"] += 1
        tier, status = self.chance.choice(_TIERS), self.chance.choice(_STATUSES)
        # Another one at each write.
        latency_ms = self.written["peer writes"] % 80_000 / 8
        with self._client.pipeline(transaction=True) as pipe:
            pipe.hset(f"peer:{name}", items=["trust_tier", tier, "status", status, "latency", str(latency_ms)])
            pipe.persist(f"peer:{name}")  # its last millisecond may not be over
            pipe.execute()
        self._rows[name] = {"tier": tier, "status": status, "latency_ms": latency_ms, "learnt_from": "redis"}

    def wrong(self, seen: Seen) -> str:
        rows = {name: row for name, row in seen.peers.items() if name.startswith("k-")}
        return _roster(self._rows, rows, clock_was_set=self.clock_was_set)


class Manifests(Producer):
    """Sends manifests of `m-*` to the federation service, each until it is taken."""

    rate = 8.0
    invariant = "I2"

    def __init__(self, seed: str, url: str) -> None:
        super().__init__(seed)
        self._url = url
        self._nodes = [Node(f"m-{number}") for number in range(5)]
        self._rows: dict[str, dict[str, Any] | None] = {}

    def step(self) -> None:
        node, status = self.chance.choice(self._nodes), self.chance.choice(_STATUSES)
        claim = self.chance.choice((*_TIERS, None))
        deadline = time.monotonic() + 30
        while True:
            self.written["manifests"] += 1
            latency_ms = self.written["manifests"] % 80_000 / 8
            said = {"seq": self.written["manifests"], "trust_tier": claim, "status": status, "latency": latency_ms}
            if self._is_taken(node.body(**said)):
                break
            assert time.monotonic() < deadline, "no manifest is taken"
            time.sleep(0.05)
        # Nobody trusts these keys: what claims more is verified.
        tier = "untrusted" if claim == "untrusted" else "verified"
        self._rows[node.node_id] = {"tier": tier, "status": status, "latency_ms": latency_ms, "learnt_from": "manifest"}

    def _is_taken(self, body: bytes) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/manifest", data=body, timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 503:
                    raise
        except (OSError, http.client.HTTPException):
            pass  # it is being killed
        return False

    def wrong(self, seen: Seen) -> str:
        return _roster(self._rows, {name: row for name, row in seen.peers.items() if name.startswith("m-")})


def difference(seen: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """How a summary differs from what was expected of some of its fields, which must be live; empty if it does not."""
    parts = [
        f"{name} is {seen.get(name)} and not {value}" for name, value in expected.items() if seen.get(name) != value
    ]
    if seen.get("source") != "live":
        parts.append(f"source is {seen.get('source')}")
    return ", ".join(parts)


def _roster(
    expected: Mapping[str, Mapping[str, Any] | None],
    rows: Mapping[str, Mapping[str, Any]],
    *,
    clock_was_set: bool = False,
) -> str:
    parts = [f"{name} is known" for name in rows.keys() - expected.keys()]
    for name, said in expected.items():
        row = rows.get(name)
        if said is None:
            # It may have come and gone between two readings.
            is_there = row is not None and row["status"] != "offline" and not clock_was_set
            parts += [f"{name} is not offline"] if is_there else []
        elif row is None or any(row.get(field) != value for field, value in _told(said, row, clock_was_set).items()):
            parts.append(f"{name} is {row} and not {said}")
    return ", ".join(parts[:5])


def _told(said: Mapping[str, Any], row: Mapping[str, Any], clock_was_set: bool) -> Mapping[str, Any]:
    """What a row has to say of a peer that said this: one that has been silent since may be taken for offline."""
    may_be = row["suspicion"] >= _SURE or (clock_was_set and row["status"] == "offline")
    return {**said, "status": "offline"} if may_be else said


def _some(names: Iterable[object]) -> list[object]:
    return sorted(names, key=str)[:5]
