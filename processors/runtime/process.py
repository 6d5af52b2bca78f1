"""The life of one process: start, run until told to stop, end within a bound."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import uvloop
from faststream import FastStream

from processors.runtime.bus import Bus
from processors.runtime.errors import PulseError
from processors.runtime.logging import configure_logging, get_logger
from processors.runtime.registry import MetricsRegistry
from processors.runtime.settings import Settings, bus_url, hide_password
from processors.runtime.tasks import end_tasks
from processors.runtime.tracing import end_tracing, start_tracing

__all__ = ["Service", "run_process"]

_GRACE_S: Final = 2.5
"""How long a service may take to end by itself, before it is cancelled."""

Service = Callable[[Bus, Settings, asyncio.Event, MetricsRegistry], Coroutine[Any, Any, None]]
"""A stage: runs until the event is set, then returns; the registry is to hear what it has to tell.

Raises PulseError: if it cannot run as it is configured.
"""


def run_process(stage: str, service: Service, settings: Settings) -> int:
    """Run `service` on an open bus until SIGTERM or SIGINT.

    Returns the exit code: 0, 1 after a failure, or 3 if a setting cannot be used.
    """
    configure_logging(stage, settings)
    logger = get_logger(stage)
    try:
        uvloop.run(_main(bus_url(settings), logger, service, settings, MetricsRegistry(stage)))
    except PulseError as error:
        logger.error("%s", error)  # noqa: TRY400  - the text says what to mend; a traceback would hide it
        return error.exit_code
    finally:
        end_tracing()
    logger.info("stopped")
    return 0


async def _main(
    url: str, logger: logging.Logger, service: Service, settings: Settings, registry: MetricsRegistry
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    bus = Bus(url)
    bus.failure = loop.create_future()
    # It reads files, and starts a thread.
    await asyncio.to_thread(start_tracing, logger.name.removeprefix("ark_pulse."), settings, bus.clock)
    app = FastStream(bus.broker, logger=None, lifespan=_opened(bus, settings, stop))
    with registry.watching():
        # Before the bus: of a process that waits for it one can hear, too.
        async with _exposing(registry, settings), app.lifespan_context():
            if not stop.is_set():
                await app.start()
                logger.info("running on %s", hide_password(url))
                await _until_stopped(service(bus, settings, stop, registry), bus.failure, stop)


@asynccontextmanager
async def _exposing(registry: MetricsRegistry, settings: Settings) -> AsyncIterator[None]:
    """While metrics are served, if a port is set for them. Raises SettingsError: if it cannot be listened on."""
    if settings.ark_metrics_port is None:
        yield
        return
    from processors.runtime.exposition import ExpositionServer

    server = ExpositionServer(registry, settings.ark_metrics_host)
    await server.start(settings.ark_metrics_host, settings.ark_metrics_port)
    try:
        yield
    finally:
        await server.stop()


def _opened(bus: Bus, settings: Settings, stop: asyncio.Event) -> Callable[[], AbstractAsyncContextManager[None]]:
    """The lifespan: a bus that answers, or a stop while waiting for it."""

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        opening = asyncio.create_task(bus.open(settings.ark_partitions))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        try:
            if opening.done():
                opening.result()
            else:
                await end_tasks([opening])
            yield
        finally:
            await bus.close()

    return lifespan


async def _until_stopped(
    service: Coroutine[Any, Any, None], failure: "asyncio.Future[None]", stop: asyncio.Event
) -> None:
    """Run the service until it ends, the process is told to stop, or a handler failed; then two deadlines."""
    running = asyncio.create_task(service)
    stopping = asyncio.create_task(stop.wait())
    either: set[asyncio.Future[Any]] = {running, failure, stopping}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    stop.set()
    _, late = await asyncio.wait({running}, timeout=_GRACE_S)
    if late:
        running.cancel()
        await asyncio.wait({running}, timeout=_GRACE_S)
    if failure.done():
        failure.result()
    if running.done() and not running.cancelled():
        running.result()
