"""Silences over HTTP: an operator who knows that a source is not live for a while has it be no alarm.

Nothing else changes: what the source fed stays stale. Silences are kept on the bus, where all gateways read them.
"""

from collections.abc import Callable
from typing import Final

from aiohttp import web

from processors.gateway import queries
from processors.gateway.handlers import asking_bus, read_body
from processors.gateway.sources import Sources
from processors.runtime.bus import Bus
from processors.runtime.http import json_answer
from processors.runtime.script import Script
from schemas import codec, streams
from schemas.answers import SilencesAnswer
from schemas.metrics import MAX_SILENCES, Silence

__all__ = ["Silencing"]

_SILENCE: Final = Script("silence")
_EXAMPLE: Final = '{"source": "node-1/peers", "minutes": 30, "reason": "new disks"}'


class Silencing:
    """Reads and writes the silences of one bus; `changed` is told which channel has changed by it."""

    def __init__(self, bus: Bus, sources: Sources, changed: Callable[[str], None]) -> None:
        self._bus = bus
        self._sources = sources
        self._changed = changed

    async def show(self, _request: web.Request) -> web.StreamResponse:
        """Answer with the silences that have not ended."""
        return json_answer(SilencesAnswer(silences=self._sources.silences(self._bus.clock.now_ms())))

    async def begin(self, request: web.Request) -> web.StreamResponse:
        """Silence a source from now on; one that is silenced already, for another time. Cancellation: it may be.

        Raises HTTPBadRequest, HTTPRequestTimeout, HTTPRequestEntityTooLarge: if the body is none of ours. Raises
        HTTPConflict: if too many are silenced. Raises HTTPServiceUnavailable: if the bus does not answer.
        """
        try:
            asked = await read_body(request, queries.read_silence, _EXAMPLE)
        except queries.BadQuery as error:
            return json_answer({"error": str(error)}, 400)
        silence = Silence(until=self._bus.clock.now_ms() + asked.minutes * 60_000, reason=asked.reason)
        if await self._write(asked.source, codec.encode(silence)) == b"FULL":
            raise web.HTTPConflict(reason=f"at most {MAX_SILENCES} sources may be silenced")
        return json_answer(silence)

    async def end(self, request: web.Request) -> web.StreamResponse:
        """End the silence of a source. Cancellation: it may have ended.

        Raises HTTPNotFound: if it is not silenced. Raises HTTPServiceUnavailable: if the bus does not answer.
        """
        source = request.query.get("source", "")
        if not source.isprintable() or await self._write(source, b"") == b"NONE":
            raise web.HTTPNotFound(reason="source is not silenced")
        return web.Response(status=204)

    async def _write(self, source: str, silence: bytes) -> bytes:
        """Run the script, and take what it tells. Returns its status."""
        with asking_bus():
            status, held = await _SILENCE.run(self._bus.client, [streams.SILENCES], [source, silence, MAX_SILENCES])
        if self._sources.silence(codec.decode_silences(dict(zip(held[::2], held[1::2], strict=True)))):
            self._changed("sources")
        answer: bytes = status
        return answer
