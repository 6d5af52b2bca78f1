"""The collector `code_memory` with a real bus."""

import asyncio
import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from processors.collectors import code_scanner, duty
from processors.collectors.code_reader import CodeCollector
from processors.collectors.database import MAX_VALUE_BYTES
from processors.collectors.status import SourceStatus
from processors.runtime.bus import Bus
from schemas import streams
from schemas.events import CodeState, Event, NodeSeen, Rejected
from tests.collectors.helpers import published, running, until
from tests.databases import make_ark

NODE = "ark-1"
HOME = streams.partition_of(NODE, 16)
PATTERN = "code_patterns (pattern_id, pattern_type, code_snippet, usage_count) VALUES (?, 't', ?, ?)"
NOTHING = dict.fromkeys(("core", "trusted", "sandbox", "external", "other"), 0)


def a_status() -> SourceStatus:
    return SourceStatus("code_memory", "code", node=NODE, changed=lambda _: None)


def collector(bus: Bus, path: Path, status: SourceStatus) -> Any:
    return CodeCollector(bus, path, NODE, HOME, status).run()


async def of(bus: Bus, kind: type[Event]) -> list[Any]:
    return [event for event in await published(bus, [HOME]) if isinstance(event, kind)]


async def state(bus: Bus, holds: Callable[[CodeState], bool]) -> CodeState:
    """The newest state, once it `holds`."""

    async def newest() -> CodeState | None:
        states = await of(bus, CodeState)
        return states[-1] if states and holds(states[-1]) else None

    found: CodeState = await until(newest)
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "ark.db"


@pytest.fixture(params=["delete", "truncate", "persist", "wal"])
def ark(path: Path, request: pytest.FixtureRequest) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(make_ark(path, request.param)) as database:
        yield database


@pytest.fixture
def plain(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(make_ark(path)) as database:
        yield database


async def test_every_commit_is_followed_by_the_state_after_it(bus: Bus, ark: sqlite3.Connection, path: Path) -> None:
    status = a_status()
    async with running(collector(bus, path, status)):
        first = await state(bus, lambda s: s.tiers is not None)
        assert (first.usage, first.snippets, first.quarantined, first.tiers) == (0, 0, 0, NOTHING)
        ark.executemany(f"INSERT INTO {PATTERN}", [("a", "x", 3), ("b", "x", 4)])
        assert (await state(bus, lambda s: s.usage == 7)).snippets == 1
        ark.execute(f"INSERT OR REPLACE INTO {PATTERN}", ("a", "y", 1))
        await state(bus, lambda s: (s.usage, s.snippets) == (5, 2))
        ark.execute("INSERT INTO sandbox_executions (execution_id, code_hash, status) VALUES ('e', 'h', 'running')")
        ark.execute("UPDATE sandbox_executions SET status = 'killed'")
        await state(bus, lambda s: s.quarantined == 1)
        ark.execute("INSERT INTO code_index (file_id, file_path, trust_tier) VALUES ('f', 'p', 'core')")
        await state(bus, lambda s: s.tiers == NOTHING | {"core": 1})
        ark.execute("DELETE FROM code_patterns")
        await state(bus, lambda s: (s.usage, s.snippets) == (0, 0))
        await until(lambda: status.state == "live")
        await until(lambda: status.detail == "2 rows swept at each change")


async def test_the_node_is_seen_once_and_nothing_is_told_twice(bus: Bus, plain: sqlite3.Connection, path: Path) -> None:
    async with running(collector(bus, path, a_status())):
        await state(bus, lambda s: s.tiers is not None)
        plain.execute("UPDATE code_patterns SET usage_count = 1")
        plain.execute(f"INSERT INTO {PATTERN}", ("a", "x", 3))
        await state(bus, lambda s: s.usage == 3)
        states = await of(bus, CodeState)
        seen = await of(bus, NodeSeen)
    assert all(before != after for before, after in itertools.pairwise(states))
    assert [(event.node, event.group) for event in seen] == [(NODE, "code")]


async def test_after_a_restart_the_state_is_told_again(bus: Bus, plain: sqlite3.Connection, path: Path) -> None:
    for times in (1, 2):
        async with running(collector(bus, path, a_status())):

            async def told(times: int = times) -> bool:
                return len([s for s in await of(bus, CodeState) if s.tiers is not None]) == times

            await until(told)


async def test_a_wiped_bus_is_filled_again(
    bus: Bus, plain: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processors.collectors.delivery._CHECK_S", 0.2)
    async with running(collector(bus, path, a_status())):
        await state(bus, lambda s: s.tiers is not None)
        await bus.client.flushdb()
        await state(bus, lambda s: s.tiers is not None)
        assert len(await of(bus, NodeSeen)) == 1


async def test_a_second_collector_of_the_node_fences_the_first(bus: Bus, plain: sqlite3.Connection, path: Path) -> None:
    first, second = a_status(), a_status()
    async with running(collector(bus, path, first)):
        await until(lambda: first.state == "live")
        async with running(collector(bus, path, second)):
            await until(lambda: second.state == "live")
            plain.execute(f"INSERT INTO {PATTERN}", ("a", "x", 3))
            await state(bus, lambda s: s.usage == 3)


async def test_values_of_a_replaced_file_stay_until_the_new_one_is_known(
    bus: Bus, plain: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duty, "_MOST_ROWS", 3)
    monkeypatch.setattr(duty, "_FIRST_ROWS", 3)
    plain.executemany(f"INSERT INTO {PATTERN}", [(f"k{number}", "x", 1) for number in range(20)])
    status = a_status()
    async with running(collector(bus, path, status)):
        await state(bus, lambda s: s.usage == 20 and s.tiers is not None)
        known = len(await of(bus, CodeState))
        with contextlib.closing(make_ark(path.with_name("new.db"))) as new:
            new.executemany(f"INSERT INTO {PATTERN}", [(f"k{number}", f"s{number}", 2) for number in range(20)])
        path.with_name("new.db").rename(path)
        after = await state(bus, lambda s: s.usage == 40)
        states = await of(bus, CodeState)
    assert (after.snippets, after.quarantined, after.tiers) == (20, 0, NOTHING)
    assert states[known:] == [after]


async def test_a_file_that_comes_later_is_found(bus: Bus, path: Path) -> None:
    status = a_status()
    async with running(collector(bus, path, status)):
        await until(lambda: (status.state, status.reason) == ("down", "file does not exist"))
        make_ark(path).close()
        await state(bus, lambda s: s.tiers is not None)
        await until(lambda: status.state == "live")


async def test_a_file_that_vanishes_leaves_its_values_stale(bus: Bus, plain: sqlite3.Connection, path: Path) -> None:
    status = a_status()
    plain.execute(f"INSERT INTO {PATTERN}", ("a", "x", 3))
    async with running(collector(bus, path, status)):
        await state(bus, lambda s: s.usage == 3 and s.tiers is not None)
        await asyncio.to_thread(path.unlink)
        await until(lambda: status.state == "stale")
        assert (await of(bus, CodeState))[-1].usage == 3


async def test_a_locked_file_is_told_and_read_when_it_is_free(bus: Bus, plain: sqlite3.Connection, path: Path) -> None:
    status = a_status()
    async with running(collector(bus, path, status)):
        await until(lambda: status.state == "live")
        plain.execute("BEGIN EXCLUSIVE")
        plain.execute(f"INSERT INTO {PATTERN}", ("a", "x", 3))
        await until(lambda: status.reason == "database is locked")
        plain.execute("COMMIT")
        await state(bus, lambda s: s.usage == 3)
        await until(lambda: status.state == "live")


async def test_a_row_that_is_too_big_is_a_dead_letter(bus: Bus, plain: sqlite3.Connection, path: Path) -> None:
    plain.execute(f"INSERT INTO {PATTERN}", ("a", "x" * (MAX_VALUE_BYTES + 1), 3))
    plain.execute(f"INSERT INTO {PATTERN}", ("b", "y", 4))
    status = a_status()
    async with running(collector(bus, path, status)):
        await state(bus, lambda s: s.usage == 4)
        [letter] = await of(bus, Rejected)
    assert (letter.collector, letter.reason) == ("code_memory", "row 1 of code_patterns is too big")
    assert status.rejected == 1


def spoil(path: Path, table: str) -> None:
    """Overwrite the first page of a table."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        [(size,)] = database.execute("PRAGMA page_size")
        [(root,)] = database.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,))
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xee" * size)


async def test_a_damaged_table_keeps_its_values_and_the_others_go_on(
    bus: Bus, plain: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_scanner, "_RETRY_S", 0.05)
    plain.execute(f"INSERT INTO {PATTERN}", ("a", "x", 3))
    status = a_status()
    async with running(collector(bus, path, status)):
        await state(bus, lambda s: s.usage == 3 and s.tiers is not None)
        await asyncio.to_thread(spoil, path, "code_patterns")
        plain.execute("INSERT INTO code_index (file_id, file_path, trust_tier) VALUES ('f', 'p', 'core')")
        found = await state(bus, lambda s: s.tiers == NOTHING | {"core": 1})
        assert found.usage == 3
        await until(lambda: status.state == "stale")
        assert status.reason == "code_patterns cannot be read: database disk image is malformed"
