"""From an item of ARK's list `sync_events` to the two events that tell of it, or to a dead letter."""

from typing import Any, Final

import msgspec

from schemas.events import MAX_BYTES, MAX_EXCERPT, MAX_ID, Event, Rejected, SyncIn, SyncOut
from schemas.values import instant_ms

__all__ = ["COLLECTOR", "MAX_ITEM_BYTES", "read_item", "rejection"]

COLLECTOR: Final = "sync_events"

MAX_ITEM_BYTES: Final = 64 << 10
"""Largest item that is decoded."""

_SUCCESS: Final = {"true": True, "1": True, "false": False, "0": False}

_decoder = msgspec.json.Decoder(dict[str, Any])


def read_item(item: bytes, observed: int) -> tuple[Event, ...]:
    """The events of one item that was read at `observed` (ms): a sync, told to its source and to its target.

    A `Rejected` stands beside them if a field could not be used, or alone if nothing could. A sync of a peer with
    itself is told once.
    """
    if len(item) > MAX_ITEM_BYTES:
        return _refused(f"item must have at most {MAX_ITEM_BYTES} bytes", item, observed)
    try:
        fields: dict[str, Any] = _decoder.decode(item)
    except RecursionError:
        return _refused("item is nested too deeply", item, observed)
    except UnicodeDecodeError:
        return _refused("item is not UTF-8", item, observed)
    except msgspec.ValidationError:
        return _refused("item is not an object of usable values", item, observed)
    except msgspec.DecodeError:
        return _refused("item is not JSON", item, observed)
    return _sync(fields, item, observed)


def rejection(reason: str, item: bytes, observed: int) -> Rejected:
    """The dead letter of one item."""
    excerpt = item[:MAX_EXCERPT].decode("utf-8", "replace")
    return Rejected(ts=observed, collector=COLLECTOR, reason=reason[:MAX_ID], excerpt=excerpt)


def _refused(reason: str, item: bytes, observed: int) -> tuple[Event, ...]:
    """The dead letter of an item of which nothing is used; if it holds all of the item, it may be replayed."""
    letter = rejection(reason, item, observed)
    return (msgspec.structs.replace(letter, whole=letter.excerpt.encode() == item),)


def _sync(fields: dict[str, Any], item: bytes, observed: int) -> tuple[Event, ...]:
    sender, target = _peer(fields.get("source")), _peer(fields.get("target"))
    if sender is None or target is None:
        name = "source" if sender is None else "target"
        return _refused(f"{name} must be text of 1 to {MAX_ID} characters", item, observed)
    complaints: list[str] = []
    ts = _timestamp(fields.get("timestamp"), observed, complaints)
    action = _action(fields.get("event_type"), complaints)
    size = _bytes(fields.get("bytes"), complaints)
    ok = _success(fields.get("success"), complaints)
    events: list[Event] = [SyncOut(ts=ts, sender=sender, target=target, action=action, bytes=size, ok=ok)]
    if sender != target:
        events.append(SyncIn(ts=ts, peer=target, ok=ok))
    if complaints:
        events.append(rejection("; ".join(complaints), item, observed))
    return tuple(events)


def _peer(value: object) -> str | None:
    return value if isinstance(value, str) and 1 <= len(value) <= MAX_ID else None


def _timestamp(value: object, observed: int, complaints: list[str]) -> int:
    ts = instant_ms(value)
    if ts is None and value is not None:
        complaints.append("timestamp is not a time")
    return observed if ts is None else ts


def _action(value: object, complaints: list[str]) -> str:
    if isinstance(value, str) and len(value) <= MAX_ID:
        return value
    if value is not None:
        complaints.append(f"event_type must be text of at most {MAX_ID} characters")
    return ""


def _bytes(value: object, complaints: list[str]) -> int:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(value, int | float) and number and 0 <= value <= MAX_BYTES and value == int(value):
        return int(value)
    if value is not None:
        complaints.append(f"bytes must be a whole number from 0 to {MAX_BYTES}")
    return 0


def _success(value: object, complaints: list[str]) -> bool | None:
    # True and 1 read the same as text in lower case.
    ok = _SUCCESS.get(str(value).lower()) if isinstance(value, bool | int | str) else None
    if ok is None and value is not None:
        complaints.append("success must be true or false")
    return ok
