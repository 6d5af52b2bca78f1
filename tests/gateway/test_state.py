from typing import Any

import msgspec
import pytest

from processors.gateway.state import MAX_FRESH_SYNCS, MAX_SYNCS, Mesh
from schemas.metrics import MAX_SOURCES, SOURCE_TIMEOUT_MS, Origin
from schemas.positions import ZERO, EntryId
from tests.gateway.support import NOW, row, source, summary, sync


def heard(*groups: Any, at: int = NOW) -> Mesh:
    mesh = Mesh(16)
    for group in groups:
        mesh.hear(at, source(group))
    return mesh


def states(mesh: Mesh, now: int) -> tuple[Origin, Origin, Origin]:
    shown = mesh.view(now).summary
    assert shown is not None
    return shown.peers.source, shown.sync.source, shown.source


def test_before_the_first_summary_nothing_is_known_and_that_is_stale() -> None:
    view = Mesh(16).view(NOW)
    assert (view.summary, view.source) == (None, "stale")


def test_a_summary_of_sources_that_are_heard_is_shown_as_it_is() -> None:
    mesh = heard("peers", "sync")
    held = summary()
    mesh.hold(held)
    assert mesh.view(NOW).summary is held


def test_fifteen_seconds_of_silence_make_a_live_group_stale() -> None:
    mesh = heard("peers", "sync")
    mesh.hold(summary())
    assert states(mesh, NOW + SOURCE_TIMEOUT_MS - 1) == ("live", "live", "live")
    assert states(mesh, NOW + SOURCE_TIMEOUT_MS) == ("stale", "stale", "stale")


def test_only_the_group_whose_collector_is_silent_becomes_stale() -> None:
    mesh = heard("peers", "sync")
    mesh.hear(NOW + 9_000, source("sync"))
    mesh.hold(summary(ts=NOW + 9_000))
    assert states(mesh, NOW + SOURCE_TIMEOUT_MS) == ("stale", "live", "stale")


def test_heartbeats_do_not_keep_a_summary_live_that_no_aggregator_renews() -> None:
    mesh = heard("peers", "sync", at=NOW + 10_000)
    mesh.hold(summary(ts=NOW))
    assert states(mesh, NOW + SOURCE_TIMEOUT_MS - 1) == ("live", "live", "live")
    assert states(mesh, NOW + SOURCE_TIMEOUT_MS) == ("stale", "stale", "stale")


def test_the_simulators_heartbeat_does_not_keep_a_live_group_live() -> None:
    mesh = heard("federation")
    mesh.hold(summary())
    assert states(mesh, NOW) == ("stale", "stale", "stale")


def test_a_stale_group_keeps_its_moment() -> None:
    mesh = heard("peers", "sync")
    mesh.hold(summary(ts=NOW - 500))
    shown = mesh.view(NOW + 60_000).summary
    assert shown is not None
    assert (shown.peers.as_of, shown.as_of) == (NOW - 500, NOW - 500)


def test_a_lost_bus_makes_live_groups_stale_at_once() -> None:
    mesh = heard("peers", "sync")
    mesh.hold(summary())
    mesh.doubt()
    assert states(mesh, NOW) == ("stale", "stale", "stale")


def test_simulated_values_stay_simulated_whatever_is_lost() -> None:
    mesh = Mesh(16)
    mesh.hold(summary("simulated", "simulated"))
    mesh.doubt()
    assert states(mesh, NOW + 60_000) == ("simulated", "simulated", "simulated")


def test_a_bus_that_comes_back_with_heartbeats_is_live_again() -> None:
    mesh = heard("peers", "sync")
    mesh.hold(summary())
    mesh.doubt()
    mesh.hear(NOW, source("peers"))
    mesh.hear(NOW, source("sync"))
    mesh.hold(summary(n=2))
    assert states(mesh, NOW) == ("live", "live", "live")


def test_values_stay_when_they_become_stale() -> None:
    mesh = Mesh(16)
    mesh.hold(summary(network_health=75.0))
    shown = mesh.view(NOW).summary
    assert shown is not None
    assert shown.network_health == 75.0


def test_an_older_word_of_a_collector_does_not_replace_a_newer_one() -> None:
    mesh = heard("peers", at=NOW)
    mesh.hear(NOW - 5_000, source("peers", state="down"))
    assert [each.state.state for each in mesh.sources] == ["live"]


def test_the_next_deadline_is_when_the_first_live_group_falls_silent() -> None:
    mesh = heard("peers")
    mesh.hear(NOW + 2_000, source("sync"))
    mesh.hold(summary(ts=NOW + 2_000))
    assert mesh.next_deadline(NOW) == NOW + SOURCE_TIMEOUT_MS


def test_a_deadline_that_was_told_is_not_told_again() -> None:
    mesh = heard("peers")
    mesh.hear(NOW + 2_000, source("sync"))
    mesh.hold(summary(ts=NOW + 2_000))
    assert mesh.next_deadline(NOW + SOURCE_TIMEOUT_MS) == NOW + 2_000 + SOURCE_TIMEOUT_MS


@pytest.mark.parametrize("origin", ["simulated", "stale"])
def test_without_a_live_group_there_is_no_deadline(origin: Origin) -> None:
    mesh = heard("peers", "sync")
    mesh.hold(summary(origin, origin))
    assert mesh.next_deadline(NOW) is None


def test_the_roster_of_the_summarys_world_is_shown() -> None:
    mesh = Mesh(16)
    mesh.live.load("0", "e", ZERO, {"a": row("a")})
    mesh.simulated.load("sim", "e", ZERO, {"sim-b": row("sim-b")})
    mesh.hold(summary("simulated", "simulated"))
    assert [each.id for each in mesh.view(NOW).world.rows()] == ["sim-b"]
    mesh.hold(summary())
    assert [each.id for each in mesh.view(NOW).world.rows()] == ["a"]


def test_syncs_go_to_the_world_they_name() -> None:
    mesh = Mesh(16)
    mesh.add_sync(EntryId(1, 1), sync("a"), fresh=True)
    mesh.add_sync(EntryId(1, 2), sync("sim-a", source="simulated"), fresh=True)
    assert [each.sender for each in mesh.live.syncs()] == ["a"]
    assert [each.sender for each in mesh.simulated.syncs()] == ["sim-a"]


def test_a_sync_that_is_read_twice_is_held_once() -> None:
    mesh = Mesh(16)
    for _ in range(2):
        mesh.add_sync(EntryId(1, 1), sync("a"), fresh=True)
    assert len(mesh.live.take_fresh()) == 1


def test_syncs_are_bounded_by_dropping_the_oldest() -> None:
    mesh = Mesh(16)
    for number in range(MAX_SYNCS + 5):
        mesh.add_sync(EntryId(1, number), sync(str(number), ts=NOW + number), fresh=True)
    assert [each.sender for each in mesh.live.syncs()] == [str(number) for number in range(5, MAX_SYNCS + 5)]


def test_at_most_ten_syncs_are_announced_in_one_tick() -> None:
    mesh = Mesh(16)
    for number in range(30):
        mesh.add_sync(EntryId(1, number), sync(str(number)), fresh=True)
    assert [each.sender for each in mesh.live.take_fresh()] == [str(n) for n in range(30 - MAX_FRESH_SYNCS, 30)]


def test_syncs_are_listed_by_their_own_time() -> None:
    mesh = Mesh(16)
    mesh.add_sync(EntryId(1, 1), sync("late", ts=NOW), fresh=False)
    mesh.add_sync(EntryId(1, 2), sync("early", ts=NOW - 9), fresh=False)
    assert [each.sender for each in mesh.live.syncs()] == ["early", "late"]


def test_collectors_are_bounded_by_forgetting_the_longest_silent() -> None:
    mesh = Mesh(16)
    for number in range(MAX_SOURCES + 1):
        mesh.hear(NOW + number, source(collector=f"c{number}"))
    names = {each.state.collector for each in mesh.sources}
    assert len(names) == MAX_SOURCES
    assert "c0" not in names


def test_a_doubted_view_says_so() -> None:
    mesh = Mesh(16)
    mesh.hold(summary())
    assert mesh.view(NOW).doubted


def test_the_held_summary_itself_is_never_changed() -> None:
    mesh = Mesh(16)
    held = summary()
    before = msgspec.json.encode(held)
    mesh.hold(held)
    mesh.view(NOW + 60_000)
    assert msgspec.json.encode(held) == before
