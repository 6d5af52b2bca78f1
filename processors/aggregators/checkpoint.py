"""The checkpoint of a partition: its committed state, read whole at a restore, written in atomic commits.

Delivery: a commit that returns was written once; one whose answer was lost may or may not have been, and the owner
that acquires the partition next reads which. Ordering: n grows by one with each commit.
"""

from collections.abc import AsyncIterator, Mapping
from itertools import chain
from typing import Any, Final, cast

from processors.aggregators.ownership import Fenced, Grant
from processors.aggregators.partition import Commit
from processors.runtime.bus import Bus, Entry
from processors.runtime.script import Script
from schemas import streams

__all__ = ["commit", "read_parked", "read_state"]

_COMMIT: Final = Script("commit")
_SLICE: Final = 500
_AT_ONCE: Final = 100


async def read_state(bus: Bus, partition: str) -> AsyncIterator[dict[bytes, bytes]]:
    """The committed state in slices of some hundred fields. Raises redis-py's errors. Cancellation: safe.

    A field may be in two slices, as HSCAN has it; its value is then the same in both, because only the owner writes.
    """
    cursor = 0
    while True:
        cursor, fields = await bus.client.hscan(streams.state_key(partition), cursor, count=_SLICE)
        yield cast("dict[bytes, bytes]", fields)
        if cursor == 0:
            return


async def read_parked(bus: Bus, partition: str) -> AsyncIterator[Entry]:
    """The parked entries, the oldest first. Raises redis-py's errors. Cancellation: safe."""
    after = "-"
    while entries := cast("list[Entry]", await bus.client.xrange(streams.parked_key(partition), after, count=_AT_ONCE)):
        for entry in entries:
            yield entry
        after = f"({entries[-1][0].decode()}"


async def commit(bus: Bus, partition: str, grant: Grant, work: Commit, retention_ms: int) -> Grant:
    """Write `work` as the commit after `grant`; returns the grant with its n and position.

    Raises Fenced: if another owner took the partition, or the position is not the expected one; nothing was written.
    Raises redis-py's errors: it may or may not have been written. Cancellation: likewise.
    """
    args: list[Any] = [grant.token, grant.n, grant.position, work.position, retention_ms, bus.clock.now_ms()]
    args += [work.partial, work.changes or b"", work.traceparent]
    for fields in (work.state, work.roster):
        args += _sets_and_removals(fields)
    args += [len(work.feed), *chain.from_iterable(work.feed)]
    args += [len(work.dead), *work.dead]
    args += [len(work.unparked), *work.unparked]
    args.append(len(work.parked))
    for entry in work.parked:
        args.append(len(entry))
        for name, value in entry.items():
            args += [name, value]
    status, *detail = await _COMMIT.run(bus.client, _keys(partition), args)
    bus.clock.sync(detail[-1])
    if status != b"OK":
        raise Fenced(f"partition {partition}: {status.decode().lower()}")
    return grant._replace(n=detail[0], position=work.position)


def _keys(partition: str) -> list[str]:
    return [
        streams.meta_key(partition),
        streams.events_key(partition),
        streams.state_key(partition),
        streams.peers_key(partition),
        streams.changes_key(partition),
        streams.partials_key(partition),
        streams.feed_key(partition),
        streams.dead_key(partition),
        streams.parked_key(partition),
    ]


def _sets_and_removals(fields: Mapping[str, bytes | None]) -> list[Any]:
    sets: list[Any] = []
    removals: list[str] = []
    for name, value in fields.items():
        if value is None:
            removals.append(name)
        else:
            sets += [name, value]
    return [len(sets) // 2, *sets, len(removals), *removals]
