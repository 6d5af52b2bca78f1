"""`ark-pulse seed`: fills ARK's Redis and databases with a demo, goes on with live traffic, and removes all of it.

Live traffic keeps to a schedule: change number n is due n / rate seconds after the start. What is due at the same time
is written together, so that at high rates transactions grow and not the delay.
"""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Iterable
from itertools import chain, islice
from typing import Final, NamedTuple

from processors.runtime.output import print_line
from processors.runtime.settings import Settings
from processors.runtime.tasks import is_set_within
from processors.tools.ark_schema import ARK, REASONING
from processors.tools.databases import DemoDatabase
from processors.tools.errors import Refused
from processors.tools.mesh import DemoMesh
from processors.tools.traffic import KINDS, PEERS, Kind, Traffic

__all__ = ["Amounts", "Demo", "amounts", "seed", "unseed"]

_SYNCS: Final = 200
# Most units (a session and its stages, a pattern) and most changes of one transaction: others wait for it to end.
_MAX_UNITS: Final = 10_000
_MAX_CHANGES: Final = 1_000


class Amounts(NamedTuple):
    """How much there is to fill the databases with."""

    sessions: int
    patterns: int
    executions: int
    files: int


def amounts(rows: int | None) -> Amounts:
    """For `rows` patterns, a tenth as much of the rest; None: enough to look at."""
    if rows is None:
        return Amounts(sessions=200, patterns=300, executions=120, files=200)
    tenth = max(1, rows // 10)
    return Amounts(sessions=tenth, patterns=rows, executions=tenth, files=tenth)


def seed(settings: Settings, *, rows: int | None, rate: int | None, force: bool) -> None:
    """Fill, and with a `rate` (changes a second) go on until SIGINT or SIGTERM. Prints what it does; blocks.

    Raises Refused: if a target holds what seed did not make, unless `force`. Raises TargetFailed, SettingsError: if a
    target cannot be written. Raises KeyboardInterrupt: at SIGINT while it fills.
    """
    demo = Demo(settings)
    if not force:
        demo.refuse_foreign()
    live = "" if rate is None else f", then {rate} changes a second until interrupted"
    print_line(f"seeding {demo.where}{live}")
    written = demo.fill(amounts(rows))
    if rate is not None:
        written += asyncio.run(_until_signalled(demo, rate))
    print_line("wrote " + _listed(written.items()))


def unseed(settings: Settings) -> None:
    """Remove what seed made. Prints what it does; blocks. Raises TargetFailed: if a target cannot be written."""
    demo = Demo(settings)
    print_line(f"removing the demo from {demo.where}")
    print_line("removed " + _listed(demo.remove().items()))


class Demo:
    """The demo in ARK's Redis and databases, as `settings` name them."""

    def __init__(self, settings: Settings) -> None:
        data = settings.ark_base_path / "data"
        self._mesh = DemoMesh(settings.redis_url)
        self._reasoning = DemoDatabase(data / REASONING)
        self._ark = DemoDatabase(data / ARK)
        self._traffic = Traffic(random.Random().random)  # noqa: S311  - made-up values, not secrets
        self.where = f"{self._mesh.shown}, {self._reasoning.path} and {self._ark.path}"

    def refuse_foreign(self) -> None:
        """Raises Refused: if a target holds what seed did not make. Raises TargetFailed."""
        holdings = [(self._mesh.shown, self._mesh.foreign())]
        holdings += [(str(database.path), database.foreign()) for database in (self._reasoning, self._ark)]
        found = [f"{_listed(foreign.items())} in {where}" for where, foreign in holdings if any(foreign.values())]
        if found:
            raise Refused(", ".join(found))

    def fill(self, amount: Amounts) -> Counter[str]:
        """Write peers, syncs and `amount` of the rest, with times up to now. Returns how many of each.

        Raises TargetFailed, SettingsError: if a target cannot be written; what was written until then stays.
        """
        now = _now_ms()
        self._mesh.write([self._traffic.heartbeat(now) for _ in PEERS], self._traffic.past_syncs(_SYNCS, now))
        reasoning = self._traffic.past_reasoning(amount.sessions, now)
        code = self._traffic.past_code(amount.patterns, amount.executions, amount.files, now)
        for database, units in ((self._reasoning, reasoning), (self._ark, code)):
            database.prepare(chain.from_iterable(islice(units, _MAX_UNITS)))
            while some := list(islice(units, _MAX_UNITS)):
                database.write(chain.from_iterable(some))
        return Counter(heartbeats=len(PEERS), syncs=_SYNCS, **amount._asdict())

    async def go_on(self, rate: int, stop: asyncio.Event) -> Counter[str]:
        """Make `rate` changes a second until `stop` is set. Returns how many of each.

        Raises TargetFailed: if a target cannot be written. Cancellation: what was begun is written.
        """
        written: Counter[str] = Counter()
        loop = asyncio.get_running_loop()
        started = loop.time()
        while not stop.is_set():
            done = written.total()
            due = min(int((loop.time() - started) * rate) - done, _MAX_CHANGES)
            kinds = [KINDS[number % len(KINDS)] for number in range(done, done + due)]
            await asyncio.to_thread(self._change, kinds)
            written.update(kinds)
            await is_set_within(stop, started + (done + len(kinds) + 1) / rate - loop.time())
        return written

    def remove(self) -> Counter[str]:
        """Remove what seed made. Returns how much it was, by place. Raises TargetFailed."""
        removed = Counter({"peers and syncs": self._mesh.remove()})
        for database in (self._reasoning, self._ark):
            removed[f"rows of {database.path.name}"] = database.remove()
        return removed

    def _change(self, kinds: list[Kind]) -> None:
        now = _now_ms()
        heartbeats = [self._traffic.heartbeat(now) for kind in kinds if kind == "heartbeats"]
        syncs = [self._traffic.sync(now) for kind in kinds if kind == "syncs"]
        if heartbeats or syncs:
            self._mesh.write(heartbeats, syncs)
        for database, own in ((self._reasoning, {"sessions"}), (self._ark, {"uses", "executions", "files"})):
            if rows := [row for kind in kinds if kind in own for row in self._traffic.change(kind, now)]:
                database.write(rows)


async def _until_signalled(demo: Demo, rate: int) -> Counter[str]:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return await demo.go_on(rate, stop)


def _now_ms() -> int:
    return int(time.time() * 1_000)


def _listed(counts: Iterable[tuple[str, int]]) -> str:
    """The counts that are not 0, in words."""
    found = [f"{count} {name}" for name, count in counts if count]
    return ", ".join(found[:-1]) + " and " + found[-1] if len(found) > 1 else "".join(found) or "nothing"
