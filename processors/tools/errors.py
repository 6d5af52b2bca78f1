"""Errors of the tools.

PulseError
├── TargetFailed    ARK's Redis, one of its databases or a service does not answer, or refuses what it is asked
├── Refused         a target holds what `seed` did not make
├── LetterStays     a letter cannot be replayed
├── AtWork          aggregators or collectors run on a bus that is to be replaced
└── BusHolds        a bus that is to be restored holds something
"""

from collections.abc import Sequence

from processors.runtime.errors import PulseError

__all__ = ["AtWork", "BusHolds", "LetterStays", "Refused", "TargetFailed"]


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


class AtWork(PulseError):
    """Aggregators or collectors run on a bus that is to be replaced. `workers` names them."""

    def __init__(self, workers: Sequence[str]) -> None:
        further = f" and {len(workers) - 3} more" if len(workers) > 3 else ""
        super().__init__(f"stop what works on this bus first: {', '.join(workers[:3])}{further}")


class BusHolds(PulseError):
    """A bus that is to be restored holds so many keys."""

    def __init__(self, keys: int) -> None:
        super().__init__(f"this bus holds {keys} keys already; use --force to replace them")
