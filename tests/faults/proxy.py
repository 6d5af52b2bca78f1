"""A proxy before a server, on loopback, that sees every request and stands still at the one that a test waits for."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from processors.runtime import bus
from processors.runtime.tasks import end_tasks

__all__ = ["Failpoint", "Proxy", "Request", "proxied"]

_SCRIPTS: Final = {
    hashlib.sha1(path.read_bytes()).hexdigest().encode(): path.stem
    for path in (Path(bus.__file__).parent / "scripts").glob("*.lua")
}


class Request(NamedTuple):
    """What a client asks: a command, or a script by its name, and the first key."""

    name: str
    key: str


class Failpoint:
    """One request at which its connection stands still, until the test cuts it or lets it go on."""

    def __init__(self, name: str, key: str, turn: int, *, answered: bool) -> None:
        self._name = name
        # "": any key.
        self._key = key
        # How many such requests are still to come, with this one.
        self._left = turn
        # Whether the server has it and its answer is what is held back; else it is the request.
        self.answered = answered
        # Set when it has come.
        self.reached = asyncio.Event()
        # Whether the connection goes on.
        self.goes_on: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def cut(self) -> None:
        """Close the connection: what is held back is lost."""
        self.goes_on.set_result(False)

    def let_pass(self) -> None:
        """Deliver what is held back, and go on."""
        self.goes_on.set_result(True)

    def is_here(self, request: Request) -> bool:
        """Count `request`; tells whether it is the one."""
        if self._name != request.name or self._key not in {"", request.key}:
            return False
        self._left -= 1
        return self._left == 0


class Proxy:
    """Passes requests on to the server at `url`, and its answers back."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._place = parts.hostname or "127.0.0.1", parts.port or 6379
        self._parts = parts
        self._failpoints: list[Failpoint] = []
        self._server: asyncio.Server | None = None
        # One for each connection, with its two ends.
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The server's address by way of here."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        user, at, _ = self._parts.netloc.rpartition("@")
        return self._parts._replace(netloc=f"{user}{at}127.0.0.1:{port}").geturl()

    def failpoint(self, name: str, *, key: str = "", turn: int = 1, answered: bool = False) -> Failpoint:
        """Stand still at the request that is the `turn`-th from now of its name, and of `key` if that is given."""
        made = Failpoint(name, key, turn, answered=answered)
        self._failpoints.append(made)
        return made

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await end_tasks(self._tasks)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not a coroutine: asyncio would log it as an error when it is cancelled.
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            server_reader, server_writer = await asyncio.open_connection(*self._place)
            with contextlib.closing(server_writer):
                answers = _Answers(server_reader, writer)
                passing = asyncio.create_task(answers.run())
                try:
                    await self._pass_on(reader, server_writer, answers)
                finally:
                    await end_tasks([passing])

    async def _pass_on(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, answers: "_Answers") -> None:
        while True:
            request, raw = await _read_request(reader)
            failpoint = next((each for each in self._failpoints if each.is_here(request)), None)
            if failpoint is not None:
                self._failpoints.remove(failpoint)
                if failpoint.answered:
                    answers.free.clear()
                    server.write(raw)
                    await answers.held.wait()
                failpoint.reached.set()
                if not await failpoint.goes_on:
                    return
                answers.free.set()
            if failpoint is None or not failpoint.answered:
                server.write(raw)
            await server.drain()


class _Answers:
    """What a server answers on one connection; a request that is held back is alone on its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        # Set unless the next answer is to be held back.
        self.free = asyncio.Event()
        self.free.set()
        # Set once one is.
        self.held = asyncio.Event()

    async def run(self) -> None:
        """Pass on until the server closes; then the client hears that too."""
        with contextlib.closing(self._writer), contextlib.suppress(OSError):
            while data := await self._reader.read(1 << 16):
                if not self.free.is_set():
                    self.held.set()
                    await self.free.wait()
                self._writer.write(data)
                await self._writer.drain()


async def _read_request(reader: asyncio.StreamReader) -> tuple[Request, bytes]:
    """The next request, read and as it came: redis-py sends arrays of bulk strings only."""
    head = await reader.readuntil(b"\r\n")
    raw, parts = [head], []
    for _ in range(int(head[1:])):
        length = await reader.readuntil(b"\r\n")
        part = await reader.readexactly(int(length[1:]) + 2)
        raw += [length, part]
        parts.append(part[:-2])
    name, *rest = parts
    if name.upper() == b"EVALSHA":
        return Request(_SCRIPTS.get(rest[0], "?"), rest[2].decode()), b"".join(raw)
    return Request(name.decode().upper(), rest[0].decode(errors="replace") if rest else ""), b"".join(raw)


@contextlib.asynccontextmanager
async def proxied(url: str) -> AsyncIterator[Proxy]:
    """A proxy before the server at `url`."""
    proxy = Proxy(url)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
