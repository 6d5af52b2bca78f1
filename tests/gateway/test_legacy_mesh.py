import json
from typing import Any

import pytest

from processors.gateway.legacy_mesh import MAX_PEER_BYTES, MAX_TICK_BYTES, MeshFrames
from processors.gateway.mesh import Mesh
from processors.gateway.sources import Sources
from schemas.metrics import PeerRow
from schemas.positions import ZERO, EntryId
from tests.gateway.support import NOW, hold, row, source, summary, sync

FULL: dict[str, Any] = {
    "network_health": 75.0,
    "data_integrity": 93.5,
    "avg_latency": 12.5,
    "latency_p50": 10.0,
    "latency_p95": 40.0,
    "latency_p99": 80.0,
    "total_peers": 4,
    "online_peers": 3,
    "active_syncs": 2,
    "sync_rate": 0.5,
    "sync_bytes_rate": 1024.0,
    "sync_success_rate": 50.0,
}


def mesh_of(*rows: PeerRow, **values: Any) -> Mesh:
    sources = Sources()
    mesh = Mesh(16, sources)
    mesh.live.load("0", "e", ZERO, {each.id: each for each in rows})
    for group in ("peers", "sync"):
        sources.hear(NOW, source(group))
    hold(mesh, summary(**values))
    return mesh


def whole(mesh: Mesh, now: int = NOW) -> dict[str, Any]:
    frame: dict[str, Any] = json.loads(MeshFrames(mesh).whole(now)[0])
    return frame


def kinds(frames: list[bytes]) -> list[str]:
    return [json.loads(frame)["type"] for frame in frames]


def test_the_whole_state_comes_as_a_frame_for_each_kind_of_client() -> None:
    frames = MeshFrames(mesh_of()).whole(NOW)
    assert kinds(frames) == ["federation_update", "peer_update", "health_update"]


def test_the_three_frames_differ_in_their_type_only() -> None:
    frames = [json.loads(frame) for frame in MeshFrames(mesh_of(row("a"), **FULL)).whole(NOW)]
    for frame in frames:
        del frame["type"]
    assert frames[0] == frames[1] == frames[2]


def test_the_pages_fields_are_there() -> None:
    frame = whole(mesh_of(**FULL))
    expected = {"timestamp": NOW, "network_health": 75, "data_integrity": 93.5, "total_peers": 4, "active_syncs": 2}
    assert expected.items() <= frame.items()


def test_the_mesh_views_fields_are_there() -> None:
    assert {"health": 75, "integrity": 93.5}.items() <= whole(mesh_of(**FULL)).items()


def test_our_fields_are_there() -> None:
    frame = whole(mesh_of(row("a"), **FULL))
    expected = {
        "source": "live",
        "as_of": NOW,
        "sources": {"peers": "live", "sync": "live"},
        "unknown": [],
        "peers_total": 1,
        "online_peers": 3,
        "avg_latency": 12.5,
        "latency_p50": 10,
        "latency_p95": 40,
        "latency_p99": 80,
        "sync_rate": 0.5,
        "sync_bytes_rate": 1024,
        "sync_success_rate": 50,
    }
    assert expected.items() <= frame.items()


def test_a_peer_is_there_in_both_spellings() -> None:
    peer = row("a", hostname="alpha.local", tier="core", latency_ms=12.5, data_shared=1536)
    assert whole(mesh_of(peer))["peers"] == [
        {
            "id": "a",
            "name": "alpha.local",
            "trust_tier": "core",
            "status": "active",
            "latency": 12.5,
            "data_shared": 1536,
            "trustTier": "core",
            "dataShared": 1.5,
        }
    ]


@pytest.mark.parametrize(("status", "said"), [("online", "active"), ("syncing", "syncing"), ("offline", "idle")])
def test_a_peers_status_is_said_in_arks_words(status: str, said: str) -> None:
    assert whole(mesh_of(row("a", status=status)))["peers"][0]["status"] == said


@pytest.mark.parametrize(("ok", "said"), [(None, "active"), (True, "complete"), (False, "error")])
def test_a_syncs_status_is_said_in_arks_words(ok: bool | None, said: str) -> None:
    mesh = mesh_of()
    mesh.add_sync(EntryId(1, 1), sync(ok=ok), fresh=False)
    assert whole(mesh)["sync_traffic"][0]["status"] == said


def test_a_sync_names_its_source_action_and_bytes() -> None:
    mesh = mesh_of()
    mesh.add_sync(EntryId(1, 1), sync("alpha", action="identity_sync", bytes=7, ts=NOW - 1), fresh=False)
    expected = {"timestamp": NOW - 1, "peer": "alpha", "action": "identity_sync", "status": "complete", "bytes": 7}
    assert whole(mesh)["sync_traffic"] == [expected]


def test_the_traffic_is_the_last_ten_syncs_oldest_first() -> None:
    mesh = mesh_of()
    for number in range(15):
        mesh.add_sync(EntryId(1, number), sync(str(number), ts=NOW + number), fresh=False)
    assert [each["peer"] for each in whole(mesh)["sync_traffic"]] == [str(number) for number in range(5, 15)]


def test_a_peer_without_a_hostname_is_named_by_its_id() -> None:
    assert whole(mesh_of(row("a")))["peers"][0]["name"] == "a"


def test_a_peers_unknown_values_are_named() -> None:
    peer = whole(mesh_of(row("a")))["peers"][0]
    assert (peer["latency"], peer["trust_tier"], peer["unknown"]) == (0, "unknown", ["trust_tier", "latency"])


@pytest.mark.parametrize("field", ["id", "name", "trust_tier", "trustTier"])
def test_markup_of_a_peer_is_escaped(field: str) -> None:
    evil = """<img src=x onerror='a("&")'>"""
    peer = whole(mesh_of(row(evil, hostname=evil, tier=evil)))["peers"][0]
    assert peer[field] == "&lt;img src=x onerror=&#x27;a(&quot;&amp;&quot;)&#x27;&gt;"


@pytest.mark.parametrize("field", ["peer", "action"])
def test_markup_of_a_sync_is_escaped(field: str) -> None:
    mesh = mesh_of()
    mesh.add_sync(EntryId(1, 1), sync("<b>", action="<b>"), fresh=False)
    assert whole(mesh)["sync_traffic"][0][field] == "&lt;b&gt;"


def test_a_long_name_is_cut_to_the_bound() -> None:
    assert len(whole(mesh_of(row("a", hostname="x" * 1000)))["peers"][0]["name"]) == 256


def test_unknown_values_are_zero_and_named_in_both_spellings() -> None:
    frame = whole(mesh_of(total_peers=0, online_peers=0))
    assert frame["network_health"] == frame["health"] == 0
    assert {"network_health", "health", "data_integrity", "integrity", "avg_latency"} <= set(frame["unknown"])
    assert "total_peers" not in frame["unknown"]


def test_before_the_first_summary_everything_is_unknown_and_stale() -> None:
    frame = whole(Mesh(16, Sources()))
    numbers = set(FULL) | {"health", "integrity", "peers", "peers_total", "sync_traffic"}
    assert set(frame["unknown"]) == numbers
    assert (frame["source"], frame["as_of"], frame["peers"], frame["sync_traffic"]) == ("stale", None, [], [])


def test_of_501_peers_the_500_most_recently_seen_are_listed_by_id() -> None:
    rows = [row(f"p{number:03}", last_seen=NOW - number) for number in range(501)]
    frame = whole(mesh_of(*rows))
    assert [peer["id"] for peer in frame["peers"]] == [f"p{number:03}" for number in range(500)]
    assert frame["peers_total"] == 501


def test_of_peers_seen_at_the_same_time_the_greatest_ids_are_listed() -> None:
    frame = whole(mesh_of(*(row(f"p{number:03}") for number in range(501))))
    assert frame["peers"][0]["id"] == "p001"


def test_peers_with_enormous_names_are_left_out_beyond_the_byte_bound() -> None:
    evil = '"' * 250
    mesh = mesh_of(*(row(f"{number:03}{evil}", hostname=evil, last_seen=NOW - number) for number in range(500)))
    frame = MeshFrames(mesh).whole(NOW)[0]
    assert len(frame) < MAX_PEER_BYTES + 4096
    peers = json.loads(frame)["peers"]
    assert 100 < len(peers) < 500
    assert peers[0]["id"].startswith("000")


def test_silence_makes_the_frame_stale_and_keeps_its_values() -> None:
    frame = whole(mesh_of(**FULL), NOW + 15_000)
    assert (frame["source"], frame["as_of"], frame["network_health"]) == ("stale", NOW, 75)


def settled(mesh: Mesh) -> MeshFrames:
    frames = MeshFrames(mesh)
    frames.changes(NOW)
    return frames


def test_a_tick_in_which_nothing_changed_sends_nothing() -> None:
    mesh = mesh_of(row("a"), **FULL)
    assert settled(mesh).changes(NOW + 100) == []


def test_a_changed_roster_calls_for_a_peer_update() -> None:
    mesh = mesh_of(row("a"), **FULL)
    frames = settled(mesh)
    mesh.live.apply("0", EntryId(1, 1), "e", ZERO, {"b": row("b")})
    assert kinds(frames.changes(NOW)) == ["peer_update"]


def test_a_changed_value_calls_for_a_health_update() -> None:
    mesh = mesh_of(row("a"), **FULL)
    frames = settled(mesh)
    hold(mesh, summary(**FULL | {"network_health": 50.0}))
    assert kinds(frames.changes(NOW)) == ["health_update"]


def test_a_new_sync_calls_for_a_sync_event_with_it() -> None:
    mesh = mesh_of(row("a"), **FULL)
    frames = settled(mesh)
    mesh.add_sync(EntryId(1, 1), sync("alpha"), fresh=True)
    [frame] = frames.changes(NOW)
    answer = json.loads(frame)
    assert answer["type"] == "sync_event"
    assert answer["event"] == answer["sync_traffic"][-1]
    assert answer["event"]["peer"] == "alpha"


def test_every_new_sync_has_its_own_frame_with_the_whole_state() -> None:
    mesh = mesh_of(row("a"), **FULL)
    frames = settled(mesh)
    for number in range(3):
        mesh.add_sync(EntryId(1, number), sync(str(number)), fresh=True)
    answers = [json.loads(frame) for frame in frames.changes(NOW)]
    assert [each["event"]["peer"] for each in answers] == ["0", "1", "2"]
    assert all(each["network_health"] == 75 and each["peers"] for each in answers)


def test_a_tick_stays_within_its_byte_bound() -> None:
    evil = '"' * 250
    mesh = mesh_of(*(row(f"{number:03}{evil}", hostname=evil) for number in range(500)))
    for number in range(10):
        mesh.add_sync(EntryId(1, number), sync(str(number)), fresh=True)
    frames = MeshFrames(mesh).changes(NOW)
    assert sum(map(len, frames)) <= MAX_TICK_BYTES


def test_a_change_of_the_world_is_told() -> None:
    mesh = mesh_of(row("a"), **FULL)
    frames = settled(mesh)
    hold(mesh, summary("simulated", "simulated"))
    assert kinds(frames.changes(NOW)) == ["peer_update", "health_update"]
