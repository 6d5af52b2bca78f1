"""The demo's part of ARK's Redis: its peers, and its items of the list of syncs.

A peer is ours if its id begins with `demo-`, a sync if both its ends do. Whatever else is there stays as it is.
"""

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from processors.runtime.connection import SOCKET_TIMEOUT_S
from processors.runtime.settings import hide_password
from processors.tools.errors import TargetFailed
from processors.tools.traffic import PREFIX, is_demo_sync

__all__ = ["MAX_SYNCS", "DemoMesh"]

MAX_SYNCS: Final = 10_000
"""Most syncs of live traffic in the list: of more, the oldest is removed."""

_PEER: Final = "peer:"
_SYNCS: Final = "sync_events"
_CHUNK: Final = 1_000


class DemoMesh:
    """What seed writes into the Redis at `url`. Its methods block, and raise TargetFailed: if Redis does."""

    def __init__(self, url: str) -> None:
        self.shown = hide_password(url)
        self._client = Redis.from_url(
            url, socket_timeout=SOCKET_TIMEOUT_S, socket_connect_timeout=SOCKET_TIMEOUT_S, retry=Retry(NoBackoff(), 0)
        )
        # The syncs that this process pushed and that are still in the list, oldest first; at most MAX_SYNCS.
        self._pushed: deque[bytes] = deque()

    def foreign(self) -> dict[str, int]:
        """How many peers and syncs there are that seed did not make, by what they are called; none is left out."""
        with self._answering():
            peers = {key for key in self._keys("") if not key.startswith(f"{_PEER}{PREFIX}".encode())}
            syncs = sum(not is_demo_sync(item) for items in self._chunks() for item in items)
        return {"peers": len(peers), "sync events": syncs}

    def write(self, heartbeats: Iterable[tuple[str, Mapping[str, str]]], syncs: Iterable[bytes]) -> None:
        """Set the fields of peers, and push `syncs`, oldest first."""
        with self._answering(), self._client.pipeline(transaction=False) as pipe:
            for peer, fields in heartbeats:
                pipe.hset(_PEER + peer, mapping=cast("Any", fields))
            for item in syncs:
                pipe.lpush(_SYNCS, item)
                self._pushed.append(item)
            while len(self._pushed) > MAX_SYNCS:
                pipe.lrem(_SYNCS, -1, cast("str", self._pushed.popleft()))
            pipe.execute()

    def remove(self) -> int:
        """Remove the peers and the syncs that seed made. Returns how many there were."""
        with self._answering():
            peers = list(self._keys(PREFIX))
            removed = self._client.delete(*peers) if peers else 0
            return removed + self._remove_syncs()

    def _remove_syncs(self) -> int:
        removed = passed = 0
        while items := self._items(passed):
            ours = [item for item in items if is_demo_sync(item)]
            with self._client.pipeline(transaction=False) as pipe:
                for item in ours:
                    # From the head, where it was just read: all others stay, in their order.
                    pipe.lrem(_SYNCS, 1, cast("str", item))
                removed += sum(pipe.execute())
            passed += len(items) - len(ours)
        return removed

    def _keys(self, prefix: str) -> Iterator[bytes]:
        return self._client.scan_iter(match=f"{_PEER}{prefix}*", count=_CHUNK)

    def _chunks(self) -> Iterator[list[bytes]]:
        start = 0
        while items := self._items(start):
            yield items
            start += len(items)

    def _items(self, start: int) -> list[bytes]:
        answer: Any = self._client.lrange(_SYNCS, start, start + _CHUNK - 1)
        return cast("list[bytes]", answer)

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except RedisError as error:
            raise TargetFailed(f"REDIS_URL {self.shown}", error) from error
