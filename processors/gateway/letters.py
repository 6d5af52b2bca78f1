"""Dead letters over HTTP: the newest of them, and a second chance for one.

Delivery of a replay: exactly once, as `ark-pulse dead` has it. That is run in a process of its own: to read a letter
again takes the reading of a collector, and no stage has another's. It may be killed at any moment.
"""

import asyncio
import os
from collections.abc import Mapping
from typing import Final, cast

import msgspec
from aiohttp import web

from processors.gateway import queries
from processors.gateway.handlers import asking_bus
from processors.runtime.bus import Bus, Entry
from processors.runtime.http import json_answer
from processors.runtime.supervisor import child_environment
from schemas import codec, streams
from schemas.answers import LetterReport, LettersAnswer
from schemas.errors import BadPosition, SchemaError
from schemas.metrics import DeadLetter
from schemas.positions import entry_id, entry_text

__all__ = ["Letters"]

_REPLAY_S: Final = 30.0
# Of what the command says the end is kept: its last line tells why it failed.
_MAX_OUTPUT: Final = 4_096
_LARGEST: Final = 2**64 - 1


class Letters:
    """The dead letters of one bus. Replays go one at a time."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._replaying = asyncio.Lock()

    async def newest(self, request: web.Request) -> web.StreamResponse:
        """Answer with the newest letters. Raises HTTPServiceUnavailable: if the bus does not answer."""
        try:
            count = queries.read_count(request.query)
        except queries.BadQuery as error:
            return json_answer({"error": str(error)}, 400)
        with asking_bus():
            entries = cast("list[Entry]", await self._bus.client.xrevrange(streams.DEAD, count=count))
        return json_answer(LettersAnswer(letters=[_report(name.decode(), fields) for name, fields in entries]))

    async def replay(self, request: web.Request) -> web.StreamResponse:
        """Replay the letter that the path names; 409 with the reason if it stays.

        Raises HTTPBadRequest: if the path names none. Raises HTTPConflict: if another replay is at work. Raises
        HTTPGatewayTimeout, HTTPServiceUnavailable: if it takes too long, or the bus does not answer. Cancellation: the
        letter may or may not have been replayed.
        """
        letter = _letter_id(request.match_info["id"])
        if self._replaying.locked():
            raise web.HTTPConflict(reason="another replay is at work")
        async with self._replaying:
            code, said = await _run(("ark-pulse", "dead", "replay", letter), self._bus.url)
        if code == 0:
            return json_answer({"replayed": letter})
        with asking_bus():
            stays = await self._bus.client.xrange(streams.DEAD, letter, letter)
        if not stays:
            return json_answer({"error": f"{streams.DEAD} has no letter {letter}"}, 404)
        return json_answer({"error": said}, 409)


def _letter_id(text: str) -> str:
    try:
        entry = entry_id(text)
    except BadPosition:
        entry = None
    if entry is None or max(entry) > _LARGEST:
        raise web.HTTPBadRequest(reason="id must be that of a letter, <ms>-<n>")
    return entry_text(entry)


def _report(name: str, fields: Mapping[bytes, bytes]) -> LetterReport:
    """A letter as `ark-pulse dead` tells it; one that a foreign hand wrote, and nobody can read, says so."""
    try:
        said = codec.decode_dead(fields)
    except SchemaError as error:
        reason = f"entry cannot be read: {error}"
        said = DeadLetter(ts=entry_id(name).ms, rejected_by=streams.DEAD, reason=reason)
    return LetterReport(id=name, **msgspec.structs.asdict(said))


async def _run(argv: tuple[str, ...], bus_url: str) -> tuple[int, str]:
    """Run a command of ours on the bus; returns its exit code and its last line, without its name.

    Raises HTTPGatewayTimeout: if it takes too long; it is killed then. Cancellation: it is killed.
    """
    process = await asyncio.create_subprocess_exec(
        *argv,
        env=child_environment(os.environ, bus_url),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None, "it is a pipe"
    output = b""
    try:
        async with asyncio.timeout(_REPLAY_S):
            while chunk := await process.stdout.read(_MAX_OUTPUT):
                output = (output + chunk)[-_MAX_OUTPUT:]
            code = await process.wait()
    except TimeoutError as error:
        raise web.HTTPGatewayTimeout(reason=f"the replay took longer than {_REPLAY_S:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    line = output.decode(errors="replace").strip().rpartition("\n")[2].removeprefix("ark-pulse: ")
    return code, line or f"the replay ended with {code}"
