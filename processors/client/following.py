"""One subscription of the gateway, whatever becomes of its connections: what is held, when to ask, when to come back.

Times are seconds of any monotonic clock. Delivery: what follows a position comes once, in order, over any number of
connections; where it cannot, a `Reset` comes before what begins anew.
"""

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Final, NoReturn, get_args

import msgspec
from msgspec import UNSET

from processors.client.errors import Lost, Refused
from processors.client.held import Held
from processors.client.updates import Outage, State, Update
from schemas.frames import CLOSE_CODES, Error, Frame, Pong, Subscribe, Welcome

__all__ = ["Following"]

_LEAST_S: Final = 0.25
_MOST_S: Final = 15.0
_GOING_AWAY_S: Final = 2.0
_FINAL: Final = {CLOSE_CODES[name].code: CLOSE_CODES[name] for name in ("policy", "expired")}
_decoder: Final[msgspec.json.Decoder[Frame]] = msgspec.json.Decoder(Frame)


class _Kind(msgspec.Struct):
    """Of a frame, what it is."""

    type: str


_KINDS: Final = {kind.__struct_config__.tag for kind in get_args(Frame)}
_kind_decoder: Final = msgspec.json.Decoder(_Kind)


class Following:
    """What `wish` asks for. `random` gives numbers in [0, 1).

    A ping is to be sent after half of `silent_s` without a word; after all of it the gateway is taken for lost.
    """

    def __init__(self, wish: Subscribe, random: Callable[[], float], silent_s: float) -> None:
        self._wish = wish
        self._random = random
        self._silent_s = silent_s
        self._held = {channel: Held(channel, wish.since.get(channel)) for channel in wish.channels}
        # When a frame came last; None before the first.
        self._heard_s: float | None = None
        # When the next ping is due.
        self._ping_s = math.inf
        # When the first ping was sent that no frame has followed yet; None if there is none.
        self._asked_s: float | None = None
        # Whether the states have been called stale since a frame came.
        self._is_stale = False
        # Connections in a row that did not last until a pong.
        self._failures = 0
        # The bus's clock minus ours, ms; None before the first frame that tells.
        self._offset_ms: float | None = None
        # When the connection was made.
        self._began_s = 0.0

    @property
    def stale_s(self) -> float:
        """When what is held becomes stale; infinite if nothing is, or it is so already."""
        return math.inf if self._heard_s is None or self._is_stale else self._heard_s + self._silent_s

    @property
    def deadline_s(self) -> float:
        """When `ask` is to be called, while there is a connection."""
        return min(self._ping_s, self._lost_s)

    @property
    def _lost_s(self) -> float:
        # Silence counts only where it was asked into: a consumer that was busy for a while has heard nothing either.
        if self._asked_s is None:
            return math.inf
        return max(self._asked_s + self._silent_s / 2, (self._heard_s or 0) + self._silent_s)

    def open(self, now: float) -> Subscribe:
        """A connection has been made. Returns the first message."""
        self._asked_s = None
        self._ping_s = now + self._silent_s / 3
        at = self._moment()
        self._began_s = now
        since = {} if at is not None else {name: held.position for name, held in self._held.items() if held.position}
        self._wish = msgspec.structs.replace(self._wish, at=at, since=since)
        return self._wish

    def take(self, text: str | bytes, now: float) -> Sequence[Update]:
        """Take a frame. Returns what it tells.

        Raises Refused: if the gateway refuses what was asked for. Raises Lost: if the connection is to be closed.
        """
        frame = _decode(text)
        self._heard_s, self._asked_s, self._is_stale = now, None, False
        if not self._failures:
            # Thousands of clients that ask although they hear would be most of what a gateway has to do.
            self._ping_s = now + self._silent_s / 2
        match frame:
            case None:
                return ()
            case Welcome() | Pong():
                self._offset_ms = frame.ts - now * 1_000
                self._failures = 0 if isinstance(frame, Pong) else self._failures
                return ()
            case Error():
                self._take_error(frame)
        held = self._held.get(frame.channel)
        update = held.take(frame) if held else None
        return () if update is None else (update,)

    def ask(self, now: float) -> bool:
        """Whether a ping is to be sent now. Raises Lost: if nothing was heard for too long."""
        if now >= self._lost_s:
            raise Lost(f"nothing was heard for {self._silent_s:g} s")
        is_due = now >= self._ping_s
        if is_due:
            self._ping_s = now + self._silent_s / 3
            self._asked_s = now if self._asked_s is None else self._asked_s
        return is_due

    def lose(self, reason: str, code: int | None = None) -> Outage:
        """The connection was lost with a close code, or could not be made. Returns when to try again.

        Raises Refused: if that would not help.
        """
        if code in _FINAL:
            raise Refused(code, _FINAL[code].client_should)
        for held in self._held.values():
            held.drop_pieces()
        if code == CLOSE_CODES["too_slow"].code:
            return Outage(reason, 0.0)
        if code == CLOSE_CODES["going_away"].code:
            return Outage(reason, self._random() * _GOING_AWAY_S)
        # Random from 0 on, so that a thousand clients do not come back at the same moment.
        longest_s = min(_MOST_S, _LEAST_S * 2 ** min(self._failures, 10))
        self._failures += 1
        return Outage(reason, self._random() * longest_s)

    def grow_stale(self, now: float) -> Sequence[State]:
        """The states that are stale from now on, each once."""
        if now < self.stale_s:
            return ()
        self._is_stale = True
        return [state for held in self._held.values() if (state := held.grown_stale())]

    def _moment(self) -> int | None:
        """From when the past is to be played, ms; None: live, as it was once it had come up with the present."""
        if self._wish.at is None or self._heard_s is None or self._offset_ms is None:
            return self._wish.at
        at = self._wish.at + int(max(0.0, self._heard_s - self._began_s) * 1_000 * self._wish.speed)
        return at if at < self._heard_s * 1_000 + self._offset_ms else None

    def _take_error(self, error: Error) -> NoReturn:
        if error.code == "busy":
            raise Lost(error.message)
        if error.code != "bad_position":
            raise Refused(error.code, error.message)
        for name, held in self._held.items():
            if error.channel in {UNSET, name}:
                held.forget()
        raise Lost(error.message)


def _decode(text: str | bytes) -> Frame | None:
    """The frame in `text`; None if it is of a kind that a newer gateway has. Raises Lost: if it is no frame."""
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:  # no JSON, no frame, or nested too deeply
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            if _kind_decoder.decode(text).type not in _KINDS:
                return None
        raise Lost(f"what the gateway sent is no frame: {error}") from error
