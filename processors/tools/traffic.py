"""What ARK would write, made up: rows of its databases, fields of its peers, items of its list of syncs.

The same random numbers give the same traffic. Every id begins with `demo-`.
"""

import datetime as dt
import json
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar

__all__ = ["KINDS", "PEERS", "PREFIX", "Kind", "Row", "Traffic", "is_demo_sync"]

PREFIX: Final = "demo-"
"""Begins every id that is made here, and no other."""

PEERS: Final = tuple(
    PREFIX + name
    for name in (
        "amber", "basalt", "beryl", "chalk", "citrine", "cobalt", "coral", "flint", "garnet", "granite", "jade",
        "jasper", "lapis", "marble", "mica", "obsidian", "onyx", "opal", "pearl", "quartz", "ruby", "slate", "topaz",
        "zircon",
    )
)  # fmt: skip
"""The ids of the peers."""

Kind: TypeAlias = Literal["heartbeats", "syncs", "sessions", "uses", "executions", "files"]
"""What a change of live traffic is."""

# In a fixed cycle every peer beats at even distances, and no kind is ever left out for long.
KINDS: Final[tuple[Kind, ...]] = (
    "heartbeats", "syncs", "uses", "heartbeats", "sessions", "uses", "heartbeats", "syncs", "executions", "uses",
    "heartbeats", "syncs", "uses", "heartbeats", "sessions", "files", "heartbeats", "syncs", "executions", "uses",
)  # fmt: skip
"""The kinds of successive changes, again and again."""


class Row(NamedTuple):
    """One statement that writes a row, and its values."""

    statement: str
    values: tuple[object, ...]


INSERT_SESSION: Final = (
    "INSERT INTO reasoning_sessions (session_id, agent_name, query, timestamp, final_output, overall_confidence,"
    " total_duration_ms, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
INSERT_STAGE: Final = (
    "INSERT INTO reasoning_stages (session_id, stage_name, stage_order, input_data, output_data, confidence,"
    " duration_ms, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
INSERT_PATTERN: Final = (
    "INSERT INTO code_patterns (pattern_id, pattern_type, name, code_snippet, usage_count, quality_score, tags,"
    " created_at, last_used) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
USE_PATTERN: Final = "UPDATE code_patterns SET usage_count = usage_count + 1, last_used = ? WHERE pattern_id = ?"
INSERT_EXECUTION: Final = (
    "INSERT INTO sandbox_executions (execution_id, code_hash, code_snippet, trust_tier, started_at, status,"
    " security_violations) VALUES (?, ?, ?, ?, ?, 'running', '[]')"
)
END_EXECUTION: Final = (
    "UPDATE sandbox_executions SET completed_at = ?, duration_ms = ?, status = ?, exit_code = ?, stderr = ?,"
    " security_violations = ? WHERE execution_id = ?"
)
INDEX_FILE: Final = (
    "INSERT OR REPLACE INTO code_index (file_id, file_path, module_name, functions, imports, complexity_score,"
    " lines_of_code, last_modified, indexed_at, trust_tier) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

_PEER_TIERS: Final = ("core", "trusted", "trusted", "verified", "verified", "unverified")
_ACTIONS: Final = ("memory_sync", "memory_sync", "reflection_sync", "identity_sync", "knowledge_sync")
_AGENTS: Final = ("planner", "researcher", "critic", "archivist", "verifier")
_STAGES: Final = ("perceive", "recall", "plan", "reason", "reflect", "verify", "conclude")
_QUESTIONS: Final = (
    "Explain the drop in recall of {}",
    "Find duplicates among the functions of {}",
    "Does {} still pass its checks?",
    "Which files depend on {}?",
    "Write a test for the parser of {}",
    "What did we decide about {} last week?",
)
_MODULES: Final = ("recall", "indexer", "gossip", "consolidator", "sandbox", "ledger", "embedder", "planner")
_VERBS: Final = ("load", "merge", "score", "prune", "encode", "verify", "replay", "fetch")
_PATTERN_TYPES: Final = ("function", "class", "idiom", "test")
_FILE_TIERS: Final = ("sandbox",) * 9 + ("trusted",) * 5 + ("core",) * 3 + ("external",) * 2 + ("testing",)
_ENDS: Final = ("success",) * 45 + ("error", "error", "error", "timeout", "killed")
_VIOLATION: Final = '["network access"]'

# How long before the filling the past begins, ms.
_SYNCS_OVER: Final = 15 * 60_000
_SESSIONS_OVER: Final = 2 * 3_600_000
_CODE_OVER: Final = 30 * 86_400_000
_LONGEST_RUN: Final = 20_000
# How many programs run at the same time in live traffic.
_RUNNING: Final = 5

T = TypeVar("T")


def is_demo_sync(item: bytes) -> bool:
    """Whether an item of `sync_events` was made here: both its ends are demo peers."""
    try:
        fields = json.loads(item)
    except (ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and all(str(fields.get(end, "")).startswith(PREFIX) for end in ("source", "target"))


class Traffic:
    """Makes traffic up. `random` gives numbers in [0, 1); its first ones tell the ids of this run from others'."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._run = f"{PREFIX}{int(random() * 16**8):08x}"
        # How much there is of each, by the kind in its id: the number in the next id.
        self._made: Counter[str] = Counter()
        # The next peer to beat.
        self._peer = 0
        # Programs that run: their number, and since when, ms.
        self._running: deque[tuple[int, int]] = deque()

    def heartbeat(self, now: int) -> tuple[str, dict[str, str]]:
        """The next peer's id, and the fields of its hash; the spellings of times and numbers are those that occur."""
        index = self._peer
        self._peer = (index + 1) % len(PEERS)
        latency_ms = 4 + 7 * (index % 6) + 6 * self._random()
        fields = {
            "node_id": PEERS[index],
            "hostname": f"{PEERS[index]}.ark.local",
            "trust_tier": _PEER_TIERS[index % len(_PEER_TIERS)],
            "status": "online",
            "latency": f"{latency_ms:.1f}" if index % 2 else f"{latency_ms:.0f}",
            "last_seen": (str(now // 1_000), str(now), _iso(now))[index % 3],
        }
        return PEERS[index], fields

    def sync(self, ts: int) -> bytes:
        """An item of `sync_events` between two peers."""
        sender = self._below(len(PEERS))
        target = (sender + 1 + self._below(len(PEERS) - 1)) % len(PEERS)
        item = {
            "timestamp": ts,
            "source": PEERS[sender],
            "target": PEERS[target],
            "event_type": self._choice(_ACTIONS),
            "bytes": int(1_024 * 400 ** self._random()),
            "success": self._random() < 0.97,
        }
        return json.dumps(item).encode()

    def past_syncs(self, count: int, now: int) -> Iterator[bytes]:
        """The syncs of the last quarter of an hour, oldest first."""
        return (self.sync(ts) for ts in _spread(count, _SYNCS_OVER, now))

    def past_reasoning(self, sessions: int, now: int) -> Iterator[list[Row]]:
        """The sessions of the last two hours with their stages, oldest first."""
        return (self._session(ts) for ts in _spread(sessions, _SESSIONS_OVER, now))

    def past_code(self, patterns: int, executions: int, files: int, now: int) -> Iterator[list[Row]]:
        """The patterns, the executions and how they ended, and the files of the last month."""
        yield from ([self._pattern(ts)] for ts in _spread(patterns, _CODE_OVER, now))
        for ts in _spread(executions, _CODE_OVER, now):
            yield [self._start(ts - self._below(_LONGEST_RUN)), self._end(ts)]
        for ts in _spread(files, _CODE_OVER, now):
            yield [self._index(self._new("file"), ts)]

    def change(self, kind: Kind, now: int) -> list[Row]:
        """The rows of one change of live traffic to a database; those of one session belong into one transaction."""
        match kind:
            case "sessions":
                return self._session(now)
            case "uses":
                # Early patterns are used more often than late ones.
                number = int(self._made["pattern"] * self._random() ** 2)
                return [Row(USE_PATTERN, (now // 1_000, self._id("pattern", number)))]
            case "executions":
                return [self._start(now) if len(self._running) < _RUNNING else self._end(now)]
            case "files":
                return [self._index(self._below(self._made["file"]), now)]
            case _:
                raise AssertionError(f"{kind} are not in a database")

    def _session(self, ts: int) -> list[Row]:
        session_id = self._id("session", self._new("session"))
        created_at = _iso(ts) if self._random() < 0.5 else _sql_time(ts)
        confidence = 0.35 + 0.5 * self._random()
        duration_ms = 0.0
        stages = []
        for order, name in enumerate(_STAGES[: 3 + self._below(len(_STAGES) - 2)]):
            took_ms = round(20 + 400 * self._random(), 1)
            duration_ms += took_ms
            confidence = min(0.99, max(0.05, confidence + 0.18 * self._random() - 0.05))
            values = (session_id, name, order, "{}", "{}", round(confidence, 3), took_ms, created_at)
            stages.append(Row(INSERT_STAGE, values))
        query = self._choice(_QUESTIONS).format(self._choice(_MODULES))
        told = (self._choice(_AGENTS), query, _iso(ts), "done", round(confidence, 3), round(duration_ms, 1), created_at)
        return [Row(INSERT_SESSION, (session_id, *told)), *stages]

    def _pattern(self, ts: int) -> Row:
        """A pattern; three in ten have a snippet that another may have, and four in ten were used more than once."""
        number = self._new("pattern")
        variant = number if self._random() < 0.7 else self._below(number + 1)
        name = f"{_VERBS[variant % len(_VERBS)]}_{_MODULES[variant // len(_VERBS) % len(_MODULES)]}"
        snippet = f"def {name}_{variant}(items):\n    return [item for item in items if item]\n"
        usage = 1 + int(0.55 / (0.15 + self._random()))
        values = (self._choice(_PATTERN_TYPES), name, snippet, usage, round(0.4 + 0.6 * self._random(), 2), "[]")
        return Row(INSERT_PATTERN, (self._id("pattern", number), *values, ts // 1_000, ts // 1_000))

    def _start(self, now: int) -> Row:
        number = self._new("execution")
        self._running.append((number, now))
        code = f"print({number})"
        code_hash = f"{zlib.crc32(code.encode()):08x}"
        values = (self._id("execution", number), code_hash, code, self._choice(_FILE_TIERS), _either(number, now))
        return Row(INSERT_EXECUTION, values)

    def _end(self, now: int) -> Row:
        """The end of the program that runs longest."""
        number, started = self._running.popleft()
        status = self._choice(_ENDS)
        exit_code, stderr = (0, "") if status == "success" else (1, status)
        violations = _VIOLATION if self._random() < 0.02 else "[]"
        values = (_either(number, now), now - started, status, exit_code, stderr, violations)
        return Row(END_EXECUTION, (*values, self._id("execution", number)))

    def _index(self, number: int, now: int) -> Row:
        file_id = self._id("file", number)
        module = _MODULES[number % len(_MODULES)]
        path = f"/srv/ark/{module}/{file_id}.py"
        sizes = (round(1 + 30 * self._random(), 1), 20 + self._below(900))
        tier = self._choice(_FILE_TIERS)
        return Row(INDEX_FILE, (file_id, path, module, "[]", "[]", *sizes, now // 1_000, now // 1_000, tier))

    def _new(self, kind: str) -> int:
        """The number of the next thing of a kind."""
        self._made[kind] += 1
        return self._made[kind] - 1

    def _id(self, kind: str, number: int) -> str:
        return f"{self._run}-{kind}-{number:08d}"

    def _below(self, most: int) -> int:
        return int(self._random() * most)

    def _choice(self, items: Sequence[T]) -> T:
        return items[int(self._random() * len(items))]


def _spread(count: int, over: int, now: int) -> Iterator[int]:
    """`count` times of the `over` ms before `now`, oldest first, the last of them `now`."""
    return (now - over * (count - number) // count for number in range(1, count + 1))


def _either(number: int, ts: int) -> int:
    """Milliseconds of programs with an odd number, seconds of the others: both occur."""
    return ts if number % 2 else ts // 1_000


def _iso(ts: int) -> str:
    return dt.datetime.fromtimestamp(ts / 1_000, dt.UTC).isoformat(timespec="milliseconds")


def _sql_time(ts: int) -> str:
    """As CURRENT_TIMESTAMP writes it."""
    return dt.datetime.fromtimestamp(ts / 1_000, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
