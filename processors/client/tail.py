"""`ark-pulse tail`: what a stream gets, line by line."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Final

from redis.exceptions import RedisError

from processors.client.items import BeginsAgain, Decoder, Item, Outage
from processors.client.reader import follow
from processors.runtime.errors import BusError
from processors.runtime.output import print_line

__all__ = ["tail"]

_ENDLESS: Final = -1


def tail(
    url: str, decoders: Mapping[str, Decoder], form: Callable[[Item], str], *, from_start: bool, count: int | None
) -> None:
    """Print what comes into the streams of `decoders` in `form`, `count` entries or without end.

    Ends quietly when nobody reads its output any more. Raises BusError: if the bus refuses us. Raises
    KeyboardInterrupt: at SIGINT.
    """
    asyncio.run(_tail(follow(url, decoders, from_start=from_start), form, _ENDLESS if count is None else count))


async def _tail(items: AsyncGenerator[Item | Outage], form: Callable[[Item], str], left: int) -> None:
    try:
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
    except RedisError as error:
        raise BusError(f"the bus refuses to be read: {error}") from error
