"""Who may come in: tokens, origins, and how many connections there may be.

Tokens are taken from the Authorization header, or the page's cookie; never from an address, which ends up in logs.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp import web

from processors.gateway.addresses import Address, client_address, is_trusted, read_address, same_origin, same_place
from processors.gateway.tokens import ANYBODY, Visitor, parse_tokens
from processors.runtime.logging import get_logger
from processors.runtime.settings import Settings
from processors.runtime.watched_file import WatchedFile
from schemas.answers import Access

__all__ = ["COOKIE", "LOOK_S", "RETRY_AFTER_S", "Gate", "Visitor"]

COOKIE: Final = "ark_token"
"""The page's cookie."""

LOOK_S: Final = 1.0
"""How often the file of tokens is looked at, and who has lost access, seconds."""

RETRY_AFTER_S: Final = 5
"""When a client that found no place should come again, seconds."""

_REFUSALS: Final = ("address", "full", "origin", "role", "token", "tries")

_logger = get_logger("gateway")


class Gate:
    """The settings on access, and the file of tokens."""

    def __init__(self, settings: Settings) -> None:
        self._origins = frozenset(settings.ark_allowed_origins or ())
        self._proxies = settings.ark_trusted_proxies or ()
        self._most = settings.ark_max_clients
        self._most_of_one = settings.ark_max_clients_per_address
        self._file = WatchedFile("ARK_TOKENS_FILE", settings.ark_tokens_file, parse_tokens, _logger)
        # Whether the drop-in paths are open to everybody.
        self.legacy_open = settings.ark_legacy_open
        # Whether tokens are asked for; without, the gateway listens on loopback only.
        self.asks = settings.ark_tokens_file is not None
        # How many connections there are that stay; and how many of each address, loopback too.
        self.clients = 0
        self._places: Counter[str] = Counter()
        # How many requests were refused, by why, in one word.
        self.refusals: Counter[str] = Counter(dict.fromkeys(_REFUSALS, 0))
        # Whom to tell when a visitor loses access, by visitor and connection.
        self._watchers: defaultdict[Visitor, dict[object, Callable[[], None]]] = defaultdict(dict)

    async def open(self) -> None:
        """Read the file of tokens. Raises SettingsError: if it cannot be used. Cancellation: safe."""
        await self._file.open()

    async def run(self) -> None:
        """Follow the file, and end the access of those whose token has expired or is not listed any more.

        It does so within `LOOK_S`, until cancelled. Cancellation: safe.
        """
        while self.asks:
            await asyncio.sleep(LOOK_S)
            await self._file.look()
            now = _now_ms()
            for visitor in [each for each in self._watchers if not self._file.content.holds(each, now)]:
                for gone in self._watchers.pop(visitor).values():
                    gone()
        await asyncio.Event().wait()

    def check_origin(self, request: web.Request) -> None:
        """Raises HTTPForbidden: if a page asks whose origin is neither ours nor listed. Programs send no Origin."""
        origins = request.headers.getall("Origin", [])
        first = next(iter(origins), None)
        if len(origins) > 1 or not (same_origin(first, request.headers.get("Host")) or first in self._origins):
            self.refusals["origin"] += 1
            raise web.HTTPForbidden(reason="Origin must be that of this gateway's own page, or in ARK_ALLOWED_ORIGINS")

    def visitor(self, request: web.Request) -> Visitor | None:
        """Who asks, by the Authorization header, else by the cookie; None: no token was shown, and one is needed.

        Raises HTTPUnauthorized: if what was shown is no valid token.
        """
        if not self.asks:
            return ANYBODY
        shown = request.headers.getall("Authorization", [])
        if len(shown) > 1:
            raise self.unauthorized("Authorization must be there once")
        scheme, _, token = shown[0].partition(" ") if shown else ("Bearer", "", request.cookies.get(COOKIE, ""))
        if scheme.lower() != "bearer":
            raise self.unauthorized("Authorization must be Bearer, and a token")
        if not shown and not token:
            return None
        found = self.authenticate(token.strip())
        if found is None:
            raise self.unauthorized("the token is not valid")
        return found

    def unauthorized(self, reason: str) -> web.HTTPUnauthorized:
        """The refusal of a request that shows no valid token, counted."""
        self.refusals["token"] += 1
        return web.HTTPUnauthorized(reason=reason, headers={"WWW-Authenticate": "Bearer"})

    def access(self, request: web.Request) -> Access:
        """What who asks may do, after they were let in. Raises HTTPUnauthorized: if their token has just expired."""
        visitor = self.visitor(request)
        assert visitor is not None, "who shows no token is not let in"
        return visitor.role if self.asks else "open"

    def authenticate(self, token: str) -> Visitor | None:
        """Whose `token` is; None if it is not valid."""
        return self._file.content.find(token, _now_ms()) if self.asks else ANYBODY

    def watch(self, visitor: Visitor, gone: Callable[[], None]) -> Callable[[], None]:
        """Have `gone` called once, in the event loop, when the visitor loses access. Call what it returns to end that.

        A token whose role was changed is lost, too: its holder comes in anew.
        """
        connection = object()
        self._watchers[visitor][connection] = gone

        def end() -> None:
            watchers = self._watchers.get(visitor, {})
            watchers.pop(connection, None)
            if not watchers:
                self._watchers.pop(visitor, None)

        return end

    @contextmanager
    def place(self, request: web.Request) -> Iterator[None]:
        """Hold one of the places for connections that stay.

        Raises HTTPServiceUnavailable: if all are taken. Raises HTTPTooManyRequests: if the address has too many.
        """
        again = {"Retry-After": str(RETRY_AFTER_S)}
        if self.clients >= self._most:
            self.refusals["full"] += 1
            raise web.HTTPServiceUnavailable(reason=f"at most {self._most} clients", headers=again)
        client = self._client(request)
        name = same_place(client)
        if self._places[name] >= self._most_of_one and not (client is not None and client.is_loopback):
            self.refusals["address"] += 1
            raise web.HTTPTooManyRequests(reason=f"at most {self._most_of_one} clients of an address", headers=again)
        self.clients += 1
        self._places[name] += 1
        try:
            yield
        finally:
            self.clients -= 1
            self._places[name] -= 1
            if not self._places[name]:
                del self._places[name]

    def address(self, request: web.Request) -> str:
        """Where a request comes from, as it is counted: trusted proxies are looked through."""
        return same_place(self._client(request))

    def is_https(self, request: web.Request) -> bool:
        """Whether a trusted proxy says that the client came by HTTPS: of ourselves we speak HTTP only."""
        said = ",".join(request.headers.getall("X-Forwarded-Proto", [])).rpartition(",")[2]
        return said.strip().lower() == "https" and is_trusted(read_address(request.remote), self._proxies)

    def _client(self, request: web.Request) -> Address | None:
        return client_address(request.remote, request.headers.getall("X-Forwarded-For", []), self._proxies)


def _now_ms() -> int:
    return int(time.time() * 1000)
