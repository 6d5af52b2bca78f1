"""From the hash of a peer, as people and services write it, to a heartbeat, with complaints about what is unusable.

A complaint never loses the heartbeat: the unusable field is left out, the rest is published.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from schemas.events import MAX_EXCERPT, MAX_ID, MAX_LATENCY_MS, Heartbeat, Rejected
from schemas.values import AHEAD_MS, PEER_STATUS, instant_ms, number

__all__ = ["COLLECTOR", "PREFIX", "Complaint", "Reading", "bad_id", "digest", "read_peer", "rejection"]

COLLECTOR: Final = "peers"
PREFIX: Final = b"peer:"

_MAX_VALUE: Final = 80


class Complaint(NamedTuple):
    """A field that could not be used: why, and its value (b"" if the value says nothing)."""

    clause: str
    value: bytes = b""


class Reading(NamedTuple):
    """What one hash gave."""

    heartbeat: Heartbeat
    complaints: tuple[Complaint, ...]


def digest(fields: Mapping[bytes, bytes]) -> bytes:
    """Eight bytes that change with the hash: BLAKE2b over its sorted, length-prefixed fields."""
    # Without the lengths, {a: bc} and {ab: c} would be the same.
    parts = (b"%d:%d:%b%b" % (len(name), len(value), name, value) for name, value in sorted(fields.items()))
    return hashlib.blake2b(b"".join(parts), digest_size=8).digest()


def bad_id(key: bytes) -> str | None:
    """Why what follows `peer:` in `key` cannot be a peer's id; None if it can."""
    try:
        peer = key.removeprefix(PREFIX).decode("utf-8")
    except UnicodeDecodeError:
        return "peer id must be valid UTF-8"
    return None if 1 <= len(peer) <= MAX_ID else f"peer id must have 1 to {MAX_ID} characters"


def read_peer(
    key: bytes, fields: Mapping[bytes, bytes], observed: int, *, expires: bool, away: bool, service: str | None = None
) -> Reading:
    """The heartbeat that a change of `fields` means, observed at `observed` (ms); the id in `key` must be good.

    `expires`: whether the key expires by itself. `away`: the change happened while nobody watched, so it is as old as
    the hash says it is: a hash that somebody wrote last week is not a heartbeat of now. `service`: the other federation
    service that told of it, None for ARK's own Redis.
    """
    complaints: list[Complaint] = []
    ts = observed
    last_seen = _last_seen(_text(fields, b"last_seen", complaints), observed, complaints)
    if away and last_seen is not None:
        ts = min(observed, last_seen)
    heartbeat = Heartbeat(
        peer=key.removeprefix(PREFIX).decode("utf-8"),
        ts=ts,
        hostname=_name(fields, b"hostname", complaints),
        tier=_name(fields, b"trust_tier", complaints),
        status=_status(_text(fields, b"status", complaints), complaints),
        latency_ms=_latency(_text(fields, b"latency", complaints), complaints),
        # What else stands there is somebody's own text.
        learnt_from=service or ("manifest" if fields.get(b"learnt_from") == b"manifest" else "redis"),
        expires=expires,
    )
    return Reading(heartbeat, tuple(complaints))


def rejection(key: bytes, complaints: Sequence[Complaint], now: int, collector: str = COLLECTOR) -> Rejected:
    """The dead letter of one hash: all complaints about it in one reason."""
    reasons = [
        f"{clause}: {value[:_MAX_VALUE].decode('utf-8', 'replace')!r}" if value else clause
        for clause, value in complaints
    ]
    excerpt = key[:MAX_EXCERPT].decode("utf-8", "replace")
    return Rejected(ts=now, collector=collector, reason="; ".join(reasons)[:MAX_ID], excerpt=excerpt[:MAX_EXCERPT])


def _text(fields: Mapping[bytes, bytes], name: bytes, complaints: list[Complaint]) -> str:
    value = fields.get(name, b"")
    try:
        return value.decode("utf-8").strip()
    except UnicodeDecodeError:
        complaints.append(Complaint(f"{name.decode()} must be valid UTF-8", value))
        return ""


def _name(fields: Mapping[bytes, bytes], name: bytes, complaints: list[Complaint]) -> str | None:
    text = _text(fields, name, complaints)
    if len(text) > MAX_ID:
        complaints.append(Complaint(f"{name.decode()} must have at most {MAX_ID} characters"))
        return None
    return text or None


def _status(text: str, complaints: list[Complaint]) -> str | None:
    status = PEER_STATUS.get(text.lower())
    if text and status is None:
        complaints.append(Complaint("status is not online, offline or syncing", text.encode()))
    return status


def _latency(text: str, complaints: list[Complaint]) -> float | None:
    latency_ms = number(text)
    if latency_ms is not None and 0 <= latency_ms <= MAX_LATENCY_MS:
        # Minus zero is a number too, and would be written as -0.0.
        return abs(latency_ms)
    if text:
        clause = "is not a number" if latency_ms is None else f"must be 0 to {MAX_LATENCY_MS:.0f} ms"
        complaints.append(Complaint(f"latency {clause}", text.encode()))
    return None


def _last_seen(text: str, observed: int, complaints: list[Complaint]) -> int | None:
    seen = instant_ms(text)
    if seen is not None and seen <= observed + AHEAD_MS:
        return seen
    if text:
        clause = "is not a time" if seen is None else f"must be at most {AHEAD_MS // 1000} s ahead"
        complaints.append(Complaint(f"last_seen {clause}", text.encode()))
    return None
