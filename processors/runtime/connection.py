"""How this project connects to a Redis or Valkey server, be it the bus or a source."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from redis.asyncio import Connection, ConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import AbstractConnection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelManagedConnection, SentinelManagedSSLConnection
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.maint_notifications import MaintNotificationsConfig

from processors.runtime.errors import BusDown, BusUnfinished
from processors.runtime.settings import Settings, bus_url
from processors.runtime.topology import read_topology
from schemas.streams import PARTITIONS

__all__ = [
    "BUS_FAILURES",
    "CONNECTION_FAILURES",
    "SOCKET_TIMEOUT_S",
    "ask_bus",
    "connection_options",
    "in_one_trip",
    "is_too_old",
    "make_cancellable",
    "open_client",
    "partitions_of",
    "servers_of",
    "wrong_type",
]

CONNECTION_FAILURES: Final = (RedisConnectionError, RedisTimeoutError, RedisClusterException, OSError)
"""What redis-py raises while the server does not answer, or the connection is cut."""

BUS_FAILURES: Final = (*CONNECTION_FAILURES, ResponseError)
"""That, and what it raises when the server refuses: memory or disk full, a replica, too few replicas, a key of another
type. It is the operator's to mend, and then things go on; a process that ended would not make it better.
"""

SOCKET_TIMEOUT_S: Final = 6.0
"""A server that is silent for this long while an answer is due does not answer."""

_CONNECT_TIMEOUT_S: Final = 2.0
_LEAST_BUS: Final = (7, 0)
_NOT_FOR_CLUSTERS: Final = frozenset({"host", "port", "db", "connection_class"})

T = TypeVar("T")


_pack: Final[Callable[..., list[bytes]]] = HiredisRespSerializer().pack


class _Cancellable(AbstractConnection):
    """A connection whose sends can be cancelled, and whose commands are packed by hiredis.

    redis-py sends under `asyncio.wait_for`, which in Python 3.11 returns as if nothing had happened when it is
    cancelled at the moment the send completes: a task that is told to end would go on for ever. Its asyncio connections
    pack in Python, five times as slowly: a commit has thousands of arguments.
    """

    def __init__(self, **options: Any) -> None:
        # Each connection would tell its library, by a command that Redis 7.0 does not have and that an ACL refuses; for
        # its own version, redis-py would read files in the event loop.
        super().__init__(**options | {"driver_info": None})

    def pack_command(self, *args: Any) -> list[bytes]:
        return _pack(*args)

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        timeout_s, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(timeout_s):
                await super().send_packed_command(command, check_health=check_health)
        except RuntimeError as error:
            # What uvloop says of a connection that the server has closed; of those to a cluster nobody asks before.
            raise RedisConnectionError(str(error)) from error
        finally:
            self.socket_timeout = timeout_s


def connection_options(url: str) -> dict[str, Any]:
    """Arguments of a redis-py connection pool, for a server of the topology that `url` names.

    There are no retries: what is not idempotent would be done twice, and what is, we try again ourselves. Raises
    ValueError: if it is not a Redis URL.
    """
    topology = read_topology(url)
    options: dict[str, Any] = dict(parse_url(topology.url))
    base = options.get("connection_class", Connection)
    if topology.kind == "sentinel":
        base = SentinelManagedSSLConnection if base is SSLConnection else SentinelManagedConnection
    return options | {
        "connection_class": _cancellable(base),
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": _CONNECT_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        # Asked for, they cost a round trip at each connection, and only a managed Redis has them.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        # A cluster's client asks for it even before it has a connection.
        "driver_info": None,
    }


def open_client(url: str, **options: Any) -> Redis:
    """A client of what is at `url`; it connects when it is used. `options` are a connection pool's, and go first.

    That of a cluster has the same commands, but for those that concern keys of several slots.
    """
    topology, options = read_topology(url), connection_options(url) | options
    if topology.kind == "server":
        return Redis.from_pool(ConnectionPool(**options))
    if topology.kind == "sentinel":
        options = {name: value for name, value in options.items() if name not in {"host", "port"}}
        sentinel: Any = Sentinel
        return cast("Redis", sentinel(topology.hosts, **options).master_for(topology.master))
    nodes = [ClusterNode(*host) for host in topology.hosts]
    kept = {name: value for name, value in options.items() if name not in _NOT_FOR_CLUSTERS}
    ssl = issubclass(options["connection_class"], SSLConnection)
    client = RedisCluster(startup_nodes=nodes, ssl=ssl, **kept)
    make_cancellable(client)
    return cast("Redis", client)


def make_cancellable(client: RedisCluster) -> None:
    """Have all connections that a cluster's client will open be of our kind: it takes no class for them."""
    base = client.connection_kwargs.get("connection_class", Connection)
    client.connection_kwargs["connection_class"] = _cancellable(base)


def _cancellable(base: type[AbstractConnection]) -> type[AbstractConnection]:
    return type(f"Cancellable{base.__name__}", (_Cancellable, base), {})


def ask_bus(settings: Settings, work: Callable[[Redis], Awaitable[T]]) -> T:
    """What `work` gives with a client of the bus, in an event loop of its own; for commands, which have none.

    Raises BusDown: if the bus does not answer. Raises SettingsError: if its address cannot be read.
    """

    async def run(url: str) -> T:
        try:
            async with open_client(url) as client:
                return await work(client)
        except (RedisError, *CONNECTION_FAILURES) as error:
            raise BusDown(f"the bus does not answer: {error}") from error

    return asyncio.run(run(bus_url(settings)))


async def in_one_trip(
    client: Redis,
    commands: Iterable[Sequence[Any]],
    *,
    transaction: bool = False,
    bearable: Callable[[object], bool] | None = None,
) -> list[Any]:
    """The answers to `commands`, which are sent together; a `bearable` error stands in the place of its answer.

    Raises redis-py's errors. Cancellation: any of them may have been done.
    """
    async with client.pipeline(transaction=transaction) as pipe:
        for command in commands:
            pipe.execute_command(*command)
        # What is raised there has the client of a cluster learn anew where its keys are.
        answers: list[Any] = await pipe.execute(raise_on_error=bearable is None)
    for answer in answers:
        if isinstance(answer, Exception) and not (bearable is not None and bearable(answer)):
            raise answer
    return answers


async def servers_of(client: Redis, *sections: str) -> list[dict[str, Any]]:
    """What each server of `client` that is written to says of itself in `sections`. Raises redis-py's errors."""
    cluster: Any = client
    if not isinstance(cluster, RedisCluster):
        return [await client.info(*sections)]
    await cluster.initialize()
    return [await cluster.info(*sections, target_nodes=node) for node in cluster.get_primaries()]


def is_too_old(info: Mapping[str, Any]) -> bool:
    """Whether the server that says `info` of itself cannot be the bus."""
    return tuple(int(part) for part in str(info["redis_version"]).split(".")[:2]) < _LEAST_BUS


def wrong_type(error: object) -> bool:
    """Whether the server refused a command because the key holds another type."""
    # A transaction puts the command before it.
    return isinstance(error, ResponseError) and "WRONGTYPE Operation" in str(error)


async def partitions_of(client: Redis, default: int) -> int:
    """How many live partitions the bus of `client` was made with; `default` if no process has opened it yet.

    Raises BusUnfinished: if a restore of it did not end. Raises redis-py's errors.
    """
    made_with = await client.get(PARTITIONS)
    if made_with == b"0":
        raise BusUnfinished
    return int(made_with or default)
