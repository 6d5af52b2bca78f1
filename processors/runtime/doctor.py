"""`ark-pulse doctor`: the settings with their origin, then checks; each looks at one thing, and says what to do.

All checks run at once, each within a deadline, and none changes anything.
"""

import asyncio
import json
import os
import platform
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from processors.runtime.connection import open_client
from processors.runtime.errors import BusDown
from processors.runtime.keyspace import NOTIFY_OPTION, missing_flags
from processors.runtime.observation import Heard, Level, ask_gateway, clause, clock_skew_ms, read_sources, server_name
from processors.runtime.output import print_line, print_lines
from processors.runtime.probes import address, http_get
from processors.runtime.settings import SETTINGS, Settings, bus_url, hide_password
from schemas import streams

__all__ = ["CHECK_S", "TROUBLE", "Finding", "doctor", "examine", "settings_table"]

CHECK_S: Final = 2.0
"""How long one check may take, seconds."""

TROUBLE: Final = 4
"""Exit code when something keeps the system from working."""

_MARKS: Final = {"ok": "ok     ", "warning": "warning", "trouble": "TROUBLE"}
_LEAST_SERVER: Final = (7, 0)
_MAX_SKEW_MS: Final = 1_000


class Finding(Struct, frozen=True):
    """What one check found."""

    check: str
    level: Level
    text: str
    # What to do about it; empty if all is well.
    advice: str = ""


def settings_table(settings: Settings, environment: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Name, value as it was written (passwords hidden), and origin of each setting."""
    rows = []
    for setting in SETTINGS:
        text = environment.get(setting.name) or setting.default
        value = "unset" if text is None else hide_password(text) if setting.name.endswith("_URL") else text
        rows.append((setting.name, value, settings.origins[setting.name]))
    return rows


def doctor(settings: Settings, *, as_json: bool) -> int:
    """Print settings and findings. Returns the exit code: 0, or 4 if there is trouble; warnings are none."""
    try:
        url = bus_url(settings)
    except BusDown:
        url = None
    rows = settings_table(settings, os.environ)
    findings = asyncio.run(examine(settings, url))
    if as_json:
        shown = [dict(zip(("name", "value", "origin"), row, strict=True)) for row in rows]
        print_line(json.dumps({"settings": shown, "checks": msgspec.to_builtins(findings)}))
    else:
        print_lines(_as_lines(rows, findings))
    return TROUBLE if any(finding.level == "trouble" for finding in findings) else 0


def _as_lines(rows: list[tuple[str, str, str]], findings: list[Finding]) -> Iterator[str]:
    width = max(len(name) for name, _, _ in rows)
    yield "settings"
    yield from (f"  {name:<{width}} {value}  ({origin})" for name, value, origin in rows)
    yield "checks"
    for found in findings:
        yield f"  {_MARKS[found.level]}  {found.check}: {found.text}"
        if found.advice:
            yield f"           -> {found.advice}"


async def examine(settings: Settings, url: str | None) -> list[Finding]:
    """All findings, in a fixed order, within `CHECK_S` and a little. `url` None: there is no bus to look at."""
    found = await asyncio.gather(
        _bounded("bus", _bus(settings, url)),
        _bounded("source", _source(settings)),
        _bounded("gateway", _gateway(settings)),
        _bounded("federation", _federation(settings)),
        _bounded("shown", _shown(url)),
    )
    python = Finding("python", "ok", f"Python {platform.python_version()}")
    return [python, *(finding for findings in found for finding in findings)]


async def _bounded(name: str, check: Awaitable[Sequence[Finding]]) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(CHECK_S):
            return await check
    except TimeoutError:
        return [Finding(name, "trouble", f"no answer within {CHECK_S:g} s", "see whether its machine is overloaded")]


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
        except (RedisError, OSError) as error:
            refused = isinstance(error, AuthenticationError | NoPermissionError)
            advice = "see user and password in ARK_BUS_URL" if refused else "see whether it runs: `ark-pulse up`"
            return [Finding("bus", "trouble", f"{shown}: {clause(error)}", advice)]
    return [_bus_server(shown, info), _bus_partitions(settings, partitions), _skew(skew_ms)]


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
            flags = (await client.config_get(NOTIFY_OPTION)).get(NOTIFY_OPTION, "")
        except (NoPermissionError, ResponseError):
            flags = None
    return [Finding("redis", "ok", f"{shown} answers"), _notifications(flags)]


def _notifications(flags: str | None) -> Finding:
    """`flags` None: the server does not tell them."""
    missing = missing_flags(flags or "")
    if flags is None:
        text = "the server refuses CONFIG, so changes are found by scanning"
        return Finding("notifications", "warning", text, f"have {NOTIFY_OPTION} {missing} set on the server")
    if missing:
        text = f'{NOTIFY_OPTION} is "{flags}", without {missing}'
        return Finding("notifications", "warning", text, "the peers collector adds them while it runs")
    return Finding("notifications", "ok", f'{NOTIFY_OPTION} is "{flags}"')


async def _gateway(settings: Settings) -> Sequence[Finding]:
    where = address(settings.ark_http_host, settings.ark_http_port)
    try:
        health = await ask_gateway(settings)
    except OSError:
        return [Finding("gateway", "trouble", f"nothing listens on {where}", "start it with `ark-pulse up`")]
    if health is None:
        advice = "end it, or set ARK_HTTP_PORT to a free port"
        return [Finding("gateway", "trouble", f"{where} is in use by another program", advice)]
    text = f"http://{where}/ answers: status {health.status}, source {health.source}"
    if health.status == "ok":
        return [Finding("gateway", "ok", text)]
    return [Finding("gateway", "warning", text, "the other findings tell why")]


async def _federation(settings: Settings) -> Sequence[Finding]:
    """Whether a federation service answers. The system works without: another one may be followed."""
    host, port = settings.federation_host, settings.federation_port
    where = address(host, port)
    try:
        answer = await http_get(host, port, "/discover")
    except OSError:
        text = f"nothing listens on {where}"
        advice = "start it with `ark-pulse up`, or set ARK_FEDERATION_URL to one that is to be followed"
    else:
        if answer is not None and answer.status == 200 and answer.body.lstrip().startswith(b'{"peers"'):
            return [Finding("federation", "ok", f"http://{where}/discover answers")]
        if answer is not None and answer.status == 503 and answer.body.lstrip().startswith(b'{"error"'):
            text = f"http://{where}/discover cannot tell who is there"
            return [Finding("federation", "warning", text, "see whether REDIS_URL answers")]
        text = f"{where} is in use by another program"
        advice = "set ARK_FEDERATION_URL if it is to be followed, or FEDERATION_PORT to a free port"
    if settings.ark_federation_url is None:
        return [Finding("federation", "warning", text, advice)]
    return [Finding("federation", "ok", f"{text}, ARK_FEDERATION_URL is followed")]


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
    state, level = heard.state, heard.level
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
