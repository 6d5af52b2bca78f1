"""The gateway's routes, and the headers of its answers."""

from functools import partial
from typing import Any, Final

from aiohttp import web

from processors.gateway import answers
from processors.gateway.assets import ASSETS, Asset
from processors.gateway.half import Half
from processors.gateway.sockets import Sockets
from processors.gateway.state import State
from processors.runtime.clock import BusClock
from processors.runtime.http import HEAD_S, HttpServer, adding_headers, errors_as_json, json_answer

__all__ = ["Server"]

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class Server(HttpServer):
    """The gateway's HTTP server, on one host and port."""

    def __init__(
        self, state: State, federation: Sockets, memory: Sockets, clock: BusClock, *, head_s: float = HEAD_S
    ) -> None:
        self._state = state
        self._clock = clock
        # Those of each path, by its half.
        self._sockets = {"federation": federation, "memory": memory}
        app = web.Application(middlewares=[errors_as_json(loopback_only=True)])
        app.on_response_prepare.append(adding_headers(_HEADERS))
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
        super().__init__(app, "ARK_HTTP_PORT", head_s=head_s)

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
        answer = json_answer(view.summary)
        answer.etag = tag
        return answer

    async def _peers(self, request: web.Request) -> web.StreamResponse:
        try:
            limit, status = answers.read_limit(request.query), answers.read_status(request.query)
        except answers.BadQuery as error:
            return json_answer({"error": str(error)}, status=400)
        mesh = self._state.mesh
        summary = mesh.view(self._clock.now_ms()).summary
        if summary is None:
            return self._nothing_yet()
        return json_answer(answers.peers(mesh.shown, summary.peers, limit, status))

    async def _sources(self, _request: web.Request) -> web.StreamResponse:
        return json_answer(answers.sources(self._state, self._clock.now_ms()))

    async def _health(self, _request: web.Request) -> web.StreamResponse:
        clients = {name: len(sockets) for name, sockets in self._sockets.items()}
        return json_answer(answers.health(self._state, self._clock.now_ms()) | {"clients": clients})

    async def _alive(self, _request: web.Request) -> web.StreamResponse:
        return json_answer({"status": "ok"})

    async def _ready(self, _request: web.Request) -> web.StreamResponse:
        if any(half.summary is not None for half in self._state.halves):
            return json_answer({"status": "ready"})
        return json_answer({"status": "not ready", "reason": answers.why_nothing(self._state)}, 503)

    def _nothing_yet(self) -> web.Response:
        return json_answer({"error": answers.why_nothing(self._state)}, 503)


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
