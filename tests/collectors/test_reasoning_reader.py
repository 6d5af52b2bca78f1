"""The collector `reasoning` against real files and a real bus."""

import asyncio
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from processors.collectors.reasoning_reader import ReasoningCollector
from processors.collectors.status import SourceStatus
from processors.runtime.bus import Bus
from schemas.events import Event, NodeSeen, ReasoningSession, ReasoningStage, Rejected
from tests.collectors.helpers import FailingScript, published, running, until
from tests.databases import make_reasoning, write_session

NODE, HOME = "node-a", "3"
OLD = "2020-01-01 00:00:00"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "reasoning_logs.db"


@pytest.fixture(params=["delete", "wal"])
def writer(request: pytest.FixtureRequest, path: Path) -> Iterator[sqlite3.Connection]:
    with closing(make_reasoning(path, request.param)) as connection:
        yield connection


def a_status() -> SourceStatus:
    return SourceStatus("reasoning", "reasoning", node=NODE, changed=lambda _: None)


def collector(bus: Bus, path: Path, status: SourceStatus | None = None) -> ReasoningCollector:
    return ReasoningCollector(bus, path, NODE, HOME, status or a_status())


async def told(bus: Bus) -> list[Event]:
    return await published(bus, [HOME])


def counted(events: list[Event]) -> tuple[Counter[int], Counter[int]]:
    """How often each session and each stage counts, by id."""
    return (
        Counter(event.id for event in events if isinstance(event, ReasoningSession) and not event.recalled),
        Counter(event.id for event in events if isinstance(event, ReasoningStage) and not event.recalled),
    )


async def counts(bus: Bus, sessions: list[int], stages: list[int]) -> list[Event]:
    """Wait until at least as much as this is counted; it must then be exactly this."""

    async def enough() -> bool:
        found = counted(await told(bus))
        return found[0].total() >= len(sessions) and found[1].total() >= len(stages)

    await until(enough)
    events = await told(bus)
    assert counted(events) == (Counter(sessions), Counter(stages))
    return events


async def test_sessions_and_stages_are_told_as_they_are_committed(
    bus: Bus, path: Path, writer: sqlite3.Connection
) -> None:
    async with running(collector(bus, path).run()):
        await until(lambda: told(bus))
        write_session(writer, "a", [0.5, 0.75, None])
        events = await counts(bus, [1], [1, 2, 3])
        assert [event.delta for event in events if isinstance(event, ReasoningStage)] == [None, 0.25, None]
        write_session(writer, "b", [0.9], created_at="2026-11-22T10:00:00+02:00")
        await counts(bus, [1, 2], [1, 2, 3, 4])


async def test_a_transaction_that_is_rolled_back_is_not_told(bus: Bus, path: Path, writer: sqlite3.Connection) -> None:
    async with running(collector(bus, path).run()):
        await until(lambda: told(bus))
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO reasoning_stages (session_id, stage_name, stage_order) VALUES ('x', 'y', 0)")
        writer.execute("ROLLBACK")
        write_session(writer, "a", [])
        await counts(bus, [1], [])


async def test_a_row_that_is_written_below_the_newest_is_not_missed(
    bus: Bus, path: Path, writer: sqlite3.Connection
) -> None:
    async with running(collector(bus, path).run()):
        await until(lambda: told(bus))
        write_session(writer, "a", [], row_id=10)
        await counts(bus, [10], [])
        write_session(writer, "late", [], row_id=4)
        await counts(bus, [10, 4], [])


@pytest.mark.parametrize("old", [[], [2]])
async def test_a_row_that_comes_late_below_those_of_the_first_start_is_not_missed(
    bus: Bus, path: Path, writer: sqlite3.Connection, old: list[int]
) -> None:
    for row_id in old:
        write_session(writer, "old", [], row_id=row_id, created_at=OLD)
    write_session(writer, "first", [], row_id=6)
    async with running(collector(bus, path).run()):
        await counts(bus, [6], [])
        write_session(writer, "late", [], row_id=4)
        await counts(bus, [6, 4], [])


async def test_a_first_start_counts_the_last_hour_and_recalls_what_was_before(
    bus: Bus, path: Path, writer: sqlite3.Connection
) -> None:
    for number in range(30):
        write_session(writer, f"old-{number}", [0.25, 0.5, 1.0], created_at=OLD)
    write_session(writer, "new", [0.5, 1.0])
    async with running(collector(bus, path).run()):
        events = await counts(bus, [31], [91, 92])
    recalled = [event.id for event in events if isinstance(event, ReasoningSession) and event.recalled]
    deltas = [event.delta for event in events if isinstance(event, ReasoningStage) and event.recalled]
    assert recalled == list(range(11, 31))
    assert deltas == [0.25, 0.5] * 25
    begins = [event.since for event in events if isinstance(event, NodeSeen)]
    assert begins[0] is not None
    assert abs(bus.clock.now_ms() - 3_600_000 - begins[0]) < 60_000


async def test_an_old_row_that_comes_later_counts(bus: Bus, path: Path, writer: sqlite3.Connection) -> None:
    write_session(writer, "before", [], created_at=OLD)
    async with running(collector(bus, path).run()):
        await until(lambda: told(bus))
        write_session(writer, "later", [], created_at=OLD)
        await counts(bus, [2], [])


async def test_what_came_while_it_was_away_is_told_once_and_paired_with_what_was_before(
    bus: Bus, path: Path, writer: sqlite3.Connection
) -> None:
    async with running(collector(bus, path).run()):
        await until(lambda: told(bus))
        write_session(writer, "a", [0.5])
        await counts(bus, [1], [1])
    writer.execute(
        "INSERT INTO reasoning_stages (session_id, stage_name, stage_order, confidence) VALUES ('a', 'x', 1, 0.75)"
    )
    async with running(collector(bus, path).run()):
        events = await counts(bus, [1], [1, 2])
    assert events[-1].delta == 0.25  # type: ignore[union-attr]


async def test_wherever_it_is_killed_everything_is_told_once(bus: Bus, path: Path) -> None:
    with closing(make_reasoning(path)) as writer:
        for allowed in range(8):
            write_session(writer, f"session-{allowed}", [0.5, 0.75])
            with FailingScript(allowed).installed() as script:
                async with running(collector(bus, path).run()):
                    await asyncio.wait({asyncio.ensure_future(script.dead.wait())}, timeout=0.5)
    async with running(collector(bus, path).run()):
        await counts(bus, list(range(1, 9)), list(range(1, 17)))


async def test_a_long_backlog_is_told_once(bus: Bus, path: Path) -> None:
    with closing(make_reasoning(path)) as writer:
        writer.execute("BEGIN")
        writer.executemany(
            "INSERT INTO reasoning_stages (session_id, stage_name, stage_order, confidence) VALUES (?, 's', 0, 0.7)",
            [(f"s{number}",) for number in range(1_200)],
        )
        writer.execute("COMMIT")
    async with running(collector(bus, path).run()):
        await counts(bus, [], list(range(1, 1_201)))


async def test_a_copy_of_the_database_is_gone_on_with(bus: Bus, path: Path) -> None:
    with closing(make_reasoning(path)) as writer:
        write_session(writer, "a", [0.5])
        async with running(collector(bus, path).run()):
            await counts(bus, [1], [1])
            shutil.copy(path, path.with_name("copy.db"))
            path.with_name("copy.db").rename(path)
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                write_session(other, "b", [0.5])
                await counts(bus, [1, 2], [1, 2])


async def test_an_older_copy_is_gone_on_with_where_it_ends(bus: Bus, path: Path) -> None:
    copy = path.with_name("copy.db")
    with closing(make_reasoning(path)) as writer:
        write_session(writer, "a", [])
        shutil.copy(path, copy)
        write_session(writer, "b", [])
        async with running(collector(bus, path).run()):
            await counts(bus, [1, 2], [])
            copy.rename(path)
            await until(lambda: _anew(bus))
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                write_session(other, "c", [])
            await counts(bus, [1, 2, 2], [])


async def _anew(bus: Bus) -> bool:
    return any(isinstance(event, NodeSeen) and event.anew for event in await told(bus))


async def test_another_database_begins_again(bus: Bus, path: Path) -> None:
    with closing(make_reasoning(path)) as writer:
        for number in range(3):
            write_session(writer, f"a{number}", [])
        async with running(collector(bus, path).run()):
            await counts(bus, [1, 2, 3], [])
            with closing(make_reasoning(path.with_name("new.db"))) as other:
                write_session(other, "b", [0.5])
                path.with_name("new.db").rename(path)
                await counts(bus, [1, 2, 3, 1], [1])
            assert await _anew(bus)


async def test_a_table_that_was_emptied_and_begins_again_is_read_again(bus: Bus, path: Path) -> None:
    with closing(make_reasoning(path)) as writer:
        write_session(writer, "a", [])
        write_session(writer, "b", [])
        async with running(collector(bus, path).run()):
            await counts(bus, [1, 2], [])
            writer.execute("BEGIN")
            writer.execute("DELETE FROM reasoning_sessions")
            writer.execute("DELETE FROM sqlite_sequence")
            writer.execute("COMMIT")
            write_session(writer, "c", [])
            await counts(bus, [1, 2, 1], [])


@pytest.mark.parametrize("how", ["emptied", "dropped"])
async def test_a_table_that_begins_again_does_not_make_the_other_count_again(bus: Bus, path: Path, how: str) -> None:
    with closing(make_reasoning(path)) as writer:
        async with running(collector(bus, path).run()):
            await until(lambda: told(bus))
            for number in range(5):
                write_session(writer, f"{number}", [0.5])
            await counts(bus, [1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
            (schema,) = writer.execute("SELECT sql FROM sqlite_master WHERE name = 'reasoning_stages'").fetchone()
            writer.execute("BEGIN IMMEDIATE")
            if how == "dropped":
                writer.execute("DROP TABLE reasoning_stages")
                writer.execute(schema)
            else:
                writer.execute("DELETE FROM reasoning_stages")
                writer.execute("DELETE FROM sqlite_sequence WHERE name = 'reasoning_stages'")
            writer.execute("COMMIT")
            await until(lambda: _anew(bus))
            write_session(writer, "after", [0.5])
            await counts(bus, [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 1])


async def test_deleted_rows_are_not_read_again_and_change_nothing(bus: Bus, path: Path) -> None:
    with closing(make_reasoning(path)) as writer:
        write_session(writer, "a", [])
        write_session(writer, "b", [])
        async with running(collector(bus, path).run()):
            await counts(bus, [1, 2], [])
            writer.execute("DELETE FROM reasoning_sessions")
            write_session(writer, "c", [])
            await counts(bus, [1, 2, 3], [])


async def test_a_wiped_bus_gets_the_last_hour_again(bus: Bus, path: Path) -> None:
    with closing(make_reasoning(path)) as writer:
        write_session(writer, "a", [0.5])
        async with running(collector(bus, path).run()):
            await counts(bus, [1], [1])
            await bus.client.flushall()
            await counts(bus, [1], [1])


async def test_an_older_schema_is_read_as_far_as_it_goes(bus: Bus, path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("CREATE TABLE reasoning_sessions (id INTEGER PRIMARY KEY, session_id TEXT, agent_name TEXT)")
        async with running(collector(bus, path).run()):
            await until(lambda: told(bus))
            writer.execute("INSERT INTO reasoning_sessions VALUES (1, 'a', 'planner')")
            events = await counts(bus, [1], [])
            assert events[-1].agent == "planner"  # type: ignore[union-attr]
            writer.execute("ALTER TABLE reasoning_sessions ADD COLUMN overall_confidence REAL")
            writer.execute("INSERT INTO reasoning_sessions VALUES (2, 'b', 'planner', 0.5)")
            events = await counts(bus, [1, 2], [])
            assert events[-1].confidence == 0.5  # type: ignore[union-attr]


async def test_an_empty_file_is_live_and_its_tables_may_come_later(bus: Bus, path: Path) -> None:
    status = a_status()
    path.parent.mkdir()
    await asyncio.to_thread(path.touch)
    async with running(collector(bus, path, status).run()):
        await until(lambda: status.state == "live")
        with closing(make_reasoning(path)) as writer:
            write_session(writer, "a", [0.5])
        await counts(bus, [1], [1])


async def test_a_row_that_is_too_large_to_be_read_counts_and_its_neighbours_are_whole(bus: Bus, path: Path) -> None:
    with closing(make_reasoning(path)) as writer:
        async with running(collector(bus, path).run()):
            await until(lambda: told(bus))
            write_session(writer, "a", [0.5])
            writer.execute(
                "INSERT INTO reasoning_stages (session_id, stage_name, stage_order) VALUES (zeroblob(17 << 20), '', 0)"
            )
            write_session(writer, "b", [0.5])
            events = await counts(bus, [1, 2], [1, 2, 3])
    reasons = [event.reason for event in events if isinstance(event, Rejected)]
    assert "reasoning_stages 2: session_id is missing, or the row too large" in reasons[0]


async def test_the_lists_are_whole_although_a_row_of_them_is_too_large(bus: Bus, path: Path) -> None:
    with closing(make_reasoning(path)) as writer:
        for number in range(30):
            write_session(writer, f"{number}", [0.5, 0.75], created_at=OLD)
        writer.execute("UPDATE reasoning_sessions SET session_id = zeroblob(17 << 20) WHERE id = 30")
        async with running(collector(bus, path).run()):
            await until(lambda: told(bus))
            events = await told(bus)
    assert [event.id for event in events if isinstance(event, ReasoningSession)] == list(range(11, 31))


async def test_a_damaged_table_is_told_and_the_other_goes_on(bus: Bus, path: Path) -> None:
    status = a_status()
    with closing(make_reasoning(path)) as writer:
        for number in range(60):
            write_session(writer, f"{number}" + "x" * 500, [0.5])
        (root,) = writer.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'reasoning_sessions'").fetchone()
        (size,) = writer.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    async with running(collector(bus, path, status).run()):
        await until(lambda: status.reason == "database disk image is malformed")
        await counts(bus, [], list(range(1, 61)))
        with closing(sqlite3.connect(path, isolation_level=None)) as writer:
            writer.execute("INSERT INTO reasoning_stages (session_id, stage_name, stage_order) VALUES ('x', 'y', 0)")
        await counts(bus, [], list(range(1, 62)))


async def test_a_database_of_somebody_else_is_not_taken_for_an_empty_one(bus: Bus, path: Path) -> None:
    status = a_status()
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("CREATE TABLE other (x)")
    async with running(collector(bus, path, status).run()):
        await until(lambda: status.reason == "no such table: reasoning_sessions")


async def test_two_collectors_of_one_node_tell_everything_once(bus: Bus, path: Path) -> None:
    with closing(make_reasoning(path)) as writer:
        async with running(collector(bus, path).run()), running(collector(bus, path).run()):
            for number in range(20):
                write_session(writer, f"{number}", [0.5])
            await counts(bus, list(range(1, 21)), list(range(1, 21)))


async def test_the_lowest_id_there_is_does_no_harm(bus: Bus, path: Path) -> None:
    with closing(make_reasoning(path)) as writer:
        write_session(writer, "lowest", [], row_id=-(2**63), created_at=OLD)
        async with running(collector(bus, path).run()):
            await until(lambda: told(bus))
            write_session(writer, "a", [0.5])
            await counts(bus, [1], [1])
