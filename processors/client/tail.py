"""`ark-pulse tail`: what a stream gets, line by line."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from redis.exceptions import AuthenticationError, AuthorizationError, RedisError

from processors.client.items import BeginsAgain, Item, Outage, streams_of
from processors.client.reader import follow
from processors.runtime.connection import CONNECTION_FAILURES, open_client, partitions_of
from processors.runtime.errors import BusError
from processors.runtime.output import print_line

__all__ = ["tail"]

_ENDLESS: Final = -1
_RETRY_S: Final = 0.25


def tail(
    url: str, topic: str, partitions: int, form: Callable[[Item], str], *, from_start: bool, count: int | None
) -> None:
    """Print what comes of `topic`, one of `TOPICS`, in `form`: `count` entries or without end.

    `partitions`: how many live ones there are if the bus does not say. Ends quietly when nobody reads its output any
    more. Raises BusError: if the bus refuses us. Raises KeyboardInterrupt: at SIGINT.
    """
    left = _ENDLESS if count is None else count
    asyncio.run(_tail(url, topic, partitions, form, from_start=from_start, left=left))


async def _tail(
    url: str, topic: str, partitions: int, form: Callable[[Item], str], *, from_start: bool, left: int
) -> None:
    try:
        decoders = streams_of(topic, await _ask_partitions(url, partitions))
        await _print_items(follow(url, decoders, from_start=from_start), form, left)
    except RedisError as error:
        raise BusError(f"the bus refuses to be read: {error}") from error


async def _ask_partitions(url: str, default: int) -> int:
    """How many live partitions the bus has, once it answers."""
    waiting = False
    async with open_client(url) as client:
        while True:
            try:
                return await partitions_of(client, default)
            except (AuthenticationError, AuthorizationError):  # connection errors too, but trying again would not help
                raise
            except CONNECTION_FAILURES as error:
                if not waiting:
                    _tell_outage(str(error) or type(error).__name__)
                waiting = True
                await asyncio.sleep(_RETRY_S)  # nothing announces a server that comes back


def _tell_outage(reason: str) -> None:
    print(f"ark-pulse: waiting for the bus: {reason}", file=sys.stderr)


async def _print_items(items: AsyncGenerator[Item | Outage], form: Callable[[Item], str], left: int) -> None:
    async with aclosing(items):
        async for item in items:
            if isinstance(item, Outage):
                _tell_outage(item.reason)
                continue
            if not print_line(form(item)):
                return
            left -= not isinstance(item, BeginsAgain)
            if left == 0:
                return
