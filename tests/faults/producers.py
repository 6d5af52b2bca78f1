"""The load of the fault tests, one producer for each source: each counts in plain Python what it wrote.

What a producer counted is the oracle. Once everything is published again, the summaries, the roster and the feeds must
say the same, neither less nor more. A producer does only what loses nothing by itself: it trims the list below what may
not be published yet, and removes it while all of it is.
"""

import http.client
import json
import random
import sqlite3
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import redis

from processors.collectors.overlap import CHANGED, GONE, REPEATED
from tests.databases import make_ark, make_reasoning, write_session
from tests.federation.support import Node

__all__ = ["Code", "Feed", "Manifests", "Peers", "Producer", "Reasoning", "Seen", "Syncs"]

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
        return {
            "timestamp": int(time.time() * 1000), "source": f"k-{sender}", "target": f"k-{target}",
            "event_type": "memory_sync", "bytes": self._number,
            "success": self.chance.choice([True] * 8 + [False, None]),
        }  # fmt: skip

    def _count(self, item: Mapping[str, Any]) -> None:
        self.written["syncs"] += 1
        self._bytes += item["bytes"]
        self._failures += item["success"] is False
        self._told.expect(item["bytes"])

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
        return _difference(seen.federation, expected)


class Peers(Producer):
    """Writes, deletes and expires hashes `peer:k-*`."""

    rate = 40.0

    def __init__(self, seed: str, client: "redis.Redis") -> None:
        super().__init__(seed)
        self._client = client
        # What each peer said last; None if its key is gone.
        self._rows: dict[str, dict[str, Any] | None] = {}

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
        return _roster(self._rows, {name: row for name, row in seen.peers.items() if name.startswith("k-")})


class Manifests(Producer):
    """Sends manifests of `m-*` to the federation service, each until it is taken."""

    rate = 8.0

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


class Reasoning(Producer):
    """Commits sessions with their stages; some get their id late, below those that came before them."""

    rate = 15.0

    def __init__(self, seed: str, path: Path, mode: str) -> None:
        super().__init__(seed)
        self._database = _opened(make_reasoning, path, mode)
        # Largest id that was given, and the ids that were left out.
        self._top = 0
        self._skipped: list[int] = []
        self._consolidated = 0
        self._told = Feed("ark:feed:memory", lambda record: record["id"])
        self.feeds = [self._told]

    def step(self) -> None:
        if self.chance.random() < 0.05:
            self._undo()
        row_id = self._row_id()
        confidences = [self.chance.choice((None, 0.25, 0.5, 0.75, 1.0)) for _ in range(self.chance.randrange(5))]
        write_session(self._database, f"s-{row_id}", confidences, row_id=row_id)
        self.written["sessions"] += 1
        self.written["stages"] += len(confidences)
        self._consolidated += sum(confidence is not None and confidence >= 0.7 for confidence in confidences)
        self._told.expect(row_id)

    def _row_id(self) -> int:
        if self._skipped and self.chance.random() < 0.3:
            return self._skipped.pop(0)
        if self.chance.random() < 0.1:
            self._top += 1
            self._skipped.append(self._top)
        self._top += 1
        return self._top

    def _undo(self) -> None:
        """What is not committed never was."""
        self._database.execute("BEGIN IMMEDIATE")
        self._database.execute(
            "INSERT INTO reasoning_sessions (session_id, agent_name, query, timestamp) VALUES ('undone', '', '', '')"
        )
        self._database.execute("ROLLBACK")

    def wrong(self, seen: Seen) -> str:
        expected = {
            "sessions_total": self.written["sessions"],
            "stages_total": self.written["stages"],
            "consolidated_total": self._consolidated,
        }
        return _difference(seen.memory, expected)

    def close(self) -> None:
        self._database.close()


class _Table(NamedTuple):
    """What is written to one table of `ark.db`."""

    name: str
    key: str
    # Another column that must not be NULL.
    unique: str
    # Two columns, and what they may hold.
    columns: tuple[str, str]
    values: tuple[tuple[Any, ...], tuple[Any, ...]]


_TABLES: Final = (
    _Table(
        "code_patterns",
        "pattern_id",
        "pattern_type",
        ("code_snippet", "usage_count"),
        (("", "one", "two", "three"), tuple(range(9))),
    ),
    _Table(
        "sandbox_executions",
        "execution_id",
        "code_hash",
        ("status", "security_violations"),
        (("running", "success", "error", "timeout", "killed"), ("[]", "[]", None, '["network"]')),
    ),
    _Table(
        "code_index",
        "file_id",
        "file_path",
        ("trust_tier", "module_name"),
        (("core", "sandbox", "testing", None), ("a", "b")),
    ),
)


class Code(Producer):
    """Inserts, updates, replaces and deletes rows of `ark.db`, a few in each transaction; some are rolled back."""

    rate = 15.0

    def __init__(self, seed: str, path: Path, mode: str) -> None:
        super().__init__(seed)
        self._database = _opened(make_ark, path, mode)
        # Of each table what is committed, by key.
        self._rows: dict[_Table, dict[str, tuple[Any, Any]]] = {table: {} for table in _TABLES}

    def step(self) -> None:
        rows = {table: dict(known) for table, known in self._rows.items()}
        self._database.execute("BEGIN IMMEDIATE")
        for _ in range(self.chance.randint(1, 3)):
            table = self.chance.choice(list(rows))
            self._change(table, rows[table])
        if self.chance.random() < 0.1:
            self._database.execute("ROLLBACK")
            return
        self._database.execute("COMMIT")
        self._rows = rows
        self.written["commits"] += 1

    def _change(self, table: "_Table", rows: dict[str, tuple[Any, Any]]) -> None:
        key = f"{table.key}-{self.chance.randrange(60)}"
        row = self.chance.choice(table.values[0]), self.chance.choice(table.values[1])
        if key not in rows or self.chance.random() < 0.3:
            columns = ", ".join((table.key, table.unique, *table.columns))
            self._database.execute(
                f"INSERT OR REPLACE INTO {table.name} ({columns}) VALUES (?, ?, ?, ?)", (key, key, *row)
            )
        elif self.chance.random() < 0.7:
            assignments = ", ".join(f"{column} = ?" for column in table.columns)
            self._database.execute(f"UPDATE {table.name} SET {assignments} WHERE {table.key} = ?", (*row, key))
        else:
            self._database.execute(f"DELETE FROM {table.name} WHERE {table.key} = ?", (key,))
            del rows[key]
            return
        rows[key] = row

    def wrong(self, seen: Seen) -> str:
        patterns, executions, files = (list(rows.values()) for rows in self._rows.values())
        usage, snippets = sum(uses for _, uses in patterns), len({snippet for snippet, _ in patterns} - {""})
        bad = [status in {"error", "timeout", "killed"} or said == '["network"]' for status, said in executions]
        tiers = Counter(tier if tier in {"core", "sandbox"} else "other" for tier, _ in files)
        expected = {
            "dedup_rate": min(max(100 * (usage - snippets) / usage, 0.0), 100.0) if usage else None,
            "quarantine_count": sum(bad),
            "trust_distribution": {tier: tiers[tier] for tier in ("core", "trusted", "sandbox", "external", "other")},
        }
        return _difference(seen.memory, expected)

    def close(self) -> None:
        self._database.close()


def _opened(make: Callable[[Path, str], sqlite3.Connection], path: Path, mode: str) -> sqlite3.Connection:
    """A connection to a new database that is used by one thread at a time, not always the same."""
    with closing(make(path, mode)):
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def _difference(seen: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    parts = [
        f"{name} is {seen.get(name)} and not {value}" for name, value in expected.items() if seen.get(name) != value
    ]
    if seen.get("source") != "live":
        parts.append(f"source is {seen.get('source')}")
    return ", ".join(parts)


def _roster(expected: Mapping[str, Mapping[str, Any] | None], rows: Mapping[str, Mapping[str, Any]]) -> str:
    parts = [f"{name} is known" for name in rows.keys() - expected.keys()]
    for name, said in expected.items():
        row = rows.get(name)
        if said is None:
            # It may have come and gone between two readings.
            parts += [f"{name} is not offline"] if row is not None and row["status"] != "offline" else []
        elif row is None or any(row.get(field) != value for field, value in _told(said, row).items()):
            parts.append(f"{name} is {row} and not {said}")
    return ", ".join(parts[:5])


def _told(said: Mapping[str, Any], row: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a row has to say of a peer that said this: one that has been silent since may be taken for offline."""
    return {**said, "status": "offline"} if row["suspicion"] >= _SURE else said


def _some(names: Iterable[object]) -> list[object]:
    return sorted(names, key=str)[:5]
