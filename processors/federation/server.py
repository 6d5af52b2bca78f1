"""The HTTP server of the federation service: POST /manifest, GET /discover.

A body must have arrived within ten seconds, and an answer must have been read within thirty. Pages may not register
nodes: whatever sends an Origin is no node.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Final

from aiohttp import web

from processors.federation.discovery import Discovery
from processors.federation.errors import RETRY_AFTER_S, Refused
from processors.federation.gate import Gate
from processors.federation.manifest import MAX_BODY
from processors.federation.refusals import Refusals
from processors.federation.registrar import Registrar
from processors.runtime.http import HEAD_S, HttpServer, adding_headers, errors_as_json, json_answer, send_within
from processors.runtime.logging import get_logger
from processors.runtime.metrics import Sample, counter
from processors.runtime.settings import LOOPBACK

__all__ = ["BODY_S", "MAX_READERS", "SEND_S", "FederationServer"]

BODY_S: Final = 10.0
"""How long a request's body may take."""

SEND_S: Final = 30.0
"""How long a client may take to read who is there."""

MAX_READERS: Final = 1_024
"""Most clients that are being told who is there."""

_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

_MANIFESTS: Final = counter("manifests_total", "manifests that came, by what came of them", "outcome")
_OUTCOMES: Final = {
    400: "malformed", 401: "bad_signature", 403: "forbidden", 408: "slow", 409: "replayed", 413: "too_large",
    415: "malformed", 429: "too_many", 503: "unavailable",
}  # fmt: skip

_logger = get_logger("federation")


class FederationServer:
    """The federation service on one host and port."""

    def __init__(
        self,
        registrar: Registrar,
        discovery: Discovery,
        host: str,
        *,
        gate: Gate | None = None,
        head_s: float = HEAD_S,
        body_s: float = BODY_S,
        send_s: float = SEND_S,
    ) -> None:
        self._registrar = registrar
        self._discovery = discovery
        self._host = host
        self._gate = gate or Gate()
        self._body_s = body_s
        self._send_s = send_s
        self._refusals = Refusals()
        # Manifests, by what came of them.
        self._outcomes = Counter({"registered": 0, **dict.fromkeys(_OUTCOMES.values(), 0)})
        # Clients that are being told who is there.
        self._readers = 0
        app = web.Application(middlewares=[errors_as_json(loopback_only=host in LOOPBACK)])
        app.on_response_prepare.append(adding_headers(_HEADERS))
        app.router.add_post("/manifest", self._manifest)
        app.router.add_get("/discover", self._discover, allow_head=False)
        self._server = HttpServer(app, "FEDERATION_PORT", head_s=head_s)

    async def start(self, port: int) -> int:
        """Listen on `port` (0: any free one). Returns the port. Raises SettingsError: if it cannot be listened on."""
        return await self._server.start(self._host, port)

    def read(self) -> Iterator[Sample]:
        """What is told of it to a Prometheus."""
        return (_MANIFESTS.of(count, outcome) for outcome, count in self._outcomes.items())

    async def stop(self) -> None:
        """Listen no more, and end what is still open. Takes about a second at most."""
        await self._server.stop()

    async def _manifest(self, request: web.Request) -> web.StreamResponse:
        try:
            node_id = await self._register(request)
        except Refused as refusal:
            self._outcomes[_OUTCOMES[refusal.status]] += 1
            return self._refused(refusal)
        self._outcomes["registered"] += 1
        return json_answer({"status": "registered", "node_id": node_id})

    async def _register(self, request: web.Request) -> str:
        address = request.remote or ""
        self._gate.enter(address, _now_ms())
        try:
            if "Origin" in request.headers:
                raise Refused(403, "a manifest must come from a node, not from a page")
            return await self._registrar.register(await self._body(request))
        finally:
            self._gate.leave(address)

    async def _body(self, request: web.Request) -> bytes:
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise Refused(415, "body must not be encoded")
        too_large = Refused(413, f"body must have at most {MAX_BODY} bytes")
        if (request.content_length or 0) > MAX_BODY:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self._body_s):
                while chunk := await request.content.readany():
                    body += chunk
                    if len(body) > MAX_BODY:
                        raise too_large
        except TimeoutError as error:
            raise Refused(408, f"body must arrive within {self._body_s:g} s") from error
        except (web.RequestPayloadError, ConnectionError) as error:
            raise Refused(400, "body must be whole") from error
        return bytes(body)

    async def _discover(self, request: web.Request) -> web.StreamResponse:
        if self._readers >= MAX_READERS:
            return self._refused(Refused(503, "too many requests at once"))
        self._readers += 1
        try:
            answer = web.Response(body=await self._discovery.body(), content_type="application/json")
            await send_within(self._send_s, request, answer)
        except Refused as refusal:
            return self._refused(refusal)
        finally:
            self._readers -= 1
        return answer

    def _refused(self, refusal: Refused) -> web.Response:
        line = self._refusals.add(refusal.status, str(refusal), _now_ms())
        if line is not None:
            _logger.warning("refused %s", line)
        answer = json_answer({"error": str(refusal)}, refusal.status)
        if refusal.status in RETRY_AFTER_S:
            answer.headers["Retry-After"] = str(RETRY_AFTER_S[refusal.status])
        if refusal.status in {408, 413}:
            # What is still to come of the body would be taken for the next request.
            answer.force_close()
        return answer


def _now_ms() -> int:
    """Milliseconds by a clock that does not go back."""
    return int(asyncio.get_running_loop().time() * 1000)
