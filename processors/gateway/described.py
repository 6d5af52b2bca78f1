"""JSON Schemas of the wire types, with what their docstrings and the comments on their fields say."""

import ast
import inspect
from collections.abc import Iterable
from functools import cache
from itertools import takewhile
from typing import Any, Final

import msgspec
from msgspec import Struct

from schemas import answers, frames, legacy, metrics

__all__ = ["WIRE_TYPES", "describe", "meaning"]

_MODULES: Final = (frames, legacy, metrics, answers)

WIRE_TYPES: Final = tuple(
    kind
    for module in _MODULES
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Struct) and kind.__module__ == module.__name__
)
"""Every type that the gateway, or the bus behind it, sends or reads."""

_BY_NAME: Final = {kind.__name__: kind for kind in WIRE_TYPES}


def describe(types: Iterable[Any], refs: str) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """The JSON Schema of each of `types`, and of the structs in them by name; `refs` is `"#/$defs/{name}"` or alike."""
    schemas, components = msgspec.json.schema_components(types, ref_template=refs)
    comments = _comments()
    for name, schema in components.items():
        kind = _BY_NAME[name]
        schema["description"] = meaning(kind)
        for field in msgspec.structs.fields(kind):
            keys = [(each.__name__, field.name) for each in kind.__mro__]
            if key := next(filter(comments.__contains__, keys), None):
                schema["properties"][field.encode_name]["description"] = comments[key]
    return list(schemas), components


def meaning(kind: type) -> str:
    """The docstring of a class in one line."""
    return " ".join((kind.__doc__ or "").split())


@cache
def _comments() -> dict[tuple[str, str], str]:
    """The comment above each field, by class and field: msgspec knows nothing of them."""
    found = {}
    for source in map(inspect.getsource, _MODULES):
        lines = [line.strip() for line in source.splitlines()]
        for kind in (each for each in ast.parse(source).body if isinstance(each, ast.ClassDef)):
            for node in kind.body:
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    above = takewhile(lambda line: line.startswith("#"), reversed(lines[: node.lineno - 1]))
                    if text := " ".join(line.lstrip("# ") for line in reversed(list(above))):
                        # As it is called on the wire.
                        found[kind.name, node.target.id] = text.replace("None", "null")
    return found
