"""A source of peers, syncs and letters on the bus itself, with an oracle: a plain fold of what it published."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import count, islice
from typing import Final

import msgspec

from processors.collectors.publisher import CursorConflict, Publisher, SourceBatch
from processors.runtime.bus import Bus
from processors.runtime.connection import BUS_FAILURES
from processors.runtime.tasks import end_tasks
from schemas import codec, streams
from schemas.events import MAX_BATCH_EVENTS, Event, Heartbeat, Rejected, SyncIn, SyncOut
from schemas.metrics import DeadLetter, PeerRow, SyncRecord
from tests.collectors.helpers import until
from tests.reading import entries_of

__all__ = ["PARTITIONS", "Mesh", "names_of", "publishing"]

PARTITIONS: Final = 16

_PEERS: Final = tuple(f"p{number}" for number in range(50))
_TIERS: Final = ("core", "trusted", "verified")


def names_of(partition: str, wanted: int) -> list[str]:
    """Ids of so many peers, all of one partition."""
    names = (f"p{number}" for number in count())
    return list(islice((name for name in names if streams.partition_of(name, PARTITIONS) == partition), wanted))


class Mesh:
    """Publishes batches of chance, and knows what they come to. It keeps them all, as a source that is a log does."""

    def __init__(self, bus: Bus, seed: int, peers: Sequence[str] = _PEERS) -> None:
        self._bus = bus
        self._chance = random.Random(seed)
        self._peers = peers
        self._publisher = Publisher(bus, "test", streams.live_partitions(PARTITIONS))
        self._batches: list[SourceBatch] = []
        # What the summary's totals are to be.
        self._totals: Counter[str] = Counter()
        # What each peer said last: tier and latency.
        self._rows: dict[str, tuple[str | None, float | None]] = {}
        # Sizes of the syncs, by which they are told apart, and reasons of the letters.
        self._syncs: Counter[int] = Counter()
        self._letters: Counter[str] = Counter()

    async def publish(self, batches: int = 1) -> None:
        """Make so many batches, and publish them. Raises redis-py's errors: then `resume` publishes what is missing."""
        if not self._batches:
            await self._publisher.read_cursors()
        for _ in range(batches):
            self._batches.append(SourceBatch(str(len(self._batches) + 1), self._events(self._chance.randint(1, 30))))
            await self._publisher.publish(self._batches[-1])

    async def heartbeats(self) -> None:
        """Publish one heartbeat of each peer, in as few entries as they fit into."""
        await self._publisher.read_cursors()
        for first in range(0, len(self._peers), MAX_BATCH_EVENTS):
            events: list[Event] = [self._heartbeat(peer) for peer in self._peers[first : first + MAX_BATCH_EVENTS]]
            self._batches.append(SourceBatch(str(len(self._batches) + 1), events))
            await self._publisher.publish(self._batches[-1])

    async def resume(self) -> None:
        """Publish what the bus does not have, or no longer, as a collector does after a refusal."""

        async def done() -> bool:
            try:
                cursors = {name: int(cursor or 0) for name, cursor in (await self._publisher.read_cursors()).items()}
                for number in range(min(cursors.values()), len(self._batches)):
                    only = [name for name, cursor in cursors.items() if cursor <= number]
                    await self._publisher.publish(self._batches[number], only)
            except (CursorConflict, *BUS_FAILURES):
                return False
            return True

        await until(done, 20)

    def heartbeat(self) -> Heartbeat:
        """One of a peer of chance, which counts as published."""
        return self._heartbeat(self._chance.choice(self._peers))

    def _events(self, number: int) -> list[Event]:
        made: list[Event] = []
        for _ in range(number):
            kind = self._chance.random()
            if kind < 0.5:
                made.append(self.heartbeat())
            elif kind < 0.95:
                made += self._sync()
            else:
                reason = f"letter {self._letters.total()}"
                self._letters[reason] += 1
                made.append(Rejected(ts=self._bus.clock.now_ms(), collector=f"c{number}", reason=reason))
        return made

    def _heartbeat(self, peer: str) -> Heartbeat:
        self._totals["heartbeats_total"] += 1
        tier, latency_ms = self._chance.choice(_TIERS), self._totals["heartbeats_total"] / 8
        self._rows[peer] = tier, latency_ms
        return Heartbeat(peer=peer, ts=self._bus.clock.now_ms(), tier=tier, latency_ms=latency_ms)

    def _sync(self) -> list[Event]:
        self._totals["sync_events_total"] += 1
        sender, target = self._chance.sample(self._peers, 2)
        size, ok, now = self._totals["sync_events_total"], self._chance.choice((True, True, False)), self._now()
        self._totals["sync_bytes_total"] += size
        self._totals["sync_failures_total"] += not ok
        self._syncs[size] += 1
        return [
            SyncOut(ts=now, sender=sender, target=target, bytes=size, ok=ok),
            SyncIn(ts=now, peer=target, ok=ok),
        ]

    def _now(self) -> int:
        return self._bus.clock.now_ms()

    async def until_right(self, timeout_s: float = 10) -> None:
        """Return once totals, roster, feed and letters are what was published. Raises AssertionError: with the last."""
        wrong = "nothing was read"

        async def right() -> bool:
            nonlocal wrong
            try:
                wrong = await self._wrong()
            except BUS_FAILURES as error:
                wrong = f"the bus does not answer: {error}"
            return not wrong

        try:
            await until(right, timeout_s)
        except AssertionError:
            raise AssertionError(wrong) from None

    async def _wrong(self) -> str:
        newest = await self._bus.newest(streams.METRICS_FEDERATION)
        if newest is None:
            return "there is no summary"
        summary = msgspec.structs.asdict(codec.decode_federation(newest[1]))
        totals = {name: summary[name] or 0 for name in self._totals}
        if totals != dict(self._totals):
            return f"totals are {totals} and not {dict(self._totals)}"
        rows = await self._shown_rows()
        if rows != self._rows:
            return f"the roster differs: {dict(list(rows.items() ^ self._rows.items())[:3])}"
        syncs = Counter(
            _decode_sync(fields[b"d"]).bytes for _, fields in await entries_of(self._bus, streams.FEED_SYNC)
        )
        letters = Counter(
            _decode_letter(fields[b"d"]).reason for _, fields in await entries_of(self._bus, streams.DEAD)
        )
        return _difference("syncs", syncs, self._syncs) or _difference("letters", letters, self._letters)

    async def _shown_rows(self) -> dict[str, tuple[str | None, float | None]]:
        async with self._bus.client.pipeline(transaction=False) as pipe:
            for partition in streams.live_partitions(PARTITIONS):
                pipe.hgetall(streams.peers_key(partition))
            found: list[Mapping[bytes, bytes]] = await pipe.execute()
        rows = {name.decode(): _decode_row(row) for partition in found for name, row in partition.items()}
        return {name: (row.tier, row.latency_ms) for name, row in rows.items()}


@contextlib.asynccontextmanager
async def publishing(mesh: Mesh) -> AsyncIterator[None]:
    """Publish for as long as the block runs."""

    async def run() -> None:
        while True:
            try:
                await mesh.publish()
            except (CursorConflict, *BUS_FAILURES):
                # Later batches would be refused now: what is missing comes first.
                await mesh.resume()
            await asyncio.sleep(0.02)

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        assert not task.done(), "nothing is published any more"
        await end_tasks([task])
        # The batch at hand may be in some partitions.
        await mesh.resume()


_decode_row = msgspec.json.Decoder(PeerRow).decode
_decode_sync = msgspec.json.Decoder(SyncRecord).decode
_decode_letter = msgspec.json.Decoder(DeadLetter).decode


def _difference(what: str, told: Counter[int] | Counter[str], due: Counter[int] | Counter[str]) -> str:
    surplus, missing = list(told - due)[:5], list(due - told)[:5]  # type: ignore[operator]
    return f"{what}: {surplus} too often, {missing} missing" if surplus or missing else ""
