"""`ark-pulse doctor`: the settings with their origin, and what the checks found, for people or for programs."""

import asyncio
import json
import os
from collections.abc import Mapping
from typing import Final

from processors.runtime.errors import BusDown
from processors.runtime.health import Finding, examine
from processors.runtime.output import print_line, visible
from processors.runtime.settings import SETTINGS, Settings, hide_password

__all__ = ["TROUBLE", "doctor", "settings_table"]

TROUBLE: Final = 4
"""Exit code when something keeps the system from working."""

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
    from processors.runtime.settings import bus_url

    try:
        url = bus_url(settings)
    except BusDown:
        url = None
    rows = settings_table(settings, os.environ)
    findings = asyncio.run(examine(settings, url))
    print_line(_as_json(rows, findings) if as_json else _as_text(rows, findings))
    return TROUBLE if any(finding.level == "trouble" for finding in findings) else 0


def _as_json(rows: list[tuple[str, str, str]], findings: list[Finding]) -> str:
    return json.dumps(
        {
            "settings": [{"name": name, "value": value, "origin": origin} for name, value, origin in rows],
            "checks": [
                {"check": found.check, "level": found.level, "text": found.text, "advice": found.advice}
                for found in findings
            ],
        }
    )


def _as_text(rows: list[tuple[str, str, str]], findings: list[Finding]) -> str:
    width = max(len(name) for name, _, _ in rows)
    lines = ["settings"]
    lines += [f"  {name:<{width}} {value}  ({origin})" for name, value, origin in rows]
    lines += ["checks"]
    for found in findings:
        lines.append(f"  {_MARKS[found.level]}  {found.check}: {found.text}")
        if found.advice:
            lines.append(f"           -> {found.advice}")
    return "\n".join(map(visible, lines))
