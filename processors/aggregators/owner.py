"""The owner: acquires its share of the duties, keeps their leases, and takes them up again when they are lost.

A duty is whatever one process at a time may do: work a partition, or write a merged stream. Leases are renewed beside
all else, so that a duty that takes long to start or to stop costs no other its lease. With each renewal the aggregators
hear of each other; who has more than its share gives the rest back, and who has less takes up what is free.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, TypeAlias

from processors.aggregators.ownership import (
    LEASE_MS,
    RENEW_MS,
    Grant,
    acquire,
    free,
    join,
    leave,
    new_owner,
    release,
    renew,
)
from processors.aggregators.shares import quota, surplus
from processors.aggregators.tally import Tally
from processors.runtime.bus import Bus
from processors.runtime.connection import BUS_FAILURES
from processors.runtime.logging import get_logger
from processors.runtime.tasks import end_tasks

__all__ = ["Duty", "Makers", "own"]

_RETRY_S: Final = 0.05
_MOST_RETRY_S: Final = 5.0

_logger = get_logger("aggregators")


class Duty(Protocol):
    """Something done under a lease."""

    async def start(self, grant: Grant, on_lost: Callable[[str], None]) -> None:
        """Begin. `on_lost` is to be called when it cannot go on. Raises redis-py's errors."""

    async def stop(self) -> None:
        """End; what was begun is finished or given up within a second or two."""


Makers: TypeAlias = Mapping[str, Callable[[], Duty]]
"""What makes each duty afresh, by the meta key that holds its lease."""


class _Held:
    """Duties at work, by the key of their lease."""

    def __init__(self) -> None:
        self.owner = new_owner()
        # All aggregators that run, as heard with the last renewal.
        self.members: list[str] = []
        self.tokens: dict[str, str] = {}
        self.duties: dict[str, Duty] = {}
        # Whether something failed when duties were last taken up; until nothing does, no more is logged of it.
        self.failing = False
        # Keys that were lost and not dropped yet, with the reason.
        self.lost: dict[str, str] = {}
        # Set with each loss, and when others come or go.
        self.wakes = asyncio.Event()

    def log(self, level: int, text: str, *values: object) -> None:
        """Log a change; while it fails again and again only for those who look for mistakes."""
        _logger.log(logging.DEBUG if self.failing else level, text, *values)

    def lose(self, key: str, token: str, why: str) -> None:
        """Note that `key` was lost, unless it has been acquired anew since."""
        if self.tokens.get(key) == token:
            self.lost[key] = why
            self.wakes.set()

    def meet(self, members: list[str]) -> None:
        """Note who runs."""
        if members != self.members:
            self.members = members
            self.wakes.set()


async def own(bus: Bus, groups: Sequence[Makers], stop: asyncio.Event, tally: Tally) -> None:
    """Hold our share of each group of duties until `stop`, then give them back.

    Cancellation: leases run out by themselves.
    """
    held = _Held()
    renewing = asyncio.create_task(_keep_renewing(bus, held))
    bus.guard(renewing)
    stopping = asyncio.create_task(stop.wait())
    failures = 0
    try:
        while not stop.is_set():
            held.wakes.clear()
            tally.losses += len(held.lost)
            failed, complete = await _round(bus, groups, held)
            if held.failing and not failed and complete:
                _logger.info("%d duties are held again", len(held.duties))
            held.failing = failed or (held.failing and not complete)
            failures = failures + 1 if failed else 0
            if failed:
                # What the server refuses would be lost again at once: it is taken up again ever more slowly.
                await asyncio.wait({stopping}, timeout=min(_RETRY_S * 2 ** min(failures, 10), _MOST_RETRY_S))
                continue
            waking = asyncio.create_task(held.wakes.wait())
            pause_s = None if complete else RENEW_MS / 1000
            await asyncio.wait({stopping, waking}, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
            waking.cancel()
    finally:
        await end_tasks([renewing, stopping])
        tokens = dict(held.tokens)
        await _drop(held, list(held.duties))
    try:
        await release(bus, tokens)
        await leave(bus, held.owner)
    except BUS_FAILURES as error:
        _logger.info("leases could not be given back, they end in %d ms: %s", LEASE_MS, error)


async def _keep_renewing(bus: Bus, held: _Held) -> None:
    """Renew all leases until cancelled. Without an answer nothing is lost yet: the fencing tokens protect."""
    while True:
        await asyncio.sleep(RENEW_MS / 1000)
        tokens = dict(held.tokens)
        try:
            lost = await renew(bus, tokens)
            held.meet(await join(bus, held.owner))
        except BUS_FAILURES as error:
            _logger.debug("leases are not renewed: %s", error)
            continue
        for key in lost:
            held.lose(key, tokens[key], "another owner, or the bus was wiped")


async def _round(bus: Bus, groups: Sequence[Makers], held: _Held) -> tuple[bool, bool]:
    """Drop what is lost, give back what is too much, take up what is free of our share.

    Returns whether something failed, and whether all of our share is held.
    """
    lost, held.lost = held.lost, {}
    if lost:
        reasons = "; ".join(sorted({why[:200] for why in lost.values()})[:3])
        held.log(logging.WARNING, "lost %d of %d duties: %s", len(lost), sum(map(len, groups)), reasons)
    await _drop(held, list(lost))
    try:
        if not held.members:
            held.meet(await join(bus, held.owner))
        complete = all([await _share(bus, make, held) for make in groups])
    except BUS_FAILURES as error:
        held.log(logging.WARNING, "no duty can be taken up: %s", str(error)[:200] or type(error).__name__)
        return True, False
    # What was taken up may have been lost at its start.
    return bool(lost or held.lost), complete


async def _share(bus: Bus, make: Makers, held: _Held) -> bool:
    """Have our share of one group. Returns whether we have it. Raises redis-py's errors."""
    mine = quota(len(make), held.owner, held.members)
    ours = [key for key in held.duties if key in make]
    await _give_back(bus, held, surplus(ours, mine))
    wanted = mine - len(ours)
    if wanted <= 0:
        return True
    keys = (await free(bus, [key for key in make if key not in held.duties]))[:wanted]
    taken: dict[str, Grant] = {}
    for key, grant in zip(keys, await acquire(bus, keys, held.owner) if keys else (), strict=True):
        if grant is not None:
            taken[key] = grant
            held.duties[key], held.tokens[key] = make[key](), grant.token
    await asyncio.gather(*(_start(held, key, grant) for key, grant in taken.items()))
    if taken:
        held.log(logging.INFO, "took up %d of %d duties", len(taken), len(make))
    return len(taken) == wanted


async def _give_back(bus: Bus, held: _Held, keys: Sequence[str]) -> None:
    """Stop duties for others to take up. Raises redis-py's errors."""
    if keys:
        tokens = {key: held.tokens[key] for key in keys}
        await _drop(held, keys)
        await release(bus, tokens)
        _logger.info("gave back %d duties", len(keys))


async def _start(held: _Held, key: str, grant: Grant) -> None:
    """Start one duty; one that cannot be started is lost, and its neighbours are not."""

    def on_lost(why: str) -> None:
        held.lose(key, grant.token, why)

    try:
        await held.duties[key].start(grant, on_lost)
    except BUS_FAILURES as error:
        on_lost(str(error) or type(error).__name__)


async def _drop(held: _Held, keys: Sequence[str]) -> None:
    """Stop the duties of `keys`, and forget their tokens."""
    duties = [held.duties.pop(key) for key in keys if key in held.duties]
    for key in keys:
        held.tokens.pop(key, None)
    await asyncio.gather(*(duty.stop() for duty in duties))
