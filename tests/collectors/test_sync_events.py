import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.collectors.sync_events import read_item
from schemas import codec
from schemas.events import Rejected, SyncIn, SyncOut

NOW = 1_700_000_000_000
GOOD = {
    "timestamp": NOW - 5, "source": "a", "target": "b", "event_type": "memory_sync", "bytes": 10, "success": True,
}  # fmt: skip


def item(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def out(**changes: Any) -> SyncOut:
    [first, *_] = read_item(item(**changes), NOW)
    assert isinstance(first, SyncOut)
    return first


def reasons(raw: bytes) -> list[str]:
    return [event.reason for event in read_item(raw, NOW) if isinstance(event, Rejected)]


def test_an_item_is_told_to_both_its_ends() -> None:
    assert read_item(item(), NOW) == (
        SyncOut(ts=NOW - 5, sender="a", target="b", action="memory_sync", bytes=10, ok=True),
        SyncIn(ts=NOW - 5, peer="b", ok=True),
    )


def test_a_sync_of_a_peer_with_itself_is_told_once() -> None:
    assert [type(event) for event in read_item(item(target="a"), NOW)] == [SyncOut]


def test_missing_fields_have_their_meaning() -> None:
    assert read_item(b'{"source": "a", "target": "b"}', NOW)[0] == SyncOut(ts=NOW, sender="a", target="b")


def test_the_last_of_duplicate_keys_counts() -> None:
    [first, *_] = read_item(b'{"source": "x", "source": "a", "target": "b"}', NOW)
    assert isinstance(first, SyncOut)
    assert first.sender == "a"


@pytest.mark.parametrize("value", [1_699_999_999, "1699999999", "2023-11-14T22:13:19", 1_699_999_999_000])
def test_timestamps_are_read_in_every_spelling(value: object) -> None:
    assert out(timestamp=value).ts == 1_699_999_999_000


@pytest.mark.parametrize(
    ("value", "expected"),
    [("true", True), ("False", False), (1, True), (0, False), ("1", True), ("0", False), (None, None)],
)
def test_success_is_read_in_every_spelling(value: object, expected: bool | None) -> None:
    assert out(success=value).ok is expected
    assert reasons(item(success=value)) == []


@pytest.mark.parametrize(("value", "expected"), [(5.0, 5), (0, 0), (2**53, 2**53), (None, 0)])
def test_whole_numbers_of_bytes_are_taken(value: object, expected: int) -> None:
    assert out(bytes=value).bytes == expected


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"timestamp": "soon"}, "timestamp is not a time"),
        ({"timestamp": -1}, "timestamp is not a time"),
        ({"timestamp": True}, "timestamp is not a time"),
        ({"timestamp": 10**30}, "timestamp is not a time"),
        ({"timestamp": 0}, "timestamp is not a time"),
        ({"event_type": 5}, "event_type must be text of at most 256 characters"),
        ({"event_type": "x" * 257}, "event_type must be text of at most 256 characters"),
        ({"bytes": "x"}, "bytes must be a whole number from 0 to 9007199254740992"),
        ({"bytes": -1}, "bytes must be a whole number from 0 to 9007199254740992"),
        ({"bytes": 2**63}, "bytes must be a whole number from 0 to 9007199254740992"),
        ({"bytes": 10**40}, "bytes must be a whole number from 0 to 9007199254740992"),
        ({"bytes": 1e308}, "bytes must be a whole number from 0 to 9007199254740992"),
        ({"bytes": 1.5}, "bytes must be a whole number from 0 to 9007199254740992"),
        ({"bytes": True}, "bytes must be a whole number from 0 to 9007199254740992"),
        ({"success": "maybe"}, "success must be true or false"),
        ({"success": []}, "success must be true or false"),
        ({"success": 1.0}, "success must be true or false"),
    ],
)
def test_an_unusable_field_is_a_complaint_beside_the_sync(changes: dict[str, Any], reason: str) -> None:
    events = read_item(item(**changes), NOW)
    assert [type(event) for event in events] == [SyncOut, SyncIn, Rejected]
    assert reasons(item(**changes)) == [reason]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"x", "item is not JSON"),
        (b"", "item is not JSON"),
        (b'{"source": NaN}', "item is not JSON"),
        (b'{"bytes": Infinity}', "item is not JSON"),
        (b'{"source": "a", "target": "\\ud800"}', "item is not JSON"),
        (b'{"source": "a", "target": "\xed\xa0\x80"}', "item is not UTF-8"),
        (b'{"source": "a"} {"target": "b"}', "item is not JSON"),
        (b'"x"', "item is not an object of usable values"),
        (b"true", "item is not an object of usable values"),
        (b'{"source": "\xff"}', "item is not UTF-8"),
        (b"5", "item is not an object of usable values"),
        (b"[]", "item is not an object of usable values"),
        (b"null", "item is not an object of usable values"),
        (b'{"bytes": 1E400}', "item is not an object of usable values"),
        (b'{"a":' * 10_000, "item is nested too deeply"),
        (b'{"a":' * 13_000, "item is nested too deeply"),
        (b"[" * 60_000, "item is not an object of usable values"),
        (b"[" * 100_000, "item must have at most 65536 bytes"),
        (b'{"target": "b"}', "source must be text of 1 to 256 characters"),
        (item(source=""), "source must be text of 1 to 256 characters"),
        (item(source="x" * 257), "source must be text of 1 to 256 characters"),
        (item(target=5), "target must be text of 1 to 256 characters"),
    ],
)
def test_an_unusable_item_is_rejected_with_its_reason(raw: bytes, reason: str) -> None:
    [event] = read_item(raw, NOW)
    assert isinstance(event, Rejected)
    assert event.reason == reason
    assert len(event.excerpt) <= 1024


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(list(GOOD)), json_values).map(lambda fields: {**GOOD, **fields}))
def test_any_object_gives_events_that_travel(fields: dict[str, Any]) -> None:
    events = list(read_item(json.dumps(fields).encode(), NOW))
    assert codec.decode_events({b"v": b"1", b"d": codec.encode(events)}).events == events


@given(st.binary(max_size=300))
def test_any_bytes_give_events_that_travel(raw: bytes) -> None:
    events = list(read_item(raw, NOW))
    assert codec.decode_events({b"v": b"1", b"d": codec.encode(events)}).events == events
