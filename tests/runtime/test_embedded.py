import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from processors.runtime.children import Child, spawn
from processors.runtime.embedded import EmbeddedServer, last_line
from processors.runtime.errors import AlreadyRunning, SettingsError
from processors.runtime.files import write_private
from processors.runtime.settings import bus_url_file, load_settings
from tests.integration.up import eventually_async


@contextlib.asynccontextmanager
async def _running(server: EmbeddedServer) -> AsyncIterator[Child]:
    child = await spawn(await asyncio.to_thread(server.program))
    try:
        await eventually_async(server.answers)
        yield child
    finally:
        child.signal(signal.SIGTERM)
        await child.exit


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    # Entered outside of the event loop, because that blocks.
    with EmbeddedServer(tmp_path / 'a "b" c') as server:
        yield server


async def test_it_answers_to_its_password(server: EmbeddedServer) -> None:
    async with _running(server), Redis.from_url(server.url) as client:
        assert await client.ping()


async def test_it_refuses_another_password(server: EmbeddedServer) -> None:
    async with _running(server), Redis.from_url(f"redis://:guess@127.0.0.1:{server.port}/0") as client:
        with pytest.raises(AuthenticationError):
            await client.ping()


async def test_it_never_evicts(server: EmbeddedServer) -> None:
    async with _running(server), Redis.from_url(server.url) as client:
        asked = await client.config_get("maxmemory", "maxmemory-policy", "appendonly", "appendfsync", "save")
    assert asked == {
        "maxmemory": str(1 << 30),
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
    }


async def test_what_it_acknowledged_survives_its_kill(server: EmbeddedServer) -> None:
    async with _running(server) as child, Redis.from_url(server.url) as client:
        await client.set("a", "1")
        child.signal(signal.SIGKILL)
        await child.exit
    async with _running(server), Redis.from_url(server.url) as client:
        assert await client.get("a") == b"1"


def test_its_address_stays_the_same(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        first = server.url
    with EmbeddedServer(tmp_path) as server:
        assert server.url == first


def test_a_port_that_a_stranger_took_is_replaced_for_good(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        taken = server.port
    with socket.create_server(("127.0.0.1", taken)), EmbeddedServer(tmp_path) as server:
        another = server.port
    with EmbeddedServer(tmp_path) as server:
        assert taken != another == server.port


def test_its_address_is_where_every_process_looks_for_it(tmp_path: Path) -> None:
    settings = load_settings({"ARK_STATE_DIR": str(tmp_path)})
    with EmbeddedServer(tmp_path) as server:
        assert bus_url_file(settings.ark_state_dir).read_text() == server.url


def test_a_second_server_on_the_same_files_is_refused(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path), pytest.raises(AlreadyRunning), EmbeddedServer(tmp_path, wait_s=0):
        pass


def test_a_state_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"^ARK_STATE_DIR cannot be written: "), EmbeddedServer(tmp_path / "file"):
        pass


async def test_a_directory_with_a_space_and_a_quote_is_no_trouble(server: EmbeddedServer) -> None:
    async with _running(server):
        assert (server.directory / "appendonlydir").is_dir()


async def test_a_port_where_nothing_listens_does_not_answer(server: EmbeddedServer) -> None:
    assert not await server.answers()


def test_a_private_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with pytest.raises(OSError, match="target"):
        write_private(tmp_path / "target", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_the_last_line_of_a_log_is_found(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("one\n two \n\n")
    assert last_line(tmp_path / "log") == "two"


def test_a_log_that_is_not_there_has_no_last_line(tmp_path: Path) -> None:
    assert not last_line(tmp_path / "log")
