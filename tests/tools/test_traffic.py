import datetime as dt
import json
import random
from collections import Counter

import pytest

from processors.tools.traffic import KINDS, PEERS, PREFIX, Kind, Row, Traffic, is_demo_sync

NOW = 1_700_000_000_000
HOUR = 3_600_000


def new_traffic(seed: int = 1) -> Traffic:
    return Traffic(random.Random(seed).random)


def into(table: str, rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.statement.split("(")[0].endswith(f"INTO {table} ")]


def past_code(patterns: int = 0, executions: int = 0, files: int = 0) -> list[Row]:
    return [row for unit in new_traffic().past_code(patterns, executions, files, NOW) for row in unit]


def instant(text: object) -> int:
    moment = dt.datetime.fromisoformat(str(text))
    return int((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp() * 1_000)


def test_the_same_random_numbers_give_the_same_traffic() -> None:
    def made(seed: int) -> list[list[Row]]:
        return list(new_traffic(seed).past_reasoning(20, NOW))

    assert made(1) == made(1)
    assert made(1) != made(2)


def test_every_peer_beats_in_turn() -> None:
    traffic = new_traffic()
    assert [traffic.heartbeat(NOW)[0] for _ in range(2 * len(PEERS))] == [*PEERS, *PEERS]
    assert all(peer.startswith(PREFIX) for peer in PEERS)


def test_last_seen_is_written_in_all_three_spellings() -> None:
    traffic = new_traffic()
    spellings = {traffic.heartbeat(NOW)[1]["last_seen"] for _ in PEERS}
    assert spellings == {"1700000000", "1700000000000", "2023-11-14T22:13:20.000+00:00"}


def test_past_syncs_are_of_the_last_quarter_of_an_hour_and_oldest_first() -> None:
    times = [json.loads(item)["timestamp"] for item in new_traffic().past_syncs(200, NOW)]
    assert times == sorted(times)
    assert (times[0] >= NOW - 15 * 60_000, times[-1], len(times)) == (True, NOW, 200)


def test_a_sync_is_between_two_different_demo_peers() -> None:
    items = [json.loads(item) for item in new_traffic().past_syncs(500, NOW)]
    assert all(item["source"] in PEERS and item["target"] in PEERS for item in items)
    assert all(item["source"] != item["target"] for item in items)


def test_past_sessions_are_of_the_last_two_hours_and_oldest_first() -> None:
    sessions = [unit[0].values for unit in new_traffic().past_reasoning(200, NOW)]
    times = [instant(values[3]) for values in sessions]
    assert times == sorted(times)
    assert (times[0] >= NOW - 2 * HOUR, times[-1], len(times)) == (True, NOW, 200)


def test_created_at_is_written_in_both_spellings() -> None:
    texts = [str(unit[0].values[-1]) for unit in new_traffic().past_reasoning(200, NOW)]
    plain = [text for text in texts if "T" not in text]
    assert 50 < len(plain) < 150
    assert instant(plain[-1]) <= NOW
    assert all(text.endswith("+00:00") for text in texts if "T" in text)


def test_a_session_comes_with_its_stages_in_order() -> None:
    for session, *stages in new_traffic().past_reasoning(100, NOW):
        assert 3 <= len(stages) <= 7
        assert [stage.values[2] for stage in stages] == list(range(len(stages)))
        assert {stage.values[0] for stage in stages} == {session.values[0]}


def test_patterns_repeat_themselves_as_much_as_real_ones() -> None:
    patterns = into("code_patterns", past_code(patterns=3_000))
    usage = sum(int(str(row.values[4])) for row in patterns)
    snippets = len({row.values[3] for row in patterns})
    assert 0.4 < 1 - snippets / usage < 0.75


def test_past_executions_have_ended_and_few_are_quarantined() -> None:
    rows = past_code(executions=1_000)
    starts, ends = into("sandbox_executions", rows), [row for row in rows if row.statement.startswith("UPDATE")]
    assert [row.values[0] for row in starts] == [row.values[-1] for row in ends]
    assert 0.05 < sum(row.values[2] != "success" or row.values[5] != "[]" for row in ends) / len(ends) < 0.2


def test_an_execution_ends_after_it_began_and_not_in_the_future() -> None:
    rows = past_code(executions=100)
    for start, end in zip(rows[::2], rows[1::2], strict=True):
        assert int(str(start.values[4])) <= int(str(end.values[0])) <= NOW


def test_files_have_every_tier_that_occurs() -> None:
    tiers = Counter(row.values[-1] for row in into("code_index", past_code(files=1_000)))
    assert set(tiers) == {"core", "trusted", "sandbox", "external", "testing"}
    assert tiers.most_common(1)[0][0] == "sandbox"


def test_ids_and_paths_are_used_once_also_over_two_runs() -> None:
    units = [*new_traffic(1).past_code(50, 50, 50, NOW), *new_traffic(2).past_code(50, 50, 50, NOW)]
    firsts = [unit[0].values[0] for unit in units]
    paths = [row.values[1] for row in into("code_index", [row for unit in units for row in unit])]
    assert len(set(firsts)) == len(firsts)
    assert len(set(paths)) == len(paths)
    assert all(str(first).startswith(PREFIX) for first in firsts)


def test_live_executions_start_and_later_end() -> None:
    traffic = new_traffic()
    changes = [traffic.change("executions", NOW + second * 1_000)[0] for second in range(20)]
    started = [row.values[0] for row in changes if row.statement.startswith("INSERT")]
    ended = [row.values[-1] for row in changes if row.statement.startswith("UPDATE")]
    assert 5 < len(started) < 15
    assert ended == started[: len(ended)]


def test_a_file_that_is_indexed_again_keeps_its_id_and_its_path() -> None:
    traffic = new_traffic()
    known = {unit[0].values[:2] for unit in traffic.past_code(0, 0, 20, NOW)}
    again = [traffic.change("files", NOW)[0].values[:2] for _ in range(20)]
    assert set(again) <= known


def test_only_patterns_that_are_there_are_used() -> None:
    traffic = new_traffic()
    known = {unit[0].values[0] for unit in traffic.past_code(20, 0, 0, NOW)}
    assert {traffic.change("uses", NOW)[0].values[1] for _ in range(100)} <= known


def test_the_cycle_has_every_kind_and_keeps_every_peer_alive() -> None:
    assert Counter(KINDS) == {"heartbeats": 6, "syncs": 4, "sessions": 2, "uses": 5, "executions": 2, "files": 1}


@pytest.mark.parametrize("kind", ["heartbeats", "syncs"])
def test_what_is_in_redis_is_no_row(kind: Kind) -> None:
    with pytest.raises(AssertionError, match=f"{kind} are not in a database"):
        new_traffic().change(kind, NOW)


@pytest.mark.parametrize(
    "item",
    [
        b'{"source": "demo-a", "target": "b"}',
        b'{"source": "a", "target": "demo-b"}',
        b'{"source": "demo-a"}',
        b'["demo-a", "demo-b"]',
        b'"demo-a"',
        b"5",
        b"demo-",
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_an_item_that_was_not_made_here_is_foreign(item: bytes) -> None:
    assert not is_demo_sync(item)


def test_an_item_that_was_made_here_is_known() -> None:
    assert all(is_demo_sync(item) for item in new_traffic().past_syncs(10, NOW))
