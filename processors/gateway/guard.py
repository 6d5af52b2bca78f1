"""The gateway's door: which paths ask for a token, and what viewers and pages of other origins may not do."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from processors.gateway.gate import Gate
from processors.gateway.paths import PATHS
from processors.runtime.logging import AUDIT, get_logger

__all__ = ["adding_hsts", "guarding"]

_OPEN: Final = frozenset(path.path for path in PATHS if path.is_open)
_FOR_OPERATORS: Final = frozenset((path.method.upper(), path.path) for path in PATHS if path.for_operators)
_LEGACY: Final = frozenset({"/ws/federation", "/ws/memory"})
# Where a token may come with the first message, too.
_LATER: Final = "/ws"
_READS: Final = frozenset({"GET", "HEAD"})
_HSTS: Final = "max-age=31536000"

_logger = get_logger(AUDIT)


def guarding(gate: Gate) -> Middleware:
    """The middleware that refuses requests without a valid token (401), and changes by viewers or other origins (403).

    What operators ask for is a line in the log.
    """
    is_open = _OPEN | (_LEGACY if gate.legacy_open else frozenset())

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method not in _READS:
            gate.check_origin(request)
        resource = request.match_info.route.resource
        # Of paths and methods that do not exist everybody is told so.
        path = None if resource is None else resource.canonical
        if path is not None and path not in is_open:
            _check(gate, request, path)
        return await handler(request)

    return middleware


def _check(gate: Gate, request: web.Request, path: str) -> None:
    """Raises HTTPUnauthorized: if a token is missing. Raises HTTPForbidden: if it must be an operator's, and is not."""
    visitor = gate.visitor(request)
    if visitor is None:
        if path != _LATER:
            raise gate.unauthorized("a token is needed")
    elif (request.method, path) in _FOR_OPERATORS:
        if visitor.role != "operator":
            gate.refusals["role"] += 1
            raise web.HTTPForbidden(reason="only an operator may do this")
        # Without its query, in which a token may stand by mistake.
        _logger.info("%s asks for %s %s", visitor.name or "somebody", request.method, request.rel_url.raw_path)


def adding_hsts(gate: Gate) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """A signal handler that tells browsers that came by HTTPS to come by nothing else."""

    async def add(request: web.Request, response: web.StreamResponse) -> None:
        if gate.is_https(request):
            response.headers["Strict-Transport-Security"] = _HSTS

    return add
