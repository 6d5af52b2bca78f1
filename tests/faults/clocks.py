"""Clocks that are off by an hour: the bus's, the processes', and that of who writes to ARK's Redis."""

import contextlib
import random
import shlex
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.faults.producers import Peers, Syncs
from tests.faults.report import Run
from tests.faults.strikes import Strike, run_strikes
from tests.faults.system import Kind, System, binary_of
from tests.faults.victims import Bus, running_bus

__all__ = ["step_clocks"]

_LIBRARIES: Final = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/local/lib/faketime/libfaketimeMT.so.1")
_HOUR_S: Final = 3_600
_STEPS: Final = (-_HOUR_S, 0, _HOUR_S)
# A library looks at the file with the offset this often.
_CACHED_S: Final = 1
# What is written is on the bus so much later at most, while nothing else is broken.
_LATEST_S: Final = 3


def _library() -> Path | None:
    """libfaketime, if it is installed."""
    found = (path for pattern in _LIBRARIES for path in Path("/").glob(pattern[1:]))
    return next(found, None)


class _Clocks:
    """The offsets of all clocks, in seconds."""

    def __init__(self, directory: Path, library: Path | None) -> None:
        self._directory = directory
        self._library = library

    def environment(self, name: str) -> dict[str, str]:
        """What a process needs to live by the clock of this name."""
        if self._library is None:
            return {}
        self.step(name, 0)
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._directory / name),
            "FAKETIME_CACHE_DURATION": str(_CACHED_S),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def step(self, name: str, offset_s: int) -> None:
        """Put a clock off by so much, within a second."""
        new = self._directory / f"{name}.new"
        new.write_text(f"{offset_s:+d}s\n")
        new.replace(self._directory / name)

    @contextlib.contextmanager
    def bus(self, directory: Path, binary: str) -> Iterator[Bus]:
        """A bus with a clock of its own."""
        program = directory / "bus-with-a-clock"
        words = [f"{name}={shlex.quote(value)}" for name, value in self.environment("bus").items()]
        program.write_text(f'#!/bin/sh\nexec env {" ".join(words)} {shlex.quote(binary)} "$@"\n')
        program.chmod(0o700)
        with running_bus(directory / "bus", str(program), "single") as bus:
            yield bus


class _BusOffset:
    """How far the clock of the bus was off, over time."""

    def __init__(self) -> None:
        # When each step was made, by a right clock, and the offset from then on.
        self._steps: list[tuple[float, float]] = [(0.0, 0.0)]

    def note(self, offset_s: float) -> None:
        self._steps.append((time.time(), offset_s))

    def may_be(self, moment: float) -> list[float]:
        """The offsets that an entry may have met that was written at `moment`."""
        ends = [began for began, _ in self._steps[1:]] + [float("inf")]
        spans = zip(self._steps, ends, strict=True)
        return [
            offset for (began, offset), end in spans if began - 1 < moment + _LATEST_S and moment < end + 2 * _CACHED_S
        ]


def _syncs(system: System) -> Syncs:
    return next(each for each in system.load.producers if isinstance(each, Syncs))


def _peers(system: System) -> Peers:
    return next(each for each in system.load.producers if isinstance(each, Peers))


def step_clocks(run: Run, seconds: float) -> None:
    """One clock at a time is put an hour ahead, an hour back, or right again, and stays so."""
    library, bus_offset = _library(), _BusOffset()
    with tempfile.TemporaryDirectory() as directory:
        clocks = _Clocks(Path(directory), library)

        def writer(system: System, chance: random.Random) -> None:
            _syncs(system).writer_off_s = chance.choice(_STEPS)

        def of(name: str) -> Strike:
            def strike(system: System, chance: random.Random) -> None:
                offset_s = chance.choice(_STEPS)
                if name == "bus":
                    _peers(system).clock_was_set = True
                    _syncs(system).bus_off_s = bus_offset.may_be
                    bus_offset.note(offset_s)
                clocks.step(name, offset_s)
                time.sleep(2 * _CACHED_S)

            return strike

        names = () if library is None else ("bus", "workers", "second aggregators")
        stepped = {f"clock of {name}": of(name) for name in names}
        # Debian's redis-server does not start under the library: its allocator asks for the time too early.
        binary = binary_of("valkey")
        kind = Kind(
            bus=lambda path: clocks.bus(path, binary),
            keeps=True,
            # Kept is what was written an hour ago, too.
            settings={"ARK_RETENTION": "1d", **clocks.environment("workers")},
            second=clocks.environment("second aggregators"),
        )
        run_strikes(run, seconds, {"clock of the writer": writer, **stepped}, kind)
    run.kind += ", libfaketime" if library else ", without libfaketime: the writer's clock only"
