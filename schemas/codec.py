"""One encoder, one typed decoder a stream, and the schema version.

An entry has plain fields that any client in any language can read: `v` (schema version), `t` (type), `ts` (ms since
epoch), `d` (JSON). Entries of a commit also have `e` (epoch); their id is `<ms>-<n>`. A reader takes what it knows:
fields that a newer release adds are ignored, an entry of a newer version is parked.
"""

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple, TypeVar

import msgspec

from schemas.errors import MalformedEntry, NewerVersion
from schemas.events import MAX_BATCH_EVENTS, Event
from schemas.metrics import (
    DeadLetter,
    FederationSummary,
    MemoryRecord,
    MemorySummary,
    Partial,
    PeerRow,
    RosterChange,
    Silence,
    SourceState,
    SyncRecord,
)

__all__ = [
    "MAX_BODY",
    "VERSION",
    "Batch",
    "decode_dead",
    "decode_events",
    "decode_federation",
    "decode_memory",
    "decode_memory_record",
    "decode_partial",
    "decode_peer",
    "decode_roster_change",
    "decode_silences",
    "decode_source",
    "decode_sync",
    "encode",
    "entry_fields",
    "is_newer",
    "reason_of",
    "records_of",
]

VERSION: Final = 1

_OURS: Final = str(VERSION).encode()

MAX_BODY: Final = 1 << 20
"""Largest body of an event entry that is decoded, in bytes."""

Fields = Mapping[bytes, bytes]
T = TypeVar("T")

_TOO_DEEP: Final = "body is nested too deeply"
# What the structure of JSON is made of: strings (one that does not end too), runs of brackets, commas. Nothing is
# tried twice, so that the time is that of one look at each byte.
_TOKENS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]+|[\]}]+|,', re.DOTALL)
# A batch as ours has some thousand; the time for so many is some ten milliseconds.
_MAX_TOKENS: Final = 65_536

_encoder = msgspec.json.Encoder()
_batch_decoder = msgspec.json.Decoder(list[Event])
_event_decoder = msgspec.json.Decoder(Event)
_raw_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_silence_decoder = msgspec.json.Decoder(Silence)

encode: Final[Callable[[object], bytes]] = _encoder.encode
"""JSON bytes of any wire type."""


class Batch(NamedTuple):
    """What one event entry held: the events in order, and what had to be left out with the reason."""

    events: list[Event]
    rejected: list[tuple[str, bytes]]


def entry_fields(kind: str, ts: int, body: bytes) -> dict[str, str | int | bytes]:
    """The fields of a stream entry of this release."""
    return {"v": VERSION, "t": kind, "ts": ts, "d": body}


def reason_of(error: msgspec.DecodeError) -> str:
    """A decoder's complaint as a short lower-case clause."""
    text = str(error)[:200]
    # "JSON is malformed" keeps its capitals.
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def _body(fields: Fields) -> bytes:
    """The body of an entry whose version we know. Raises NewerVersion, MalformedEntry."""
    version = fields.get(b"v")
    if version != _OURS:
        _check_version(version)
    body = fields.get(b"d")
    if body is None:
        raise MalformedEntry("field d is missing")
    return body


def _check_version(version: bytes | None) -> None:
    if version is None:
        raise MalformedEntry("field v is missing")
    if not version.isdigit() or len(version) > 9:
        raise MalformedEntry("field v is not a number")
    if int(version) < 1:
        raise MalformedEntry("field v must be at least 1")
    if int(version) > VERSION:
        raise NewerVersion(int(version))


def is_newer(fields: Fields) -> bool:
    """Whether an entry is of a version that we do not know yet."""
    try:
        _body(fields)
    except NewerVersion:
        return True
    except MalformedEntry:
        pass  # what it lacks is told by who decodes it
    return False


def decode_events(fields: Fields) -> Batch:
    """The events of an entry of `ark:{p}:events`: an array of events, or a single one from a foreign producer.

    A bad event does not take its neighbours with it. Raises MalformedEntry: if the entry as a whole cannot be read.
    Raises NewerVersion: if it is to be parked.
    """
    body = _body(fields)
    if len(body) > MAX_BODY:
        raise MalformedEntry(f"body must have at most {MAX_BODY} bytes")
    try:
        if body[:1] == b"[":
            events: list[Event] = _batch_decoder.decode(body)
            rejected: list[tuple[str, bytes]] = []
        else:
            events, rejected = [_event_decoder.decode(body)], []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if body[:1] != b"[":
            raise MalformedEntry(_clause(error)) from error
        events, rejected = _decode_singly(body)
    _check_count(len(events) + len(rejected))
    return Batch(events, rejected)


def _check_count(count: int) -> None:
    if count > MAX_BATCH_EVENTS:
        raise MalformedEntry(f"batch must have at most {MAX_BATCH_EVENTS} events")


def _decode_singly(body: bytes) -> tuple[list[Event], list[tuple[str, bytes]]]:
    events: list[Event] = []
    rejected: list[tuple[str, bytes]] = []
    items: Sequence[bytes | msgspec.Raw]
    try:
        items = _raw_decoder.decode(body)
    except RecursionError:
        items = _split(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedEntry(_clause(error)) from error
    # Asked first too: each item that is refused costs an exception.
    _check_count(len(items))
    for item in items:
        try:
            events.append(_event_decoder.decode(item))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            rejected.append((_clause(error), bytes(item)))
    return events, rejected


def _split(body: bytes) -> list[bytes]:
    """The items of an array of which one is nested too deeply for a decoder, which would give up on all of them.

    Whether an item is JSON is not looked at. Raises MalformedEntry: if the array does not end where the body does, or
    it takes too long to tell.
    """
    items: list[bytes] = []
    depth, begin = 0, 1
    for token in islice(_TOKENS.finditer(body), _MAX_TOKENS):
        match body[token.start()]:
            case 0x5B | 0x7B:  # [ {
                depth += token.end() - token.start()
            case 0x5D | 0x7D:  # ] }
                depth -= token.end() - token.start()
                if depth == 0 and not body[token.end() :].strip():
                    return [*items, body[begin : token.end() - 1]]
                if depth <= 0:
                    break
            case 0x2C if depth == 1:  # ,
                items.append(body[begin : token.start()])
                begin = token.end()
    raise MalformedEntry(_TOO_DEEP)


def _clause(error: Exception) -> str:
    if isinstance(error, msgspec.DecodeError):
        return reason_of(error)
    return _TOO_DEEP if isinstance(error, RecursionError) else "body is not UTF-8"


def records_of(body: bytes) -> list[bytes]:
    """The records of an entry of `ark:{p}:feed`: those of an array, else the body itself, whatever it is.

    An entry of an older release is a single record. Whether a record can be read is for its readers to say.
    """
    try:
        return [bytes(record) for record in _raw_decoder.decode(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [body]


def _typed(kind: type[T]) -> Callable[[Fields], T]:
    decoder = msgspec.json.Decoder(kind)

    def decode(fields: Fields) -> T:
        try:
            return decoder.decode(_body(fields))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedEntry(_clause(error)) from error

    decode.__doc__ = f"The {kind} of an entry. Raises MalformedEntry, NewerVersion."
    return decode


decode_federation = _typed(FederationSummary)
decode_memory = _typed(MemorySummary)
decode_memory_record = _typed(MemoryRecord)
decode_partial = _typed(Partial)
decode_sync = _typed(SyncRecord)
decode_dead = _typed(DeadLetter)
decode_source = _typed(SourceState)
decode_roster_change: Callable[[Fields], RosterChange] = _typed(RosterChange)

decode_peer: Final[Callable[[bytes], PeerRow]] = msgspec.json.Decoder(PeerRow).decode
"""One value of the hash `ark:{p}:peers`. Raises msgspec.DecodeError."""


def decode_silences(fields: Fields) -> dict[str, Silence]:
    """The hash `ark:silences`, by source; what cannot be read silences nothing."""
    silences = {}
    for source, body in fields.items():
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            silences[source.decode()] = _silence_decoder.decode(body)
    return silences
