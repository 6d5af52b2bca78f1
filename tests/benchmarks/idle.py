"""What everything that `ark-pulse up` starts costs while nothing happens: CPU and resident memory.

Both databases are there, and a thousand peers that say nothing more. CPU is what each process has used at the end of a
minute and not at its beginning.
"""

import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import Final

import redis

from tests.benchmarks.tables import table
from tests.databases import make_ark, make_reasoning, write_session
from tests.stack import Stack, running_stack

__all__ = ["cpu_s", "measure", "program_of", "rss_mib"]

_PEERS: Final = 1_000
# Until the peers, which say nothing more, are offline: their growing suspicion is something that happens.
_SETTLE_S: Final = 150
_SPAN_S: Final = 60
_CPU_ASKED: Final = {"collectors": "<= 0.5"}


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_mib(pid: int) -> float:
    """Proportional set size: pages that processes share count once."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def rss_mib(pid: int) -> float:
    """Resident memory of a process, MiB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def program_of(line: str) -> str:
    """Of a command line: the worker's stage, or the program's name."""
    return line.rpartition(" run ")[2] if " run " in line else Path(line.split(maxsplit=1)[0]).name


def _rows(stack: Stack) -> list[list[object]]:
    assert stack.up is not None
    names = {stack.up.pid: "supervisor"} | {pid: program_of(line) for pid, line in stack.processes().items()}
    before = {pid: cpu_s(pid) for pid in names}
    time.sleep(_SPAN_S)
    used = {pid: 100 * (cpu_s(pid) - before[pid]) / _SPAN_S for pid in names}
    rows: list[list[object]] = [
        [name, f"{used[pid]:.2f}", _CPU_ASKED.get(name, ""), f"{rss_mib(pid):.0f}", f"{_resident_mib(pid):.0f}"]
        for pid, name in names.items()
    ]
    total = (sum(used.values()), sum(map(rss_mib, names)), sum(map(_resident_mib, names)))
    return [*rows, ["**all**", f"{total[0]:.2f}", "<= 1", f"{total[1]:.0f} (<= 350)", f"{total[2]:.0f}"]]


def measure() -> str:
    """The table."""
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data"
        with contextlib.closing(make_reasoning(data / "reasoning_logs.db")) as reasoning:
            write_session(reasoning, "the only one", [0.5, 0.75])
        make_ark(data / "ark.db").close()
        with running_stack(Path(name)) as (stack, source):
            with redis.Redis.from_url(source.url) as ark:
                for number in range(_PEERS):
                    ark.hset(f"peer:idle-{number}", items=["hostname", f"idle-{number}", "trust_tier", "core"])
            stack.federation(lambda s: s.get("total_peers") == _PEERS)
            stack.memory(lambda s: s["source"] == "live" and s.get("sessions_total") == 1)
            time.sleep(_SETTLE_S)
            rows = _rows(stack)
    return table([f"process, {_PEERS} quiet peers", "CPU, % of a core", "asked", "RSS, MiB", "PSS, MiB"], rows)
