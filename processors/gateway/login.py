"""`/login` and `/logout`: a page's token in a cookie that no script can read."""

import asyncio
import time
from typing import Final

import msgspec
from aiohttp import web
from msgspec import Struct

from processors.gateway.gate import COOKIE, Gate, unauthorized
from processors.gateway.tries import Tries

__all__ = ["BODY_S", "MAX_BODY", "Login"]

BODY_S: Final = 10.0
"""How long a request's body may take, seconds."""

MAX_BODY: Final = 16 << 10
"""Largest body, in bytes."""


class _Shown(Struct):
    token: str


_decode: Final = msgspec.json.Decoder(_Shown).decode


class Login:
    """Gives tokens that are valid to cookies, and slows down those who guess."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._tries = Tries()

    async def enter(self, request: web.Request) -> web.StreamResponse:
        """Answer 204 with the cookie. Cancellation: safe.

        Raises HTTPUnauthorized: if the token is not valid. Raises HTTPTooManyRequests: if too many were not. Raises
        HTTPBadRequest, HTTPRequestTimeout, HTTPRequestEntityTooLarge: if the body is none of ours.
        """
        token = await _token(request)
        address, now = self._gate.address(request), int(time.monotonic() * 1000)
        if wait_s := self._tries.wait_s(address, now):
            raise web.HTTPTooManyRequests(reason="too many wrong tokens", headers={"Retry-After": str(wait_s)})
        visitor = self._gate.authenticate(token)
        if visitor is None:
            self._tries.note_wrong(address)
            raise unauthorized("the token is not valid")
        answer = web.Response(status=204)
        if self._gate.asks:
            left_s = None if visitor.expires_at is None else visitor.expires_at // 1000 - int(time.time())
            secure = self._gate.is_https(request)
            answer.set_cookie(COOKIE, token, max_age=left_s, secure=secure, httponly=True, samesite="Strict")
        return answer

    async def leave(self, _request: web.Request) -> web.StreamResponse:
        """Answer 204, and have the cookie forgotten; the token stays valid. Cancellation: safe."""
        answer = web.Response(status=204)
        answer.del_cookie(COOKIE)
        return answer


async def _token(request: web.Request) -> str:
    try:
        async with asyncio.timeout(BODY_S):
            return _decode(await request.read()).token.strip()
    except TimeoutError as error:
        raise web.HTTPRequestTimeout(reason=f"body must arrive within {BODY_S:g} s") from error
    except (web.RequestPayloadError, ConnectionError) as error:
        raise web.HTTPBadRequest(reason="body must be whole") from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise web.HTTPBadRequest(reason='body must be JSON such as {"token": "..."}') from error
