"""Backlogs against plain lists."""

from itertools import count
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from processors.gateway.backlog import Backlog, Kept
from processors.gateway.roster_log import MAX_IDS, Changed, RosterLog
from schemas.positions import ZERO, EntryId, Position

MOST_BYTES = 40


def kept(n: int, size: int = 5) -> Kept:
    return Kept(EntryId(n, n), b"x" * size)


additions = st.lists(st.tuples(st.sampled_from(["e1", "e2"]), st.integers(1, 12), st.integers(0, 30)), max_size=30)


@given(additions)
def test_a_backlog_holds_the_newest_of_its_epoch_within_its_bound(added: list[tuple[str, int, int]]) -> None:
    backlog, model, epoch = Backlog(MOST_BYTES), list[Kept](), ""
    for each, n, size in added:
        if each != epoch:
            epoch, model = each, []
        if not model or EntryId(n, n) > model[-1].entry:
            model.append(kept(n, size))
        backlog.add(each, kept(n, size))
        while len(model) > 1 and sum(len(one.body) for one in model) > MOST_BYTES:
            del model[0]
        assert backlog.newest(100, backlog.top) == model
        assert backlog.top is not None
        assert backlog.oldest == model[0].entry


@given(st.sets(st.integers(1, 20), min_size=1), st.integers(0, 21), st.integers(0, 21))
def test_what_follows_a_position_is_told_whole_or_not_at_all(held: set[int], since: int, until: int) -> None:
    backlog = Backlog()
    for n in sorted(held):
        backlog.add("e", kept(n))
    found = backlog.after(Position("e", EntryId(since, since)), Position("e", EntryId(until, until)))
    if since in held:
        assert found == [kept(n) for n in sorted(held) if since < n <= until]
    else:
        assert found is None


def test_a_position_of_another_epoch_is_not_found() -> None:
    backlog = Backlog()
    backlog.add("e", kept(1))
    assert backlog.after(Position("other", EntryId(1, 1)), backlog.top) is None
    assert backlog.newest(5, Position("other", EntryId(1, 1))) == []


def test_older_entries_are_put_before_the_oldest() -> None:
    backlog = Backlog()
    backlog.add("e", kept(3))
    backlog.extend([kept(1), kept(2)])
    assert backlog.after(Position("e", EntryId(1, 1)), backlog.top) == [kept(2), kept(3)]


def test_older_entries_count_against_the_bound() -> None:
    backlog = Backlog(MOST_BYTES)
    backlog.add("e", kept(3))
    backlog.extend([kept(1, 20), kept(2, 20)])
    assert not backlog.has_room
    backlog.add("e", kept(4))
    assert backlog.oldest == EntryId(2, 2)


def test_a_backlog_that_was_cleared_knows_no_position() -> None:
    backlog = Backlog()
    backlog.add("e", kept(1))
    backlog.clear()
    assert (backlog.top, backlog.oldest) == (None, None)
    assert backlog.find(Position("e", EntryId(1, 1))) is None


peers = st.sets(st.sampled_from("abcde"), max_size=3)
steps = st.lists(st.one_of(st.tuples(st.just("add"), peers), st.tuples(st.just("restart"), peers)), max_size=20)


@given(steps, st.integers(0, 21))
def test_a_roster_log_tells_who_changed_after_any_moment_or_that_it_cannot(
    steps: list[tuple[str, Any]], since: int
) -> None:
    log, numbers, begin = RosterLog(), count(1), 0
    model: list[tuple[int, set[str]]] = []
    for (kind, ids), n in zip(steps, numbers, strict=False):
        if kind == "add":
            log.add(EntryId(n, n), ids)
            model.append((n, ids))
        else:
            log.restart(EntryId(n, n))
            model, begin = [], n
    expected = None if since < begin else set().union(*(ids for n, ids in model if n > since))
    assert log.since(EntryId(since, since)) == expected


def test_a_roster_log_forgets_the_oldest_changes_first() -> None:
    log = RosterLog()
    half = [f"p{number}" for number in range(MAX_IDS // 2)]
    for n in (1, 2, 3):
        log.add(EntryId(n, n), half)
    assert log.since(ZERO) is None
    assert log.since(EntryId(1, 1)) == set(half)


def test_one_change_of_more_peers_than_are_kept_is_not_kept() -> None:
    log = RosterLog()
    log.add(EntryId(1, 1), [f"p{number}" for number in range(MAX_IDS + 1)])
    assert log.since(ZERO) is None
    assert log.since(EntryId(1, 1)) == set()


def test_older_changes_are_put_before_the_oldest() -> None:
    log = RosterLog()
    log.restart(EntryId(3, 3))
    log.add(EntryId(4, 4), ["d"])
    log.extend(EntryId(1, 1), [Changed(EntryId(2, 2), ("b",)), Changed(EntryId(3, 3), ("c",))])
    assert log.since(ZERO) is None
    assert log.since(EntryId(1, 1)) == {"b", "c", "d"}
    assert log.since(EntryId(2, 2)) == {"c", "d"}
