"""Registering a node: its manifest read, its key compared, its hash written, in this order.

A manifest is used up when its pin is renewed. If ARK's Redis fails after that, the client gets 503 and must send a
newer one, as it would at its next heartbeat; the other order would let a replay write a hash.
"""

import asyncio
from weakref import WeakValueDictionary

from processors.federation.discovery import Discovery
from processors.federation.manifest import Manifest, check_times, life_ms, peer_hash, read_manifest
from processors.federation.pinning import renewed
from processors.federation.pins import Pins
from processors.federation.registry import Registry
from processors.federation.trust import TrustedKeys, granted
from processors.federation.trusted_file import TrustedFile
from processors.runtime.clock import BusClock
from processors.runtime.logging import get_logger
from schemas.manifests import Pin

__all__ = ["Registrar"]

_logger = get_logger("federation")


class Registrar:
    """Takes the nodes' manifests."""

    def __init__(
        self, pins: Pins, registry: Registry, discovery: Discovery, trusted: TrustedFile, clock: BusClock
    ) -> None:
        self._pins = pins
        self._registry = registry
        self._discovery = discovery
        self._trusted = trusted
        self._clock = clock
        # Whose turn it is, by node id, while somebody has it: two manifests of one node are written in the order in
        # which they were taken. Bounded by the requests that are under way.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def register(self, body: bytes) -> str:
        """Register the node whose signed manifest `body` is. Returns its id.

        Raises Refused: if it is not. Cancellation: its manifest may be used up, and its hash not written.
        """
        manifest = read_manifest(body)
        check_times(manifest, self._clock.now_ms())
        trusted = await self._trusted.keys()
        async with self._turns.setdefault(manifest.node_id, asyncio.Lock()):
            await self._pin(manifest, trusted)
            now = self._clock.now_ms()
            tier = granted(manifest.tier, trusted.highest(manifest.node_id, manifest.key))
            fields = peer_hash(manifest, tier, now)
            # What has expired while it waited is gone at once.
            await self._registry.put(manifest.node_id, fields, max(1, life_ms(manifest, now)))
            self._discovery.put(manifest.node_id, fields)
        return manifest.node_id

    async def _pin(self, manifest: Manifest, trusted: TrustedKeys) -> None:
        listed = trusted.keys_of(manifest.node_id)

        def decide(pin: Pin | None) -> Pin:
            return renewed(pin, manifest, listed, self._clock.now_ms())

        if await self._pins.renew(manifest.node_id, decide, always=bool(listed)) is None:
            _logger.debug("%s is new, and pinned to its key", manifest.node_id)
