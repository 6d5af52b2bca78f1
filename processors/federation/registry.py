"""The hashes `peer:*` in ARK's Redis: a registered peer is written there, and all peers are read from there.

What is written is whole at once: hash and expiry together, and nothing of what an earlier manifest said. The collector
`peers` sees the change and puts the heartbeat on the bus; nothing of it is published from here.
"""

from collections.abc import Mapping
from typing import Any, Final, cast

from processors.federation.access import Access
from processors.runtime.connection import in_one_trip, open_client, wrong_type

__all__ = ["MAX_BYTES", "MAX_PEERS", "Registry"]

MAX_PEERS: Final = 10_000
"""Most peers that are listed."""

MAX_BYTES: Final = 16 << 20
"""Most bytes that the fields of the listed peers take together."""

_PREFIX: Final = b"peer:"
_SCAN_COUNT: Final = 500
_LIST_S: Final = 10.0


class Registry:
    """ARK's Redis, as far as peers are concerned."""

    def __init__(self, url: str) -> None:
        # Protocol 2: any server that ARK runs on understands it.
        self._client = open_client(url, protocol=2)
        self._access = Access("ARK's Redis")

    async def put(self, node_id: str, fields: Mapping[str, str], life_ms: int) -> None:
        """Make `fields` the hash of a peer that expires after `life_ms`; whatever was there is gone.

        Raises Refused: if ARK's Redis does not answer. Cancellation: it is written whole, or not at all.
        """
        key = f"peer:{node_id}"
        async with self._access.within(), self._client.pipeline(transaction=True) as pipe:
            pipe.delete(key)
            pipe.hset(key, mapping=cast("Any", fields))
            pipe.pexpire(key, life_ms)
            await pipe.execute()

    async def peers(self) -> dict[str, dict[str, str]]:
        """The hashes of all peers as text by node id, up to both bounds; keys of another type are left out.

        A hash that does not name its node gets the `node_id` of its key. Raises Refused: if ARK's Redis does not
        answer. Cancellation: safe.
        """
        found: dict[str, dict[str, str]] = {}
        left = MAX_BYTES
        async with self._access.within(_LIST_S):
            cursor = 0
            while True:
                cursor, page = await self._client.scan(cursor, match=_PREFIX + b"*", count=_SCAN_COUNT)
                for key, fields in await self._read(cast("list[bytes]", page)):
                    left -= sum(len(name) + len(value) for name, value in fields.items())
                    if len(found) == MAX_PEERS or left < 0:
                        return found
                    node_id = _text(key.removeprefix(_PREFIX))
                    found[node_id] = {"node_id": node_id} | {_text(name): _text(fields[name]) for name in fields}
                if cursor == 0:
                    return found

    async def _read(self, keys: list[bytes]) -> list[tuple[bytes, dict[bytes, bytes]]]:
        answers = await in_one_trip(self._client, [("HGETALL", key) for key in keys], bearable=wrong_type)
        # One that has expired meanwhile is empty.
        return [(key, fields) for key, fields in zip(keys, answers, strict=True) if isinstance(fields, dict) and fields]

    async def close(self) -> None:
        """Let go of all connections."""
        await self._client.aclose()


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
