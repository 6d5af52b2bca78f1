import json
from typing import Any

import pytest

from processors.collectors.discovery import MAX_PEERS, Service, UnusableAnswer, read_listing, service_at

HASH = {"node_id": "a", "hostname": "a.local"}


def body(*peers: Any, **more: Any) -> bytes:
    return json.dumps({"peers": peers, "count": len(peers), **more}).encode()


def test_a_peer_s_hash_is_as_redis_would_have_it() -> None:
    listing = read_listing(
        body({"node_id": "a", "latency": 12.5, "seq": 7, "ok": True, "gone": None, "more": {"b": []}})
    )
    assert listing.hashes == {
        b"peer:a": {b"node_id": b"a", b"latency": b"12.5", b"seq": b"7", b"ok": b"true", b"more": b'{"b": []}'}
    }
    assert listing.refused == {}


def test_an_empty_list_is_no_failure() -> None:
    assert read_listing(body()).hashes == {}


@pytest.mark.parametrize(
    ("peer", "reason"),
    [
        (5, "peer is not an object"),
        (None, "peer is not an object"),
        ([["node_id", "a"]], "peer is not an object"),
        ({"hostname": "a"}, "node_id is missing"),
        ({"node_id": None}, "node_id is missing"),
        (HASH, "node_id is listed twice"),
    ],
)
def test_what_is_no_peer_is_refused_and_the_others_go_on(peer: Any, reason: str) -> None:
    listing = read_listing(body(HASH, peer, {"node_id": "b"}))
    assert list(listing.hashes) == [b"peer:a", b"peer:b"]
    assert list(listing.refused) == [reason]


def test_what_is_refused_for_one_reason_is_told_once_with_the_beginning_of_the_first() -> None:
    first = {"hostname": "x" * 5_000}
    [(reason, excerpt)] = read_listing(body(first, {"hostname": "y"}, {})).refused.items()
    assert reason == "node_id is missing"
    assert excerpt == json.dumps(first).encode()[:1_024]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (b"1e400", b"1e400"),
        (b"NaN", b"NaN"),
        (b"9" * 5_000, b"9" * 5_000),
        (b'"\\ud800"', b"\xed\xa0\x80"),
        (b'"\xff"', b"\xef\xbf\xbd"),
    ],
)
def test_a_value_that_nobody_can_read_spoils_its_own_field_only(value: bytes, written: bytes) -> None:
    listing = read_listing(b'{"peers":[{"node_id":"a","latency":%b},{"node_id":"b"}]}' % value)
    assert listing.hashes == {
        b"peer:a": {b"node_id": b"a", b"latency": written},
        b"peer:b": {b"node_id": b"b"},
    }


@pytest.mark.parametrize(
    ("answer", "clause"),
    [
        (b"", "answer is not JSON"),
        (b"<html>", "answer is not JSON"),
        (b'{"peers":[', "answer is not JSON"),
        (b"[]", "answer must be an object with a list `peers`"),
        (b'{"peers":{}}', "answer must be an object with a list `peers`"),
        (b'{"error":"no"}', "answer must be an object with a list `peers`"),
        (b'{"peers":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "answer is nested too deeply"),
        (b'{"peers":[' + b"{}," * 600_000 + b"{}]}", "answer must have at most 1000000 values"),
        (b'{"peers":[' + b"5," * MAX_PEERS + b"5]}", "answer must list at most 10000 peers"),
    ],
)
def test_an_answer_that_is_no_list_of_peers_is_refused_as_a_whole(answer: bytes, clause: str) -> None:
    with pytest.raises(UnusableAnswer) as error:
        read_listing(answer)
    assert str(error.value) == clause


@pytest.mark.parametrize("depth", range(900, 1_000, 7))
def test_a_value_that_is_just_not_too_deep_to_be_read_is_no_surprise(depth: int) -> None:
    answer = b'{"peers":[{"node_id":"a","x":' + b"[" * depth + b"]" * depth + b"}]}"
    try:
        listing = read_listing(answer)
    except UnusableAnswer:
        return
    assert list(listing.hashes) == [b"peer:a"]


@pytest.mark.parametrize(
    ("url", "service"),
    [
        ("http://Host:9001", Service("http://host:9001/discover", "host:9001", "")),
        ("http://host:80/", Service("http://host:80/discover", "host", "")),
        ("https://host:80", Service("https://host:80/discover", "host:80", "")),
        ("https://host/ark/", Service("https://host/ark/discover", "host/ark", "")),
        ("http://u:p%40s@host:1", Service("http://host:1/discover", "host:1", "Basic dTpwQHM=")),
        ("http://[::1]:9001", Service("http://[::1]:9001/discover", "[::1]:9001", "")),
    ],
)
def test_a_service_is_known_by_its_host_its_port_and_its_path(url: str, service: Service) -> None:
    assert service_at(url) == service


@pytest.mark.parametrize("host", ["redis", "manifest"])
def test_a_service_never_has_the_name_of_our_own_redis(host: str) -> None:
    assert service_at(f"http://{host}").name == f"{host}:80"


def test_nodes_that_follow_different_services_do_not_share_cursors() -> None:
    assert service_at("http://a").cursor != service_at("http://b").cursor
