"""The checks behind `ark-pulse doctor`: each looks at one thing, says how it is, and what to do if it is not well.

All run at once, each within a deadline, and none changes anything.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from processors.runtime.connection import open_client
from processors.runtime.keyspace import NOTIFY_OPTION, missing_flags
from processors.runtime.observation import (
    Heard,
    Level,
    ask_gateway,
    clause,
    clock_skew_ms,
    level_of,
    listens,
    read_sources,
    server_name,
)
from processors.runtime.probes import address, http_get
from processors.runtime.settings import Settings, hide_password
from schemas import streams

__all__ = ["CHECK_S", "Finding", "examine"]

CHECK_S: Final = 2.0
"""How long one check may take, seconds."""

_LEAST_PYTHON: Final = (3, 11)
_LEAST_SERVER: Final = (7, 0)
_MAX_SKEW_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    level: Level
    text: str
    # What to do about it; empty if all is well.
    advice: str = ""


_Check: TypeAlias = Callable[[], Awaitable[Sequence[Finding]]]


async def examine(settings: Settings, bus_url: str | None) -> list[Finding]:
    """All findings, in a fixed order, within `CHECK_S` and a little. `bus_url` None: there is no bus to look at."""
    checks: list[tuple[str, _Check]] = [
        ("python", _python),
        ("bus", lambda: _bus(settings, bus_url)),
        ("source", lambda: _source(settings)),
        ("gateway", lambda: _gateway(settings)),
        ("federation", lambda: _federation(settings)),
        ("shown", lambda: _shown(bus_url)),
    ]
    found = await asyncio.gather(*(_bounded(name, check) for name, check in checks))
    return [finding for findings in found for finding in findings]


async def _bounded(name: str, check: _Check) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(CHECK_S):
            return await check()
    except TimeoutError:
        return [Finding(name, "trouble", f"no answer within {CHECK_S:g} s", "see whether its machine is overloaded")]


async def _python() -> Sequence[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < _LEAST_PYTHON:
        return [Finding("python", "trouble", f"Python {version}", "install Python 3.11 or later")]
    return [Finding("python", "ok", f"Python {version}")]


async def _bus(settings: Settings, url: str | None) -> Sequence[Finding]:
    if url is None:
        text = f"ARK_BUS_URL is unset and no embedded server runs in {settings.ark_state_dir}"
        return [Finding("bus", "trouble", text, "start it with `ark-pulse up`")]
    shown = hide_password(url)
    async with open_client(url) as client:
        try:
            info = await client.info("server", "memory")
            skew_ms = await clock_skew_ms(client)
            partitions: Any = await client.get(streams.PARTITIONS)
        except (AuthenticationError, NoPermissionError) as error:
            return [Finding("bus", "trouble", f"{shown}: {clause(error)}", "see user and password in ARK_BUS_URL")]
        except (RedisError, OSError) as error:
            return [Finding("bus", "trouble", f"{shown}: {clause(error)}", "see whether it runs: `ark-pulse up`")]
    return [
        _bus_server(shown, info),
        _bus_partitions(settings, partitions),
        _skew(skew_ms),
    ]


def _bus_server(shown: str, info: dict[str, Any]) -> Finding:
    server = server_name(info)
    if tuple(int(part) for part in str(info["redis_version"]).split(".")[:2]) < _LEAST_SERVER:
        return Finding("bus", "trouble", f"{shown} is {server}", "use Redis 7.0 or later, or Valkey")
    policy = info["maxmemory_policy"]
    if policy != "noeviction":
        text = f"{shown} has maxmemory-policy {policy}, and may drop what is not yet counted"
        return Finding("bus", "trouble", text, "set maxmemory-policy to noeviction")
    return Finding("bus", "ok", f"{shown} is {server}, maxmemory-policy {policy}")


def _bus_partitions(settings: Settings, made_with: bytes | None) -> Finding:
    wanted = settings.ark_partitions
    if made_with is None:
        return Finding("partitions", "warning", "this bus was not used yet", "start `ark-pulse up`")
    if made_with != str(wanted).encode():
        text = f"ARK_PARTITIONS is {wanted}, but this bus was made with {made_with.decode(errors='replace')}"
        return Finding("partitions", "trouble", text, "set ARK_PARTITIONS to that number, or use an empty bus")
    return Finding("partitions", "ok", f"{wanted} partitions")


def _skew(skew_ms: float) -> Finding:
    text = f"the bus's clock is {abs(skew_ms):.0f} ms {'ahead of' if skew_ms >= 0 else 'behind'} this machine's"
    if abs(skew_ms) > _MAX_SKEW_MS:
        return Finding("clock", "warning", text, "let both machines follow an NTP server")
    return Finding("clock", "ok", text)


async def _source(settings: Settings) -> Sequence[Finding]:
    shown = hide_password(settings.redis_url)
    async with open_client(settings.redis_url) as client:
        try:
            await client.ping()
        except (RedisError, OSError) as error:
            advice = "set REDIS_URL to ARK's Redis; until it answers its half is simulated or stale"
            return [Finding("redis", "warning", f"{shown}: {clause(error)}", advice)]
        try:
            answer: Any = await client.config_get(NOTIFY_OPTION)
        except (NoPermissionError, ResponseError):
            text = "the server refuses CONFIG, so changes are found by scanning"
            return [
                Finding("redis", "ok", f"{shown} answers"),
                Finding(
                    "notifications", "warning", text, f"have {NOTIFY_OPTION} {missing_flags('')} set on the server"
                ),
            ]
    return [Finding("redis", "ok", f"{shown} answers"), _notifications(answer.get(NOTIFY_OPTION, ""))]


def _notifications(flags: str) -> Finding:
    missing = missing_flags(flags)
    if missing:
        text = f'{NOTIFY_OPTION} is "{flags}", without {missing}'
        return Finding("notifications", "warning", text, "the peers collector adds them while it runs")
    return Finding("notifications", "ok", f'{NOTIFY_OPTION} is "{flags}"')


async def _gateway(settings: Settings) -> Sequence[Finding]:
    where, found, health = await ask_gateway(settings)
    if found == "nothing":
        return [Finding("gateway", "trouble", f"nothing listens on {where}", "start it with `ark-pulse up`")]
    if health is None:
        advice = "end it, or set ARK_HTTP_PORT to a free port"
        return [Finding("gateway", "trouble", f"{where} is in use by another program", advice)]
    level: Level = "ok" if health.status == "ok" else "warning"
    advice = "" if health.status == "ok" else "the other findings tell why"
    text = f"http://{where}/ answers: status {health.status}, source {health.source}"
    return [Finding("gateway", level, text, advice)]


async def _federation(settings: Settings) -> Sequence[Finding]:
    """Whether a federation service answers. The system works without: another one may be followed."""
    host, port = settings.federation_host, settings.federation_port
    where = address(host, port)
    if not await listens(host, port):
        advice = "start it with `ark-pulse up`, or set ARK_FEDERATION_URL to one that is to be followed"
        return [_without_federation(settings, f"nothing listens on {where}", advice)]
    answer = await http_get(host, port, "/discover")
    if answer is not None and answer.status == 200 and answer.body.lstrip().startswith(b'{"peers"'):
        return [Finding("federation", "ok", f"http://{where}/discover answers")]
    if answer is not None and answer.status == 503 and answer.body.lstrip().startswith(b'{"error"'):
        text = f"http://{where}/discover cannot tell who is there"
        return [Finding("federation", "warning", text, "see whether REDIS_URL answers")]
    advice = "set ARK_FEDERATION_URL if it is to be followed, or FEDERATION_PORT to a free port"
    return [_without_federation(settings, f"{where} is in use by another program", advice)]


def _without_federation(settings: Settings, text: str, advice: str) -> Finding:
    if settings.ark_federation_url is None:
        return Finding("federation", "warning", text, advice)
    return Finding("federation", "ok", f"{text}, ARK_FEDERATION_URL is followed")


async def _shown(url: str | None) -> Sequence[Finding]:
    """What each collector said last of its source."""
    if url is None:
        return []
    async with open_client(url) as client:
        try:
            sources, _ = await read_sources(client)
        except (RedisError, OSError):
            return []  # the check of the bus says so
    if not sources:
        return [Finding("sources", "warning", "no collector has reported yet", "start `ark-pulse up`")]
    return [_source_finding(heard) for heard in sources]


def _source_finding(heard: Heard) -> Finding:
    state, level = heard.state, level_of(heard)
    check = f"source {state.collector}"
    if heard.silent:
        text = f"{state.node} has not reported for {heard.age_ms // 1_000} s"
        return Finding(check, level, text, "see whether `ark-pulse up` runs there")
    if state.group in {"federation", "memory"} and state.state == "down":
        return Finding(check, level, f"{state.node}: nothing is simulated")
    text = f"{state.node}: {state.group} is {state.state}" + (f" ({state.reason})" if state.reason else "")
    if level == "ok":
        return Finding(check, level, text)
    setting = "ARK_BASE_PATH" if state.group == "memory" else "REDIS_URL"
    simulated = state.state == "simulated"
    advice = f"see {setting} and ARK_SIMULATE" if simulated else "see whether its source answers"
    return Finding(check, level, text, advice)
