"""Dead letters as people and programs see them, and what can be made of one.

Why a letter of `sync_events` can be read again here although its collector is another stage: who calls gives us the
collector's own pure reading. Asking the collector instead would need a stream of requests and answers; putting the item
back into ARK's list would show it twice to everybody else who reads that list.
"""

import datetime as dt
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from processors.tools.errors import LetterStays
from schemas import codec
from schemas.errors import MalformedEntry, SchemaError
from schemas.events import Event, Rejected, subject
from schemas.metrics import DeadLetter
from schemas.positions import entry_id
from schemas.streams import DEAD, SIMULATED, partition_of

__all__ = ["Choice", "Letter", "Reader", "clause_of", "fields_of", "read_letter", "report_of", "shares_of", "text_of"]

Reader: TypeAlias = Callable[[bytes, int], tuple[Event, ...]]
"""A collector's reading of one input that was observed at that time (ms)."""

_AGGREGATOR: Final = "aggregator"
_MAX_CLAUSES: Final = 20
_MAX_SHOWN: Final = 60

# What stands in a reason and differs from letter to letter: quoted values (a long one lost its end), and the number of
# a row, a byte, a partition or a version.
_VALUES: Final = re.compile(
    r"""((?<!\w)b?(?:'(?:[^'\\]|\\.)*+'?|"(?:[^"\\]|\\.)*+"?))|((?:row|byte|partition|version) )\d+|-?\d+(?=:)"""
)


class Letter(NamedTuple):
    """One entry of `ark:dead`."""

    id: str
    said: DeadLetter


class Choice(NamedTuple):
    """Which letters are meant; None: whatever it says."""

    source: str | None = None
    # A part of the reason.
    reason: str | None = None

    def takes(self, letter: Letter) -> bool:
        """Whether `letter` is one of them."""
        by_source = self.source is None or letter.said.rejected_by == self.source
        return by_source and (self.reason is None or self.reason in letter.said.reason)


def read_letter(letter_id: str, fields: Mapping[bytes, bytes]) -> Letter:
    """A letter of `ark:dead`; one that a foreign hand wrote, and nobody can read, says so."""
    try:
        return Letter(letter_id, codec.decode_dead(fields))
    except SchemaError as error:
        said = DeadLetter(ts=entry_id(letter_id).ms, rejected_by=DEAD, reason=f"entry cannot be read: {error}")
        return Letter(letter_id, said)


def clause_of(reason: str) -> str:
    """A reason without the values that stand in it, so that those of one kind are counted together."""
    return _VALUES.sub(lambda found: "'…'" if found[1] else f"{found[2] or ''}…", reason)


def shares_of(letter: Letter, readers: Mapping[str, Reader], partitions: int) -> dict[str, list[Event]]:
    """The events of a letter's input, by the partition they belong into, of `partitions` live ones.

    Raises LetterStays: if they are not to be had.
    """
    simulated = letter.said.partition == SIMULATED
    shares: dict[str, list[Event]] = {}
    for event in _read_again(letter, readers):
        home = SIMULATED if simulated else partition_of(subject(event), partitions)
        shares.setdefault(home, []).append(event)
    return shares


def _read_again(letter: Letter, readers: Mapping[str, Reader]) -> Sequence[Event]:
    said = letter.said
    if said.rejected_by == DEAD:
        raise LetterStays(letter.id, said.reason)
    if said.rejected_by not in {_AGGREGATOR, *readers}:
        why = f"its source still holds the input, and {said.rejected_by} reads it again at every look"
        raise LetterStays(letter.id, why)
    if not said.whole:
        raise LetterStays(letter.id, "it does not hold all of the input, or some of that was used")
    body = said.excerpt.encode()
    if said.rejected_by == _AGGREGATOR:
        events, refused = _decode(body)
    else:
        events = readers[said.rejected_by](body, said.ts)
        reasons = [event.reason for event in events if isinstance(event, Rejected)]
        # What is rejected beside an event that counts becomes a letter of its own.
        refused = reasons[0] if len(reasons) == len(events) else None
    if refused is not None:
        raise LetterStays(letter.id, f"it would be rejected again: {refused}")
    return events


def _decode(body: bytes) -> tuple[tuple[Event, ...], str | None]:
    """The events of a foreign entry, and why one of them cannot be read."""
    try:
        batch = codec.decode_events({b"v": b"%d" % codec.VERSION, b"d": body})
    except MalformedEntry as error:
        return (), error.reason
    return tuple(batch.events), batch.rejected[0][0] if batch.rejected else None


def report_of(letters: Iterable[Letter], counts: Counter[tuple[str, str]]) -> list[str]:
    """Lines for people: the counts per source and reason, then a line for each of `letters`."""
    if not counts:
        return ["no dead letters"]
    known = counts.most_common(_MAX_CLAUSES)
    lines = [f"{count:>6}  {source}: {clause}" for (source, clause), count in known]
    if len(counts) > len(known):
        rest = counts.total() - sum(count for _, count in known)
        lines.append(f"{rest:>6}  for {len(counts) - len(known)} other reasons")
    return [*lines, "", *map(_line, letters)]


def _line(letter: Letter) -> str:
    said = letter.said
    excerpt = said.excerpt if len(said.excerpt) <= _MAX_SHOWN else f"{said.excerpt[:_MAX_SHOWN]}…"
    return f"{letter.id}  {_moment(said.ts)}  {said.rejected_by}: {said.reason}  {excerpt}".rstrip()


def text_of(letter: Letter) -> list[str]:
    """Lines for people: all of a letter."""
    said = letter.said
    return [
        f"id          {letter.id}",
        f"when        {_moment(said.ts)}",
        f"source      {said.rejected_by}",
        f"reason      {said.reason}",
        f"partition   {said.partition or 'unknown'}",
        f"whole       {'yes' if said.whole else 'no'}",
        f"input       {said.excerpt}",
    ]


def fields_of(letter: Letter) -> dict[str, Any]:
    """A letter's fields by name, for programs."""
    return {"id": letter.id, **msgspec.structs.asdict(letter.said)}


def _moment(ms: int) -> str:
    try:
        return dt.datetime.fromtimestamp(ms / 1_000).astimezone().isoformat(" ", "milliseconds")
    except (OverflowError, ValueError, OSError):
        return f"{ms} ms"
