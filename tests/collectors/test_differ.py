from processors.collectors import differ as differ_module
from processors.collectors.differ import PeerDiffer, published_name, rejected_name
from schemas.events import Heartbeat, PeerGone, Rejected

NOW = 1_700_000_000_000
HASH = {b"hostname": b"h"}


def kinds(differ: PeerDiffer, key: bytes, fields: dict[bytes, bytes] | None) -> list[type]:
    return [type(event) for event in differ.observe(key, fields, NOW).events]


def test_a_new_hash_is_a_heartbeat_with_its_digest() -> None:
    change = PeerDiffer().observe(b"peer:a", HASH, NOW, expires=True)
    assert change.events == (Heartbeat(peer="a", ts=NOW, hostname="h", expires=True),)
    assert [(name, len(digest or b"")) for name, digest in change.digests.items()] == [("a", 8)]


def test_what_another_service_tells_says_so_in_all_of_its_events() -> None:
    differ = PeerDiffer("discovery", "other:9001")
    hash_of_a_manifest = {b"latency": b"x", b"learnt_from": b"manifest"}
    heartbeat, letter = differ.observe(b"peer:a", hash_of_a_manifest, NOW).events
    assert heartbeat == Heartbeat(peer="a", ts=NOW, learnt_from="other:9001")
    assert isinstance(letter, Rejected)
    assert letter.collector == "discovery"
    assert differ.observe(b"peer:a", {}, NOW + 1).events == (PeerGone(peer="a", ts=NOW + 1, learnt_from="other:9001"),)


def test_what_names_no_peer_is_refused_once_for_each_reason_until_it_is_met_no_more() -> None:
    differ = PeerDiffer("discovery", "other")
    [letter] = differ.refuse("node_id is missing", b"{}", NOW).events
    assert letter == Rejected(ts=NOW, collector="discovery", reason="node_id is missing", excerpt="{}")
    assert differ.refuse("node_id is missing", b'{"a":1}', NOW).events == ()
    differ.unseen_rejected([rejected_name(b"node_id is missing")])
    assert differ.refuse("node_id is missing", b"{}", NOW).events == ()
    differ.unseen_rejected([])
    assert len(differ.refuse("node_id is missing", b"{}", NOW).events) == 1


def test_an_equal_hash_is_nothing() -> None:
    differ = PeerDiffer()
    differ.observe(b"peer:a", HASH, NOW)
    change = differ.observe(b"peer:a", dict(HASH), NOW)
    assert not change.events
    assert not change.digests


def test_what_is_published_already_is_nothing_after_a_restart() -> None:
    change = PeerDiffer().observe(b"peer:a", HASH, NOW)
    again = PeerDiffer()
    again.load({name: digest for name, digest in change.digests.items() if digest})
    assert kinds(again, b"peer:a", HASH) == []


def test_a_known_peer_without_its_key_is_gone() -> None:
    differ = PeerDiffer()
    differ.observe(b"peer:a", HASH, NOW)
    change = differ.observe(b"peer:a", {}, NOW + 1)
    assert change.events == (PeerGone(peer="a", ts=NOW + 1),)
    assert change.digests == {"a": None}
    assert len(differ) == 0


def test_an_unknown_peer_without_its_key_is_nothing() -> None:
    assert kinds(PeerDiffer(), b"peer:a", {}) == []


def test_a_key_of_the_wrong_type_is_rejected_once_until_it_changes() -> None:
    differ = PeerDiffer()
    assert kinds(differ, b"peer:a", None) == [Rejected]
    assert kinds(differ, b"peer:a", None) == []
    assert kinds(differ, b"peer:a", HASH) == [Heartbeat]
    assert kinds(differ, b"peer:a", None) == [PeerGone, Rejected]
    assert kinds(differ, b"peer:a", {}) == []


def test_a_bad_id_is_rejected_once_and_never_becomes_a_peer() -> None:
    differ = PeerDiffer()
    key = b"peer:" + b"x" * 1_000_000
    change = differ.observe(key, HASH, NOW)
    assert [event.reason for event in change.events if isinstance(event, Rejected)] == [
        "peer id must have 1 to 256 characters"
    ]
    assert all(len(name) < 64 for name in change.digests)
    assert kinds(differ, key, {b"hostname": b"other"}) == []
    assert kinds(differ, key, {}) == []


def test_a_complaint_comes_beside_the_heartbeat_and_is_not_repeated() -> None:
    differ = PeerDiffer()
    assert kinds(differ, b"peer:a", {b"latency": b"x"}) == [Heartbeat, Rejected]
    assert kinds(differ, b"peer:a", {b"latency": b"y"}) == [Heartbeat]
    assert kinds(differ, b"peer:a", {b"latency": b"-1"}) == [Heartbeat, Rejected]


def test_a_complaint_returns_when_it_was_mended_meanwhile() -> None:
    differ = PeerDiffer()
    differ.observe(b"peer:a", {b"latency": b"x"}, NOW)
    assert kinds(differ, b"peer:a", {b"latency": b"1"}) == [Heartbeat]
    assert kinds(differ, b"peer:a", {b"latency": b"x"}) == [Heartbeat, Rejected]


def test_the_oldest_complaint_is_forgotten_beyond_the_bound() -> None:
    differ = PeerDiffer()
    for number in range(differ_module._MAX_COMPLAINED + 1):
        differ.observe(b"peer:%d" % number, {b"latency": b"x"}, NOW)
    assert len(differ._complained) == differ_module._MAX_COMPLAINED
    assert kinds(differ, b"peer:0", {b"latency": b"y"}) == [Heartbeat, Rejected]


def test_keys_that_a_full_scan_did_not_meet_are_named() -> None:
    differ = PeerDiffer()
    for key in (b"peer:a", b"peer:b", b"peer:\xff"):
        differ.observe(key, HASH, NOW)
    assert differ.unseen(["a"]) == [b"peer:b"]
    assert list(differ.unseen_rejected(["a"]).digests.values()) == [None]
    assert len(differ) == 2


def test_no_peer_has_the_name_of_a_rejected_key() -> None:
    name = published_name(b"peer:\xff")
    assert published_name(b"peer:" + name.encode("utf-8", "surrogateescape")) != name
