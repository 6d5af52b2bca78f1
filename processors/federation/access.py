"""How requests use a server of ours: a few at a time, and none for longer than its client would wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from processors.federation.errors import Refused
from processors.runtime.connection import BUS_FAILURES

__all__ = ["ANSWER_S", "LANES", "Access"]

ANSWER_S: Final = 3.0
"""How long one request waits for a server, seconds."""

LANES: Final = 8
"""Most requests that use a server at once, each on a connection of its own. More would not be served sooner, and a
pool of connections refuses those that are too many.
"""


class Access:
    """The requests' access to one server; `name` is what clients are told of it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lanes = asyncio.Semaphore(LANES)

    @asynccontextmanager
    async def within(self, seconds: float = ANSWER_S) -> AsyncIterator[None]:
        """Run the block, which uses the server. What fails may have been done all the same.

        Raises Refused: with 503, if the server fails, or the turn has not come and all been done within `seconds`.
        """
        try:
            async with asyncio.timeout(seconds), self._lanes:
                yield
        except BUS_FAILURES as error:
            raise Refused(503, f"{self._name} does not answer") from error
