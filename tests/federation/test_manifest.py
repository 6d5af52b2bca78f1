"""Every bad form of a manifest, with its status and its clause word for word."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.federation.errors import Refused
from processors.federation.manifest import (
    LIFE_MS,
    MAX_BODY,
    Manifest,
    check_times,
    life_ms,
    peer_hash,
    read_manifest,
)
from tests.federation.support import Node, base64_of

NOW = 1_700_000_000_000
NODE = Node()


def refusal(body: bytes) -> tuple[int, str]:
    with pytest.raises(Refused) as error:
        read_manifest(body)
    return error.value.status, str(error.value)


def test_a_manifest_that_plain_json_dumps_signed_is_read() -> None:
    fields = {"hostname": "Zoë", "latency": 12.5, "load": 1e-9, "big": 2**70, "up": True, "note": None, "z": -0.0}
    manifest = read_manifest(NODE.body(**fields, trust_tier="Core ", seq=7, issued_at=1_700_000_000))
    assert manifest == Manifest(
        node_id="ark-node-1",
        key=NODE.pubkey,
        fields={"node_id": "ark-node-1", **fields, "trust_tier": "Core ", "seq": 7, "issued_at": 1_700_000_000},
        tier="core",
        seq=7,
        issued_at=NOW,
        expires_at=None,
    )


def test_the_spelling_and_order_of_the_body_do_not_matter() -> None:
    request = NODE.request(hostname="Zoë", a=1)
    manifest = dict(reversed(request["manifest"].items()))
    body = json.dumps({**request, "manifest": manifest}, ensure_ascii=False, indent=3).encode()
    assert read_manifest(body).node_id == "ark-node-1"


@pytest.mark.parametrize(
    ("body", "clause"),
    [
        (b"", "body must be JSON"),
        (b"{", "body must be JSON"),
        (b"\xef\xbb\xbf{}", "body must be JSON"),
        (b"[" + b"9" * 5_000 + b"]", "body must be JSON"),
        (b"\xff", "body must be UTF-8"),
        (b"[]", "body must be a JSON object"),
        (b'"text"', "body must be a JSON object"),
        (b"5", "body must be a JSON object"),
        (b"null", "body must be a JSON object"),
        (b"[" * 50_000, "body is nested too deeply"),
        (b'{"a":' * 10_000, "body is nested too deeply"),
        (b'{"manifest":1,"manifest":2}', "body must not name a key twice"),
        (b'{"manifest":{"node_id":"a","node_id":"b"}}', "body must not name a key twice"),
        (b'{"manifest":{"a":NaN}}', "body must not have numbers that are not finite"),
        (b'{"manifest":{"a":-Infinity}}', "body must not have numbers that are not finite"),
        (b'{"manifest":{"a":1e400}}', "body must not have numbers that are not finite"),
        (b"{}", "manifest is missing"),
        (b'{"manifest":null}', "manifest is missing"),
        (b'{"manifest":"a"}', "manifest must be a JSON object"),
        (b'{"manifest":[]}', "manifest must be a JSON object"),
        (b'{"manifest":{}}', "signature is missing"),
    ],
)
def test_a_body_that_is_no_request_is_refused(body: bytes, clause: str) -> None:
    assert refusal(body) == (400, clause)


@pytest.mark.parametrize(
    ("change", "clause"),
    [
        ({"signature": None}, "signature is missing"),
        ({"signature": 5}, "signature must be text"),
        ({"signature": "%%%"}, "signature must be base64 of 64 bytes"),
        ({"signature": "é"}, "signature must be base64 of 64 bytes"),
        ({"signature": base64_of(b"x" * 63)}, "signature must be base64 of 64 bytes"),
        ({"pubkey": None}, "pubkey is missing"),
        ({"pubkey": ["x"]}, "pubkey must be text"),
        ({"pubkey": "not base64"}, "pubkey must be base64 of 32 bytes"),
        ({"pubkey": base64_of(b"x" * 31)}, "pubkey must be base64 of 32 bytes"),
        ({"pubkey": base64_of(b"x" * 33)}, "pubkey must be base64 of 32 bytes"),
        (
            {"pubkey": base64_of(b"\x01" + bytes(31))},
            "pubkey must not be a point of small order, nor one in another spelling",
        ),
        ({"manifest": {}}, "node_id is missing"),
    ],
)
def test_a_request_with_an_unusable_part_is_refused(change: dict[str, Any], clause: str) -> None:
    assert refusal(json.dumps(NODE.request() | change).encode()) == (400, clause)


NAME = "must be text of 1 to 256 printable characters without markup"


@pytest.mark.parametrize(
    ("fields", "clause"),
    [
        ({"node_id": None}, "node_id is missing"),
        ({"node_id": ""}, f"node_id {NAME}"),
        ({"node_id": 5}, f"node_id {NAME}"),
        ({"node_id": "a\nb"}, f"node_id {NAME}"),
        ({"node_id": "a\x1b[31m"}, f"node_id {NAME}"),
        ({"node_id": "\u202eabc"}, f"node_id {NAME}"),
        ({"node_id": " a"}, f"node_id {NAME}"),
        ({"node_id": "<script>"}, f"node_id {NAME}"),
        ({"node_id": "a" * 257}, f"node_id {NAME}"),
        ({"hostname": "<img onerror=x>"}, f"hostname {NAME}"),
        ({"hostname": "a&b"}, f"hostname {NAME}"),
        ({"hostname": "a\x00"}, f"hostname {NAME}"),
        ({"hostname": 0}, f"hostname {NAME}"),
        ({"hostname": "h" * 257}, f"hostname {NAME}"),
        ({"trust_tier": "\u017fuper"}, "trust_tier must have 1 to 32 letters, digits, - or _"),
        ({"trust_tier": "a b"}, "trust_tier must have 1 to 32 letters, digits, - or _"),
        ({"trust_tier": "t" * 33}, "trust_tier must have 1 to 32 letters, digits, - or _"),
        ({"trust_tier": 3}, "trust_tier must have 1 to 32 letters, digits, - or _"),
        ({"status": "dreaming"}, "status must be online, offline or syncing"),
        ({"status": False}, "status must be online, offline or syncing"),
        ({"latency": "fast"}, "latency must be a number"),
        ({"latency": "1_0"}, "latency must be a number"),
        ({"latency": True}, "latency must be a number"),
        ({"latency": -1}, "latency must be 0 to 10000000 ms"),
        ({"latency": "-0.5"}, "latency must be 0 to 10000000 ms"),
        ({"latency": 1e308}, "latency must be 0 to 10000000 ms"),
        ({"latency": "1e999"}, "latency must be 0 to 10000000 ms"),
        ({"latency": 10**400}, "latency must be 0 to 10000000 ms"),
        ({"seq": -1}, "seq must be a whole number from 0 to 9007199254740991"),
        ({"seq": 2**53}, "seq must be a whole number from 0 to 9007199254740991"),
        ({"seq": 1.5}, "seq must be a whole number from 0 to 9007199254740991"),
        ({"seq": True}, "seq must be a whole number from 0 to 9007199254740991"),
        ({"seq": "7"}, "seq must be a whole number from 0 to 9007199254740991"),
        ({"issued_at": 0}, "issued_at must be a time: seconds, milliseconds, or ISO 8601"),
        ({"issued_at": "yesterday"}, "issued_at must be a time: seconds, milliseconds, or ISO 8601"),
        ({"issued_at": True}, "issued_at must be a time: seconds, milliseconds, or ISO 8601"),
        ({"expires_at": 10**15}, "expires_at must be a time: seconds, milliseconds, or ISO 8601"),
        ({"expires_at": "9999-01-01"}, "expires_at must be a time: seconds, milliseconds, or ISO 8601"),
        ({"capabilities": ["a"]}, "capabilities must not be nested"),
        ({"capabilities": {}}, "capabilities must not be nested"),
        ({"note": "n" * 1025}, "note must have at most 1024 characters"),
        ({"note": 10**1024}, "note must have at most 1024 characters"),
        ({"note": "\ud800"}, "note must be valid Unicode"),
        ({"a\nb": 1}, "names of fields must have 1 to 64 printable characters"),
        ({"": 1}, "names of fields must have 1 to 64 printable characters"),
        ({"n" * 65: 1}, "names of fields must have 1 to 64 printable characters"),
        ({f"f{number}": 1 for number in range(64)}, "manifest must have at most 64 fields"),
    ],
)
def test_a_signed_field_out_of_its_bounds_is_refused(fields: dict[str, Any], clause: str) -> None:
    assert refusal(NODE.body(**fields)) == (400, clause)


@pytest.mark.parametrize("node_id", ["a", "ark:node*1", "Zoë's node".replace("'", ""), "日本", "*", "a" * 256])
def test_an_id_without_markup_is_taken(node_id: str) -> None:
    assert read_manifest(NODE.body(node_id=node_id)).node_id == node_id


@pytest.mark.parametrize(
    "change",
    [
        {"manifest": {"node_id": "another"}},
        {"signature": base64_of(bytes(64))},
        {"signature": base64_of(b"\xff" * 64)},
        {"pubkey": base64_of(Node().pubkey)},
        # No point of the curve.
        {"pubkey": base64_of(b"\x02" + bytes(31))},
    ],
)
def test_a_signature_of_something_else_is_invalid(change: dict[str, Any]) -> None:
    assert refusal(json.dumps(NODE.request() | change).encode()) == (401, "invalid signature")


def test_a_signature_over_another_form_of_the_same_manifest_is_invalid() -> None:
    request = NODE.request(hostname="Zoë")
    compact = json.dumps(request["manifest"], sort_keys=True, separators=(",", ":")).encode()
    request["signature"] = base64_of(NODE.key.sign(compact))
    assert refusal(json.dumps(request).encode()) == (401, "invalid signature")


@pytest.mark.parametrize(
    "time", [1_700_000_000, 1_700_000_000.0, NOW, "2023-11-14T22:13:20", "2023-11-14T23:13:20+01:00"]
)
def test_a_time_is_read_in_every_spelling(time: object) -> None:
    manifest = read_manifest(NODE.body(issued_at=time, expires_at=time))
    assert (manifest.issued_at, manifest.expires_at) == (NOW, NOW)


def timed(**times: int) -> Manifest:
    return read_manifest(NODE.body(**times))


@pytest.mark.parametrize(
    ("times", "clause"),
    [
        ({"issued_at": NOW - 60_001}, "issued_at must be within 60 s of this server's clock"),
        ({"issued_at": NOW + 60_001}, "issued_at must be within 60 s of this server's clock"),
        ({"expires_at": NOW}, "expires_at must be in the future"),
        ({"issued_at": NOW, "expires_at": NOW - 1}, "expires_at must be in the future"),
    ],
)
def test_a_manifest_out_of_its_time_is_refused(times: dict[str, int], clause: str) -> None:
    with pytest.raises(Refused, match=f"^{clause}$") as error:
        check_times(timed(**times), NOW)
    assert error.value.status == 400


@pytest.mark.parametrize("times", [{}, {"issued_at": NOW - 60_000}, {"issued_at": NOW + 60_000, "expires_at": NOW + 1}])
def test_a_manifest_within_its_time_is_taken(times: dict[str, int]) -> None:
    check_times(timed(**times), NOW)


@pytest.mark.parametrize(
    ("times", "life"),
    [({}, LIFE_MS), ({"expires_at": NOW + 5_000}, 5_000), ({"expires_at": NOW + 500_000}, LIFE_MS)],
)
def test_a_peer_lives_two_minutes_at_most(times: dict[str, int], life: int) -> None:
    assert life_ms(timed(**times), NOW) == life


def test_the_hash_holds_the_fields_as_text_and_what_readers_expect() -> None:
    manifest = read_manifest(NODE.body(latency=12.5, hostname="", up=True, note=None, load=3, version="1.2"))
    assert peer_hash(manifest, "verified", NOW) == {
        "node_id": "ark-node-1",
        "trust_tier": "verified",
        "status": "online",
        "latency": "12.5",
        "last_seen": str(NOW),
        "learnt_from": "manifest",
        "up": "true",
        "load": "3",
        "version": "1.2",
    }


def test_a_manifest_does_not_choose_what_is_ours_to_say() -> None:
    said = {"last_seen": "1", "learnt_from": "heaven", "trust_tier": "core", "status": "offline"}
    found = peer_hash(read_manifest(NODE.body(**said)), "verified", NOW)
    assert found == {
        "node_id": "ark-node-1",
        "trust_tier": "verified",
        "status": "offline",
        "last_seen": str(NOW),
        "learnt_from": "manifest",
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELD = st.sampled_from(["node_id", "hostname", "trust_tier", "status", "latency", "seq", "issued_at", "expires_at"])


@given(st.binary(max_size=MAX_BODY) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_a_manifest_or_refused(body: bytes) -> None:
    with pytest.raises(Refused) as error:
        read_manifest(body)
    assert error.value.status in {400, 401}


@given(st.dictionaries(FIELD | st.text(max_size=70), JSON, max_size=6))
def test_any_signed_fields_give_a_hash_that_can_be_written_or_are_refused(fields: dict[str, Any]) -> None:
    with contextlib.suppress(Refused):
        manifest = read_manifest(NODE.body(**fields))
        for name, value in peer_hash(manifest, "verified", NOW).items():
            assert name.encode()
            assert value.encode()
