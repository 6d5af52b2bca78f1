"""One client's messages: what they ask for, and how many are too many."""

from enum import Enum
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

__all__ = ["EXCESS_PER_S", "Ask", "Meter", "same_origin", "understand"]

EXCESS_PER_S: Final = 200
"""Messages a second above which the connection is closed."""

_WINDOW_MS: Final = 1_000


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


class Meter:
    """Counts one client's messages in windows of one second, from the first message of each."""

    def __init__(self) -> None:
        # When the present window began, ms; the next message at or after its end begins another.
        self._began = -_WINDOW_MS
        self._count = 0
        # When the client was last told that it was not understood, ms.
        self._complained = -_WINDOW_MS

    def count(self, now: int) -> bool:
        """Count a message at `now` (ms, any clock that does not go back). Returns whether it is one too many."""
        if now - self._began >= _WINDOW_MS:
            self._began, self._count = now, 0
        self._count += 1
        return self._count > EXCESS_PER_S

    def may_complain(self, now: int) -> bool:
        """Whether the client may be told at `now` that it was not understood: once a second."""
        if now - self._complained < _WINDOW_MS:
            return False
        self._complained = now
        return True


def same_origin(origin: str | None, host: str | None) -> bool:
    """Whether a page of `origin` may connect: only one that was served under the same host and port.

    Programs that are no browsers send no Origin.
    """
    if origin is None:
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and host is not None and parts.netloc.lower() == host.lower()
