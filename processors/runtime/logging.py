"""Logging: one line per state change, as text or as JSON, on standard error.

A logger is `ark_pulse.<stage>`; values go in as arguments, so that the JSON form has the same message.
"""

import datetime as dt
import json
import logging
import sys

__all__ = ["configure_logging", "get_logger"]


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = dt.datetime.fromtimestamp(record.created, dt.UTC)
        line = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure_logging(level: str, form: str) -> None:
    """Send all records of `level` ("debug" to "error") and above to standard error, in `form` ("text" or "json")."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")
    handler.setFormatter(_JsonFormatter() if form == "json" else text)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("ark_pulse").setLevel(level.upper())


def get_logger(stage: str) -> logging.Logger:
    """The logger of a stage."""
    return logging.getLogger(f"ark_pulse.{stage}")
