"""The gateway's process: reads the bus, serves clients, ends cleanly."""

import asyncio
import resource
from collections.abc import Coroutine
from typing import Final

from processors.gateway.broadcast import Broadcast
from processors.gateway.legacy_memory import MemoryFrames
from processors.gateway.legacy_mesh import MeshFrames
from processors.gateway.server import Server
from processors.gateway.sockets import MAX_CLIENTS, Sockets
from processors.gateway.state import State
from processors.gateway.tail import Tail
from processors.runtime.bus import Bus
from processors.runtime.logging import get_logger
from processors.runtime.settings import Settings
from processors.runtime.tasks import end_tasks
from schemas.frames import CLOSE_CODES

__all__ = ["serve"]

# Two paths of WebSocket clients, and as many requests.
_DESCRIPTORS: Final = 3 * MAX_CLIENTS + 256

_logger = get_logger("gateway")


async def serve(bus: Bus, settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; then clients are told to come back (1001), and it ends within two seconds.

    Raises SettingsError: if the host and port cannot be listened on. Cancellation: connections are cut off.
    """
    _raise_descriptor_limit()
    state = State(settings.ark_partitions)
    federation = Broadcast(state.mesh, MeshFrames(state.mesh), bus.clock)
    memory = Broadcast(state.memory, MemoryFrames(state.memory), bus.clock)
    server = Server(state, Sockets(federation.fanout, bus.clock), Sockets(memory.fanout, bus.clock), bus.clock)
    port = await server.start(settings.ark_http_host, settings.ark_http_port)
    _logger.info("listening on http://%s:%d", settings.ark_http_host, port)
    tail = Tail(bus, state, {state.mesh: federation.note_change, state.memory: memory.note_change})
    try:
        await _run_until(stop, tail.run(), federation.run(), memory.run())
    finally:
        going = CLOSE_CODES["going_away"]
        await asyncio.gather(federation.fanout.close_all(going), memory.fanout.close_all(going))
        await server.stop()


async def _run_until(stop: asyncio.Event, *parts: Coroutine[None, None, None]) -> None:
    """Run all parts until `stop` is set. A surprise in one of them ends the process, which starts again clean."""
    tasks = {asyncio.create_task(stop.wait()), *(asyncio.create_task(part) for part in parts)}
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
