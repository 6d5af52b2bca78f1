"""Protocol v1 between the gateway and its clients, and the tables of close codes and errors.

A client says `op`, the gateway says `type`; both are JSON (`ark.v1.json`) or msgpack (`ark.v1.msgpack`). A channel has
either a state (`snapshot`, then `delta`) or records (`snapshot` with the newest, then `event`).

Delivery: what follows a position comes once, in order, or a `reset` says that it cannot. Positions are opaque; the
newest `pos` of each channel is all that a client needs to go on, at any gateway.
"""

from typing import Any, Final, Literal, NamedTuple, TypeAlias

from msgspec import UNSET, Struct, UnsetType

from schemas.metrics import Origin

__all__ = [
    "CLOSE_CODES",
    "DEFAULT_RATE",
    "ERRORS",
    "JSON_PROTOCOL",
    "MAX_CHANNELS",
    "MAX_MESSAGE",
    "MAX_RATE",
    "MAX_SPEED",
    "MSGPACK_PROTOCOL",
    "PEER_PREFIX",
    "RECORDS",
    "STATES",
    "VERSION",
    "Auth",
    "CloseCode",
    "Delta",
    "Error",
    "ErrorCode",
    "Event",
    "Frame",
    "Message",
    "Ping",
    "Pong",
    "Refresh",
    "Reset",
    "Role",
    "Skipped",
    "Snapshot",
    "Subscribe",
    "Unsubscribe",
    "Welcome",
]

VERSION: Final = 1
"""Of the protocol."""

JSON_PROTOCOL: Final = "ark.v1.json"
MSGPACK_PROTOCOL: Final = "ark.v1.msgpack"
"""Subprotocols; without one it is JSON."""

STATES: Final = ("federation", "peers", "memory", "sources")
"""Channels that have a state."""

RECORDS: Final = ("sync", "logs")
"""Channels that have records."""

PEER_PREFIX: Final = "peer:"
"""Of the channels that have the state of one peer: `peer:<id>`."""

MAX_CHANNELS: Final = 64
"""Most channels of one connection."""

MAX_MESSAGE: Final = 64 << 10
"""Largest message of a client, in bytes."""

DEFAULT_RATE: Final = 10.0
MAX_RATE: Final = 100.0
"""Frames a second and channel; 0 asks for every change."""

MAX_SPEED: Final = 100.0
"""Fastest that the past is played."""

Role: TypeAlias = Literal["viewer", "operator"]
"""A viewer reads. An operator may replay dead letters and silence sources too."""


class Subscribe(Struct, frozen=True, kw_only=True, tag_field="op", tag="subscribe"):
    """Asks for channels. One that is subscribed already is subscribed anew, from `since` if that is given."""

    # One at least; all channels of a connection together are at most `max_channels`.
    channels: tuple[str, ...]
    # Position to go on from, by channel; a channel that is not named begins with a snapshot.
    since: dict[str, str] = {}
    # Frames a second and channel, 0 to 100; the first change comes at once. 0: every change.
    rate: float = DEFAULT_RATE
    # Fields of the state, of a peer's row, or of a record that are wanted; null: all.
    fields: tuple[str, ...] | None = None
    # Plays the past from this moment (ms since the epoch), then goes on live.
    at: int | None = None
    # How fast the past is played: 1 as it happened, up to 100; 0 shows the moment and stays there.
    speed: float = 1.0
    # Comes back in errors.
    id: int | str | None = None


class Unsubscribe(Struct, frozen=True, kw_only=True, tag_field="op", tag="unsubscribe"):
    """Gives channels up. One that is not subscribed is no error."""

    channels: tuple[str, ...]
    id: int | str | None = None


class Refresh(Struct, frozen=True, kw_only=True, tag_field="op", tag="refresh"):
    """Asks for a snapshot of subscribed channels; of all if none is named."""

    channels: tuple[str, ...] = ()
    id: int | str | None = None


class Ping(Struct, frozen=True, kw_only=True, tag_field="op", tag="ping"):
    """Asks for a pong."""

    id: int | str | None = None


class Auth(Struct, frozen=True, kw_only=True, tag_field="op", tag="auth"):
    """Shows an access token, where neither a header nor a cookie did."""

    token: str
    id: int | str | None = None


Message: TypeAlias = Subscribe | Unsubscribe | Refresh | Ping | Auth
"""What a client may say."""


class Welcome(Struct, frozen=True, kw_only=True, tag_field="type", tag="welcome"):
    """The first frame, and the answer to `auth`."""

    v: int = VERSION
    # Moment of the bus's clock, ms.
    ts: int
    # What the client may do; null: nothing before it has sent `auth`.
    role: Role | None
    # Random, one a process of the gateway.
    gateway: str
    max_channels: int = MAX_CHANNELS
    max_message: int = MAX_MESSAGE


class Snapshot(Struct, frozen=True, kw_only=True, tag_field="type", tag="snapshot"):
    """The whole state of a channel, or its newest records, oldest first. It replaces what the client held.

    Large ones come in pieces: all but the last have `more`, no position, and are to be put together; of `peers` by key.
    """

    channel: str
    # Absent while there is nothing to go on from.
    pos: str | UnsetType = UNSET
    # When it was made, ms of the bus's clock; of the past that is played, when it was so.
    ts: int
    # Where a state comes from, and the moment for which it is right, ms; absent for records, which tell it themselves.
    source: Origin | UnsetType = UNSET
    as_of: int | UnsetType | None = UNSET
    # An object; of `peers` and `sources` one by key; of `peer:<id>` null while there is none; of records a list.
    data: Any
    more: bool | UnsetType = UNSET


class Delta(Struct, frozen=True, kw_only=True, tag_field="type", tag="delta"):
    """What has changed in the state of a channel, as a JSON merge patch (RFC 7396): null means that it is gone."""

    channel: str
    pos: str | UnsetType = UNSET
    ts: int
    source: Origin | UnsetType = UNSET
    as_of: int | UnsetType | None = UNSET
    data: Any


class Event(Struct, frozen=True, kw_only=True, tag_field="type", tag="event"):
    """New records of a channel, oldest first; none if it only tells the position."""

    channel: str
    pos: str | UnsetType = UNSET
    ts: int
    data: Any


class Reset(Struct, frozen=True, kw_only=True, tag_field="type", tag="reset"):
    """What the client holds of a channel cannot be continued; a snapshot follows."""

    channel: str
    # epoch: the bus was started again or wiped; gone: what followed the position is not kept any more; ahead: this
    # gateway has not come as far; world: live gave way to simulated, or the other way round.
    reason: Literal["epoch", "gone", "ahead", "world"]


class Skipped(Struct, frozen=True, kw_only=True, tag_field="type", tag="skipped"):
    """The client was too slow, or too much came: so many frames of a state, or records, were left out before the next.

    A state is whole again with the next frame; left out records are lost to this connection.
    """

    channel: str
    count: int


class Error(Struct, frozen=True, kw_only=True, tag_field="type", tag="error"):
    """What was wrong with a message; the connection stays open, and the rest of the message was done."""

    # One of `ERRORS`.
    code: str
    message: str
    channel: str | UnsetType = UNSET
    # Of the message, if it had one.
    id: int | str | UnsetType = UNSET


class Pong(Struct, frozen=True, kw_only=True, tag_field="type", tag="pong"):
    """The answer to `ping`."""

    # Moment of the bus's clock, ms.
    ts: int
    id: int | str | UnsetType = UNSET


Frame: TypeAlias = Welcome | Snapshot | Delta | Event | Reset | Skipped | Error | Pong
"""What the gateway may say."""


class ErrorCode(NamedTuple):
    """A code of `Error`, and what the client should do."""

    name: str
    client_should: str


ERRORS: Final = {
    row.name: row
    for row in (
        ErrorCode("bad_message", "mend itself: the message is no JSON (or msgpack) of a known form"),
        ErrorCode("unknown_op", "use one of subscribe, unsubscribe, refresh, ping, auth"),
        ErrorCode("unknown_channel", "use one of the channels; it is not subscribed"),
        ErrorCode("not_subscribed", "subscribe the channel before it asks for it"),
        ErrorCode("bad_position", "subscribe without `since`: the position is none of ours"),
        ErrorCode("bad_rate", "use a rate of 0 to 100, and a speed of 0 to 100"),
        ErrorCode("bad_fields", "name fields that the channel has"),
        ErrorCode("out_of_reach", "choose a later moment: the streams do not reach so far back, or it is yet to come"),
        ErrorCode("too_many_channels", "give channels up first, or use a second connection"),
        ErrorCode("busy", "try again later: as much of the past as may be is being played or read"),
        ErrorCode("unauthorized", "send `auth` with a valid token"),
    )
}
"""The codes of errors."""


class CloseCode(NamedTuple):
    """Why the gateway closed a socket, and what the client should do."""

    code: int
    name: str
    client_should: str


CLOSE_CODES: Final = {
    row.name: row
    for row in (
        CloseCode(1001, "going_away", "reconnect after a random delay of up to 2 s: the gateway is restarting"),
        CloseCode(1002, "protocol", "mend itself: it sent what is no WebSocket frame"),
        CloseCode(1003, "wrong_kind", "send text, or with msgpack binary messages: one of the other kind was sent"),
        CloseCode(1007, "not_utf8", "mend itself: a text message was not UTF-8"),
        CloseCode(1008, "policy", "not reconnect before its configuration is mended: origin or token was refused"),
        CloseCode(1009, "too_big", "send smaller messages: one was over the bound"),
        CloseCode(1013, "full", "reconnect with growing delay: the gateway has as many clients as it may have"),
        CloseCode(4001, "expired", "get a new token, then reconnect: its token has expired or was taken back"),
        CloseCode(4008, "too_slow", "reconnect at once and read faster, or ask for fewer frames"),
        CloseCode(4009, "silent", "subscribe, or authenticate, within 10 s after connecting"),
        CloseCode(4029, "too_many", "send fewer messages a second, then reconnect with growing delay"),
    )
}
"""The close codes, by name."""
