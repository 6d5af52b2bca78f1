"""How a summary was at moments of the past: one entry a moment, read where it is.

The entry in force at a moment is the newest that is not younger, so a sample is a value that was, never an average.
"""

import asyncio
from typing import Any

import msgspec

from processors.gateway.half import Half
from processors.gateway.handlers import BUS_S
from processors.runtime.bus import Bus
from processors.runtime.connection import in_one_trip
from schemas.positions import end_of, entry_id, entry_text

__all__ = ["Samples"]


class Samples:
    """Reads them, for one request at a time: the rest of the gateway is not to wait for the bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._lock = asyncio.Lock()

    async def of(self, half: Half[Any], begin: int, end: int, points: int) -> tuple[int | None, list[dict[str, Any]]]:
        """When the stream of a half begins (ms; None: it is empty), and the half's numbers at `points` moments.

        These are from `begin` to `end` (ms), each entry once, oldest first. Moments that the stream does not reach are
        left out. Raises redis-py's errors, TimeoutError: if the bus does not answer in time. Cancellation: safe.
        """
        moments = [begin + (end - begin) * number // max(points - 1, 1) for number in range(points)]
        latest = [entry_text(end_of(moment)) for moment in moments]
        async with asyncio.timeout(BUS_S), self._lock:
            oldest, *answers = await in_one_trip(
                self._bus.client,
                [
                    ("XRANGE", half.stream, "-", "+", "COUNT", 1),
                    *(("XREVRANGE", half.stream, each, "-", "COUNT", 1) for each in latest),
                ],
            )
        found = dict(entry for answer in answers for entry in answer)
        samples = []
        for each in sorted(found, key=entry_id):
            samples.append(_numbers(found[each]))
            await asyncio.sleep(0)  # a large summary takes a millisecond
        begins = entry_id(oldest[0][0]).ms if oldest else None
        return begins, [sample for sample in samples if sample is not None]


def _numbers(fields: dict[bytes, bytes]) -> dict[str, Any] | None:
    """The values of a summary that are no lists or objects; None if it cannot be read."""
    try:
        summary = msgspec.json.decode(fields.get(b"d", b""), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None  # the follower of the stream has logged it
    return {name: value for name, value in summary.items() if not isinstance(value, dict | list) and name != "epoch"}
