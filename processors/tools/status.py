"""`ark-pulse status`: sources, bus, partitions and the gateway's clients on one screen. Changes nothing."""

import asyncio
import os
import sys
import time
from typing import Any, Final

from msgspec.structs import asdict
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from processors.runtime.connection import CONNECTION_FAILURES, open_client
from processors.runtime.doctor import TROUBLE
from processors.runtime.errors import BusDown
from processors.runtime.observation import (
    Heard,
    ask_gateway,
    clause,
    clock_skew_ms,
    read_sources,
    server_ms,
    server_name,
)
from processors.runtime.output import print_line, visible
from processors.runtime.partitions import read_partitions
from processors.runtime.probes import address
from processors.runtime.settings import Settings, bus_url, hide_password
from processors.tools.overview import BusSeen, GatewaySeen, HalfSeen, OfBus, Overview, SourceSeen, troubles
from processors.tools.screen import MARKS, WIDTH, as_json, as_lines
from schemas import streams
from schemas.errors import SchemaError
from schemas.metrics import SOURCE_TIMEOUT_MS
from schemas.topics import TOPICS

__all__ = ["DEADLINE_S", "observe", "status"]

DEADLINE_S: Final = 2.0
"""How long a look may take, seconds: what has not answered by then is said not to."""

_LEAST_REDRAW_S: Final = 1.0
_MOST_REDRAW_S: Final = 5.0
_COLOURS: Final = {"live": "32", "stale": "33", "simulated": "36", "down": "2"}
_NOTHING: Final = "0-0"
_HOME: Final = "\x1b[H"
_REST_OF_LINE: Final = "\x1b[K"
_REST_OF_SCREEN: Final = "\x1b[J"


def status(settings: Settings, *, json_text: bool, watch: bool) -> int:
    """Print how everything is; with `watch` again and again, until nobody reads it.

    Returns the exit code: 0, or 4 if there is trouble. Raises SettingsError: if the address of the bus cannot be read.
    Raises KeyboardInterrupt: at SIGINT.
    """
    return asyncio.run(_status(settings, json_text=json_text, watch=watch))


async def _status(settings: Settings, *, json_text: bool, watch: bool) -> int:
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        overview, top = await observe(settings)
        text = as_json(overview) if json_text else _drawn(overview, again=watch)
        if not print_line(text) or not watch:
            return TROUBLE if troubles(overview) else 0
        await _until_news(settings, top)
        await asyncio.sleep(max(0.0, began + _LEAST_REDRAW_S - loop.time()))


async def observe(settings: Settings) -> tuple[Overview, str]:
    """Everything as it is now, and the newest id of `ark:sources`, within `DEADLINE_S` and a little.

    Raises SettingsError: if the address of the bus cannot be read. Cancellation: safe.
    """
    (read, top), gateway = await asyncio.gather(_look_at_bus(settings), _look_at_gateway(settings))
    return Overview(now=int(time.time() * 1_000), gateway=gateway, **asdict(read)), top


async def _look_at_gateway(settings: Settings) -> GatewaySeen:
    where = address(settings.ark_http_host, settings.ark_http_port)
    try:
        async with asyncio.timeout(DEADLINE_S):
            health = await ask_gateway(settings)
    except TimeoutError:
        return GatewaySeen(address=where, problem=f"{where} does not answer within {DEADLINE_S:g} s")
    except OSError:
        return GatewaySeen(address=where, problem=f"no gateway at {where}")
    if health is None:
        return GatewaySeen(address=where, problem=f"no gateway: {where} is in use by another program")
    return GatewaySeen(address=where, status=health.status, clients=health.clients)


async def _look_at_bus(settings: Settings) -> tuple[OfBus, str]:
    """What was read of it, and the newest id of `ark:sources`."""
    try:
        url = await asyncio.to_thread(bus_url, settings)
    except BusDown:
        return OfBus(bus=BusSeen(problem=f"no embedded server runs in {settings.ark_state_dir}")), _NOTHING
    shown = hide_password(url)
    async with open_client(url) as client:
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await _read(client, shown)
        except TimeoutError:
            problem = f"{shown} does not answer within {DEADLINE_S:g} s"
        except (RedisError, OSError) as error:
            problem = f"{shown}: {clause(error)}"
    return OfBus(bus=BusSeen(address=shown, problem=problem)), _NOTHING


async def _read(client: Redis, shown: str) -> tuple[OfBus, str]:
    bus = await _server(client, shown)
    heard, top = await read_sources(client)
    now = await server_ms(client)
    halves = [await _half(client, name, now) for name in ("federation", "memory")]
    sources = tuple(_source(each, now) for each in heard)
    return OfBus(bus=bus, halves=tuple(halves), sources=sources, partitions=await read_partitions(client)), top


async def _server(client: Redis, shown: str) -> BusSeen:
    info = await client.info("server", "memory", "persistence")
    return BusSeen(
        address=shown,
        server=server_name(info),
        used_bytes=info["used_memory"],
        most_bytes=info["maxmemory"],
        persistence=await _persistence(client, info),
        skew_ms=round(await clock_skew_ms(client)),
    )


async def _persistence(client: Redis, info: dict[str, Any]) -> str:
    """How the server keeps what it holds."""
    if info["aof_enabled"]:
        return "append-only file" if info["aof_last_write_status"] == "ok" else "append-only file cannot be written"
    try:
        saves = (await client.config_get("save")).get("save")
    except (NoPermissionError, ResponseError):
        return "no append-only file"
    return "snapshots only" if saves else "nothing persists"


async def _half(client: Redis, name: str, now: int) -> HalfSeen:
    """One half by its newest summary. Without a newer one for 15 s, what calls itself live is so no more."""
    stream, decode = TOPICS[name]
    entries: Any = await client.xrevrange(stream, count=1)
    try:
        summary = decode(entries[0][1]) if entries else None
    except SchemaError:
        summary = None  # of a newer release
    if summary is None:
        return HalfSeen(name=name)
    late = summary.source == "live" and now - summary.ts >= SOURCE_TIMEOUT_MS
    age_ms = None if summary.as_of is None else now - summary.as_of
    return HalfSeen(name=name, source="stale" if late else summary.source, age_ms=age_ms)


def _source(heard: Heard, now: int) -> SourceSeen:
    state = heard.state
    said = asdict(state) | {"answered_ms": None if state.as_of is None else now - state.as_of}
    if heard.silent:
        said["state"] = "stale" if state.state == "live" else state.state
        said["reason"] = "; ".join(filter(None, (f"not heard of for {heard.age_ms // 1_000} s", state.reason)))
    return SourceSeen(**said, level=heard.level)


async def _until_news(settings: Settings, top: str) -> None:
    """Return at the next word of a source, after five seconds at most: then the ages are to be told anew."""
    try:
        async with asyncio.timeout(_MOST_REDRAW_S):
            async with open_client(await asyncio.to_thread(bus_url, settings)) as client:
                await client.xread({streams.SOURCES: top}, block=int(_MOST_REDRAW_S * 1_000))
    except TimeoutError:
        pass
    except (BusDown, ResponseError, *CONNECTION_FAILURES):
        await asyncio.sleep(_LEAST_REDRAW_S)  # nothing announces a bus that comes back


def _drawn(overview: Overview, *, again: bool) -> str:
    """The screen as it goes to standard output; on a terminal in colour, and `again` over what it shows."""
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        whole = [visible(line) for line in as_lines(overview, sys.maxsize)]
        return "\n".join([*whole, ""] if again else whole)
    shown = [visible(line)[:WIDTH] for line in as_lines(overview)]
    if not os.environ.get("NO_COLOR"):
        shown = [_coloured(line) for line in shown]
    if not again:
        return "\n".join(shown)
    return _HOME + "".join(f"{line}{_REST_OF_LINE}\n" for line in shown) + _REST_OF_SCREEN


def _coloured(line: str) -> str:
    for state, mark in MARKS.items():
        line = line.replace(mark, f"\x1b[{_COLOURS[state]}m{mark}\x1b[0m")
    return line
