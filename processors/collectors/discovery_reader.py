"""The collector `discovery`: the peers that another federation service lists at /discover, each change published once.

ARK's protocol has no push, so the list is asked for every five seconds. A peer's hash that changed since it was last
published is a heartbeat; how that is exactly once, `published_peers` tells. While the service fails nothing is gone:
its peers age by the failure detector. It can neither lead us elsewhere, nor have us hold more than 16 MiB, nor wait
for long.
"""

import asyncio
import hashlib
import os
import random
from collections.abc import Sequence
from typing import Final

import aiohttp

from processors.collectors.backoff import Backoff
from processors.collectors.delivery import Delivery
from processors.collectors.differ import PeerDiffer, published_name, rejected_name
from processors.collectors.discovery import (
    COLLECTOR,
    MAX_BYTES,
    MAX_PEERS,
    Listing,
    UnusableAnswer,
    read_listing,
    service_at,
)
from processors.collectors.published_peers import PublishedPeers
from processors.collectors.publisher import CursorConflict
from processors.collectors.status import SourceStatus, clause
from processors.runtime.bus import Bus

__all__ = ["DiscoveryCollector"]

_MAX_ETAG: Final = 256
_POLL_S: Final = 5.0
_ANSWER_S: Final = 15.0
_CONNECT_S: Final = 5.0
_MOST_WAIT_S: Final = 60.0
_PEERS_A_STEP: Final = 200
# Nothing to unpack: a small body may unpack to a large one.
_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "ark-pulse"}

_FAILURES: Final = (aiohttp.ClientError, OSError, UnusableAnswer)


class DiscoveryCollector:
    """Follows the peers of the service at `url`."""

    def __init__(self, bus: Bus, url: str, partitions: Sequence[str], status: SourceStatus) -> None:
        self._service = service_at(url)
        self._clock = bus.clock
        self._status = status
        self._delivery = Delivery(bus, self._service.cursor, partitions, status)
        self._differ = PeerDiffer(COLLECTOR, self._service.name)
        self._published = PublishedPeers(self._delivery, self._differ)
        self._backoff = Backoff(random.random, most_s=_MOST_WAIT_S)
        # Digest and name of the last answer, all of which is published; empty if there is none.
        self._digest = b""
        self._etag = ""
        # Whether nobody watched before the next answer: its changes may be older than one poll.
        self._away = True

    async def run(self) -> None:
        """Collect until cancelled. Cancellation: a batch may be in some partitions; the next start finds out."""
        self._published.forget()
        async with self._delivery.held(), self._session() as http:
            while True:
                rest_s = await self._turn(http)
                await asyncio.sleep(rest_s)  # nothing announces a change of the list

    def _session(self) -> aiohttp.ClientSession:
        secret = self._service.authorization
        return aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=1),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS | ({"Authorization": secret} if secret else {}),
            timeout=aiohttp.ClientTimeout(total=_ANSWER_S, connect=_CONNECT_S),
        )

    async def _turn(self, http: aiohttp.ClientSession) -> float:
        """Ask once, and publish what changed. Returns how long to wait then, seconds."""
        try:
            await self._ask(http)
        except CursorConflict as conflict:
            self._published.forget()
            await self._delivery.begin_again(conflict)
            return 0.0
        except _FAILURES as error:
            self._away = True
            self._status.failed(self._clock.now_ms(), _clause(error))
            return self._backoff.next_s()
        self._backoff.reset()
        return _POLL_S

    async def _ask(self, http: aiohttp.ClientSession) -> None:
        if not self._published.known:
            self._digest, self._etag, self._away = b"", "", True
            await self._published.begin()
        await self._fetch(http)
        self._away = False
        await self._delivery.confirm()

    async def _fetch(self, http: aiohttp.ClientSession) -> None:
        """Get the list, and publish what changed, unless it is as it was. Raises UnusableAnswer, aiohttp's errors."""
        headers = {"If-None-Match": self._etag} if self._etag else {}
        async with http.get(self._service.url, headers=headers, allow_redirects=False) as response:
            if response.status == 304 and self._etag:
                return
            if response.status != 200:
                raise UnusableAnswer(f"status is {response.status}, and must be 200")
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise UnusableAnswer("answer must not be encoded")
            body = await _body(response)
        digest = hashlib.blake2b(body, digest_size=16).digest()
        if digest != self._digest:
            await self._publish(await asyncio.to_thread(read_listing, body))
        etag = response.headers.get("ETag", "")
        # It is sent back as it came, so nothing goes into it that a header may not hold.
        self._etag = etag if len(etag) <= _MAX_ETAG and etag.isascii() and etag.isprintable() else ""
        self._digest = digest

    async def _publish(self, listing: Listing) -> None:
        differ, now = self._differ, self._clock.now_ms()
        seen = {published_name(key) for key in listing.hashes}
        seen |= {rejected_name(clause.encode()) for clause in listing.refused}
        hashes = dict(listing.hashes)
        # A service that lists as many as it may has perhaps left some out; but one that lists others each time must not
        # have us remember all of them.
        if len(hashes) < MAX_PEERS or len(differ) > 2 * MAX_PEERS:
            hashes |= {key: {} for key in differ.unseen(seen)}
        keys = list(hashes)
        for start in range(0, len(keys), _PEERS_A_STEP):
            step = keys[start : start + _PEERS_A_STEP]
            await self._published.publish(differ.observe(key, hashes[key], now, away=self._away) for key in step)
            await asyncio.sleep(0)  # ten thousand peers must not hold up the other sources
        await self._published.publish(differ.refuse(*each, now) for each in listing.refused.items())
        await self._published.publish([differ.unseen_rejected(seen)])


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """The whole body. Raises UnusableAnswer: if it is too large; then the rest is not read."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BYTES:
            raise UnusableAnswer(f"answer must have at most {MAX_BYTES} bytes")
    return bytes(body)


def _clause(error: Exception) -> str:
    """What went wrong, on one line; no error knows the password, which is not in the address that is asked."""
    if isinstance(error, TimeoutError):
        return f"no whole answer within {_ANSWER_S:g} s"
    # Those of TLS have numbers of their own.
    if isinstance(error, OSError) and not isinstance(error, aiohttp.ClientSSLError) and (error.errno or 0) > 0:
        return os.strerror(error.errno or 0).lower()
    return clause(error)
