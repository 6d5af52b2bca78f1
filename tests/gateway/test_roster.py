import random

import pytest

from processors.gateway.roster import RecentPeers, Roster
from schemas.metrics import PeerRow
from schemas.positions import ZERO, EntryId
from tests.gateway.support import NOW, row

HELD = EntryId(10, 1)


def loaded(*peers: str, held: EntryId = HELD) -> Roster:
    roster = Roster()
    roster.load("e1", held, {peer: row(peer) for peer in peers})
    return roster


def test_a_new_roster_asks_for_its_hash() -> None:
    assert Roster().must_read


def test_a_change_adds_and_removes_rows() -> None:
    roster = loaded("a", "b")
    assert roster.apply(EntryId(11, 2), "e1", EntryId(10, 1), {"a": None, "c": row("c")})
    assert sorted(roster.rows) == ["b", "c"]


def test_a_change_moves_the_reading_position() -> None:
    roster = loaded("a")
    roster.apply(EntryId(11, 2), "e1", EntryId(10, 1), {})
    assert roster.read_after == (11, 2)


def test_a_repeated_change_is_harmless() -> None:
    roster = loaded("a")
    for _ in range(2):
        assert roster.apply(EntryId(11, 2), "e1", EntryId(9, 0), {"b": row("b")})
    assert sorted(roster.rows) == ["a", "b"]


def test_a_change_after_a_gap_is_not_applied_and_the_hash_is_read_again() -> None:
    roster = loaded("a")
    assert not roster.apply(EntryId(20, 5), "e1", EntryId(15, 4), {"b": row("b")})
    assert roster.must_read
    assert sorted(roster.rows) == ["a"]


def test_a_change_of_another_epoch_makes_the_hash_be_read_again() -> None:
    roster = loaded("a")
    assert not roster.apply(EntryId(11, 2), "e2", EntryId(10, 1), {"b": row("b")})
    assert roster.must_read


def test_changes_behind_the_gap_wait_for_the_hash() -> None:
    roster = loaded("a")
    roster.apply(EntryId(20, 5), "e1", EntryId(15, 4), {})
    assert not roster.apply(EntryId(21, 6), "e1", EntryId(20, 5), {"c": row("c")})


def test_an_entry_that_made_the_hash_be_read_is_not_read_twice() -> None:
    roster = loaded("a")
    roster.apply(EntryId(20, 5), "e0", EntryId(10, 1), {})
    roster.load("e1", EntryId(10, 1), {})
    assert roster.read_after == (20, 5)
    assert not roster.must_read


def test_a_partition_that_was_wiped_keeps_its_last_rows() -> None:
    roster = loaded("a")
    roster.load(None, ZERO, {})
    assert sorted(roster.rows) == ["a"]


def test_a_rebuilt_partition_replaces_its_rows() -> None:
    roster = loaded("a")
    roster.load("e2", EntryId(1, 1), {"b": row("b")})
    assert sorted(roster.rows) == ["b"]


def test_a_check_of_the_same_position_is_content() -> None:
    roster = loaded("a")
    roster.check("e1", EntryId(10, 1))
    assert not roster.must_read


@pytest.mark.parametrize(("epoch", "changes_id"), [("e2", EntryId(10, 1)), (None, ZERO), ("e1", EntryId(9, 9))])
def test_a_check_finds_another_epoch_or_a_position_before_ours(epoch: str | None, changes_id: EntryId) -> None:
    roster = loaded("a")
    roster.check(epoch, changes_id)
    assert roster.must_read


def test_a_change_on_its_way_is_given_until_the_next_check() -> None:
    roster = loaded("a")
    roster.check("e1", EntryId(12, 3))
    assert not roster.must_read


def test_a_change_that_never_arrives_is_found_at_the_second_check() -> None:
    roster = loaded("a")
    roster.check("e1", EntryId(12, 3))
    roster.check("e1", EntryId(12, 3))
    assert roster.must_read


def everything(rows: dict[str, PeerRow]) -> list[PeerRow]:
    return sorted(rows.values(), key=lambda each: (each.last_seen, each.id), reverse=True)


def test_the_most_recent_peers_are_those_of_a_plain_sort_whatever_changes() -> None:
    chance = random.Random(7)
    roster, recent = loaded(), RecentPeers(5)
    for step in range(2_000):
        peer = f"p{chance.randrange(80)}"
        gone = chance.random() < 0.3 and peer in roster.rows
        change = {peer: None if gone else row(peer, last_seen=NOW + chance.randrange(-50, 50) + step // 10)}
        roster.apply(EntryId(11, step), "e1", ZERO, change)
        recent.note(change)
        if step % 7 == 0:
            assert recent.choose([roster]) == everything(roster.rows)[:5]


def test_a_replaced_roster_is_chosen_from_anew() -> None:
    roster, recent = loaded("a", "b"), RecentPeers(5)
    recent.forget()
    assert [each.id for each in recent.choose([roster])] == ["b", "a"]


def test_what_changed_after_a_change_that_was_lost_again_cannot_be_told() -> None:
    roster = loaded("a")
    roster.apply(EntryId(11, 2), "e1", HELD, {"b": row("b")})
    roster.load("e1", HELD, {"a": row("a")})
    assert roster.changed_since(EntryId(11, 2)) is None
    assert roster.changed_since(HELD) == set()


def test_a_hash_that_is_read_again_unchanged_forgets_no_change() -> None:
    roster = loaded("a")
    roster.apply(EntryId(11, 2), "e1", HELD, {"b": row("b")})
    roster.load("e1", EntryId(11, 2), {"a": row("a"), "b": row("b")})
    assert roster.changed_since(HELD) == {"b"}
