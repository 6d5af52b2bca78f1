"""Errors of the tools.

PulseError
├── TargetFailed    ARK's Redis, one of its databases or a service does not answer, or refuses what it is asked
├── Refused         a target holds what `seed` did not make
└── PeerFailed      a command of `ark-pulse peer` cannot do what it was asked
"""

from processors.runtime.errors import PulseError

__all__ = ["PeerFailed", "Refused", "TargetFailed"]


class TargetFailed(PulseError):
    """ARK's Redis, one of its databases or a service does not answer, or refuses what it is asked."""

    def __init__(self, target: str, error: Exception) -> None:
        super().__init__(f"{target}: {' '.join(str(error).split())[:200].rstrip('.')}")


class Refused(PulseError):
    """A target holds what `seed` did not make. `found` says what, in words."""

    def __init__(self, found: str) -> None:
        super().__init__(f"refused: {found} were not made by seed; use --force")


class PeerFailed(PulseError):
    """A command of `ark-pulse peer` cannot do what it was asked; the text says why."""
