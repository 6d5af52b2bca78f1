"""Every family of metrics that the code declares."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from processors.runtime.metrics import Family

__all__ = ["FAMILIES", "ROOT", "unit_of"]

ROOT: Final = Path(__file__).parent.parent

_UNITS: Final = {
    "_bytes_per_second": "bytes a second",
    "_per_second": "a second",
    "_ratio": "0 to 1",
    "_timestamp_seconds": "s since the epoch",
    "_seconds": "s",
    "_bytes": "bytes",
    "_bytes_total": "bytes",
}


def unit_of(name: str) -> str:
    """The unit that a family's name ends with, as the reference has it; empty without one."""
    return next((unit for end, unit in _UNITS.items() if name.endswith(end)), "")


def _families(value: Any) -> Iterator[Family]:
    if isinstance(value, Family):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from _families(each)


def _declared() -> Iterator[Family]:
    for path in sorted((ROOT / "processors").rglob("*.py")):
        if "processors.runtime.metrics import" in path.read_text(encoding="utf-8"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for value in vars(importlib.import_module(name)).values():
                yield from _families(value)


FAMILIES: Final = list(_declared())
"""In the order of their modules."""
