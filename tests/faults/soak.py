"""`make soak`: every fault of the table, again and again, each time with the next seed.

`python -m tests.faults.soak --seed 7 --hours 1 --only clock disk --report soak.md`.
"""

import argparse
import json
import sys
import time
from itertools import count
from pathlib import Path

import redis

from tests.faults.report import Broken, Run, as_json, as_markdown, line_of
from tests.faults.table import FAULTS, Fault

__all__ = ["main"]


def main() -> int:
    """Run what was asked for until the time is over, once at least. Returns 1 if an invariant was broken."""
    asked = _parser().parse_args()
    names = [name for each in asked.only for name in each.split(",") if name] or [*FAULTS]
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        print(f"no such fault: {', '.join(unknown)}; there are {', '.join(FAULTS)}", file=sys.stderr)
        return 2
    runs: list[Run] = []
    ends = time.monotonic() + 3_600 * asked.hours
    for seed in count(asked.seed):
        for name in names:
            runs.append(_run(FAULTS[name], seed, asked.seconds))
            if asked.report is not None:
                _write(asked.report, runs)
        if time.monotonic() >= ends:
            break
    return int(any(run.broken for run in runs))


def _run(fault: Fault, seed: int, seconds: float) -> Run:
    run = Run(fault.name, seed)
    try:
        fault.long(run, seconds)
    except Broken as error:
        _note(run, error.invariant, error)
    except (AssertionError, OSError, redis.RedisError) as error:
        # What had to happen before anything could be compared did not, or not in time.
        _note(run, "I4", error)
    print(line_of(run), flush=True)
    if run.broken:
        only = f"--only {fault.name} --seed {seed} --hours 0 --seconds {seconds:g}"
        print(f'again: make soak SOAK_ARGS="{only}"', flush=True)
    return run


def _note(run: Run, invariant: str, error: Exception) -> None:
    run.broken[invariant] = "\n".join([f"{error}" or repr(error), *getattr(error, "__notes__", ())])


def _write(path: Path, runs: list[Run]) -> None:
    """The report so far, in Markdown, and beside it in JSON."""
    described = [(fault.name, fault.row, fault.how) for fault in FAULTS.values()]
    path.write_text(as_markdown(runs, described), encoding="utf-8")
    path.with_suffix(".json").write_text(json.dumps(as_json(runs), indent=1), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first round; repeats a run (1)")
    parser.add_argument("--hours", type=float, default=0, help="begin another round until so many are over (0: one)")
    parser.add_argument("--seconds", type=float, default=60, help="how long each run goes on striking (60)")
    names = f"what to do: {', '.join(FAULTS)} (all)"
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help=names)
    parser.add_argument("--report", type=Path, help="a file for the report, in Markdown; beside it, one in JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
