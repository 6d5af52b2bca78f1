"""What the tests of the federation service share: nodes that sign, and a running service."""

import base64
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from processors.federation.discovery import Discovery
from processors.federation.gate import Gate
from processors.federation.pins import MAX_PINS, Pins
from processors.federation.registrar import Registrar
from processors.federation.registry import Registry
from processors.federation.server import BODY_S, SEND_S, FederationServer
from processors.federation.trusted_file import TrustedFile
from processors.runtime.bus import Bus
from processors.runtime.http import HEAD_S

__all__ = ["Node", "Service", "base64_of", "running_service"]


def base64_of(value: bytes) -> str:
    return base64.b64encode(value).decode()


class Node:
    """A node with a key of its own, that signs as ARK's clients do: with plain `json.dumps`."""

    def __init__(self, node_id: str = "ark-node-1") -> None:
        self.node_id = node_id
        self.key = Ed25519PrivateKey.generate()

    @property
    def pubkey(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    def request(self, **fields: Any) -> dict[str, Any]:
        """A whole request, as an object."""
        manifest = {"node_id": self.node_id, **fields}
        signature = self.key.sign(json.dumps(manifest, sort_keys=True).encode())
        return {"manifest": manifest, "signature": base64_of(signature), "pubkey": base64_of(self.pubkey)}

    def body(self, **fields: Any) -> bytes:
        """The same, as it is sent."""
        return json.dumps(self.request(**fields)).encode()


@dataclasses.dataclass
class Service:
    """A running service on a free port."""

    url: str
    http: aiohttp.ClientSession
    # None where it runs as a process has it.
    server: FederationServer | None = None

    async def post(self, body: bytes, **headers: str) -> tuple[int, Any]:
        """Status and JSON of the answer to a manifest."""
        async with self.http.post("/manifest", data=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def discover(self) -> dict[str, dict[str, str]]:
        """The hashes that are listed, by node id."""
        async with self.http.get("/discover") as answer:
            assert answer.status == 200
            body = await answer.json()
        assert body["count"] == len(body["peers"])
        return {peer["node_id"]: peer for peer in body["peers"]}


@contextlib.asynccontextmanager
async def running_service(
    bus: Bus,
    redis_url: str,
    *,
    trusted: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    most_pins: int = MAX_PINS,
    gate: Gate | None = None,
    head_s: float = HEAD_S,
    body_s: float = BODY_S,
    send_s: float = SEND_S,
) -> AsyncIterator[Service]:
    file = TrustedFile(trusted)
    await file.open()
    registry = Registry(redis_url)
    discovery = Discovery(registry)
    registrar = Registrar(Pins(bus, most=most_pins), registry, discovery, file, bus.clock)
    server = FederationServer(registrar, discovery, host, gate=gate, head_s=head_s, body_s=body_s, send_s=send_s)
    url = f"http://127.0.0.1:{await server.start(port)}"
    try:
        async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as http:
            yield Service(url, http, server)
    finally:
        await server.stop()
        await registry.close()
