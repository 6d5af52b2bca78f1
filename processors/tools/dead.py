"""`ark-pulse dead`: what was rejected, and a second chance for it.

Delivery of a replay: exactly once a letter, whenever the command is killed and however often it is repeated. It is a
collector whose source is `ark:dead`: its cursor in a partition names the letter that was published there last, and is
written by the script that adds the letter's events. A letter is taken off before the next one is published, so the
cursors name every letter that was begun and may not have been finished: those come first. Two replays at once fence
each other, as two collectors of one source do.
"""

import json
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, cast

from redis.asyncio import Redis

from processors.runtime.connection import ask_bus, in_one_trip, partitions_of
from processors.runtime.errors import PulseError
from processors.runtime.output import print_line, print_lines
from processors.runtime.reads import Entry
from processors.runtime.script import Script
from processors.runtime.settings import Settings
from processors.tools.errors import LetterStays
from processors.tools.letters import (
    Choice,
    Letter,
    Reader,
    clause_of,
    fields_of,
    read_letter,
    report_of,
    shares_of,
    text_of,
)
from schemas import codec, streams
from schemas.errors import BadPosition
from schemas.events import Event
from schemas.positions import entry_id

__all__ = ["list_letters", "replay", "show"]

_PUBLISH: Final = Script("publish")
_NAME: Final = "dead"
# As the collectors have it.
_MAX_STREAM_BYTES: Final = 8 << 20
_AT_ONCE: Final = 200
_MAX_REASONS: Final = 20


def list_letters(settings: Settings, choice: Choice, *, count: int, as_json: bool) -> None:
    """Print how many letters of `choice` there are by source and reason, and the newest `count`, the newest first.

    Raises BusDown: if the bus does not answer.
    """
    counts, newest = ask_bus(settings, lambda client: _gather(client, choice, count))
    if as_json:
        kinds = [{"source": each[0], "reason": each[1], "letters": number} for each, number in counts.most_common()]
        letters = [fields_of(letter) for letter in newest]
        print_line(json.dumps({"total": counts.total(), "counts": kinds, "letters": letters}))
    else:
        print_lines(report_of(newest, counts))


def show(settings: Settings, letter_id: str, *, as_json: bool) -> None:
    """Print all of one letter. Raises BusDown; PulseError: if there is none of that id."""
    letter = ask_bus(settings, lambda client: _one(client, letter_id))
    if as_json:
        print_line(json.dumps(fields_of(letter)))
    else:
        print_lines(text_of(letter))


def replay(settings: Settings, readers: Mapping[str, Reader], letter_id: str | None, choice: Choice) -> bool:
    """Publish the input of a letter again (None: of each that `choice` takes), and take it off. Prints what it did.

    `readers`: how the collectors that cannot see an input again read it, by their names. Returns whether nothing had to
    stay. Raises BusDown; PulseError: if the letter is not there or cannot be replayed, if a partition is full, or
    another replay is at work. Then, and when it is interrupted, the next run goes on.
    """
    return ask_bus(settings, lambda client: _replay(client, settings, readers, letter_id, choice))


async def _gather(client: Redis, choice: Choice, most: int) -> tuple[Counter[tuple[str, str]], list[Letter]]:
    counts: Counter[tuple[str, str]] = Counter()
    newest: deque[Letter] = deque(maxlen=most)
    async for letter in _letters(client, choice):
        counts[letter.said.rejected_by, clause_of(letter.said.reason)] += 1
        newest.append(letter)
    return counts, list(reversed(newest))


async def _letters(client: Redis, choice: Choice, end: str = "+") -> AsyncIterator[Letter]:
    """The letters of `choice` up to the id `end`, oldest first, a slice at a time."""
    begin = "-"
    while entries := cast("list[Entry]", await client.xrange(streams.DEAD, begin, end, count=_AT_ONCE)):
        for name, fields in entries:
            letter = read_letter(name.decode(), fields)
            begin = f"({letter.id}"
            if choice.takes(letter):
                yield letter


async def _one(client: Redis, letter_id: str) -> Letter:
    try:
        entry_id(letter_id)
    except BadPosition as error:
        raise PulseError(f"{letter_id} is not the id of a letter, <ms>-<n>") from error
    letter = await _find(client, letter_id)
    if letter is None:
        raise PulseError(f"{streams.DEAD} has no letter {letter_id}")
    return letter


async def _find(client: Redis, letter_id: str) -> Letter | None:
    entries = cast("list[Entry]", await client.xrange(streams.DEAD, letter_id, letter_id))
    return read_letter(letter_id, entries[0][1]) if entries else None


class _Desk:
    """Where letters are published: the cursors of all partitions, and what is done with one letter."""

    def __init__(self, client: Redis, readers: Mapping[str, Reader], partitions: int) -> None:
        self._client = client
        self._readers = readers
        # How many live partitions the bus has, and by partition the id of the letter that was published there last.
        self._partitions = partitions
        self._cursors: dict[str, str] = {}

    async def open(self) -> list[str]:
        """Read the cursors, and finish the letters that an earlier replay began; returns their ids."""
        self._partitions = await partitions_of(self._client, self._partitions)
        names = [*streams.live_partitions(self._partitions), streams.SIMULATED]
        answers = await in_one_trip(self._client, [("HGET", streams.cursors_key(name), _NAME) for name in names])
        self._cursors = {
            name: (answer or b"").decode(errors="replace") for name, answer in zip(names, answers, strict=True)
        }
        found = [await _find(self._client, each) for each in sorted({*self._cursors.values()} - {""})]
        begun = [letter for letter in found if letter is not None]
        for letter in begun:
            await self.send(letter)
        return [letter.id for letter in begun]

    async def send(self, letter: Letter) -> None:
        """Publish what a letter holds where it was not published yet, and take it off.

        Raises LetterStays: if it cannot be replayed. Raises PulseError: if a partition is full, or another replay is
        at work.
        """
        for partition, events in shares_of(letter, self._readers, self._partitions).items():
            if self._cursors[partition] != letter.id:
                await self._publish(partition, letter.id, events)
        await self._client.xdel(streams.DEAD, letter.id)

    async def _publish(self, partition: str, cursor: str, events: Sequence[Event]) -> None:
        keys = [
            streams.events_key(partition),
            streams.cursors_key(partition),
            streams.published_key(partition, _NAME),
            streams.meta_key(partition),
        ]
        ts = int(time.time() * 1000)
        args = [_NAME, self._cursors[partition], cursor, _MAX_STREAM_BYTES, ts, codec.encode(events), 0, 0]
        status, detail, _ = await _PUBLISH.run(self._client, keys, args)
        if status == b"FULL":
            raise PulseError(f"partition {partition} is full until the aggregators have caught up; replay again then")
        if status != b"OK" and detail.decode() != cursor:
            raise PulseError("another replay is at work")
        self._cursors[partition] = cursor


async def _replay(
    client: Redis, settings: Settings, readers: Mapping[str, Reader], letter_id: str | None, choice: Choice
) -> bool:
    desk = _Desk(client, readers, settings.ark_partitions)
    # Before any letter is read: one that another replay takes off meanwhile moves a cursor that we know.
    begun = await desk.open()
    print_lines([f"finished {each}, which an earlier replay began" for each in begun])
    if letter_id is None:
        return await _replay_all(client, desk, choice)
    if letter_id not in begun:
        await desk.send(await _one(client, letter_id))
        print_lines([f"replayed {letter_id}"])
    return True


async def _replay_all(client: Redis, desk: _Desk, choice: Choice) -> bool:
    # What is rejected of a replay comes after this, and is not replayed in turn.
    newest = cast("list[Entry]", await client.xrevrange(streams.DEAD, count=1))
    replayed = 0
    stay: Counter[str] = Counter()
    async for letter in _letters(client, choice, newest[0][0].decode() if newest else "+"):
        try:
            await desk.send(letter)
            replayed += 1
        except LetterStays as error:
            stay[error.why] += 1
    print_lines([f"{number} stay: {why}" for why, number in stay.most_common(_MAX_REASONS)])
    print_lines([f"replayed {replayed} of {replayed + stay.total()} letters"])
    return not stay
