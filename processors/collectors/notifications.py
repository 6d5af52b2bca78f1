"""A watched source in Redis: one client for commands, one connection for keyspace notifications.

Delivery of notifications: at most once, none while the connection is away; so whoever uses them scans after each
connect. Order of a connect: switch the notifications on, subscribe, then let the caller scan: nothing falls between.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from processors.collectors.backoff import Backoff
from processors.collectors.status import SourceStatus, clause
from processors.runtime.clock import BusClock
from processors.runtime.connection import open_client
from processors.runtime.keyspace import NOTIFY_OPTION, Noted, missing_flags, note_flags
from processors.runtime.logging import get_logger
from processors.runtime.tasks import end_tasks, is_set_within

__all__ = ["CHECK_S", "SOURCE_FAILURES", "WatchedSource", "keep_watching"]

SOURCE_FAILURES: Final = (RedisError, OSError)
"""What redis-py raises while the source does not answer, cuts the connection, or refuses."""

CHECK_S: Final = 5.0
"""How often a quiet source is asked whether it still answers."""

_TIMEOUT_S: Final = 5.0

_logger = get_logger("collectors")


class WatchedSource:
    """One connection to the source at `url`, for as long as it lasts.

    What was set there before us is noted in `state_dir`, unless that is None.
    """

    def __init__(self, client: Redis, url: str, state_dir: Path | None) -> None:
        self.client = client
        self._url = url
        self._state_dir = state_dir
        # What was noted of it last; None before anything was.
        self._noted: Noted | None = None
        # Whether the server was told, or was so already, to notify of what we need.
        self._enabled = False
        # Whether flags were missing when they were last looked at: what changed until then was told by nobody.
        self.were_off = False
        # Why the server does not notify, as far as it was asked; "" if it does.
        self.refusal = ""
        # Whether a notification came: a server that refuses to be asked may have been set so by its owner.
        self.heard = False
        # Set by each notification, and when no more will come.
        self.wake = asyncio.Event()
        # Reads the notifications; ends only with an error. None where subscribing is refused.
        self._listener: asyncio.Task[None] | None = None

    @property
    def notified(self) -> bool:
        """Whether the server tells of changes; if not, scans alone find them."""
        return self._enabled and self._listener is not None

    async def enable_notifications(self) -> str:
        """Add the flags we need to those that are configured, never dropping one. Raises redis-py's errors.

        Returns why there are no notifications, "" if there are.
        """
        try:
            current = str((await self.client.config_get(NOTIFY_OPTION))[NOTIFY_OPTION])
            missing = missing_flags(current)
            self.were_off = bool(missing)
            if missing:
                await self._note(Noted(before=current, after=current + missing))
                await self.client.config_set(NOTIFY_OPTION, current + missing)
        except (ResponseError, KeyError) as refusal:
            self._enabled = False
            self.refusal = f"CONFIG {NOTIFY_OPTION} was refused: {refusal}"
            return self.refusal
        self._enabled = True
        return ""

    async def _note(self, noted: Noted) -> None:
        """Remember what was set: whoever takes us away is to put it back."""
        if self._state_dir is None or noted == self._noted:
            return
        self._noted = noted
        try:
            await asyncio.to_thread(note_flags, self._state_dir, self._url, noted)
        except OSError as error:
            text = f"{NOTIFY_OPTION} was {noted.before!r}, which cannot be noted in ARK_STATE_DIR"
            _logger.warning("%s: %s", text, error.strerror)

    async def subscribe(self, pubsub: PubSub, channel: str, on_key: Callable[[bytes], None]) -> str:
        """Hear of the keys that match `channel`. Returns why that is refused, "" if it is not."""
        await pubsub.psubscribe(channel)
        try:
            if await pubsub.parse_response(block=False, timeout=_TIMEOUT_S) is None:
                raise RedisTimeoutError("PSUBSCRIBE was not answered")
        except ResponseError as refusal:
            self.refusal = f"PSUBSCRIBE was refused: {refusal}"
            return self.refusal
        self._listener = asyncio.create_task(self._listen(pubsub, on_key))
        self._listener.add_done_callback(lambda _: self.wake.set())
        return ""

    async def _listen(self, pubsub: PubSub, on_key: Callable[[bytes], None]) -> None:
        async for message in pubsub.listen():
            if message["type"] == "pmessage":
                self.heard = True
                on_key(message["channel"].partition(b":")[2])
                self.wake.set()

    async def wait(self, seconds: float) -> None:
        """Return at the next notification, or after `seconds`. Raises redis-py's errors: if none will come any more.

        Cancellation: safe.
        """
        await is_set_within(self.wake, seconds)
        self.wake.clear()
        if self._listener is not None and self._listener.done():
            self._listener.result()

    async def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            await end_tasks([self._listener])
            if not self._listener.cancelled():
                self._listener.exception()  # it was raised by `wait`, or is the reason why nobody waits any more


@contextlib.asynccontextmanager
async def _watched(
    url: str, channel: str, on_key: Callable[[bytes], None], noted: set[str], state_dir: Path | None
) -> AsyncIterator[WatchedSource]:
    """A connected source. `channel` has a place for the number of the database; `noted` holds what was logged."""
    # Protocol 2: any server that ARK runs on understands it.
    client = open_client(url, protocol=2)
    async with client, client.pubsub() as pubsub:
        source = WatchedSource(client, url, state_dir)
        named = channel.format(client.connection_pool.connection_kwargs.get("db") or 0)
        refusals = [await source.enable_notifications(), await source.subscribe(pubsub, named, on_key)]
        for refusal in filter(None, refusals):
            if refusal not in noted:
                noted.add(refusal)
                _logger.warning("no notifications of changes, scanning instead: %s", refusal[:200])
        try:
            yield source
        finally:
            await source.close()


async def keep_watching(
    url: str,
    channel: str,
    on_key: Callable[[bytes], None],
    session: Callable[[WatchedSource], Awaitable[None]],
    *,
    status: SourceStatus,
    clock: BusClock,
    state_dir: Path | None = None,
) -> None:
    """Run `session` on a connected source, again after each failure, until cancelled.

    `session` says itself when the source is live. `state_dir`: see `WatchedSource`. Cancellation: safe where `session`
    is.
    """
    backoff = Backoff(random.random)
    noted: set[str] = set()
    while True:
        try:
            async with _watched(url, channel, on_key, noted, state_dir) as source:
                await session(source)
        except SOURCE_FAILURES as error:
            if status.state == "live":
                backoff.reset()
            status.failed(clock.now_ms(), clause(error))
        await asyncio.sleep(backoff.next_s())  # nothing announces a server that comes back
