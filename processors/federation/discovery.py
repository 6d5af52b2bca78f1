"""The answer of GET /discover: read once for all who ask within a moment, never without a peer that has registered."""

import asyncio
from collections.abc import Mapping
from typing import Final

from processors.federation.errors import Refused
from processors.federation.registry import MAX_PEERS, Registry
from schemas import codec

__all__ = ["MOMENT_S", "Discovery"]

MOMENT_S: Final = 1.0
"""How old an answer may be, seconds; older where reading it takes long."""

# Of the time, at most a twentieth is spent reading.
_REST: Final = 20


class Discovery:
    """All peers as JSON, shared by those who ask."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        # Held by who reads; the others wait for the same answer.
        self._turn = asyncio.Lock()
        # The peers of the newest reading, and those that registered since it began, as JSON by node id; at most
        # MAX_PEERS, a new one beyond that waits for the next reading. None if it failed.
        self._peers: dict[str, bytes] | None = None
        # The answer made of them; None if it is to be made again.
        self._body: bytes | None = None
        # Loop time until which the reading is good, seconds.
        self._until = 0.0

    def put(self, node_id: str, fields: Mapping[str, str]) -> None:
        """A peer has registered: whoever asks now finds it."""
        if self._peers is not None and (node_id in self._peers or len(self._peers) < MAX_PEERS):
            self._peers[node_id] = codec.encode(fields)
            self._body = None

    async def body(self) -> bytes:
        """`{"peers": [...], "count": n}`. What others wrote or removed may be a moment old.

        Raises Refused: if ARK's Redis does not answer, or did not a moment ago. Cancellation: the others try again
        after a moment.
        """
        async with self._turn:
            if asyncio.get_running_loop().time() >= self._until:
                await self._read()
            if self._peers is None:
                raise Refused(503, "ARK's Redis does not answer")
            if self._body is None:
                self._body = b'{"peers":[%b],"count":%d}' % (b",".join(self._peers.values()), len(self._peers))
            return self._body

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        # Collects who registers meanwhile.
        self._peers, self._body = {}, None
        found = None
        try:
            found = await self._registry.peers()
        finally:
            read = None if found is None else {node_id: codec.encode(fields) for node_id, fields in found.items()}
            self._peers = None if read is None else read | self._peers
            ended = loop.time()
            self._until = ended + max(MOMENT_S, _REST * (ended - began))
