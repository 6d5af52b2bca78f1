"""The federation service's process: takes manifests until it is told to stop."""

import asyncio

from processors.federation.discovery import Discovery
from processors.federation.pins import Pins
from processors.federation.registrar import Registrar
from processors.federation.registry import Registry
from processors.federation.server import FederationServer
from processors.federation.trusted_file import TrustedFile
from processors.runtime.bus import Bus
from processors.runtime.logging import get_logger
from processors.runtime.probes import address
from processors.runtime.registry import MetricsRegistry
from processors.runtime.settings import Settings

__all__ = ["serve"]

_logger = get_logger("federation")


async def serve(bus: Bus, settings: Settings, stop: asyncio.Event, metrics: MetricsRegistry) -> None:
    """Serve until `stop` is set; what is under way then has a moment to end.

    Raises SettingsError: if the host and port cannot be listened on, or the file of trusted keys cannot be used.
    Cancellation: connections are cut off.
    """
    trusted = TrustedFile(settings.ark_trusted_keys_file)
    await trusted.open()
    registry = Registry(settings.redis_url)
    discovery = Discovery(registry)
    registrar = Registrar(Pins(bus), registry, discovery, trusted, bus.clock)
    server = FederationServer(registrar, discovery, settings.federation_host)
    metrics.add(server.read)
    try:
        port = await server.start(settings.federation_port)
        _logger.info("listening on http://%s", address(settings.federation_host, port))
        await stop.wait()
    finally:
        await server.stop()
        await registry.close()
