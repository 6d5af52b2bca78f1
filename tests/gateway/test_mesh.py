from processors.gateway.mesh import MAX_FRESH_SYNCS, MAX_SYNCS, Mesh
from processors.gateway.sources import Sources
from schemas.positions import ZERO, EntryId
from tests.gateway.support import NOW, hold, row, summary, sync


def test_the_roster_of_the_summarys_world_is_shown() -> None:
    mesh = Mesh(16, Sources())
    mesh.live.load("0", "e", ZERO, {"a": row("a")})
    mesh.simulated.load("sim", "e", ZERO, {"sim-b": row("sim-b")})
    hold(mesh, summary("simulated", "simulated"))
    assert [each.id for each in mesh.shown.rows()] == ["sim-b"]
    hold(mesh, summary())
    assert [each.id for each in mesh.shown.rows()] == ["a"]


def test_syncs_go_to_the_world_they_name() -> None:
    mesh = Mesh(16, Sources())
    mesh.add_sync(EntryId(1, 1), sync("a"), fresh=True)
    mesh.add_sync(EntryId(1, 2), sync("sim-a", source="simulated"), fresh=True)
    assert [each.sender for each in mesh.live.syncs()] == ["a"]
    assert [each.sender for each in mesh.simulated.syncs()] == ["sim-a"]


def test_a_sync_that_is_read_twice_is_held_once() -> None:
    mesh = Mesh(16, Sources())
    for _ in range(2):
        mesh.add_sync(EntryId(1, 1), sync("a"), fresh=True)
    assert len(mesh.live.take_fresh()) == 1


def test_syncs_are_bounded_by_dropping_the_oldest() -> None:
    mesh = Mesh(16, Sources())
    for number in range(MAX_SYNCS + 5):
        mesh.add_sync(EntryId(1, number), sync(str(number), ts=NOW + number), fresh=True)
    assert [each.sender for each in mesh.live.syncs()] == [str(number) for number in range(5, MAX_SYNCS + 5)]


def test_at_most_ten_syncs_are_announced_in_one_tick() -> None:
    mesh = Mesh(16, Sources())
    for number in range(30):
        mesh.add_sync(EntryId(1, number), sync(str(number)), fresh=True)
    assert [each.sender for each in mesh.live.take_fresh()] == [str(n) for n in range(30 - MAX_FRESH_SYNCS, 30)]


def test_syncs_are_listed_by_their_own_time() -> None:
    mesh = Mesh(16, Sources())
    mesh.add_sync(EntryId(1, 1), sync("late", ts=NOW), fresh=False)
    mesh.add_sync(EntryId(1, 2), sync("early", ts=NOW - 9), fresh=False)
    assert [each.sender for each in mesh.live.syncs()] == ["early", "late"]
