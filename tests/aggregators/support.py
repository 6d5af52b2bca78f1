"""Partitions in tests: entries to fold, commits without a server, time that acts as the runner's timer lets it."""

import msgspec

from processors.aggregators.partition import Partition
from schemas import codec
from schemas.events import Event
from schemas.metrics import Partial

__all__ = ["HOUR", "START", "commit", "entry", "settle"]

START = 1_700_000_000_000
HOUR = 3_600_000


def entry(*events: Event) -> dict[bytes, bytes]:
    return {b"v": b"1", b"t": b"events", b"ts": b"0", b"d": codec.encode(list(events))}


def commit(partition: Partition, state: dict[str, bytes], roster: dict[str, bytes], now: int) -> Partial:
    """What the server would hold after a commit, and the partial."""
    work = partition.collect("epoch", 1, now)
    for target, fields in ((state, work.state), (roster, work.roster)):
        for name, value in fields.items():
            if value is None:
                target.pop(name, None)
            else:
                target[name] = value
    return msgspec.json.decode(work.partial, type=Partial)


def settle(partition: Partition, now: int) -> None:
    """Let all time up to `now` act, as the runner's timer would."""
    while (deadline := partition.next_deadline()) is not None and deadline <= now:
        partition.pass_time(now)
