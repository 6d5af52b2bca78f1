"""What handlers of requests have in common: bodies that may be bad, and a bus that may not answer."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import msgspec
from aiohttp import web

from processors.runtime.connection import BUS_FAILURES

__all__ = ["BODY_S", "BUS_S", "asking_bus", "read_body"]

BODY_S: Final = 10.0
"""How long a request's body may take, seconds."""

BUS_S: Final = 10.0
"""How long a request waits for the bus, and for those before it: on one that is frozen each would wait for its own."""

T = TypeVar("T")


async def read_body(request: web.Request, decode: Callable[[bytes], T], example: str) -> T:
    """What `decode` makes of a request's body, which is to be like `example`. Cancellation: safe.

    Raises HTTPBadRequest, HTTPRequestTimeout, HTTPRequestEntityTooLarge: if it is none, comes too slowly, is too large.
    """
    try:
        async with asyncio.timeout(BODY_S):
            return decode(await request.read())
    except TimeoutError as error:
        raise web.HTTPRequestTimeout(reason=f"body must arrive within {BODY_S:g} s") from error
    except (web.RequestPayloadError, ConnectionError) as error:
        raise web.HTTPBadRequest(reason="body must be whole") from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise web.HTTPBadRequest(reason=f"body must be JSON such as {example}") from error


@contextmanager
def asking_bus() -> Iterator[None]:
    """Raises HTTPServiceUnavailable: if the bus does not answer what is asked within."""
    try:
        yield
    except BUS_FAILURES as error:
        raise web.HTTPServiceUnavailable(reason="the bus does not answer") from error
