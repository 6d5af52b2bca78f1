"""The gateway's process: reads the bus, serves clients, ends cleanly."""

import asyncio
import resource
import uuid
from collections.abc import Coroutine
from typing import Final

from processors.gateway.conversation import Services
from processors.gateway.gate import Gate
from processors.gateway.history import History
from processors.gateway.hub import Hub
from processors.gateway.past import Players
from processors.gateway.recovery import Recovery
from processors.gateway.server import Server
from processors.gateway.sockets import Sockets
from processors.gateway.sse import ServerSent
from processors.gateway.state import State
from processors.gateway.tail import Tail
from processors.gateway.traffic import Traffic
from processors.runtime.bus import Bus
from processors.runtime.logging import get_logger
from processors.runtime.registry import MetricsRegistry
from processors.runtime.settings import Settings
from processors.runtime.tasks import end_tasks
from schemas.frames import CLOSE_CODES

__all__ = ["serve"]

# Beside the clients that stay: requests, the bus, files.
_MORE_DESCRIPTORS: Final = 1_024

_logger = get_logger("gateway")


async def serve(
    bus: Bus, settings: Settings, stop: asyncio.Event, registry: MetricsRegistry, *, share_port: bool = False
) -> None:
    """Serve until `stop` is set; then clients are told to come back (1001), and it ends within two seconds.

    `share_port`: other gateways listen on the same one. Raises SettingsError: if the host and port cannot be listened
    on, or the file of tokens cannot be used. Cancellation: connections are cut off.
    """
    _raise_descriptor_limit(settings.ark_max_clients + _MORE_DESCRIPTORS)
    gate = Gate(settings)
    await gate.open()
    state = State(settings.ark_partitions)
    hub = Hub(state, bus.clock, bus.guard, Traffic())
    tail = Tail(bus, state, hub.note_change)
    recovery = Recovery(hub, History(bus, state), tail.progress, bus.clock)
    services = Services(hub, recovery, Players(bus, state), gate, uuid.uuid4().hex[:12])
    sockets, sent = Sockets(services), ServerSent(services)
    server = Server(state, services, sockets, sent, registry)
    port = await server.start(settings.ark_http_host, settings.ark_http_port, share_port=share_port)
    _logger.info("listening on http://%s:%d", settings.ark_http_host, port)
    try:
        await _run_until(stop, gate.run(), tail.run())
    finally:
        going = CLOSE_CODES["going_away"]
        await asyncio.gather(sockets.close_all(going), sent.close_all(going))
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


def _raise_descriptor_limit(wanted: int) -> None:
    """As many sockets as clients may come: the usual soft limit of 1,024 is below the bound on clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
