"""What `doctor` and `status` both look at: the sources, the bus, the gateway. Nothing is changed."""

import re
import time
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from processors.runtime.probes import http_get
from processors.runtime.settings import Settings
from schemas import codec, streams
from schemas.errors import SchemaError
from schemas.metrics import MAX_SOURCES, SOURCE_TIMEOUT_MS, SourceState

__all__ = [
    "Health",
    "Heard",
    "Level",
    "ask_gateway",
    "clause",
    "clock_skew_ms",
    "read_sources",
    "server_ms",
    "server_name",
]

Level: TypeAlias = Literal["ok", "warning", "trouble"]
"""How a thing is: a warning is something that works less well than it could."""

_SIMULATORS: Final = frozenset({"federation", "memory"})
_STANDING_BY: Final = re.compile(r"the collector of .* works this source")


class Heard(NamedTuple):
    """A source's last word, and how long ago the bus got it, ms."""

    state: SourceState
    age_ms: int

    @property
    def silent(self) -> bool:
        """Whether nothing was heard of it for so long that its last word counts no more."""
        return self.age_ms >= SOURCE_TIMEOUT_MS

    @property
    def level(self) -> Level:
        """How it is: trouble if it was live and is not, a warning if it never was, or is simulated."""
        state = self.state
        if state.state == "stale" or (state.state == "live" and self.silent):
            return "trouble"
        if self.silent or state.state == "simulated":
            return "warning"
        if state.state == "live" or state.group in _SIMULATORS or _STANDING_BY.fullmatch(state.reason):
            return "ok"
        return "warning"


class Health(Struct, frozen=True):
    """What the gateway says of itself at /api/health."""

    status: str
    source: str
    reason: str = ""
    # WebSocket clients of each path, by its half.
    clients: dict[str, int] = {}
    # Clients whose frames wait now, and those that were closed for being slow since the start.
    behind: int = 0
    closed_slow: int = 0


_decode_health: Final = msgspec.json.Decoder(Health).decode


async def read_sources(client: Redis) -> tuple[list[Heard], str]:
    """The last word of each source, by node and collector, and the newest id of `ark:sources`.

    Raises redis-py's errors. Cancellation: safe.
    """
    entries: Any = await client.xrevrange(streams.SOURCES, count=MAX_SOURCES)
    now_ms = await server_ms(client)
    newest: dict[tuple[str, str], Heard] = {}
    for entry_id, fields in entries:
        try:
            state = codec.decode_source(fields)
        except SchemaError:
            continue  # of a newer release, or of a foreign hand
        newest.setdefault((state.node, state.collector), Heard(state, now_ms - int(entry_id.partition(b"-")[0])))
    return [newest[key] for key in sorted(newest)], entries[0][0].decode() if entries else "0-0"


async def server_ms(client: Redis) -> int:
    """The time of the server, ms. Raises redis-py's errors. Cancellation: safe."""
    seconds, micros = await client.time()
    return int(seconds) * 1_000 + int(micros) // 1_000


async def clock_skew_ms(client: Redis) -> float:
    """How far the server's clock is ahead of this machine's, ms. Raises redis-py's errors."""
    asked = time.time()
    return await server_ms(client) - (asked + time.time()) * 500


def clause(error: Exception) -> str:
    """What went wrong, without the address and on one line."""
    if isinstance(error, RedisError):
        return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
    return getattr(error, "strerror", None) or "no answer"


def server_name(info: Mapping[str, Any]) -> str:
    """Kind and version of a server, from its INFO."""
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info['redis_version']}"


async def ask_gateway(settings: Settings) -> Health | None:
    """What the gateway says of itself; None if another program has its port. Give it a deadline: it has none.

    Raises OSError: if nobody listens there. Cancellation: safe.
    """
    host, port = settings.ark_http_host, settings.ark_http_port
    answer = await http_get(host, port, "/api/health")
    if answer is not None and answer.status == 401:  # without a token it tells no more than this
        ready = await http_get(host, port, "/readyz")
        return Health("ok" if ready is not None and ready.status == 200 else "down", "told with a token only")
    try:
        return _decode_health(b"" if answer is None else answer.body)
    except (msgspec.DecodeError, RecursionError):
        return None
