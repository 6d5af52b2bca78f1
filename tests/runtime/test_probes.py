import asyncio
import socket

import pytest

from processors.runtime.errors import SettingsError
from processors.runtime.probes import Answer, PortTaken, address, check_port, http_get
from tests.servers import free_port


def test_a_free_port_passes() -> None:
    check_port("ARK_HTTP", "127.0.0.1", free_port())


def test_a_taken_port_is_refused_by_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"^ARK_HTTP_PORT: 127\.0\.0\.1:{port} is already in use$"):
            check_port("ARK_HTTP", "127.0.0.1", port)


def test_an_address_of_another_machine_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match=r"^ARK_HTTP_HOST is no address of this machine: 192\.0\.2\.1$"):
        check_port("ARK_HTTP", "192.0.2.1", 8101)


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert address("::1", 8101) == "[::1]:8101"


async def _ask(reply: bytes) -> Answer | None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        return await http_get("127.0.0.1", server.sockets[0].getsockname()[1], "/")


async def test_a_web_server_answers_with_status_and_body() -> None:
    assert await _ask(b"HTTP/1.0 503 No\r\nA: b\r\n\r\nbody") == Answer(503, b"body")


async def test_something_else_than_a_web_server_gives_no_answer() -> None:
    assert await _ask(b"+PONG\r\n\r\n") is None


async def test_a_connection_that_is_closed_early_gives_no_answer() -> None:
    assert await _ask(b"HTTP/1.0 200 OK\r\n") is None


async def test_a_port_without_listener_is_an_error() -> None:
    with pytest.raises(OSError, match=r"Connect call failed"):
        await http_get("127.0.0.1", free_port(), "/")
