"""The pins on the bus: which key each node id belongs to. They live there because ARK's Redis may be flushed by others.

A pin is read and replaced by compare-and-set; whoever comes second decides again on what the first one wrote.
"""

from collections.abc import Callable
from typing import Final

from processors.federation.access import Access
from processors.federation.errors import Refused
from processors.runtime.bus import Bus
from processors.runtime.script import Script
from schemas import codec
from schemas.errors import MalformedEntry
from schemas.manifests import Pin, decode_pin
from schemas.streams import FEDERATION_PINS

__all__ = ["MAX_PINS", "Pins"]

MAX_PINS: Final = 100_000
"""Most pins that a node may find that comes for the first time."""

_PIN: Final = Script("pin")


class Pins:
    """The pins of one bus; a node that comes when there are `most` of them is refused."""

    def __init__(self, bus: Bus, *, most: int = MAX_PINS) -> None:
        self._bus = bus
        self._most = most
        self._access = Access("the bus")

    async def renew(self, node_id: str, decide: Callable[[Pin | None], Pin], *, always: bool) -> Pin | None:
        """Replace the pin of `node_id` by what `decide` makes of it; returns the one before, None if there was none.

        `always`: a new one is taken even if there are too many. Raises Refused: what `decide` does, and 503 if the bus
        does not answer, holds too many pins, or one that cannot be read. Cancellation: it may be replaced.
        """
        async with self._access.within():
            # The first guess is that there is none: the script then tells what there is.
            before = b""
            while True:
                pin = _read(before)
                after = decide(pin)
                if after == pin:
                    return pin
                most = "inf" if always else self._most
                args = [node_id, before, codec.encode(after), most]
                answer = await _PIN.run(self._bus.client, [FEDERATION_PINS], args)
                self._bus.clock.sync(answer[-1])
                if answer[0] == b"OK":
                    return pin
                if answer[0] == b"FULL":
                    raise Refused(503, "there are too many pins to take a new node")
                # The pin that the script found instead of the expected one.
                before = answer[1]


def _read(body: bytes) -> Pin | None:
    try:
        return decode_pin(body) if body else None
    except MalformedEntry as error:
        raise Refused(503, "the pin of this node cannot be read, and must be removed by hand") from error
