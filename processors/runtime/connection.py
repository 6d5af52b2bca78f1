"""How this project connects to a Redis or Valkey server, be it the bus or a source."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from redis.asyncio import Connection, ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.maint_notifications import MaintNotificationsConfig

from schemas.streams import PARTITIONS

__all__ = [
    "BUS_FAILURES",
    "CONNECTION_FAILURES",
    "SOCKET_TIMEOUT_S",
    "connection_options",
    "open_client",
    "partitions_of",
]

CONNECTION_FAILURES: Final = (RedisConnectionError, RedisTimeoutError, OSError)
"""What redis-py raises while the server does not answer, or the connection is cut."""

BUS_FAILURES: Final = (*CONNECTION_FAILURES, ResponseError)
"""That, and what it raises when the server refuses: memory or disk full, a replica, too few replicas, a key of another
type. It is the operator's to mend, and then things go on; a process that ended would not make it better.
"""

SOCKET_TIMEOUT_S: Final = 6.0
"""A server that is silent for this long while an answer is due does not answer."""

_CONNECT_TIMEOUT_S: Final = 2.0


class _Cancellable(AbstractConnection):
    """A connection whose sends can be cancelled.

    redis-py sends under `asyncio.wait_for`, which in Python 3.11 returns as if nothing had happened when it is
    cancelled at the moment the send completes: a task that is told to end would go on for ever.
    """

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        timeout_s, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(timeout_s):
                await super().send_packed_command(command, check_health=check_health)
        finally:
            self.socket_timeout = timeout_s


def connection_options(url: str) -> dict[str, Any]:
    """Arguments of a redis-py connection pool for `url`. Raises ValueError: if it is not a Redis URL.

    There are no retries: what is not idempotent would be done twice, and what is, we try again ourselves.
    """
    options: dict[str, Any] = dict(parse_url(url))
    base = options.get("connection_class", Connection)
    return options | {
        "connection_class": type(f"Cancellable{base.__name__}", (_Cancellable, base), {}),
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": _CONNECT_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        # Asked for, they cost a round trip at each connection, and only a managed Redis has them.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        # To tell the server its own version, redis-py would read files in the event loop.
        "driver_info": None,
    }


def open_client(url: str, **options: Any) -> Redis:
    """A client of the server at `url`; it connects when it is used. `options` are a connection pool's, and go first."""
    return Redis.from_pool(ConnectionPool(**(connection_options(url) | options)))


async def partitions_of(client: Redis, default: int) -> int:
    """How many live partitions the bus of `client` was made with; `default` if no process has opened it yet.

    Raises redis-py's errors.
    """
    return int(await client.get(PARTITIONS) or default)
