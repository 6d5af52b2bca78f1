"""`/login` and `/logout`: a page's token in a cookie that no script can read."""

import time
from typing import Final

import msgspec
from aiohttp import web
from msgspec import Struct

from processors.gateway.gate import COOKIE, Gate
from processors.gateway.handlers import read_body
from processors.gateway.tries import Tries

__all__ = ["MAX_BODY", "Login"]

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
        token = (await read_body(request, _decode, '{"token": "..."}')).token.strip()
        address, now = self._gate.address(request), int(time.monotonic() * 1000)
        if wait_s := self._tries.wait_s(address, now):
            self._gate.refusals["tries"] += 1
            raise web.HTTPTooManyRequests(reason="too many wrong tokens", headers={"Retry-After": str(wait_s)})
        visitor = self._gate.authenticate(token)
        if visitor is None:
            self._tries.note_wrong(address)
            raise self._gate.unauthorized("the token is not valid")
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
