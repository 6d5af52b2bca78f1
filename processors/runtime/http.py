"""What every HTTP server of ours has in common: deadlines, errors in JSON, headers, whom it answers.

No answer shows a traceback. A connection that has not sent a whole request head within ten seconds is closed.
"""

import asyncio
import errno
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Middleware

from processors.runtime.errors import SettingsError
from processors.runtime.settings import LOOPBACK
from schemas import codec

__all__ = ["HEAD_S", "HttpServer", "adding_headers", "errors_as_json", "is_loopback_name", "json_answer", "send_within"]

HEAD_S: Final = 10.0
"""How long a connection may take to send a request's head, and how long it may then be idle."""

# Headers that an error keeps in its answer.
_KEPT: Final = ("Allow", "Retry-After", "WWW-Authenticate")
_LINGER_S: Final = 2.0
_STOP_S: Final = 0.4

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _BrokenRequests(logging.Filter):
    """Keeps what a client did wrong out of the log: whoever sends rubbish would fill it with tracebacks."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError | web.RequestPayloadError)


_logger = logging.getLogger("ark_pulse.http")
_logger.addFilter(_BrokenRequests())


class HttpServer:
    """An application on one host and port. `setting` names the port in errors.

    `end_with_client`: a handler is cancelled when its client leaves.
    """

    def __init__(
        self, app: web.Application, setting: str, *, head_s: float = HEAD_S, end_with_client: bool = False
    ) -> None:
        self._setting = setting
        # aiohttp counts its keep-alive time from the connection's start and from each answer's end, until the next
        # head is complete: it is the deadline for a slow head too. Its default is an hour.
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=end_with_client,
            logger=_logger,
            keepalive_timeout=head_s,
            lingering_time=_LINGER_S,
            shutdown_timeout=_STOP_S,
            # A small body may unpack to a large one; nobody sends us one that is packed.
            auto_decompress=False,
        )

    async def start(self, host: str, port: int, *, share_port: bool = False) -> int:
        """Listen on `host` and `port` (0: any free one), together with others if they share it too. Returns the port.

        Raises SettingsError: if the address cannot be listened on.
        """
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, backlog=1_024, reuse_port=share_port or None)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            if error.errno == errno.EADDRINUSE:
                raise SettingsError(self._setting, f"{port} on {host} is already in use") from error
            # A name that leads nowhere has a number of its own.
            problem = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
            raise SettingsError(self._setting, f"{port} on {host} cannot be listened on: {problem}") from error
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Listen no more, and end what is still open. Takes about a second at most."""
        await self._runner.cleanup()


def json_answer(body: Any, status: int = 200) -> web.Response:
    """`body`, of any wire type, as the JSON of an answer."""
    return web.Response(body=codec.encode(body), status=status, content_type="application/json")


async def send_within(seconds: float, request: web.Request, answer: web.Response) -> None:
    """Send an answer that may be large: a client that does not read it in time is cut off. Cancellation: likewise."""
    try:
        async with asyncio.timeout(seconds):
            await answer.prepare(request)
            await answer.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
    except ConnectionError:
        pass  # it has gone: there is nobody to be told


def is_loopback_name(host: str | None) -> bool:
    """Whether a request's Host header names this machine itself.

    A server on loopback is there for this machine only; a name of somebody else that leads to it is a page that
    rebinds its own name to reach us.
    """
    try:
        return host is not None and urlsplit(f"//{host}").hostname in LOOPBACK
    except ValueError:
        return False


def errors_as_json(*, loopback_only: bool) -> Middleware:
    """The middleware that answers errors as `{"error": clause}`, and with `loopback_only` refuses other names."""

    @web.middleware
    async def middleware(request: web.Request, handler: _Handler) -> web.StreamResponse:
        try:
            if loopback_only and not is_loopback_name(request.headers.get("Host")):
                raise web.HTTPForbidden(reason="Host must be this machine's loopback")
            return await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            clause = error.reason.lower() if error.reason.istitle() else error.reason
            answer = json_answer({"error": clause}, error.status)
            answer.headers.update({name: error.headers[name] for name in _KEPT if name in error.headers})
            return answer

    return middleware


def adding_headers(headers: Mapping[str, str]) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """A signal handler that gives `headers` to every answer but a WebSocket's."""

    async def add(_request: web.Request, response: web.StreamResponse) -> None:
        if not isinstance(response, web.WebSocketResponse):
            response.headers.update(headers)

    return add
