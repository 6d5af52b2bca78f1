"""Errors of the tools.

PulseError
├── TargetFailed    ARK's Redis, one of its databases or a service does not answer, or refuses what it is asked
├── Refused         a target holds what `seed` did not make
└── LetterStays     a letter cannot be replayed
"""

from processors.runtime.errors import PulseError

__all__ = ["LetterStays", "Refused", "TargetFailed"]


class TargetFailed(PulseError):
    """ARK's Redis, one of its databases or a service does not answer, or refuses what it is asked."""

    def __init__(self, target: str, error: Exception) -> None:
        super().__init__(f"{target}: {' '.join(str(error).split())[:200].rstrip('.')}")


class Refused(PulseError):
    """A target holds what `seed` did not make. `found` says what, in words."""

    def __init__(self, found: str) -> None:
        super().__init__(f"refused: {found} were not made by seed; use --force")


class LetterStays(PulseError):
    """A letter cannot be replayed. `why` is a short clause."""

    def __init__(self, letter_id: str, why: str) -> None:
        super().__init__(f"letter {letter_id} stays: {why}")
        self.why = why
