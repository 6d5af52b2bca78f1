"""What clients of the drop-in paths ask for."""

from enum import Enum
from typing import Final

import msgspec
from msgspec import Struct

__all__ = ["Ask", "understand"]


class Ask(Enum):
    """What a client's message asks for."""

    PING = "ping"
    REFRESH = "refresh"
    UNKNOWN = "unknown"


class _Message(Struct):
    type: str = ""
    action: str = ""


_decoder = msgspec.json.Decoder(_Message)
_ASKS: Final = {"ping": Ask.PING, "refresh": Ask.REFRESH}


def understand(text: str) -> Ask:
    """What `text` asks for: the words `ping` and `refresh`, plain or as `type` or `action` of a JSON object."""
    word = text.strip()
    if word in _ASKS:
        return _ASKS[word]
    try:
        message = _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return Ask.UNKNOWN
    return _ASKS.get(message.type) or _ASKS.get(message.action) or Ask.UNKNOWN
