"""From one JSON value to another: merge patches (RFC 7396), and the choice of fields."""

from collections.abc import Mapping
from typing import Any

__all__ = ["chosen", "merge_patch"]


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The patch that makes `after` of `before`; empty if they are equal. Neither may hold null."""
    patch: dict[str, Any] = {name: None for name in before if name not in after}
    for name, value in after.items():
        old = before.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            # Compared first: of many nodes few have changed, and this is asked for each group at each tick.
            if old != value and (inner := merge_patch(old, value)):
                patch[name] = inner
        elif old != value or type(old) is not type(value):
            patch[name] = value
    return patch


def chosen(value: dict[str, Any], fields: frozenset[str] | None) -> dict[str, Any]:
    """`value` with only `fields`; None: all of it."""
    return value if fields is None else {name: each for name, each in value.items() if name in fields}
