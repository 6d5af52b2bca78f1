"""Logging: one line per state change, as text or as JSON, on standard error.

A logger is `ark_pulse.<stage>`; values go in as arguments, so that the JSON form has the same message. What came from
outside cannot end a line, nor pass for one: everything that is not printable is escaped, and tracebacks are indented.
Overflow: of one kind of line (one format of one logger) sixty a minute, the rest is left out; of what operators ask for
nothing is.
"""

import datetime as dt
import json
import logging
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, TypeAlias

from processors.runtime.output import visible
from processors.runtime.settings import Settings

__all__ = ["AUDIT", "configure_logging", "get_logger"]

AUDIT: Final = "audit"
"""The logger of what operators ask for."""

_MOST_A_MINUTE: Final = 60
_MINUTE_S: Final = 60.0
# Of libraries that put values into their formats.
_MOST_KINDS: Final = 1_000

_ExcInfo: TypeAlias = "tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]"


class _TextFormatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  - logging's name
        return visible(super().formatMessage(record))

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802  - logging's name
        return "\n".join(f"    {visible(line)}" for line in super().formatException(ei).splitlines())


class _JsonFormatter(logging.Formatter):
    def __init__(self, stage: str) -> None:
        super().__init__()
        self._stage = stage

    def format(self, record: logging.LogRecord) -> str:
        moment = dt.datetime.fromtimestamp(record.created, dt.UTC)
        line = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "stage": self._stage,
            "pid": record.process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _Limit(logging.Filter):
    """Leaves out what is said again and again while a trouble lasts, but nothing that an operator asked for."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now_s = now_s
        # Of each kind of line: when its minute began, and how many there were in it.
        self._minutes: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == f"ark_pulse.{AUDIT}":
            return True
        kind, now = (record.name, str(record.msg)[:200]), self._now_s()
        began, count = self._minutes.get(kind, (now, 0))
        if now - began >= _MINUTE_S:
            began, count = now, 0
        if kind not in self._minutes and len(self._minutes) >= _MOST_KINDS:
            self._minutes.clear()
        self._minutes[kind] = began, count + 1
        if count + 1 == _MOST_A_MINUTE:
            record.msg = f"{record.msg} (for the rest of the minute more of these are left out)"
        return count < _MOST_A_MINUTE


def configure_logging(stage: str, settings: Settings) -> None:
    """Send what the process of `stage` logs to standard error, from `ARK_LOG_LEVEL` on, in `ARK_LOG_FORMAT`.

    Of libraries only warnings and worse.
    """
    handler = logging.StreamHandler(sys.stderr)
    text = _TextFormatter("%(asctime)s %(levelname)-7s %(name)s[%(process)d]: %(message)s", "%Y-%m-%d %H:%M:%S%z")
    handler.setFormatter(_JsonFormatter(stage) if settings.ark_log_format == "json" else text)
    handler.addFilter(_Limit())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("ark_pulse").setLevel(settings.ark_log_level.upper())


def get_logger(stage: str) -> logging.Logger:
    """The logger of a stage."""
    return logging.getLogger(f"ark_pulse.{stage}")
