"""The bus: FastStream's broker on Redis streams, and beneath it the reads that FastStream has no form for.

Delivery of a subscription: every entry after the given id at least once while the subscription runs, in order; its
position is the caller's, never FastStream's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, TypeAlias, cast

from faststream import BaseMiddleware
from faststream.redis import RedisBroker, RedisClusterBroker, RedisSentinelBroker, StreamSub
from faststream.redis.message import FAKE_CONSUMER, BatchStreamMessage, RedisBatchStreamMessage
from faststream.redis.subscriber.usecases import StreamBatchSubscriber, stream_subscriber
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from processors.runtime.clock import BusClock
from processors.runtime.connection import BUS_FAILURES, connection_options, is_too_old, make_cancellable, servers_of
from processors.runtime.errors import BusUnfinished, SettingsError
from processors.runtime.logging import get_logger
from processors.runtime.reads import BLOCK_MS, Entry, StreamReader, count_for, read_many, together
from processors.runtime.topology import read_topology
from schemas import streams

__all__ = ["BLOCK_MS", "Bus", "Entry", "Subscription"]

_RETRY_S: Final = 0.25
# A batch of ours has some 40 KB, a foreign producer's single event 150 bytes: as many of the one as of the other would
# take all memory, or all time.
_READ_BYTES: Final = 1 << 20
_LEAST_RECORDS: Final = 32
_MOST_RECORDS: Final = 1_000

_logger = get_logger("bus")

# FastStream waits a fixed five seconds after a lost connection, and has no setting for it. A reader that is five
# seconds behind its reconnected server would show stale values as long.
vars(stream_subscriber)["CONSUME_ERROR_BACKOFF_SECONDS"] = _RETRY_S


def _fatal_middleware(on_failure: Callable[[BaseException], None]) -> type[BaseMiddleware]:
    """FastStream logs a handler's exception and reads on; here a surprise ends the process, which restarts clean."""

    class FatalMiddleware(BaseMiddleware):
        async def after_processed(
            self,
            exc_type: type[BaseException] | None = None,
            exc_val: BaseException | None = None,
            exc_tb: TracebackType | None = None,
        ) -> bool | None:
            if exc_val is not None and not isinstance(exc_val, asyncio.CancelledError):
                on_failure(exc_val)
            return await super().after_processed(exc_type, exc_val, exc_tb)

    return FatalMiddleware


async def _parse(message: BatchStreamMessage) -> RedisBatchStreamMessage:
    # The default parser takes an entry with a field called `data` for an old envelope, and decodes JSON twice.
    return RedisBatchStreamMessage(raw_message=message, body=b"", consumer=FAKE_CONSUMER, group=None)


async def _decode(message: RedisBatchStreamMessage) -> list[Entry]:
    raw = message.raw_message
    return list(zip(raw["message_ids"], raw["data"], strict=True))


class _PacedStream(StreamSub):
    """A stream whose `max_records` may change while it is read."""

    def __deepcopy__(self, _: object) -> "_PacedStream":
        # FastStream reads by a copy of it, which nobody else can reach.
        return self

    def pace(self, entries: list[Entry]) -> None:
        """Have the next read bring about `_READ_BYTES`, if its entries are as large as these."""
        self.max_records = count_for(_READ_BYTES, entries, _LEAST_RECORDS, _MOST_RECORDS)


Subscription: TypeAlias = StreamBatchSubscriber
"""One stream read by FastStream from a position that the caller chose.

`stop` has it read no more; an entry that is being handled is finished first.
"""


def _broker(url: str, middleware: type[BaseMiddleware]) -> RedisBroker:
    """The broker for the topology that an address names."""
    topology = read_topology(url)
    options: dict[str, Any] = {
        "apply_types": False,
        "logger": None,  # documented: None switches its own log off
        "middlewares": (middleware,),
        "graceful_timeout": 2.0,
        **connection_options(url),
    }
    if topology.kind == "cluster":
        return RedisClusterBroker(topology.url, startup_nodes=topology.hosts, **options)
    if topology.kind == "sentinel":
        return RedisSentinelBroker(
            topology.url, sentinels=topology.hosts, sentinel_master_name=topology.master, **options
        )
    return RedisBroker(topology.url, **options)


class Bus:
    """A process's connection to the bus."""

    def __init__(self, url: str) -> None:
        self.clock = BusClock()
        self.url = url
        # How many live partitions it has, as we are configured; 0 before it is opened.
        self._partitions = 0
        # Set when a handler raised what nobody expected; the process then ends with that error.
        self.failure: asyncio.Future[None] | None = None
        self.broker = _broker(url, _fatal_middleware(self._fail))

    def guard(self, task: "asyncio.Task[None]") -> None:
        """Have the process end if `task` ends with an error that it did not expect: nobody else would hear of it."""

        def done(task: "asyncio.Task[None]") -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                self._fail(error)

        task.add_done_callback(done)

    def _fail(self, error: BaseException) -> None:
        if self.failure is not None and not self.failure.done():
            self.failure.set_exception(error)

    @property
    def client(self) -> Redis:
        """redis-py's client beneath the broker. The broker must be connected.

        That of a cluster has the same commands, but for those that concern keys of several slots.
        """
        return cast("Redis", self.broker.config.broker_config.connection.client)

    @property
    def _cluster(self) -> RedisCluster | None:
        client: Any = self.client
        return client if isinstance(client, RedisCluster) else None

    async def open(self, partitions: int) -> None:
        """Connect, wait until the server answers, and check that it can be our bus.

        Raises SettingsError: if it is too old, may evict keys, or was made with another number of partitions. Raises
        BusUnfinished: if a restore of it did not end.
        Cancellation: safe.
        """
        await self.broker.connect()
        if (cluster := self._cluster) is not None:
            make_cancellable(cluster)
        waiting = False
        while True:
            try:
                await self._check(partitions)
            except BUS_FAILURES as error:
                if not waiting:
                    # A wrong password looks like this too: nobody would guess why nothing happens.
                    waiting = True
                    _logger.warning("waiting for the bus: %s", str(error)[:200] or type(error).__name__)
                await asyncio.sleep(_RETRY_S)  # nothing announces a server that comes back
            else:
                return

    async def _check(self, partitions: int) -> None:
        for info in await self.servers():
            if is_too_old(info):
                raise SettingsError("ARK_BUS_URL", f"leads to Redis {info['redis_version']}, at least 7.0 is needed")
            if info["maxmemory_policy"] != "noeviction":
                policy = info["maxmemory_policy"]
                problem = f"leads to a server whose maxmemory-policy is {policy}, noeviction is needed"
                raise SettingsError("ARK_BUS_URL", problem)
        await self.sync_clock()
        self._partitions = partitions
        made_with = await self.claim()
        if not made_with:
            raise BusUnfinished
        if made_with != partitions:
            raise SettingsError("ARK_PARTITIONS", f"is {partitions}, but this bus was made with {made_with}")

    async def claim(self) -> int:
        """Note our number of partitions on a bus that has none, new or wiped. Returns the number that it has.

        The bus must have been opened. Raises redis-py's errors.
        """
        # Asked first: a full server refuses to set it, and must not keep out those who would make room.
        if await self.client.exists(streams.PARTITIONS) == 0:
            await self.client.set(streams.PARTITIONS, self._partitions, nx=True)
        return int(await self.client.get(streams.PARTITIONS) or self._partitions)

    async def sync_clock(self) -> None:
        """Set the clock by the server's. Raises redis-py's errors."""
        seconds, micros = await self.client.time()
        self.clock.sync(seconds * 1000 + micros // 1000)

    async def servers(self) -> list[dict[str, Any]]:
        """What each server that we write to says of itself and its memory. Raises redis-py's errors."""
        return await servers_of(self.client, "server", "memory")

    async def subscribe(
        self, stream: str, after: str, handler: Callable[[list[Entry]], Awaitable[None]]
    ) -> Subscription:
        """Hand `handler` every entry of `stream` after the id `after`, in order, about a megabyte at a time.

        The next read begins when the handler returns. A handler that raises ends the process: it is expected to deal
        with bad input and a lost bus itself.
        """
        # persistent=False: the broker forgets it once stopped. `last_id` moves on before the handler runs, so it is
        # never asked where it stands: a failed commit stops this subscription and makes a new one.
        source = _PacedStream(stream, batch=True, last_id=after, polling_interval=BLOCK_MS, max_records=_LEAST_RECORDS)
        subscriber: Any = self.broker.subscriber(stream=source, parser=_parse, decoder=_decode, persistent=False)

        async def handle(entries: list[Entry]) -> None:
            source.pace(entries)
            await handler(entries)

        async def read(*args: Any) -> None:
            try:
                await get_messages(*args)
            except ResponseError as error:
                # FastStream would try again at once, and remember each try: it waits after a lost connection alone.
                raise RedisConnectionError(str(error)) from error

        get_messages, subscriber._get_msgs = subscriber._get_msgs, read
        subscriber(handle)
        subscription: Subscription = subscriber
        try:
            await subscription.start()
        except BaseException:
            # Its reading task runs already: a start that fails or is cancelled would leave it behind for ever.
            await subscription.stop()
            raise
        return subscription

    async def read_many(
        self, positions: Mapping[str, str], *, block_ms: int | None = BLOCK_MS, count: int = 1_000
    ) -> dict[str, list[Entry]]:
        """Entries of several streams after the given ids, in one blocking read; see `reads.read_many`."""
        return await read_many(self.client, positions, block_ms=block_ms, count=count)

    def reader(self) -> StreamReader:
        """A reader of many streams. The broker must be connected.

        FastStream reads one stream a subscriber: sixteen partitions would be sixteen waiting connections, and the
        newest of them all would still have to be put together.
        """
        return StreamReader(self.client)

    def together(self, keys: Sequence[str]) -> list[list[str]]:
        """`keys` in groups that one script may touch."""
        return together(self.client, keys)

    async def newest(self, stream: str) -> Entry | None:
        """The newest entry of a stream; None if it is empty. Raises redis-py's errors."""
        entries = cast("list[Entry]", await self.client.xrevrange(stream, count=1))
        return entries[0] if entries else None

    async def close(self) -> None:
        """Let go of all connections."""
        await self.broker.stop()
