"""What benchmarks of freshness share: a client that takes every frame or entry as it comes, with the moment."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import aiohttp

__all__ = ["Frame", "Holds", "Probe", "connected", "probing"]

Frame = dict[str, Any]
Holds = Callable[[Any], bool]


class _Texts(Protocol):
    async def receive_str(self) -> str:
        """The next text, JSON."""


class Probe:
    """Takes every text of a socket, or of what reads like one, as it comes, with the moment."""

    def __init__(self, socket: _Texts) -> None:
        self._socket = socket
        self._frames: asyncio.Queue[tuple[float, str]] = asyncio.Queue()

    async def run(self) -> None:
        """Take frames until cancelled."""
        while True:
            text = await self._socket.receive_str()
            self._frames.put_nowait((time.perf_counter(), text))

    def forget(self) -> None:
        """Leave out what came before."""
        while not self._frames.empty():
            self._frames.get_nowait()

    async def first(self, holds: Holds, timeout_s: float = 10) -> float:
        """When the first text came for which `holds`, seconds of the performance counter."""
        async with asyncio.timeout(timeout_s):
            while True:
                moment, text = await self._frames.get()
                if holds(json.loads(text)):
                    return moment


@contextlib.asynccontextmanager
async def probing(socket: _Texts) -> AsyncIterator[Probe]:
    """A probe that takes what `socket` receives."""
    probe = Probe(socket)
    reading = asyncio.create_task(probe.run())
    try:
        yield probe
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


@contextlib.asynccontextmanager
async def connected(port: int, path: str) -> AsyncIterator[Probe]:
    """A probe on the gateway's socket `path`."""
    url = f"http://127.0.0.1:{port}{path}"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, max_msg_size=0) as socket,
        probing(socket) as probe,
    ):
        yield probe
