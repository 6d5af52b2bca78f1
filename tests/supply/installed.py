"""What the project needs, and what of it is installed."""

import platform
import tomllib
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = ["PROJECT", "ROOT", "SHIPPED", "closure", "licence_of", "needed"]

ROOT: Final = Path(__file__).resolve().parents[2]
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
_EXTRAS: Final[dict[str, list[str]]] = PROJECT["project"]["optional-dependencies"]
SHIPPED: Final = tuple(name for name in _EXTRAS if name != "dev")
"""The extras that an operator may want."""


def needed(*extras: str) -> list[Requirement]:
    """What the project and some of its extras need on this Python and system."""
    texts = sum((_EXTRAS[extra] for extra in extras), list[str](PROJECT["project"]["dependencies"]))
    own = PROJECT["project"]["name"]
    return [each for each in _that_hold(map(Requirement, texts)) if each.name != own]


def closure(requirements: Iterable[Requirement], python: str = platform.python_version()) -> dict[str, str | None]:
    """All that these requirements bring on a Python, to the last: normal name to version, None if not installed."""
    found: dict[str, str | None] = {}
    met: set[tuple[str, frozenset[str]]] = set()
    waiting = list(requirements)
    while waiting:
        each = waiting.pop()
        if (key := (canonicalize_name(each.name), frozenset(each.extras))) not in met:
            met.add(key)
            found[key[0]] = None
            with suppress(metadata.PackageNotFoundError):
                found[key[0]] = metadata.version(each.name)
                waiting += _that_hold(map(Requirement, metadata.requires(each.name) or ()), key[1], python)
    return found


def licence_of(package: str) -> str:
    """The licence that a package's metadata tells, in the field that is the most exact of those that it has."""
    told = metadata.metadata(package)
    classifiers = [each.rpartition(" :: ")[2] for each in told.get_all("Classifier") or () if "License ::" in each]
    return ", ".join(told.get_all("License-Expression") or told.get_all("License") or classifiers)


def _that_hold(
    requirements: Iterable[Requirement], extras: Iterable[str] = (), python: str = platform.python_version()
) -> list[Requirement]:
    environments = [{"extra": extra, "python_full_version": python} for extra in ("", *extras)]
    return [each for each in requirements if each.marker is None or any(map(each.marker.evaluate, environments))]
