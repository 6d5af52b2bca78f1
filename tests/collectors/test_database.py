"""ARK's SQLite files as they are found: growing, locked, replaced, damaged."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from processors.collectors.database import MAX_VALUE_BYTES, Database, Replaced, TooSlow, keep_reading
from processors.collectors.folder_watch import FolderWatch
from processors.collectors.status import SourceStatus
from processors.runtime.clock import BusClock

MODES = ("delete", "truncate", "persist", "wal")


def make(path: Path, mode: str = "delete") -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)")
    return connection


@pytest.fixture(params=MODES)
def writer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(make(tmp_path / "some.db", request.param)) as connection:
        yield connection


def a_status() -> SourceStatus:
    return SourceStatus("reasoning", "reasoning", node="n", changed=lambda _: None)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Database]:
    watch = FolderWatch(path.parent, [path.name, f"{path.name}-wal", f"{path.name}-journal"])
    watch.start()
    database = Database(path, watch, a_status(), BusClock())
    await database.open()
    try:
        yield database
    finally:
        await database.close()
        await watch.close()


async def test_a_commit_wakes_up_and_is_read_in_every_journal_mode(writer: sqlite3.Connection, tmp_path: Path) -> None:
    async with opened(tmp_path / "some.db") as database:
        assert await database.changed()
        assert not await database.changed()
        writer.execute("INSERT INTO t VALUES (1, 'a')")
        while not await database.changed():
            await asyncio.wait_for(database.wait(60), 1.5)
        assert await database.read("SELECT id, x FROM t") == [(1, b"a")]


async def test_a_commit_that_is_seen_later_than_its_last_trace_in_the_files_is_read(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    log = tmp_path / "some.db-wal"
    with closing(make(path, "wal")) as writer:
        # The log is used again from its beginning: it does not grow.
        writer.executescript("INSERT INTO t VALUES (1, 'a'); PRAGMA wal_checkpoint(RESTART); DELETE FROM t")
        watch = FolderWatch(tmp_path, [])
        async with asyncio.timeout(5):
            database = Database(path, watch, a_status(), BusClock())
            await database.open()
            while await database.changed():
                pass
            before = log.stat()
            await database.wait(0)
            writer.execute("INSERT INTO t VALUES (2, 'b')")
            assert log.stat().st_size == before.st_size
            os.utime(log, ns=(before.st_atime_ns, before.st_mtime_ns))
            while not await database.changed():
                await database.wait()
            assert await database.read("SELECT id FROM t") == [(2,)]
            await database.close()
            await watch.close()


async def test_a_file_that_is_written_over_beside_an_old_index_is_read(tmp_path: Path) -> None:
    path, other = tmp_path / "some.db", tmp_path / "other.db"
    with closing(make(other)) as connection:
        connection.execute("INSERT INTO t VALUES (7, 'other')")
    with closing(make(path, "wal")) as writer:
        writer.execute("INSERT INTO t VALUES (1, 'a')")
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        async with opened(path) as database, asyncio.timeout(5):
            while await database.changed():
                pass
            await database.wait(0)
            path.write_bytes(other.read_bytes())
            while not await database.changed():
                await database.wait()


async def test_what_is_not_committed_is_not_read(writer: sqlite3.Connection, tmp_path: Path) -> None:
    async with opened(tmp_path / "some.db") as database:
        await database.changed()
        writer.execute("BEGIN")
        writer.execute("INSERT INTO t VALUES (1, 'a')")
        assert not await database.changed()
        assert await database.read("SELECT * FROM t") == []
        writer.execute("ROLLBACK")
        assert not await database.changed()


async def test_a_locked_file_is_read_as_soon_as_it_is_free(tmp_path: Path) -> None:
    with closing(make(tmp_path / "some.db")) as writer:
        async with opened(tmp_path / "some.db") as database:
            writer.execute("BEGIN EXCLUSIVE")
            writer.execute("INSERT INTO t VALUES (1, 'a')")
            reading = asyncio.create_task(database.read("SELECT id FROM t"))
            done, _ = await asyncio.wait({reading}, timeout=0.05)
            assert not done
            writer.execute("COMMIT")
            assert await asyncio.wait_for(reading, 5) == [(1,)]


async def test_a_reader_leaves_the_write_ahead_log_of_a_killed_writer_alone(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    with closing(make(path, "wal")) as writer:
        writer.execute("INSERT INTO t VALUES (1, 'a')")
        # What a killed writer leaves: copies taken while it is open.
        copy = tmp_path / "copy"
        copy.mkdir()
        for name in ("some.db", "some.db-wal"):
            (copy / name).write_bytes((tmp_path / name).read_bytes())
    before = {name: (copy / name).read_bytes() for name in ("some.db", "some.db-wal")}
    async with opened(copy / "some.db") as database:
        assert await database.read("SELECT id FROM t") == [(1,)]
    assert {name: (copy / name).read_bytes() for name in before} == before


async def test_a_read_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    make(tmp_path / "some.db").close()
    async with opened(tmp_path / "some.db") as database:
        endless = "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r) SELECT count(*) FROM r"
        with pytest.raises(TooSlow):
            await database.read(endless)
        assert await database.read("SELECT 1") == [(1,)]


async def test_nothing_can_be_written(tmp_path: Path) -> None:
    make(tmp_path / "some.db").close()
    async with opened(tmp_path / "some.db") as database:
        for statement in ("INSERT INTO t VALUES (1, 'a')", "CREATE TABLE u (x)", "PRAGMA user_version = 3"):
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                await database.read(statement)


async def test_a_value_of_unreasonable_size_is_refused_and_its_neighbours_are_not(tmp_path: Path) -> None:
    with closing(make(tmp_path / "some.db")) as writer:
        writer.execute("INSERT INTO t VALUES (1, 'a'), (2, ?)", ("x" * (MAX_VALUE_BYTES + 1),))
    async with opened(tmp_path / "some.db") as database:
        with pytest.raises(sqlite3.DataError, match="too big"):
            await database.read("SELECT id, x FROM t")
        assert await database.read("SELECT id, x FROM t WHERE id < 2") == [(1, b"a")]


async def test_text_that_is_not_utf8_is_read_as_it_is(tmp_path: Path) -> None:
    with closing(make(tmp_path / "some.db")) as writer:
        writer.execute("INSERT INTO t VALUES (1, CAST(x'ff41' AS TEXT))")
    async with opened(tmp_path / "some.db") as database:
        assert await database.read("SELECT x FROM t") == [(b"\xffA",)]


async def test_columns_of_a_table_that_is_not_there_are_none(tmp_path: Path) -> None:
    make(tmp_path / "some.db").close()
    async with opened(tmp_path / "some.db") as database:
        assert await database.columns("t") == {"id", "x"}
        assert await database.columns("nothing") == frozenset()


@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_another_file_under_the_same_name_is_noticed(tmp_path: Path, how: str) -> None:
    path = tmp_path / "some.db"
    make(path).close()
    make(tmp_path / "other.db").close()
    async with opened(path) as database:
        await database.changed()
        if how == "removed":
            path.unlink()
        else:
            (tmp_path / "other.db").rename(path)
        with pytest.raises(Replaced):
            await database.changed()


class Sessions:
    """Counts the sessions on a file, and lets a test wait for the next."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.status = a_status()
        self.identities: asyncio.Queue[str] = asyncio.Queue()

    async def run(self, database: Database) -> None:
        await database.read("SELECT count(*) FROM t")
        self.status.answered(1)
        self.identities.put_nowait(database.identity)
        while True:
            if not await database.changed():
                await database.wait()


@pytest.fixture
async def sessions(tmp_path: Path) -> AsyncIterator[Sessions]:
    made = Sessions(tmp_path / "data" / "some.db")
    task = asyncio.create_task(keep_reading(made.path, made.run, status=made.status, clock=BusClock()))
    yield made
    task.cancel()
    await asyncio.wait({task})


async def until(condition: Callable[[], bool], step: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await step()


async def a_moment() -> None:
    await asyncio.sleep(0.01)


async def test_a_file_that_comes_later_is_found_and_one_that_goes_is_told(sessions: Sessions) -> None:
    await until(lambda: sessions.status.reason == "file does not exist", a_moment)
    assert sessions.status.state == "down"
    sessions.path.parent.mkdir()
    make(sessions.path).close()
    first = await asyncio.wait_for(sessions.identities.get(), 10)
    sessions.path.unlink()
    await until(lambda: (sessions.status.state, sessions.status.reason) == ("stale", "file does not exist"), a_moment)
    make(sessions.path.with_name("new.db")).close()
    sessions.path.with_name("new.db").rename(sessions.path)
    assert await asyncio.wait_for(sessions.identities.get(), 10)
    assert first


async def test_a_damaged_file_is_told_and_tried_again_when_it_is_mended(sessions: Sessions) -> None:
    sessions.path.parent.mkdir()
    sessions.path.write_bytes(b"this is no database at all" * 100)
    await until(lambda: sessions.status.reason == "file is not a database", a_moment)
    make(sessions.path.with_name("new.db")).close()
    sessions.path.with_name("new.db").rename(sessions.path)
    await asyncio.wait_for(sessions.identities.get(), 10)
    assert sessions.status.state == "live"


async def test_a_read_that_was_given_up_ends_the_session_and_not_the_process(tmp_path: Path) -> None:
    make(tmp_path / "some.db").close()
    status, failures = a_status(), [TooSlow("a read took too long")]
    again = asyncio.Event()

    async def session(_: Database) -> None:
        if failures:
            raise failures.pop()
        assert status.reason == "a read took too long"
        again.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(keep_reading(tmp_path / "some.db", session, status=status, clock=BusClock()))
    await asyncio.wait({task, asyncio.create_task(again.wait())}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    assert again.is_set()
    task.cancel()
    await asyncio.wait({task})


async def test_a_damaged_file_is_not_tried_again_at_every_commit(tmp_path: Path) -> None:
    began: list[float] = []

    async def session(_: Database) -> None:
        began.append(asyncio.get_running_loop().time())
        raise sqlite3.DatabaseError("database disk image is malformed")

    with closing(make(tmp_path / "some.db")) as writer:

        async def commit() -> None:
            writer.execute("INSERT INTO t (x) VALUES ('a')")
            await a_moment()

        task = asyncio.create_task(keep_reading(tmp_path / "some.db", session, status=a_status(), clock=BusClock()))
        await until(lambda: len(began) >= 3, commit)
        task.cancel()
        await asyncio.wait({task})
    assert began[2] - began[0] > 0.3


async def test_the_work_of_reads_is_counted_as_cpu_and_waiting_is_not(tmp_path: Path) -> None:
    with closing(make(tmp_path / "some.db")) as writer:
        async with opened(tmp_path / "some.db") as database:
            counting = "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 999) SELECT i FROM r"
            await database.read(counting)
            worked_s = database.busy_s
            assert worked_s > 0
            writer.execute("BEGIN EXCLUSIVE")
            reading = asyncio.create_task(database.read("SELECT id FROM t"))
            await asyncio.wait({reading}, timeout=0.2)
            assert database.busy_s - worked_s < 0.1
            writer.execute("COMMIT")
            await asyncio.wait_for(reading, 5)


async def test_an_owner_who_renames_a_new_file_over_his_finds_it_as_he_made_it(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    with closing(make(path, "wal")) as writer:
        async with opened(path) as database:
            writer.executemany("INSERT INTO t (x) VALUES (?)", [("x" * 999,)] * 200)
            assert await database.changed()
            while await database.changed():
                await database.read("SELECT count(*) FROM t")
            await database.wait(0.01)
            writer.execute("DELETE FROM t WHERE id > 3")
            writer.execute("VACUUM INTO ?", (str(path.with_name("new.db")),))
            writer.close()
            assert not path.with_name("some.db-wal").exists()
            path.with_name("new.db").rename(path)
            with closing(sqlite3.connect(path)) as other:
                assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                assert other.execute("SELECT count(*) FROM t").fetchall() == [(3,)]


async def test_an_owner_may_change_the_journal_mode_of_a_file_that_is_watched(tmp_path: Path) -> None:
    with closing(make(tmp_path / "some.db", "wal")) as writer:
        async with opened(tmp_path / "some.db") as database:
            await database.changed()
            await database.read("SELECT * FROM t")
            await database.wait(0.01)
            assert writer.execute("PRAGMA journal_mode = delete").fetchall() == [("delete",)]
            writer.execute("INSERT INTO t VALUES (1, 'a')")
            while not await database.changed():
                await asyncio.wait_for(database.wait(60), 3)
            assert await database.read("SELECT id FROM t") == [(1,)]


async def test_a_link_is_followed_to_where_things_happen(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere" / "real.db"
    real.parent.mkdir()
    make(real).close()
    link = tmp_path / "some.db"
    link.symlink_to(real)
    followed = Sessions(link)
    reading = asyncio.create_task(keep_reading(link, followed.run, status=followed.status, clock=BusClock()))
    found = real.stat()
    assert await asyncio.wait_for(followed.identities.get(), 5) == f"{found.st_dev}-{found.st_ino}"
    reading.cancel()
    await asyncio.wait({reading})


async def test_a_link_that_leads_elsewhere_now_is_followed_there(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        make(tmp_path / name / "some.db").close()
    folder = tmp_path / "data"
    folder.symlink_to("one")
    followed = Sessions(folder / "some.db")
    reading = asyncio.create_task(
        keep_reading(folder / "some.db", followed.run, status=followed.status, clock=BusClock())
    )
    await asyncio.wait_for(followed.identities.get(), 5)
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(folder)
    found = (tmp_path / "two" / "some.db").stat()
    assert await asyncio.wait_for(followed.identities.get(), 10) == f"{found.st_dev}-{found.st_ino}"
    reading.cancel()
    await asyncio.wait({reading})


async def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "some.db")
    database = Database(tmp_path / "some.db", FolderWatch(tmp_path, []), a_status(), BusClock())
    with pytest.raises(OSError, match="is not a file"):
        await database.open()
