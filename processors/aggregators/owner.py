"""The owner: acquires duties, keeps their leases, and takes them up again when they are lost.

A duty is whatever one process at a time may do: work a partition, or write a merged stream.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from processors.aggregators.ownership import LEASE_MS, RENEW_MS, Grant, acquire, new_owner, release, renew
from processors.runtime.bus import Bus
from processors.runtime.connection import CONNECTION_FAILURES
from processors.runtime.logging import get_logger

__all__ = ["Duty", "own"]

_RETRY_S: Final = 0.1

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
        # Keys that a duty said it lost, with the reason; `wakes` is set with each.
        self.lost: dict[str, str] = {}
        self.wakes = asyncio.Event()

    def lose(self, key: str, why: str) -> None:
        self.lost[key] = why
        self.wakes.set()


async def own(bus: Bus, make: Mapping[str, Callable[[], Duty]], stop: asyncio.Event) -> None:
    """Hold every duty that can be had until `stop`, then give them back.

    `make` makes each of them afresh, by the meta key that holds its lease.

    Cancellation: leases run out by themselves.
    """
    owner, held = new_owner(), _Held()
    stopping = asyncio.create_task(stop.wait())
    try:
        while not stop.is_set():
            try:
                await _round(bus, owner, make, held)
            except CONNECTION_FAILURES as error:
                _logger.warning("the bus does not answer: %s", error or type(error).__name__)
                await _drop(held, list(held.duties))
                await asyncio.wait({stopping}, timeout=_RETRY_S)
                continue
            waking = asyncio.create_task(held.wakes.wait())
            await asyncio.wait({stopping, waking}, timeout=RENEW_MS / 1000, return_when=asyncio.FIRST_COMPLETED)
            waking.cancel()
    finally:
        stopping.cancel()
        tokens = dict(held.tokens)
        await _drop(held, list(held.duties))
    try:
        await release(bus, tokens)
    except CONNECTION_FAILURES as error:
        _logger.info("leases could not be given back, they end in %d ms: %s", LEASE_MS, error)


async def _round(bus: Bus, owner: str, make: Mapping[str, Callable[[], Duty]], held: _Held) -> None:
    """Renew what is held, drop what is lost, take up what is free. Raises redis-py's errors."""
    held.wakes.clear()
    if held.tokens:
        for key in await renew(bus, held.tokens):
            held.lose(key, "another owner, or the bus was wiped")
    for key, why in held.lost.items():
        _logger.warning("lost %s: %s", key, why)
    await _drop(held, list(held.lost))
    held.lost.clear()
    missing = [key for key in make if key not in held.duties]
    if not missing:
        return
    grants = await acquire(bus, missing, owner)
    taken = {key: grant for key, grant in zip(missing, grants, strict=True) if isinstance(grant, Grant)}
    for key, grant in taken.items():
        held.duties[key], held.tokens[key] = make[key](), grant.token
    # All of them end before one's failure is told: none may go on starting while it is being dropped.
    starts = (held.duties[key].start(grant, _reporter(held, key)) for key, grant in taken.items())
    for failure in await asyncio.gather(*starts, return_exceptions=True):
        if failure is not None:
            raise failure
    if taken:
        _logger.info("took up %d of %d duties", len(taken), len(make))


def _reporter(held: _Held, key: str) -> Callable[[str], None]:
    return lambda why: held.lose(key, why)


async def _drop(held: _Held, keys: Sequence[str]) -> None:
    """Stop the duties of `keys`, and forget their tokens."""
    duties = [held.duties.pop(key) for key in keys if key in held.duties]
    for key in keys:
        held.tokens.pop(key, None)
    await asyncio.gather(*(duty.stop() for duty in duties))
