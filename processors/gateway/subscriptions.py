"""What clients say, and what they may ask for."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from processors.gateway.channel import Channel, Want
from schemas import codec
from schemas.events import MAX_ID
from schemas.frames import (
    MAX_CHANNELS,
    MAX_RATE,
    MAX_SPEED,
    PEER_PREFIX,
    RECORDS,
    STATES,
    Error,
    Message,
    Subscribe,
)

__all__ = ["Refused", "error_of", "read_message", "wants_of"]

Lookup = Callable[[str], Channel | None]
"""The channel of a name; None if there is none."""

_OPS: Final = frozenset({"subscribe", "unsubscribe", "refresh", "ping", "auth"})


class _Head(msgspec.Struct):
    op: Any = None
    id: Any = None


_decoders: Final[dict[bool, Callable[[Any], Message]]] = {
    False: msgspec.json.Decoder(Message).decode,
    True: msgspec.msgpack.Decoder(Message).decode,
}
_heads: Final[dict[bool, Callable[[Any], _Head]]] = {
    False: msgspec.json.Decoder(_Head).decode,
    True: msgspec.msgpack.Decoder(_Head).decode,
}


class Refused(ValueError):
    """A message, or a channel of it, cannot be served. `code`: one of `schemas.frames.ERRORS`."""

    def __init__(self, code: str, message: str, channel: str | None = None, to: int | str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.channel = channel
        # The message's id.
        self.to = to


def error_of(refused: Refused) -> Error:
    """The frame that tells it."""
    return Error(
        code=refused.code,
        message=str(refused),
        channel=msgspec.UNSET if refused.channel is None else refused.channel,
        id=msgspec.UNSET if refused.to is None else refused.to,
    )


def read_message(data: bytes | str, *, msgpack: bool) -> Message:
    """A client's message. Raises Refused: if it is none that we know."""
    try:
        return _decoders[msgpack](data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        try:
            head = _heads[msgpack](data)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            head = _Head()
        to = head.id if isinstance(head.id, int | str) and not isinstance(head.id, bool) else None
        if isinstance(head.op, str) and head.op not in _OPS:
            raise Refused("unknown_op", f"op must be one of {', '.join(sorted(_OPS))}", to=to) from error
        clause = codec.reason_of(error) if isinstance(error, msgspec.DecodeError) else "message cannot be decoded"
        raise Refused("bad_message", clause, to=to) from error


def wants_of(message: Subscribe, held: Mapping[str, Want], lookup: Lookup) -> tuple[dict[str, Want], list[Refused]]:
    """What a subscription asks for, by channel, and what of it is refused. `held`: what the client follows already.

    Raises Refused: if all of it is.
    """
    if not 0 <= message.rate <= MAX_RATE:
        raise Refused("bad_rate", f"rate must be between 0 and {MAX_RATE:g}")
    if not 0 <= message.speed <= MAX_SPEED:
        raise Refused("bad_rate", f"speed must be between 0 and {MAX_SPEED:g}")
    if not message.channels:
        raise Refused("bad_message", "channels must name one at least")
    if len({*held, *message.channels}) > MAX_CHANNELS:
        raise Refused("too_many_channels", f"at most {MAX_CHANNELS} channels")
    fields = None if message.fields is None else frozenset(message.fields)
    wants: dict[str, Want] = {}
    refused: list[Refused] = []
    known: set[str] = set()
    for name in dict.fromkeys(message.channels):
        channel = _channel(name, lookup)
        if channel is None:
            names = ", ".join((*STATES, *RECORDS))
            refused.append(Refused("unknown_channel", f"channel must be one of {names}, peer:<id>", name[: MAX_ID + 5]))
        elif fields is not None and not fields & channel.fields:
            refused.append(Refused("bad_fields", "channel has none of the fields", name))
        else:
            wants[name] = Want(name, message.rate, None if fields is None else fields & channel.fields)
            known |= channel.fields
    if wants and fields is not None and (unknown := fields - known):
        raise Refused("bad_fields", f"no channel has a field {min(unknown)[:64]}")
    return wants, refused


def _channel(name: str, lookup: Lookup) -> Channel | None:
    is_peer = name.startswith(PEER_PREFIX) and 0 < len(name) - len(PEER_PREFIX) <= MAX_ID
    return lookup(name) if is_peer or name in {*STATES, *RECORDS} else None
