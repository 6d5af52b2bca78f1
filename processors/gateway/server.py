"""The gateway's routes, and the headers of its answers."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from aiohttp import web

from processors.gateway import answers, queries
from processors.gateway.assets import ASSETS, REFERENCES, Asset, references
from processors.gateway.conversation import Services
from processors.gateway.guard import adding_hsts, guarding
from processors.gateway.half import Half
from processors.gateway.handlers import asking_bus
from processors.gateway.letters import Letters
from processors.gateway.login import MAX_BODY, Login
from processors.gateway.metrics import GatewayMetrics
from processors.gateway.pipeline import Pipeline
from processors.gateway.samples import Samples
from processors.gateway.silencing import Silencing
from processors.gateway.sockets import Sockets
from processors.gateway.sse import ServerSent
from processors.gateway.state import State
from processors.runtime.exposition import exposed
from processors.runtime.http import HEAD_S, HttpServer, adding_headers, errors_as_json, json_answer
from processors.runtime.registry import MetricsRegistry
from schemas.answers import History

__all__ = ["Server"]

# Those that browsers grant to any page which asks for them.
_FEATURES: Final = (
    "accelerometer", "autoplay", "camera", "clipboard-read", "display-capture", "fullscreen", "geolocation",
    "gyroscope", "hid", "magnetometer", "microphone", "midi", "payment", "screen-wake-lock", "serial", "usb",
)  # fmt: skip

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": ", ".join(f"{name}=()" for name in _FEATURES),
    "Cache-Control": "no-cache",
}


class Server(HttpServer):
    """The gateway's HTTP server, on one host and port."""

    def __init__(
        self,
        state: State,
        services: Services,
        sockets: Sockets,
        sent: ServerSent,
        registry: MetricsRegistry,
        *,
        head_s: float = HEAD_S,
    ) -> None:
        gate = services.gate
        self._state = state
        self._gate = gate
        self._hub = services.hub
        self._clock = services.clock
        self._samples = Samples(services.players.bus)
        self._sockets = sockets
        self._sent = sent
        middlewares = [errors_as_json(loopback_only=not gate.asks), guarding(gate)]
        app = web.Application(middlewares=middlewares, client_max_size=MAX_BODY)
        app.on_response_prepare.extend((adding_headers(_HEADERS), adding_hsts(gate), self._count))
        login = Login(gate)
        app.router.add_post("/login", login.enter)
        app.router.add_post("/logout", login.leave)
        app.router.add_get("/", self._page)
        app.router.add_get("/static/{name:.+}", self._static)
        for path in REFERENCES:
            app.router.add_get(path, self._reference)
        app.router.add_get("/status", self._status)
        app.router.add_get("/ws", sockets.handle, allow_head=False)
        app.router.add_get("/ws/federation", sockets.handle_legacy, allow_head=False)
        app.router.add_get("/ws/memory", sockets.handle_legacy, allow_head=False)
        app.router.add_get("/sse", sent.handle, allow_head=False)
        app.router.add_get("/api/v1/federation", partial(self._summary, state.mesh))
        app.router.add_get("/api/v1/memory", partial(self._summary, state.memory))
        app.router.add_get("/api/v1/peers", self._peers)
        app.router.add_get("/api/v1/sources", self._sources)
        app.router.add_get("/api/v1/history", self._history)
        letters = Letters(services.players.bus)
        app.router.add_get("/api/v1/dead", letters.newest)
        app.router.add_post("/api/v1/dead/{id}/replay", letters.replay)
        pipeline = Pipeline(services.players.bus, partial(answers.bus_state, state), self._clients)
        app.router.add_get("/api/v1/pipeline", pipeline.show)
        silencing = Silencing(services.players.bus, state.sources, services.hub.note_change)
        app.router.add_get("/api/v1/silences", silencing.show)
        app.router.add_post("/api/v1/silences", silencing.begin)
        app.router.add_delete("/api/v1/silences", silencing.end)
        metrics = GatewayMetrics(state, services, pipeline, self._clients, self._behind)
        registry.add(metrics.read, metrics.ask)
        app.router.add_get("/metrics", partial(exposed, registry))
        app.router.add_get("/api/health", self._health)
        app.router.add_get("/healthz", self._alive)
        app.router.add_get("/readyz", self._ready)
        super().__init__(app, "ARK_HTTP_PORT", head_s=head_s, end_with_client=True)

    async def _page(self, request: web.Request) -> web.StreamResponse:
        return _asset(request, ASSETS["index.html"])

    async def _static(self, request: web.Request) -> web.StreamResponse:
        asset = ASSETS.get(request.match_info["name"])
        if asset is None:
            raise web.HTTPNotFound
        return _asset(request, asset)

    async def _reference(self, request: web.Request) -> web.StreamResponse:
        return _asset(request, (await asyncio.to_thread(references))[request.path])

    async def _status(self, _request: web.Request) -> web.StreamResponse:
        line = answers.status_line(self._state, self._clock.now_ms())
        return web.Response(text=line, content_type="text/html")

    async def _summary(self, half: Half[Any], request: web.Request) -> web.StreamResponse:
        view = half.view(self._clock.now_ms())
        if view.summary is None or half.position is None:
            return self._nothing_yet()
        return _tagged(request, answers.etag(half.position, view), lambda: view.summary)

    async def _peers(self, request: web.Request) -> web.StreamResponse:
        try:
            limit, status = queries.read_limit(request.query), queries.read_status(request.query)
        except queries.BadQuery as error:
            return json_answer({"error": str(error)}, status=400)
        mesh, now = self._state.mesh, self._clock.now_ms()
        summary = mesh.view(now).summary
        if summary is None:
            return self._nothing_yet()
        tag = answers.roster_etag(self._hub.roster.cursor(now), limit, status)
        return _tagged(request, tag, lambda: answers.peers(mesh.shown, summary.peers, limit, status))

    async def _sources(self, request: web.Request) -> web.StreamResponse:
        now = self._clock.now_ms()
        found = answers.sources(self._state, now)
        return _tagged(request, answers.sources_etag(found), lambda: found)

    async def _history(self, request: web.Request) -> web.StreamResponse:
        now = self._clock.now_ms()
        try:
            half = queries.read_half(request.query, self._state.halves)
            begin, end, points = queries.read_stretch(request.query, now)
        except queries.BadQuery as error:
            return json_answer({"error": str(error)}, status=400)
        with asking_bus():
            begins, samples = await self._samples.of(half, begin, end, points)
        return json_answer(History(channel=half.name, begin=begin, end=end, begins=begins, samples=samples))

    def _clients(self) -> dict[str, int]:
        return self._sockets.counts() | {"/sse": len(self._sent)}

    def _behind(self) -> int:
        return self._sockets.behind() + self._sent.behind()

    async def _count(self, _request: web.Request, response: web.StreamResponse) -> None:
        self._hub.traffic.requests[f"{response.status // 100}xx"] += 1

    async def _health(self, request: web.Request) -> web.StreamResponse:
        access = self._gate.access(request)
        now, clients, slow = self._clock.now_ms(), self._clients(), self._hub.traffic.closed_slow
        return json_answer(answers.health(self._state, now, clients, access, behind=self._behind(), closed_slow=slow))

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


def _tagged(request: web.Request, tag: str, body: Callable[[], Any]) -> web.Response:
    """The answer `body` with its tag; nothing but the tag if the client has it."""
    answer = web.Response(status=304) if _has(request, tag) else json_answer(body())
    answer.etag = tag
    return answer


def _asset(request: web.Request, asset: Asset) -> web.Response:
    is_packed = "gzip" in request.headers.get("Accept-Encoding", "")
    tag = f"{asset.etag}-gzip" if is_packed else asset.etag
    if _has(request, tag):
        answer = web.Response(status=304)
    else:
        body = asset.packed if is_packed else asset.body
        answer = web.Response(body=body, headers={"Content-Type": asset.content_type})
        if is_packed:
            answer.headers["Content-Encoding"] = "gzip"
    answer.headers["Vary"] = "Accept-Encoding"
    answer.etag = tag
    return answer
