"""The HTTP server: routes, headers of every answer, and starting and stopping.

No answer shows a traceback. A connection that has not sent a whole request head within ten seconds is closed.
"""

import errno
import logging
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from processors.gateway import answers
from processors.gateway.assets import ASSETS, Asset
from processors.gateway.half import Half
from processors.gateway.session import is_ours
from processors.gateway.sockets import Sockets
from processors.gateway.state import State
from processors.runtime.clock import BusClock
from processors.runtime.errors import SettingsError
from schemas import codec

__all__ = ["HEAD_S", "Server"]

HEAD_S: Final = 10.0
"""How long a connection may take to send a request's head, and how long it may then be idle."""

_LINGER_S: Final = 2.0
_STOP_S: Final = 0.4

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _BrokenRequests(logging.Filter):
    """Keeps what a client did wrong out of the log: whoever sends rubbish would fill it with tracebacks."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError)


_http_logger = logging.getLogger("ark_pulse.gateway.http")
_http_logger.addFilter(_BrokenRequests())


class Server:
    """The gateway's HTTP server, on one host and port."""

    def __init__(
        self, state: State, federation: Sockets, memory: Sockets, clock: BusClock, *, head_s: float = HEAD_S
    ) -> None:
        self._state = state
        self._clock = clock
        app = web.Application(middlewares=[_errors_as_json])
        app.on_response_prepare.append(_add_headers)
        app.router.add_get("/", self._page)
        app.router.add_get("/static/{name}", self._static)
        app.router.add_get("/status", self._status)
        app.router.add_get("/ws/federation", federation.handle, allow_head=False)
        app.router.add_get("/ws/memory", memory.handle, allow_head=False)
        app.router.add_get("/api/v1/federation", partial(self._summary, state.mesh))
        app.router.add_get("/api/v1/memory", partial(self._summary, state.memory))
        app.router.add_get("/api/v1/peers", self._peers)
        app.router.add_get("/api/v1/sources", self._sources)
        app.router.add_get("/api/health", self._health)
        app.router.add_get("/healthz", self._alive)
        app.router.add_get("/readyz", self._ready)
        # aiohttp counts its keep-alive time from the connection's start and from each answer's end, until the next
        # head is complete: it is the deadline for a slow head too. Its default is an hour.
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_http_logger,
            keepalive_timeout=head_s,
            lingering_time=_LINGER_S,
            shutdown_timeout=_STOP_S,
        )

    async def start(self, host: str, port: int) -> int:
        """Listen on `host` and `port` (0: any free one). Returns the port.

        Raises SettingsError: if the address cannot be listened on.
        """
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, backlog=1_024)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            if error.errno == errno.EADDRINUSE:
                raise SettingsError("ARK_HTTP_PORT", f"{port} on {host} is already in use") from error
            problem = os.strerror(error.errno).lower() if error.errno else str(error)
            raise SettingsError("ARK_HTTP_PORT", f"{port} on {host} cannot be listened on: {problem}") from error
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Listen no more, and end what is still open. Takes about a second at most."""
        await self._runner.cleanup()

    async def _page(self, request: web.Request) -> web.StreamResponse:
        return _asset(request, ASSETS["index.html"])

    async def _static(self, request: web.Request) -> web.StreamResponse:
        asset = ASSETS.get(request.match_info["name"])
        if asset is None:
            raise web.HTTPNotFound
        return _asset(request, asset)

    async def _status(self, _request: web.Request) -> web.StreamResponse:
        line = answers.status_line(self._state, self._clock.now_ms())
        return web.Response(text=line, content_type="text/html")

    async def _summary(self, half: Half[Any], request: web.Request) -> web.StreamResponse:
        view = half.view(self._clock.now_ms())
        if view.summary is None:
            return self._nothing_yet()
        tag = answers.etag(half.stream, view)
        if _has(request, tag):
            return _unchanged(tag)
        answer = _json(view.summary)
        answer.etag = tag
        return answer

    async def _peers(self, request: web.Request) -> web.StreamResponse:
        try:
            limit, status = answers.read_limit(request.query), answers.read_status(request.query)
        except answers.BadQuery as error:
            return _json({"error": str(error)}, status=400)
        mesh = self._state.mesh
        summary = mesh.view(self._clock.now_ms()).summary
        if summary is None:
            return self._nothing_yet()
        return _json(answers.peers(mesh.shown, summary.peers, limit, status))

    async def _sources(self, _request: web.Request) -> web.StreamResponse:
        return _json(answers.sources(self._state.sources.by_name(), self._clock.now_ms()))

    async def _health(self, _request: web.Request) -> web.StreamResponse:
        return _json(answers.health(self._state, self._clock.now_ms()))

    async def _alive(self, _request: web.Request) -> web.StreamResponse:
        return _json({"status": "ok"})

    async def _ready(self, _request: web.Request) -> web.StreamResponse:
        if any(half.summary is not None for half in self._state.halves):
            return _json({"status": "ready"})
        return _json({"status": "not ready", "reason": answers.why_nothing(self._state)}, 503)

    def _nothing_yet(self) -> web.Response:
        return _json({"error": answers.why_nothing(self._state)}, 503)


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=codec.encode(body), status=status, content_type="application/json")


def _has(request: web.Request, tag: str) -> bool:
    """Whether the client says that it has the version `tag` already."""
    return any(each.value in {tag, "*"} for each in request.if_none_match or ())


def _unchanged(tag: str) -> web.Response:
    answer = web.Response(status=304)
    answer.etag = tag
    return answer


def _asset(request: web.Request, asset: Asset) -> web.Response:
    if _has(request, asset.etag):
        return _unchanged(asset.etag)
    answer = web.Response(body=asset.body, headers={"Content-Type": asset.content_type})
    answer.etag = asset.etag
    return answer


@web.middleware
async def _errors_as_json(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        if not is_ours(request.headers.get("Host")):
            raise web.HTTPForbidden(reason="Host must be this machine's loopback")
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        answer = _json({"error": error.reason.lower() if error.reason.istitle() else error.reason}, error.status)
        for name in ("Allow", "Retry-After"):
            if name in error.headers:
                answer.headers[name] = error.headers[name]
        return answer


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    if not isinstance(response, web.WebSocketResponse):
        response.headers.update(_HEADERS)
