"""One encoder, one typed decoder a stream, and the schema version.

An entry has plain fields that any client in any language can read: `v` (schema version), `t` (type), `ts` (ms since
epoch), `d` (JSON). Entries of a commit also have `e` (epoch); their id is `<ms>-<n>`. A reader takes what it knows:
fields that a newer release adds are ignored, an entry of a newer version is parked.
"""

from collections.abc import Callable, Mapping
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
    "decode_source",
    "decode_sync",
    "encode",
    "entry_fields",
    "reason_of",
]

VERSION: Final = 1

MAX_BODY: Final = 1 << 20
"""Largest body of an event entry that is decoded, in bytes."""

Fields = Mapping[bytes, bytes]
T = TypeVar("T")

_encoder = msgspec.json.Encoder()
_batch_decoder = msgspec.json.Decoder(list[Event])
_event_decoder = msgspec.json.Decoder(Event)
_raw_decoder = msgspec.json.Decoder(list[msgspec.Raw])

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
    if version is None:
        raise MalformedEntry("field v is missing")
    if not version.isdigit() or len(version) > 9:
        raise MalformedEntry("field v is not a number")
    if int(version) > VERSION:
        raise NewerVersion(int(version))
    body = fields.get(b"d")
    if body is None:
        raise MalformedEntry("field d is missing")
    return body


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
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if body[:1] != b"[":
            raise MalformedEntry(_clause(error)) from error
        events, rejected = _decode_singly(body)
    except RecursionError as error:
        raise MalformedEntry("body is nested too deeply") from error
    if len(events) + len(rejected) > MAX_BATCH_EVENTS:
        raise MalformedEntry(f"batch must have at most {MAX_BATCH_EVENTS} events")
    return Batch(events, rejected)


def _decode_singly(body: bytes) -> tuple[list[Event], list[tuple[str, bytes]]]:
    events: list[Event] = []
    rejected: list[tuple[str, bytes]] = []
    try:
        items = _raw_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedEntry(_clause(error)) from error
    for item in items:
        try:
            events.append(_event_decoder.decode(item))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            rejected.append((_clause(error), bytes(item)))
    return events, rejected


def _clause(error: Exception) -> str:
    if isinstance(error, msgspec.DecodeError):
        return reason_of(error)
    return "body is nested too deeply" if isinstance(error, RecursionError) else "body is not UTF-8"


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
