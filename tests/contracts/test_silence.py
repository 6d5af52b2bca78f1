"""Silences: never more than may be, however many write, and none of those that have ended."""

import asyncio
from typing import Any, Final

from processors.runtime.bus import Bus
from processors.runtime.script import Script
from schemas import codec, streams
from schemas.metrics import Silence

_SILENCE: Final = Script("silence")
_LONG: Final = codec.encode(Silence(until=10**14, reason="ü"))


async def write(bus: Bus, source: str, silence: bytes = _LONG, most: int = 5) -> tuple[bytes, dict[bytes, bytes]]:
    answer: Any = await _SILENCE.run(bus.client, [streams.SILENCES], [source, silence, most])
    status, held = answer
    return status, dict(zip(held[::2], held[1::2], strict=True))


async def test_a_silence_is_kept_until_it_is_ended(bus: Bus) -> None:
    assert await write(bus, "a/b") == (b"OK", {b"a/b": _LONG})
    assert codec.decode_silences(await bus.client.hgetall(streams.SILENCES))["a/b"].reason == "ü"  # type: ignore[arg-type]
    assert await write(bus, "a/b", b"") == (b"OK", {})
    assert await write(bus, "a/b", b"") == (b"NONE", {})


async def test_of_many_that_come_together_as_many_as_may_be_are_kept(bus: Bus) -> None:
    answers = await asyncio.gather(*(write(bus, f"node-{number}/peers") for number in range(20)))
    assert sorted(status for status, _ in answers) == [b"FULL"] * 15 + [b"OK"] * 5
    assert await bus.client.hlen(streams.SILENCES) == 5


async def test_what_has_ended_or_cannot_be_read_makes_room(bus: Bus) -> None:
    for source, body in (("a/b", '{"until": 1}'), ("c/d", "x"), ("e/f", "5"), ("g/h", '{"until": null}'), ("", "[]")):
        await bus.client.hset(streams.SILENCES, source, body)
    assert await write(bus, "i/j", most=1) == (b"OK", {b"i/j": _LONG})


async def test_a_silence_that_has_ended_is_none_to_end(bus: Bus) -> None:
    assert (await write(bus, "a/b", codec.encode(Silence(until=1))))[0] == b"OK"
    assert await write(bus, "a/b", b"") == (b"NONE", {})
