"""Shared frames to many sockets.

Delivery: a client whose socket is empty gets every frame; one that is behind gets what brings it to the newest state
once its socket is empty again (it is conflated). Ordering: as sent. One slow client delays nobody: nothing that sends
to all waits for a socket.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, Final, Protocol, TypeAlias

from processors.gateway.meter import Meter
from processors.gateway.traffic import Traffic
from processors.runtime.logging import get_logger
from schemas.frames import CLOSE_CODES, CloseCode

__all__ = ["DRAIN_S", "Client", "Fanout", "Guard", "Place"]

DRAIN_S: Final = 20.0
"""How long a client may take to read what was sent to it before it is closed."""

# Linux lets a socket buffer grow to several MiB: for thousands of clients that never read, that is the machine.
_SOCKET_BUFFER: Final = 256 << 10

_logger = get_logger("gateway")


Guard: TypeAlias = "Callable[[asyncio.Task[None]], None]"
"""Has the process end when a task ends with what nobody expected: nobody else would hear of it."""


class Place(Protocol):
    """Where a client stands, and what leads it on."""

    def mark(self) -> Any:
        """Where those stand who got everything."""

    def lead(self, mark: Any, until: Any) -> Iterator[bytes]:
        """What leads a client from one mark to another, in pieces for one write each."""


class Client:
    """One connected client. `drain` returns when all that was written to `transport` is on its way."""

    # There are thousands of them.
    __slots__ = (
        "__weakref__", "_ending", "catching_up", "drain", "end", "given_up", "mark", "meter", "refresh", "refresh_at",
        "refreshing", "transport",
    )  # fmt: skip

    def __init__(
        self,
        transport: asyncio.Transport,
        drain: Callable[[], Awaitable[None]],
        end: Callable[[CloseCode], Coroutine[Any, Any, None]],
    ) -> None:
        # High water of 0: the transport tells of an empty buffer, and uvloop writes at once while it is empty.
        transport.set_write_buffer_limits(high=0)
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
        self.transport = transport
        self.drain = drain
        # Counts its messages.
        self.meter = Meter()
        # Closes it with a reason, within about a second.
        self.end = end
        # The closing that nobody waits for.
        self._ending: asyncio.Task[None] | None = None
        # Where it stands while it is behind; None while it has got everything.
        self.mark: Any = None
        # Leads it on while it is behind.
        self.catching_up: asyncio.Task[None] | None = None
        # Whether it was closed for not reading.
        self.given_up = False
        # Channels of which it asked for the whole and has not got it; who sends it; and when (loop time, s) it may be.
        self.refresh: set[str] = set()
        self.refreshing: asyncio.Task[None] | None = None
        self.refresh_at = 0.0

    def end_soon(self, reason: CloseCode) -> None:
        """Close it with a reason, without waiting for that."""
        self._ending = asyncio.create_task(self.end(reason))

    async def settled(self) -> None:
        """Return when it has got everything. Cancellation: safe; it is led on."""
        while self.catching_up is not None:
            await asyncio.wait({self.catching_up})


class Fanout:
    """The clients of one place."""

    def __init__(self, place: Place, guard: Guard, traffic: Traffic, *, drain_s: float = DRAIN_S) -> None:
        self._place = place
        self._guard = guard
        self._traffic = traffic
        self._drain_s = drain_s
        # All of them, those that are behind too.
        self._clients: set[Client] = set()

    def __len__(self) -> int:
        return len(self._clients)

    def join(self, client: Client, mark: Any) -> None:
        """Take a client that stands at `mark`, and lead it on from there."""
        self._clients.add(client)
        self.lead_from(client, mark)

    def leave(self, client: Client) -> None:
        """Forget a client. Harmless if it has left."""
        self._clients.discard(client)
        if client.catching_up is not None and not client.given_up:
            client.catching_up.cancel()
        client.mark = None

    def send(self, frames: bytes, before: Any) -> None:
        """Send to every client that is not behind; those that have not read the last are now, from `before` on."""
        late = 0
        for client in self._clients:
            transport = client.transport
            if client.mark is None and not transport.get_write_buffer_size() and not transport.is_closing():
                transport.write(frames)
                continue
            late += 1
            if client.mark is None:
                self.lead_from(client, before)
        self._traffic.count(len(self._clients) - late, frames)

    def lead_all_from(self, mark: Any) -> None:
        """Lead every client that has got everything on from `mark`: there is too much for one write."""
        for client in self._clients:
            if client.mark is None:
                self.lead_from(client, mark)

    def lead_from(self, client: Client, mark: Any) -> None:
        """Lead a client on from `mark`. It must not be led on already."""
        assert client.catching_up is None, "one after the other"
        client.mark = mark
        client.catching_up = asyncio.create_task(self._lead(client))
        self._guard(client.catching_up)

    async def _lead(self, client: Client) -> None:
        """Write as fast as the client reads until it has everything; close it if that takes too long."""
        try:
            while client.mark is not None:
                until = self._place.mark()
                for frames in self._place.lead(client.mark, until):
                    await self._drained(client)
                    client.transport.write(frames)
                    self._traffic.count(1, frames)
                # Nothing was awaited since the last write.
                client.mark = None if self._place.mark() == until else until
        except TimeoutError:
            client.given_up = True
            _logger.debug("closed a client that did not read for %g s", self._drain_s)
            await client.end(CLOSE_CODES["too_slow"])
        except ConnectionError:
            pass  # it is gone; the handler that reads from it forgets it
        finally:
            client.catching_up = None

    async def _drained(self, client: Client) -> None:
        await asyncio.sleep(0)  # whoever reads as fast as we write must not keep the loop to itself
        async with asyncio.timeout(self._drain_s):
            await client.drain()
        if client.transport.is_closing():
            raise ConnectionError("the client has left")
