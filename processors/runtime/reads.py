"""Blocking reads of streams: one call on one server, on a cluster one for each slot.

Delivery: every entry after the given ids, in order within each stream; the positions are the caller's. What a waiting
read brings after the caller went elsewhere is dropped, and read again from where he says.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from processors.runtime.tasks import end_tasks

__all__ = ["BLOCK_MS", "Entry", "StreamReader", "count_for", "read_many", "together"]

Entry: TypeAlias = tuple[bytes, dict[bytes, bytes]]
"""One stream entry: its id and its fields."""

BLOCK_MS: Final = 4_000
"""How long a read waits in the server. Below the socket's timeout, or an idle stream would look like a dead server."""


def count_for(wanted_bytes: int, entries: Sequence[Entry], least: int, most: int) -> int:
    """How many entries to read at once for about `wanted_bytes`, if they are as large as `entries`."""
    size = sum(len(fields.get(b"d", b"")) for _, fields in entries)
    return min(max(least, wanted_bytes * len(entries) // (size + 1)), most)


_Found: TypeAlias = dict[str, list[Entry]]


def together(client: Redis, keys: Sequence[str]) -> list[list[str]]:
    """`keys` in groups that one command or script may touch: all of them, on a cluster those of one slot."""
    cluster: Any = client
    if not isinstance(cluster, RedisCluster):
        return [list(keys)] if keys else []
    slots: dict[int, list[str]] = {}
    for key in keys:
        slots.setdefault(cluster.keyslot(key), []).append(key)
    return list(slots.values())


async def read_many(client: Redis, positions: Mapping[str, str], *, block_ms: int | None, count: int) -> _Found:
    """Entries of several streams (on a cluster of one slot) after the given ids; empty after `block_ms`, None: at once.

    `count`: at most of each stream. Raises redis-py's errors. Cancellation: safe; it costs the connection.
    """
    # redis-py's hints cover every protocol and decoding; with bytes and its legacy shapes it is this one.
    answer: list[tuple[bytes, list[Entry]]] = await client.xread(
        cast("dict[bytes | str | memoryview[int], int | bytes | str | memoryview[int]]", positions),
        block=block_ms,
        count=count,
    )  # type: ignore[assignment]
    return {name.decode(): entries for name, entries in answer or ()}


class StreamReader:
    """The reads of one caller, one at a time, of any streams."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        # On a cluster: by the streams of a slot, from where they are being read, and the read that waits. A read that
        # is cancelled costs its connection, so it goes on waiting from one call to the next.
        self._waiting: dict[tuple[str, ...], tuple[Mapping[str, str], asyncio.Task[_Found]]] = {}

    async def read(self, positions: Mapping[str, str], *, block_ms: int = BLOCK_MS, count: int = 1_000) -> _Found:
        """Entries after `positions`, as soon as there are any; empty after `block_ms`. `count`: at most of each stream.

        Raises redis-py's errors. Cancellation: safe.
        """
        groups = [tuple(group) for group in together(self._client, list(positions))]
        if len(groups) == 1:
            return await read_many(self._client, positions, block_ms=block_ms, count=count)
        for group in groups:
            self._wait_for(group, {key: positions[key] for key in group}, count)
        reads = [self._waiting[group][1] for group in groups]
        await asyncio.wait(reads, timeout=block_ms / 1000, return_when=asyncio.FIRST_COMPLETED)
        found: _Found = {}
        for group in groups:
            _, read = self._waiting[group]
            if read.done():
                del self._waiting[group]
                found |= read.result()
        return found

    def _wait_for(self, group: tuple[str, ...], positions: Mapping[str, str], count: int) -> None:
        if group in self._waiting:
            known, read = self._waiting[group]
            if known == positions:
                return
            read.cancel()
        read = asyncio.create_task(read_many(self._client, positions, block_ms=BLOCK_MS, count=count))
        # Of several that fail only the first is raised, and asyncio would log the others.
        read.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._waiting[group] = positions, read

    async def close(self) -> None:
        """Wait for nothing any more."""
        reads: list[asyncio.Task[Any]] = [read for _, read in self._waiting.values()]
        self._waiting.clear()
        await end_tasks(reads)
