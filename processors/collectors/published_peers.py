"""The peers of one source as they are published: a change goes out together with the digest that says so.

Why nothing is lost and nothing doubled, whenever the process is killed: a peer's heartbeat and the digest of the hash
that caused it are written into that peer's partition by one script. What is published is thus exactly what the digests
say. A start takes all cursors first, by an empty batch under a name of its own, so that whatever an earlier process
still has under way is refused; then it reads the digests; then the collector reads its source, and publishes the
differences. Cursors that differ, because a process was killed between two partitions, need no other care. Rejected
input goes to the partition of its collector and not to that of its digest: such a dead letter may be lost or doubled
by a kill.
"""

from collections.abc import Iterable

from processors.collectors.batching import cut
from processors.collectors.delivery import Delivery
from processors.collectors.differ import Change, PeerDiffer
from processors.collectors.publisher import SourceBatch

__all__ = ["PublishedPeers"]


class PublishedPeers:
    """Publishes what `differ` finds."""

    def __init__(self, delivery: Delivery, differ: PeerDiffer) -> None:
        self._delivery = delivery
        self._differ = differ
        # Number of the last batch; None before the cursors are taken.
        self._batch: int | None = None

    @property
    def known(self) -> bool:
        """Whether the differ knows what is published."""
        return self._batch is not None

    def forget(self) -> None:
        """Something else may be published than we know: `begin` again."""
        self._batch = None

    async def begin(self) -> None:
        """Take the cursors, and learn what is published.

        Raises CursorConflict: if another collector works this source. Cancellation: safe, begin again.
        """
        cursors = await self._delivery.resume()
        self._batch = max(map(_serial, cursors.values()))
        await self._send(Change())
        self._differ.load(await self._delivery.digests())

    async def publish(self, changes: Iterable[Change]) -> bool:
        """Publish the changes in order, in batches. Returns whether there were any.

        Raises CursorConflict: if another collector was here. Cancellation: a batch may be in some partitions; forget
        what is known.
        """
        changes = [change for change in changes if change.events or change.digests]
        start = 0
        for count, events in cut(change.events for change in changes):
            digests: dict[str, bytes | None] = {}
            for change in changes[start : start + count]:
                digests |= change.digests
            await self._send(Change(tuple(events), digests))
            start += count
        return start > 0

    async def _send(self, change: Change) -> None:
        assert self._batch is not None, "the cursors are taken first"
        batch = SourceBatch(
            cursor=f"{self._batch + 1}-{self._delivery.signature()}",
            events=list(change.events),
            digests=dict(change.digests),
        )
        await self._delivery.send(batch)
        self._batch += 1


def _serial(cursor: str) -> int:
    """The counter in a cursor, 0 if there is none."""
    digits = cursor.partition("-")[0]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 18 else 0
