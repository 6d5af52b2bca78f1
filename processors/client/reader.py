"""Following streams of the bus from any Python program.

Delivery: every entry after the start at least as long as the stream keeps it. Ordering: that of each stream; several
streams have none among them. Where a stream begins again (its server was wiped, or lost its newest entries), the
reader says so and goes on at its beginning.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Final, TypeAlias

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, AuthorizationError, ResponseError

from processors.client.items import BeginsAgain, Item, Outage, Received, Unreadable
from processors.runtime.connection import CONNECTION_FAILURES, open_client
from processors.runtime.reads import Entry, StreamReader
from schemas.errors import SchemaError
from schemas.positions import entry_id
from schemas.topics import Decoder

__all__ = ["Question", "follow"]

Question: TypeAlias = Callable[[Redis], Awaitable[Mapping[str, Decoder]]]
"""Asks the bus which streams there are. Raises redis-py's errors."""

# Longer than a read waits in the server: an idle stream is no dead server.
_SILENCE_S: Final = 6.0
_RETRY_S: Final = 0.25
_BEGINNING: Final = "0-0"


async def follow(
    url: str, wanted: Mapping[str, Decoder] | Question, *, from_start: bool = False
) -> AsyncGenerator[Item | Outage]:
    """Yield what comes into the streams of `wanted`, at once as it comes; with `from_start` what they hold, first.

    `wanted`: the streams and their decoders, or what asks the bus for them. Survives a server that is restarted or not
    yet there: it says so once, and tries again four times a second. Raises redis-py's AuthenticationError: if the
    password is wrong. Cancellation: safe; close the iterator to let go of its connection.
    """
    decoders: Mapping[str, Decoder] = {}
    positions: dict[str, str] = {}
    # Whether our positions may be ahead of the streams: after a lost connection, and after a silence.
    doubtful = True
    # Whether the bus did not answer the last time.
    away = False
    async with open_client(url) as client, AsyncExitStack() as stack:
        reader = StreamReader(client)
        stack.push_async_callback(reader.close)
        while True:
            again: list[str] = []
            answer: dict[str, list[Entry]] = {}
            try:
                async with asyncio.timeout(_SILENCE_S):
                    if doubtful:
                        decoders = decoders or (wanted if isinstance(wanted, Mapping) else await wanted(client))
                        tops = {name: await _top(client, name) for name in decoders}
                        positions = positions or (dict.fromkeys(decoders, _BEGINNING) if from_start else tops)
                        again = _ahead(positions, tops)
                    if not again:
                        answer = await reader.read(positions)
            except (AuthenticationError, AuthorizationError):  # connection errors too, but trying again would not help
                raise
            except CONNECTION_FAILURES as error:
                if not away:
                    yield Outage(str(error) or type(error).__name__)
                away = doubtful = True
                await asyncio.sleep(_RETRY_S)  # nothing announces a server that comes back
                continue
            away = False
            doubtful = not answer and not again
            for name in again:
                positions[name] = _BEGINNING
                yield BeginsAgain(name)
            for received in _read(answer, decoders):
                positions[received.stream] = received.entry_id
                yield received


async def _top(client: Redis, stream: str) -> str:
    """The newest id that `stream` ever had; the beginning if there is no such stream."""
    try:
        info = await client.xinfo_stream(stream)
    except ResponseError as error:
        if "no such key" in str(error):
            return _BEGINNING
        raise
    top = info["last-generated-id"]
    return top.decode() if isinstance(top, bytes) else str(top)


def _ahead(positions: Mapping[str, str], tops: Mapping[str, str]) -> list[str]:
    """The streams whose newest id is before our position: an XREAD from there would be silent for ever."""
    return [name for name, top in tops.items() if entry_id(top) < entry_id(positions[name])]


def _read(answer: Mapping[str, list[Entry]], decoders: Mapping[str, Decoder]) -> Iterator[Received | Unreadable]:
    for stream, entries in answer.items():
        for raw_id, fields in entries:
            try:
                yield Received(stream, raw_id.decode(), decoders[stream](fields), fields[b"d"])
            except SchemaError as error:
                yield Unreadable(stream, raw_id.decode(), str(error))
