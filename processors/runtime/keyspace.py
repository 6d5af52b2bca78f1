"""Which keyspace notifications of ARK's Redis the collectors need."""

from typing import Final

__all__ = ["NOTIFY_OPTION", "missing_flags"]

NOTIFY_OPTION: Final = "notify-keyspace-events"
"""The server's option that switches them on."""

# Keyspace channels; generic commands (DEL, EXPIRE, RENAME), hashes, expiries, lists.
_NEEDED: Final = "Kghxl"
_IN_A: Final = frozenset("g$lshzxetd")


def missing_flags(current: str) -> str:
    """The flags that must be added to `current`; A stands for all classes of events."""
    present = set(current) | (_IN_A if "A" in current else frozenset())
    return "".join(flag for flag in _NEEDED if flag not in present)
