"""From a commit to ARK's databases to the frame at a WebSocket client, through all processes, one change at a time."""

import asyncio
import contextlib
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from processors.tools.capture import install
from tests.benchmarks.probes import Frame, Holds, Probe, connected
from tests.benchmarks.tables import quantile, table
from tests.databases import make_ark, make_reasoning, write_session
from tests.stack import Stack, running_stack

__all__ = ["measure"]

_SAMPLES: Final = 150
# Of a kind that takes long, fewer: as many as fit into this time.
_SPAN_S: Final = 45
# Longer than the pace of the drop-in frames, so that each change is the first after a pause.
_PAUSE_S: Final = (0.12, 0.25)
# Patterns and files, and whether triggers capture what changes.
_CASES: Final = ((1_000, False), (100_000, False), (100_000, True))
_USES: Final = 2


class _Writer(NamedTuple):
    """ARK's own connections."""

    reasoning: sqlite3.Connection
    ark: sqlite3.Connection
    # Rows of `code_patterns` and of `code_index`.
    rows: int


def _session(writer: _Writer, number: int) -> Holds:
    write_session(writer.reasoning, f"session {number}", [], query=f"probe {number}")
    return lambda frame: any(log["message"].endswith(f"probe {number}") for log in frame["logs"])


def _stages(writer: _Writer, number: int) -> Holds:
    delta = (number + 1) / 1024
    write_session(writer.reasoning, f"stages {number}", [0.0, delta])
    return lambda frame: bool(frame["confidence_deltas"] and frame["confidence_deltas"][-1] == delta)


def _use(writer: _Writer, number: int) -> Holds:
    # Any pattern, old or new: a sweep meets it after half a round on average.
    pattern = f"p{random.randrange(writer.rows)}"
    writer.ark.execute("UPDATE code_patterns SET usage_count = usage_count + 1 WHERE pattern_id = ?", (pattern,))
    usage = _USES * writer.rows + number + 1
    return lambda frame: bool(frame["dedup_rate"] == 100 * (usage - writer.rows) / usage)


def _execution(writer: _Writer, number: int) -> Holds:
    writer.ark.execute(
        "INSERT INTO sandbox_executions (execution_id, code_hash, status) VALUES (?, '', 'error')", (f"e{number}",)
    )
    return lambda frame: bool(frame["quarantine_count"] == number + 1)


def _file(writer: _Writer, number: int) -> Holds:
    writer.ark.execute(
        "INSERT OR REPLACE INTO code_index (file_id, file_path, trust_tier) VALUES (?, ?, 'core')",
        (f"f{number}", f"f{number}"),
    )
    return lambda frame: bool(frame["trust_distribution"]["core"] == number + 1)


_KINDS: Final[dict[str, Callable[[_Writer, int], Holds]]] = {
    "session": _session,
    "session with stages": _stages,
    "UPDATE of usage_count": _use,
    "INSERT of an execution": _execution,
    "REPLACE of a file": _file,
}


def _fill(ark: sqlite3.Connection, rows: int) -> None:
    ark.execute("BEGIN")
    ark.executemany(
        "INSERT INTO code_patterns (pattern_id, pattern_type, code_snippet, usage_count) VALUES (?, '', ?, ?)",
        ((f"p{number}", f"snippet {number} " + "x" * 200, _USES) for number in range(rows)),
    )
    ark.executemany(
        "INSERT INTO code_index (file_id, file_path, trust_tier) VALUES (?, ?, 'sandbox')",
        ((f"f{number}", f"f{number}") for number in range(rows)),
    )
    ark.execute("COMMIT")


@contextlib.contextmanager
def _running(directory: Path, rows: int, *, captured: bool) -> Iterator[tuple[Stack, _Writer]]:
    data = directory / "data"
    with (
        contextlib.closing(make_reasoning(data / "reasoning_logs.db")) as reasoning,
        contextlib.closing(make_ark(data / "ark.db")) as ark,
    ):
        _fill(ark, rows)
        if captured:
            install(data / "ark.db")
        with running_stack(directory) as (stack, _):
            stack.memory(lambda summary: _is_known(summary, rows), 120)
            yield stack, _Writer(reasoning, ark, rows)


def _is_known(summary: Frame, rows: int) -> bool:
    tiers = summary.get("trust_distribution") or {}
    return tiers.get("sandbox") == rows and summary.get("dedup_rate") == 50


async def _kind(probe: Probe, writer: _Writer, change: Callable[[_Writer, int], Holds]) -> list[float]:
    """Milliseconds from the end of each commit to the frame that shows it."""
    samples: list[float] = []
    end = time.perf_counter() + _SPAN_S
    for number in range(_SAMPLES):
        if time.perf_counter() > end:
            break
        await asyncio.sleep(random.uniform(*_PAUSE_S))
        probe.forget()
        holds = change(writer, number)
        committed = time.perf_counter()
        samples.append((await probe.first(holds, 120) - committed) * 1000)
    return samples


async def _measure(stack: Stack, writer: _Writer, size: str) -> list[list[object]]:
    rows: list[list[object]] = []
    async with connected(stack.port, "/ws/memory") as probe:
        for name, change in _KINDS.items():
            samples = await _kind(probe, writer, change)
            shares = (f"{quantile(samples, share):.1f}" for share in (0.5, 0.99, 1.0))
            rows.append([name, size, len(samples), *shares])
    return rows


def measure() -> str:
    """The table."""
    random.seed(1)
    rows: list[list[object]] = []
    for count, captured in _CASES:
        size = f"{count:,}{', captured' if captured else ''}"
        with (
            tempfile.TemporaryDirectory() as directory,
            _running(Path(directory), count, captured=captured) as (stack, writer),
        ):
            rows += asyncio.run(_measure(stack, writer, size))
    return table(["commit", "patterns and files", "samples", "p50 ms", "p99 ms", "max ms"], rows)
