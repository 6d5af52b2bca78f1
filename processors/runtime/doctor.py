"""`ark-pulse doctor`: the settings with their origin, then checks; each looks at one thing, and says what to do.

All checks run at once, each within a deadline, and none changes anything. What they look at is in `checks`.
"""

import asyncio
import json
import os
import platform
import re
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from processors.runtime.checks.bus import check_bus
from processors.runtime.checks.finding import Finding, ok, trouble
from processors.runtime.checks.machine import check_machine
from processors.runtime.checks.ports import check_federation, check_gateway, check_metrics
from processors.runtime.checks.processes import how_to_end, listener
from processors.runtime.checks.sources import check_redis, check_sources, hear
from processors.runtime.connection import connection_options
from processors.runtime.errors import BusDown, PulseError
from processors.runtime.logging import get_logger
from processors.runtime.output import print_line, print_lines
from processors.runtime.settings import SETTINGS, Settings, bus_url, hide_password

__all__ = ["CHECK_S", "TROUBLE", "doctor", "examine", "settings_table"]

CHECK_S: Final = 2.0
"""How long one check may take, seconds."""

TROUBLE: Final = 4
"""Exit code when something keeps the system from working."""

_logger = get_logger("doctor")

_MARKS: Final = {"ok": "ok     ", "warning": "warning", "trouble": "TROUBLE"}


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
    rows = settings_table(settings, os.environ)
    url, problem = None, ""
    try:
        connection_options(url := bus_url(settings))
    except BusDown:
        pass  # it is found
    except (PulseError, ValueError) as error:
        url, problem = None, str(error) if isinstance(error, PulseError) else "bus.url is no address"
    findings = asyncio.run(examine(settings, url, problem))
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
            yield f"           see {found.see}"


async def examine(settings: Settings, url: str | None, problem: str = "") -> list[Finding]:
    """All findings, in a fixed order, within `CHECK_S` and a little. `url` None: no bus to look at; `problem`: why."""
    hearing = asyncio.create_task(hear(url))
    found = await asyncio.gather(
        _bounded("bus", "the-bus-does-not-answer", check_bus(settings, url, problem), url or ""),
        _bounded("redis", "arks-redis-does-not-answer", check_redis(settings, hearing), settings.redis_url),
        _bounded("sources", "arks-redis-does-not-answer", check_sources(settings, url, hearing)),
        _bounded("gateway", "the-gateway-is-degraded", check_gateway(settings), str(settings.ark_http_port)),
        _bounded("federation", "no-federation-service", check_federation(settings), str(settings.federation_port)),
        _bounded("metrics", "a-port-is-taken", check_metrics(settings)),
        _bounded("machine", "it-does-not-run", asyncio.to_thread(check_machine, settings)),
    )
    python = ok("python", f"Python {platform.python_version()}")
    return [python, *(finding for findings in found for finding in findings)]


async def _bounded(check: str, entry: str, work: Awaitable[Sequence[Finding]], asked: str = "") -> Sequence[Finding]:
    """`asked`: the address of whom the check asks, or his port if he is of this machine."""
    try:
        async with asyncio.timeout(CHECK_S):
            return await work
    except TimeoutError:
        text, advice = f"no answer within {CHECK_S:g} s", "see whether its machine is overloaded"
        port = re.search(r"(?:^|//(?:127\.0\.0\.1|localhost|\[::1\]):)(\d+)", hide_password(asked))
        if port and (found := await asyncio.to_thread(listener, int(port[1]))):
            advice = f"{advice}; {how_to_end(found[0])}"
    except Exception as error:
        _logger.exception("the check of %s failed", check)
        text, advice = f"internal error: {type(error).__name__}", "report it, with the traceback"
    return [trouble(check, entry, text, advice)]
