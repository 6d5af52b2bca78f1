"""What cannot be used of the rows of one table, on its way to the dead letters: each once, and not without end."""

from typing import Final

__all__ = ["Letters"]

_MOST_TOLD: Final = 50
_MOST_NOTED: Final = 10_000


class Letters:
    """The first fifty letters about `table`; of further ones it is told how many there are, again when they doubled."""

    def __init__(self, table: str) -> None:
        self._table = table
        # Hashes of what was noted, at most `_MOST_NOTED`: what comes beyond that is not counted.
        self._noted: set[int] = set()
        # Letters that nobody has taken yet.
        self._due: list[str] = []
        # How many further ones were told of.
        self._further = 0

    def note(self, letter: str) -> None:
        """Something cannot be used; the same letter is told once."""
        known = len(self._noted)
        if known < _MOST_NOTED:
            self._noted.add(hash(letter))
        if known < _MOST_TOLD and len(self._noted) > known:
            self._due.append(letter)

    def take(self, *, counted: bool) -> list[str]:
        """The letters that are due. `counted`: all rows were read, so it is known how many further ones there are."""
        further = len(self._noted) - _MOST_TOLD
        if counted and further > 2 * self._further:
            self._further = further
            least = "at least " if len(self._noted) == _MOST_NOTED else ""
            self._due.append(f"{least}{further} more rows of {self._table} cannot be used")
        due, self._due = self._due, []
        return due
