import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.collectors.peers import Complaint, bad_id, digest, read_peer, rejection
from schemas import codec
from schemas.events import Heartbeat

NOW = 1_700_000_000_000


def read(fields: dict[str, bytes], *, away: bool = False, expires: bool = False) -> tuple[Heartbeat, list[str]]:
    hash_ = {name.encode(): value for name, value in fields.items()}
    reading = read_peer(b"peer:a", hash_, NOW, expires=expires, away=away)
    return reading.heartbeat, [complaint.clause for complaint in reading.complaints]


def test_a_whole_hash_becomes_a_heartbeat() -> None:
    fields = {
        "hostname": b"a.local",
        "trust_tier": b"core",
        "status": b"Online",
        "latency": b"12.5",
        "last_seen": b"1700000000",
    }
    heartbeat, complaints = read(fields, expires=True)
    assert heartbeat == Heartbeat(
        peer="a", ts=NOW, hostname="a.local", tier="core", status="online", latency_ms=12.5, expires=True
    )
    assert complaints == []


def test_an_empty_value_is_no_complaint() -> None:
    assert read(dict.fromkeys(["hostname", "trust_tier", "status", "latency", "last_seen"], b"")) == (
        Heartbeat(peer="a", ts=NOW),
        [],
    )


@pytest.mark.parametrize(
    ("status", "expected"),
    [(b"ACTIVE", "online"), (b"idle", "offline"), (b"offline", "offline"), (b"syncing", "syncing")],
)
def test_every_known_status_is_understood(status: bytes, expected: str) -> None:
    assert read({"status": status})[0].status == expected


@pytest.mark.parametrize(
    ("field", "value", "clause"),
    [
        ("latency", b"NaN", "latency is not a number"),
        ("latency", b"fast", "latency is not a number"),
        ("latency", b"-1", "latency must be 0 to 10000000 ms"),
        ("latency", b"1e308", "latency must be 0 to 10000000 ms"),
        ("latency", b"\xff", "latency must be valid UTF-8"),
        ("status", b"dreaming", "status is not online, offline or syncing"),
        ("hostname", b"\xff", "hostname must be valid UTF-8"),
        ("hostname", b"h" * 257, "hostname must have at most 256 characters"),
        ("trust_tier", b"h" * 257, "trust_tier must have at most 256 characters"),
        ("last_seen", b"0", "last_seen is not a time"),
        ("last_seen", b"-3", "last_seen is not a time"),
        ("last_seen", b"yesterday", "last_seen is not a time"),
        ("last_seen", b"1700000006", "last_seen must be at most 5 s ahead"),
    ],
)
def test_an_unusable_field_is_left_out_with_a_complaint(field: str, value: bytes, clause: str) -> None:
    assert read({field: value}) == (Heartbeat(peer="a", ts=NOW), [clause])


def test_an_unknown_tier_is_passed_on() -> None:
    assert read({"trust_tier": b"untrusted"})[0].tier == "untrusted"


@pytest.mark.parametrize(
    ("last_seen", "expected"),
    [(b"1699990000", 1_699_990_000_000), (b"1700000003", NOW), (b"0", NOW), (b"", NOW)],
)
def test_a_change_while_away_is_as_old_as_the_hash_says(last_seen: bytes, expected: int) -> None:
    assert read({"last_seen": last_seen}, away=True)[0].ts == expected


@pytest.mark.parametrize(
    ("learnt_from", "expected"),
    [(b"manifest", "manifest"), (b"Manifest", "redis"), (b"other.host", "redis"), (b"", "redis"), (b"\xff", "redis")],
)
def test_only_a_manifest_is_believed_to_be_where_a_peer_was_learnt_from(learnt_from: bytes, expected: str) -> None:
    assert read({"learnt_from": learnt_from}) == (Heartbeat(peer="a", ts=NOW, learnt_from=expected), [])


def test_a_change_that_was_seen_is_of_now() -> None:
    assert read({"last_seen": b"1699990000"})[0].ts == NOW


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (b"peer:", "peer id must have 1 to 256 characters"),
        (b"peer:" + b"x" * 257, "peer id must have 1 to 256 characters"),
        (b"peer:\xff", "peer id must be valid UTF-8"),
        (b"peer:a:b\n*", None),
        (b"peer:" + "é".encode() * 256, None),
    ],
)
def test_a_peer_id_is_checked(key: bytes, reason: str | None) -> None:
    assert bad_id(key) == reason


def test_a_dead_letter_names_every_complaint_within_its_bounds() -> None:
    complaints = [Complaint("latency is not a number", b"fast")]
    complaints += [Complaint("hostname must be valid UTF-8", b"\xff" * 999)] * 3
    letter = rejection(b"peer:a" + b"x" * 5000, complaints, NOW)
    assert letter.reason.startswith("latency is not a number: 'fast'; hostname must be valid UTF-8: '")
    assert (len(letter.reason), len(letter.excerpt)) == (256, 1024)


def test_the_digest_does_not_depend_on_the_order_of_fields() -> None:
    assert digest({b"a": b"1", b"b": b"2"}) == digest({b"b": b"2", b"a": b"1"})


def test_the_digest_tells_where_a_field_ends() -> None:
    assert digest({b"a": b"bc"}) != digest({b"ab": b"c"})


@given(st.dictionaries(st.sampled_from([b"hostname", b"trust_tier", b"status", b"latency", b"last_seen"]), st.binary()))
def test_any_hash_gives_a_heartbeat_that_travels(fields: dict[bytes, bytes]) -> None:
    reading = read_peer(b"peer:a", fields, NOW, expires=False, away=True)
    letter = rejection(b"peer:a", reading.complaints, NOW)
    body = codec.encode([reading.heartbeat, letter])
    assert codec.decode_events({b"v": b"1", b"d": body}).events == [reading.heartbeat, letter]
