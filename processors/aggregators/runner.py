"""The runner of one partition: moves entries into its logic, and its commits to the bus.

Delivery: exactly once in effect. What was folded but not committed is dropped with the runner, and folded again from
the committed position by the next one. Overflow: the next entries are read when the last ones are committed, so at most
one read is held in memory; the stream keeps the rest.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec
from redis.exceptions import ResponseError

from processors.aggregators.checkpoint import commit, read_parked, read_state
from processors.aggregators.ownership import Fenced, Grant
from processors.aggregators.partition import Partition
from processors.aggregators.tally import Tally
from processors.aggregators.watch import Watch
from processors.runtime.bus import Bus, Entry, Subscription
from processors.runtime.connection import BUS_FAILURES
from processors.runtime.tracing import Trail
from schemas import streams
from schemas.positions import entry_id

__all__ = ["PartitionRunner"]

_COMMIT_INTERVAL_S: Final = 0.005
"""No sooner than this after the last commit: under load batches grow, not the delay."""

# Who is so far behind may have been paused, and have more to read than it knows of.
_BEHIND_MS: Final = 100


class PartitionRunner:
    """Works one partition for as long as its lease is held."""

    def __init__(self, bus: Bus, partition: str, count: int, retention_ms: int, watch: Watch, *, tally: Tally) -> None:
        self._bus = bus
        self._name = partition
        # How many live partitions there are.
        self._count = count
        self._retention_ms = retention_ms
        # When its peers are watched.
        self._watch = watch
        self._tally = tally
        # What is held; None before the start. Its n and position are those of the last commit.
        self._grant: Grant | None = None
        self._partition: Partition | None = None
        self._subscription: Subscription | None = None
        # How many of the events that were folded are committed.
        self._counted = 0
        # Called once when the partition cannot be worked any more; None when that has happened, or before the start.
        self._on_lost: Callable[[str], None] | None = None
        # Id of the newest entry that waited when it was last looked; None once it is folded.
        self._backlog: str | None = None
        # What the clock showed when it was last worked, ms; the clock goes back only if the server's did.
        self._latest = 0
        # What was folded since the last commit, of what is traced.
        self._trail = Trail("commit")
        # Folding and committing is one at a time: entries and time both ask for it.
        self._working = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        # When it is to go off, ms by the bus.
        self._due = 0
        self._tick: asyncio.Task[None] | None = None

    async def start(self, grant: Grant, on_lost: Callable[[str], None]) -> None:
        """Restore the committed state, and go on from its position. `on_lost` is told why it cannot go on, once.

        Raises redis-py's errors. Cancellation: safe.
        """
        self._grant, self._on_lost = grant, on_lost
        await self._look([], 0)
        now, committed = self._bus.clock.now_ms(), entry_id(grant.position).ms
        if self._backlog is not None and committed:
            # What waits is folded as of when it came.
            now = min(now, committed)
        self._partition = partition = Partition(self._name, now, self._count, self._watch)
        try:
            async for fields in read_state(self._bus, self._name):
                partition.restore(grant.position, fields)
        except (msgspec.DecodeError, ValueError, OverflowError, ResponseError) as error:
            # A foreign hand was in it: this partition stands still until it is mended, the others do not.
            self._lose(f"the state of partition {self._name} cannot be read: {error}")
            return
        self._tally.partitions[self._name] = partition
        try:
            # From the first commit on time asks for its own.
            async with self._working:
                async for text, parked in read_parked(self._bus, self._name):
                    if not partition.has_room():
                        await self._commit()
                    partition.unpark(text.decode(), parked, self._now())
                # The first commit says that there is a new owner.
                await self._commit()
        except Fenced as error:
            self._lose(str(error))
            return
        self._subscription = await self._bus.subscribe(streams.events_key(self._name), grant.position, self._handle)

    async def stop(self) -> None:
        """Finish the entries at hand, and read no more."""
        self._on_lost = None
        self._tally.partitions.pop(self._name, None)
        if self._subscription is not None:
            await self._subscription.stop()
        if self._tick is not None:
            await asyncio.wait({self._tick})
        # A commit that was at work has set it once more; it would keep all of the state until it goes off.
        if self._timer is not None:
            self._timer.cancel()

    async def _handle(self, entries: list[Entry]) -> None:
        began = asyncio.get_running_loop().time()
        async with self._working:
            await self._work(entries, entry_id(entries[-1][0]).ms)
        spare = began + _COMMIT_INTERVAL_S - asyncio.get_running_loop().time()
        if spare > 0:
            await asyncio.sleep(spare)

    async def _work(self, entries: list[Entry], known: int) -> None:
        """Fold entries and the time that passed, and commit. A failure ends the work on this partition.

        `known`: up to when it is known what there was to be read, ms.
        """
        partition = self._partition
        if self._on_lost is None or partition is None:
            return
        try:
            await self._look(entries, known)
            now, before = self._bus.clock.now_ms(), self._latest
            self._latest = now
            if now < before:
                # Time in a partition only moves forward: until then everybody would seem silent, and every sync late.
                self._lose(f"partition {self._name}: the clock of the bus went back")
                return
            for text, fields in entries:
                if not partition.has_room():
                    await self._commit()
                self._trail.note(fields)
                partition.fold(text.decode(), fields, now)
            if not partition.has_room():
                await self._commit()
            partition.pass_time(self._now())
            if partition.needs_commit():
                await self._commit()
            else:
                self._arm()
        except (Fenced, *BUS_FAILURES) as error:
            # Whether the commit was written is not known, or another owner is at work: only a restore tells.
            self._lose(str(error) or type(error).__name__)

    async def _look(self, entries: list[Entry], known: int) -> None:
        """Note up to where entries wait; not in the stream, unless we are behind. Raises redis-py's errors."""
        if self._backlog is not None and entries:
            return
        # What waited may be gone with a server's tail: time would wait for it for ever.
        if self._backlog is not None or self._bus.clock.now_ms() - known > _BEHIND_MS:
            waiting = await self._bus.newest(streams.events_key(self._name))
            entries = [waiting] if waiting else entries
        self._backlog = entries[-1][0].decode() if entries else None

    def _now(self) -> int:
        """The time to work at. While entries wait that of the newest folded one: silent is who is not in them."""
        assert self._partition is not None
        now = self._bus.clock.now_ms()
        if self._backlog is None:
            return now
        position = entry_id(self._partition.position)
        if position < entry_id(self._backlog):
            return min(now, position.ms)
        self._backlog = None
        return now

    async def _commit(self) -> None:
        assert self._partition is not None
        assert self._grant is not None
        began, before = time.monotonic(), self._grant.position
        work = self._partition.collect(self._grant.epoch, self._grant.n + 1, self._now())
        with self._trail.step(partition=self._name, n=self._grant.n + 1) as work.traceparent:
            self._grant = await commit(self._bus, self._name, self._grant, work, self._retention_ms)
        self._note_commit(time.monotonic() - began, before)
        self._arm()

    def _note_commit(self, took_s: float, before: str) -> None:
        """Count a commit, of what came after the position `before`."""
        assert self._partition is not None
        assert self._grant is not None
        events, self._counted = self._partition.folded - self._counted, self._partition.folded
        is_new = self._grant.position != before
        delay_ms = max(self._bus.clock.now_ms() - entry_id(self._grant.position).ms, 0) if is_new else None
        self._tally.count(self._name, events, took_s, delay_ms)

    def _arm(self) -> None:
        """Wake up when time alone changes something."""
        assert self._partition is not None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._partition.next_deadline()
        if deadline is not None:
            now = self._bus.clock.now_ms()
            delay_s = max((deadline - now) / 1000, _COMMIT_INTERVAL_S)
            self._due = now + int(delay_s * 1000)
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._wake)

    def _wake(self) -> None:
        if self._on_lost is not None and (self._tick is None or self._tick.done()):
            self._tick = asyncio.create_task(self._pass_time())
            self._bus.guard(self._tick)

    async def _pass_time(self) -> None:
        async with self._working:
            await self._work([], self._due)

    def _lose(self, why: str) -> None:
        on_lost, self._on_lost = self._on_lost, None
        if on_lost is not None:
            on_lost(why)
