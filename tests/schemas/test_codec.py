import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import codec
from schemas.errors import MalformedEntry, NewerVersion
from schemas.events import MAX_BATCH_EVENTS, MAX_BYTES, MAX_ID, Event, Heartbeat, PeerGone, Rejected, SyncIn, SyncOut
from schemas.metrics import SyncRecord

ids = st.text(min_size=1, max_size=MAX_ID).filter(lambda text: not any(0xD800 <= ord(c) <= 0xDFFF for c in text))
names = st.text(max_size=20).filter(lambda text: not any(0xD800 <= ord(c) <= 0xDFFF for c in text))
millis = st.integers(0, 10**14)
outcomes = st.none() | st.booleans()
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        Heartbeat,
        peer=ids,
        ts=millis,
        hostname=st.none() | names,
        tier=st.none() | names,
        status=st.none() | st.sampled_from(["online", "offline", "syncing"]),
        latency_ms=st.none() | st.floats(0, 1e7),
        learnt_from=names,
        expires=st.booleans(),
    ),
    st.builds(PeerGone, peer=ids, ts=millis),
    st.builds(SyncOut, ts=millis, sender=ids, target=ids, action=names, bytes=st.integers(0, MAX_BYTES), ok=outcomes),
    st.builds(SyncIn, ts=millis, peer=ids, ok=outcomes),
    st.builds(Rejected, ts=millis, collector=names, reason=names, excerpt=names),
)


def fields(body: bytes, version: bytes = b"1") -> dict[bytes, bytes]:
    return {b"v": version, b"t": b"events", b"ts": b"1", b"d": body}


def batch(items: list[object]) -> dict[bytes, bytes]:
    return fields(msgspec.json.encode(items))


@given(st.lists(events, max_size=20))
def test_a_batch_comes_back_as_it_was_sent(items: list[Event]) -> None:
    assert codec.decode_events(fields(codec.encode(items))) == codec.Batch(items, [])


@given(events)
def test_a_single_object_of_a_foreign_producer_is_one_event(event: Event) -> None:
    assert codec.decode_events(fields(codec.encode(event))).events == [event]


def test_the_wire_form_of_a_sync_names_its_ends_from_and_to() -> None:
    event = SyncOut(ts=1, sender="a", target="b", bytes=5, ok=True)
    assert codec.encode(event) == b'{"t":"sync_out","ts":1,"from":"a","to":"b","bytes":5,"ok":true}'
    record = SyncRecord(ts=1, sender="a", target="b", action="x", bytes=5, source="live")
    assert b'"from":"a","to":"b"' in codec.encode(record)


def test_a_field_that_a_newer_release_added_is_ignored() -> None:
    body = [{"t": "peer_gone", "peer": "a", "ts": 1, "added_later": [1, 2]}]
    assert codec.decode_events(batch(list(body))).events == [PeerGone(peer="a", ts=1)]


def test_one_bad_event_does_not_take_its_neighbours_with_it() -> None:
    good = {"t": "peer_gone", "peer": "a", "ts": 1}
    bad = {"t": "heartbeat", "peer": "b", "ts": "soon"}
    decoded = codec.decode_events(batch([good, bad, good]))
    assert decoded.events == [PeerGone(peer="a", ts=1)] * 2
    assert decoded.rejected == [("expected `int`, got `str` - at `$.ts`", msgspec.json.encode(bad))]


@pytest.mark.parametrize("depth", [2_000, 400_000])
def test_an_event_nested_too_deeply_does_not_take_its_neighbours_with_it(depth: int) -> None:
    good = b'{"t":"peer_gone","peer":"a","ts":1,"later":"],[{\\"\\\\"}'
    deep = b'{"t":"peer_gone","peer":"b","ts":1,"later":' + b"[" * depth + b"]" * depth + b"}"
    decoded = codec.decode_events(fields(b"[" + b" , ".join([good, deep, good]) + b" ] "))
    assert decoded.events == [PeerGone(peer="a", ts=1)] * 2
    assert [(reason, raw.strip()) for reason, raw in decoded.rejected] == [("body is nested too deeply", deep)]


DEEP = b"[" + b"[" * 2_000 + b"]" * 2_000


@pytest.mark.parametrize(
    "body",
    [DEEP, DEEP + b"]]", DEEP + b"] 1", DEEP + b',"]', DEEP + b"," + b"{}," * 100_000 + b"{}]"],
    ids=["no end", "two ends", "more behind", "a string without end", "too long to tell"],
)
def test_a_deep_batch_that_cannot_be_split_is_rejected_as_a_whole(body: bytes) -> None:
    with pytest.raises(MalformedEntry, match="body is nested too deeply"):
        codec.decode_events(fields(body))


def test_items_beyond_the_largest_batch_are_not_looked_at_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "_event_decoder", None)
    with pytest.raises(MalformedEntry, match="batch must have at most 250 events"):
        codec.decode_events(fields(b"[" + b"1," * MAX_BATCH_EVENTS + b"1]"))


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({b"d": b"[]"}, "field v is missing"),
        ({b"v": b"one", b"d": b"[]"}, "field v is not a number"),
        ({b"v": b"0", b"d": b"[]"}, "field v must be at least 1"),
        ({b"v": b"1"}, "field d is missing"),
        (fields(b"nonsense"), "JSON is malformed: invalid character (byte 4)"),
        (fields(b"null"), "expected `object`, got `null`"),
        (fields(b'{"t":"unheard_of"}'), "invalid value 'unheard_of' - at `$.t`"),
        (fields(b'{"t":"peer_gone","ts":1}'), "object missing required field `peer`"),
        (fields(b'{"t":"peer_gone","peer":"\xff","ts":1}'), "body is not UTF-8"),
        (fields(b"[" * 100_000), "body is nested too deeply"),
        (fields(b" " * (codec.MAX_BODY + 1)), "body must have at most 1048576 bytes"),
        (
            batch([{"t": "peer_gone", "peer": "a", "ts": 1}] * (MAX_BATCH_EVENTS + 1)),
            "batch must have at most 250 events",
        ),
    ],
)
def test_an_entry_that_cannot_be_read_says_why(entry: dict[bytes, bytes], reason: str) -> None:
    with pytest.raises(MalformedEntry) as caught:
        codec.decode_events(entry)
    assert caught.value.reason == reason


def test_an_entry_of_a_newer_version_is_told_from_a_broken_one() -> None:
    with pytest.raises(NewerVersion, match="schema version 2 is newer than this release understands"):
        codec.decode_events(fields(b"{}", b"2"))


@pytest.mark.parametrize("value", ["NaN", "-1", "1e308", "1E400", "Infinity"])
def test_a_latency_that_is_no_latency_is_refused(value: str) -> None:
    body = b'{"t":"heartbeat","peer":"a","ts":1,"latency_ms":' + value.encode() + b"}"
    with pytest.raises(MalformedEntry):
        codec.decode_events(fields(body))


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_schema_error(body: bytes) -> None:
    try:
        codec.decode_events(fields(body))
    except MalformedEntry as error:
        assert error.reason  # noqa: PT017  - whether it raises at all depends on the bytes
