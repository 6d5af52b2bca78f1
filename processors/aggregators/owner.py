"""The owner: acquires duties, keeps their leases, and takes them up again when they are lost.

A duty is whatever one process at a time may do: work a partition, or write a merged stream. Leases are renewed beside
all else, so that a duty that takes long to start or to stop costs no other its lease.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from processors.aggregators.ownership import LEASE_MS, RENEW_MS, Grant, acquire, new_owner, release, renew
from processors.runtime.bus import Bus
from processors.runtime.connection import BUS_FAILURES
from processors.runtime.logging import get_logger
from processors.runtime.tasks import end_tasks

__all__ = ["Duty", "own"]

_RETRY_S: Final = 0.05
_MOST_RETRY_S: Final = 5.0

_logger = get_logger("aggregators")


class Duty(Protocol):
    """Something done under a lease."""

    async def start(self, grant: Grant, on_lost: Callable[[str], None]) -> None:
        """Begin. `on_lost` is to be called when it cannot go on. Raises redis-py's errors."""

    async def stop(self) -> None:
        """End; what was begun is finished or given up within a second or two."""


class _Held:
    """Duties at work, by the key of their lease."""

    def __init__(self) -> None:
        self.tokens: dict[str, str] = {}
        self.duties: dict[str, Duty] = {}
        # Keys that were lost and not dropped yet, with the reason; `wakes` is set with each.
        self.lost: dict[str, str] = {}
        self.wakes = asyncio.Event()

    def lose(self, key: str, token: str, why: str) -> None:
        """Note that `key` was lost, unless it has been acquired anew since."""
        if self.tokens.get(key) == token:
            self.lost[key] = why
            self.wakes.set()


async def own(bus: Bus, make: Mapping[str, Callable[[], Duty]], stop: asyncio.Event) -> None:
    """Hold every duty that can be had until `stop`, then give them back.

    `make` makes each of them afresh, by the meta key that holds its lease. Cancellation: leases run out by themselves.
    """
    owner, held = new_owner(), _Held()
    renewing = asyncio.create_task(_keep_renewing(bus, held))
    bus.guard(renewing)
    stopping = asyncio.create_task(stop.wait())
    failures = 0
    try:
        while not stop.is_set():
            held.wakes.clear()
            failed, complete = await _round(bus, owner, make, held)
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
    except BUS_FAILURES as error:
        _logger.info("leases could not be given back, they end in %d ms: %s", LEASE_MS, error)


async def _keep_renewing(bus: Bus, held: _Held) -> None:
    """Renew all leases until cancelled. Without an answer nothing is lost yet: the fencing tokens protect."""
    while True:
        await asyncio.sleep(RENEW_MS / 1000)
        tokens = dict(held.tokens)
        try:
            lost = await renew(bus, tokens)
        except BUS_FAILURES as error:
            _logger.debug("leases are not renewed: %s", error)
            continue
        for key in lost:
            held.lose(key, tokens[key], "another owner, or the bus was wiped")


async def _round(bus: Bus, owner: str, make: Mapping[str, Callable[[], Duty]], held: _Held) -> tuple[bool, bool]:
    """Drop what is lost, take up what is free. Returns whether something failed, and whether everything is held."""
    lost, held.lost = held.lost, {}
    if lost:
        reasons = "; ".join(sorted({why[:200] for why in lost.values()})[:3])
        _logger.warning("lost %d of %d duties: %s", len(lost), len(make), reasons)
    await _drop(held, list(lost))
    missing = [key for key in make if key not in held.duties]
    if not missing:
        return bool(lost), True
    try:
        grants = await acquire(bus, missing, owner)
    except BUS_FAILURES as error:
        _logger.warning("no duty can be taken up: %s", str(error)[:200] or type(error).__name__)
        return True, False
    taken = {key: grant for key, grant in zip(missing, grants, strict=True) if grant is not None}
    for key, grant in taken.items():
        held.duties[key], held.tokens[key] = make[key](), grant.token
    await asyncio.gather(*(_start(held, key, grant) for key, grant in taken.items()))
    if taken:
        _logger.info("took up %d of %d duties", len(taken), len(make))
    return bool(lost), len(taken) == len(missing)


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
