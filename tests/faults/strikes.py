"""A fault that happens to a running system again and again; each time all of it must become right."""

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from tests.faults.report import Run
from tests.faults.system import Kind, System, running_system
from tests.stack import wait_for

__all__ = ["Strike", "run_strikes"]

Strike: TypeAlias = Callable[[System, random.Random], None]
"""Brings a fault about; while it does, the load goes on."""

_MOST_DESCRIPTORS: Final = 1.5
"""What descriptors may become of what they were: pools keep the connections that they opened at a busy moment."""

_HELD: Final = "longest until every client held all of it, s"

_MOST_GROWTH: Final = 1.6
"""What memory may become of what it was: at the start no history is held yet."""


def _turns(chance: random.Random, names: Sequence[str]) -> Iterator[str]:
    while True:
        yield from chance.sample(names, len(names))


def run_strikes(
    run: Run,
    seconds: float,
    strikes: Mapping[str, Strike],
    kind: Kind,
    at_end: Callable[[System], None] = lambda _system: None,
) -> None:
    """Strike under load until `seconds` are over, each at least once; every time all must become the oracle's.

    The strikes take turns, in an order of chance; one in three comes again while its victim starts. `at_end` compares
    what else there is. Raises Broken: if something is not right in time.
    """
    chance, run.kind = random.Random(run.seed), str(kind)
    with running_system(run.seed, kind) as system:
        _warm_up(system, run)
        began = time.monotonic()
        run.memory, run.descriptors = _usages(system.usage())
        for name in _turns(chance, [*strikes]):
            if len(run.strikes) >= len(strikes) and time.monotonic() - began > seconds:
                break
            _strike(system, run, chance, name, strikes[name])
        at_end(system)
        _finish(system, run)


def _warm_up(system: System, run: Run) -> None:
    """Let everybody have their share of the work, and of the connections."""
    system.load.start()
    system.until_shared()
    system.load.stop()
    system.until_shown(run)
    system.until_held(run)


def _strike(system: System, run: Run, chance: random.Random, name: str, strike: Strike) -> None:
    system.supervise()
    system.load.start()
    time.sleep(chance.uniform(0.2, 1.0))
    strike(system, chance)
    if chance.random() < 1 / 3:
        time.sleep(chance.uniform(0.0, 0.8))
        strike(system, chance)
    struck = time.monotonic()
    time.sleep(chance.uniform(0.2, 1.0))
    system.load.stop()
    system.until_shown(run)
    run.recovered_s.append(time.monotonic() - struck)
    system.until_held(run)
    run.measured[_HELD] = max(run.measured.get(_HELD, 0), time.monotonic() - struck)
    run.strikes.append(name)
    for producer in system.load.producers:
        producer.rest()


def _finish(system: System, run: Run) -> None:
    """Compare what the processes take with what they took at the start, and note what else was counted."""
    assert run.memory is not None
    assert run.descriptors is not None
    most = _MOST_DESCRIPTORS * run.descriptors[0]
    with contextlib.suppress(AssertionError):
        wait_for("as few descriptors as before", lambda: system.usage()[1] <= most)
    memory, descriptors = system.usage()
    run.memory, run.descriptors = (run.memory[0], memory), (run.descriptors[0], descriptors)
    run.written = system.written()
    run.figures.update({"commits of former owners refused": system.fenced(), "processes ended": system.ended()})
    run.figures.update({f"resets ({name})": count for name, count in system.clients.resets().items()})
    run.figures["connections of clients lost"] = system.clients.outages()
    run.compare("I4", f"descriptors {run.descriptors}" if descriptors > most else "")
    run.compare("I4", f"memory {run.memory}" if memory > _MOST_GROWTH * run.memory[0] else "")


def _usages(usage: tuple[float, int]) -> tuple[tuple[float, float], tuple[int, int]]:
    """Of the start, until that of the end is known."""
    return (usage[0], usage[0]), (usage[1], usage[1])
