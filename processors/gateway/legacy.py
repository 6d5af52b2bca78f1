"""What the drop-in frames of both halves have in common.

Strings that came from somewhere else are HTML-escaped, because ARK's present pages insert them as HTML; what is not
known is sent as 0 and named. Delivery: the newest state; a state between two ticks may be left out.
"""

from collections.abc import Mapping
from html import escape
from typing import Any, Protocol

from schemas.events import MAX_ID

__all__ = ["Frames", "harmless", "or_zero"]


class Frames(Protocol):
    """Makes the drop-in frames of a half. `now` is ms of the bus's clock."""

    def whole(self, now: int) -> list[bytes]:
        """The whole state as JSON, once for each kind of client."""

    def changes(self, now: int) -> list[bytes]:
        """The frames that the changes since the last call ask for, as JSON; none if no client would see one."""


def or_zero(summary: object, fields: Mapping[str, str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The values of a frame's fields, 0 where unknown, and the names of the unknown ones.

    `fields` says for each field of the frame which one of the summary it is; a summary of None knows nothing.
    """
    values = {field: getattr(summary, name, None) for field, name in fields.items()}
    unknown = tuple(field for field, value in values.items() if value is None)
    return {field: 0 if value is None else value for field, value in values.items()}, unknown


def harmless(text: str, most: int = MAX_ID) -> str:
    """At most `most` characters of `text`, without markup."""
    return escape(text[:most], quote=True)
