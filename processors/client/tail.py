"""`ark-pulse tail`: what a stream gets, line by line."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from processors.client.items import BeginsAgain, Item, Outage, streams_of
from processors.client.reader import follow
from processors.runtime.connection import partitions_of
from processors.runtime.errors import BusError
from processors.runtime.output import print_line
from processors.runtime.settings import Settings, bus_url
from schemas.topics import Decoder

__all__ = ["tail"]

_ENDLESS: Final = -1


def tail(settings: Settings, topic: str, form: Callable[[Item], str], *, from_start: bool, count: int | None) -> None:
    """Print what comes of `topic`, one of `TOPICS`, in `form`: `count` entries or without end.

    Ends quietly when nobody reads its output any more. Raises BusDown, SettingsError: if the address of the bus is not
    known. Raises BusError: if the bus refuses us. Raises KeyboardInterrupt: at SIGINT.
    """

    async def decoders(client: Redis) -> dict[str, Decoder]:
        return streams_of(topic, await partitions_of(client, settings.ark_partitions))

    items = follow(bus_url(settings), decoders, from_start=from_start)
    try:
        asyncio.run(_print_items(items, form, _ENDLESS if count is None else count))
    except RedisError as error:
        raise BusError(f"the bus refuses to be read: {error}") from error


async def _print_items(items: AsyncGenerator[Item | Outage], form: Callable[[Item], str], left: int) -> None:
    async with aclosing(items):
        async for item in items:
            if isinstance(item, Outage):
                print(f"ark-pulse: waiting for the bus: {item.reason}", file=sys.stderr)
                continue
            if not print_line(form(item)):
                return
            left -= not isinstance(item, BeginsAgain)
            if left == 0:
                return
