"""The gateway's process: reads the bus, serves clients, ends cleanly."""

import asyncio
import resource
from typing import Final

from processors.gateway.broadcast import Broadcast
from processors.gateway.server import Server
from processors.gateway.sockets import MAX_CLIENTS, FederationSockets
from processors.gateway.state import Mesh
from processors.gateway.tail import Tail
from processors.runtime.bus import Bus
from processors.runtime.logging import get_logger
from processors.runtime.settings import Settings
from processors.runtime.tasks import end_tasks
from schemas.frames import CLOSE_CODES

__all__ = ["serve"]

_DESCRIPTORS: Final = 2 * MAX_CLIENTS + 256

_logger = get_logger("gateway")


async def serve(bus: Bus, settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; then clients are told to come back (1001), and it ends within two seconds.

    Raises SettingsError: if the host and port cannot be listened on. Cancellation: connections are cut off.
    """
    _raise_descriptor_limit()
    mesh = Mesh(settings.ark_partitions)
    broadcast = Broadcast(mesh, bus.clock)
    sockets = FederationSockets(broadcast.fanout, bus.clock)
    server = Server(mesh, broadcast, sockets, bus.clock)
    port = await server.start(settings.ark_http_host, settings.ark_http_port)
    _logger.info("listening on http://%s:%d", settings.ark_http_host, port)
    tail = Tail(bus, mesh, broadcast.note_change)
    try:
        await _run_until(stop, tail, broadcast)
    finally:
        await broadcast.fanout.close_all(CLOSE_CODES["going_away"])
        await server.stop()


async def _run_until(stop: asyncio.Event, tail: Tail, broadcast: Broadcast) -> None:
    """Run both until `stop` is set. A surprise in one of them ends the process, which starts again clean."""
    tasks = {asyncio.create_task(tail.run()), asyncio.create_task(broadcast.run()), asyncio.create_task(stop.wait())}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await end_tasks(tasks)


def _raise_descriptor_limit() -> None:
    """As many sockets as clients may come: the usual soft limit of 1,024 is below the bound on clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
