"""What a check found, and where docs/troubleshooting.md explains it."""

from msgspec import Struct

from processors.runtime.observation import Level

__all__ = ["Finding", "ok", "trouble", "warning"]


class Finding(Struct, frozen=True):
    """What one check found."""

    check: str
    level: Level
    text: str
    # What to do about it, and where more of it is said; both empty if all is well.
    advice: str = ""
    see: str = ""


def ok(check: str, text: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", text)


def warning(check: str, entry: str, text: str, advice: str) -> Finding:
    """Something works less well than it could. `entry`: the anchor of its section."""
    return Finding(check, "warning", text, advice, f"docs/troubleshooting.md#{entry}")


def trouble(check: str, entry: str, text: str, advice: str) -> Finding:
    """Something keeps the system from working. `entry`: the anchor of its section."""
    return Finding(check, "trouble", text, advice, f"docs/troubleshooting.md#{entry}")
