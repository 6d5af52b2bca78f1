"""The federation half counted directly in ARK's Redis, by SCAN and LRANGE, and compared with the rosters."""

import asyncio
import datetime as dt
import json
import math
import re
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from redis.asyncio import Redis

from processors.runtime.connection import in_one_trip, wrong_type
from processors.tools.comparison import BUCKET_MS, Count, PeerView, Span, in_window, peer_problem, rate, success
from processors.tools.counting import Clock, Counts
from schemas import codec, streams
from schemas.events import MAX_BYTES, MAX_ID
from schemas.metrics import RATE_WINDOW_S

__all__ = ["PeerCount", "count_peers", "count_syncs"]

_PREFIX: Final = b"peer:"
_FIELDS: Final = (b"hostname", b"trust_tier", b"latency", b"last_seen")
_KEYS_A_READ: Final = 500
_PAUSE_S: Final = 0.05
_MAX_LATENCY_MS: Final = 1e7

_LIST: Final = "sync_events"
_FIRST_ITEMS: Final = 1_000
_MOST_ITEMS: Final = 64_000
_TAIL: Final = 20
_MAX_ITEM_BYTES: Final = 64 << 10
_AHEAD_MS: Final = 5_000
_WINDOW_MS: Final = RATE_WINDOW_S * 1_000
_PAIR_WINDOW_MS: Final = 10_000
_OUTCOMES: Final = {"true": True, "1": True, "false": False, "0": False}
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_SECONDS_BELOW: Final = 10**11
_MAX_MS: Final = 10**14


class PeerCount(NamedTuple):
    """How many peers there are, and what is wrong with their rosters."""

    # Peers that have a key, those of them whose row is as it should be, and rows of the roster whose key is gone.
    scanned: int
    equal: int
    kept: int
    # Both together, without those that were silent for so long that they left the roster.
    total: int
    # What is wrong, by peer.
    problems: dict[str, str]


async def count_peers(source: Redis, bus: Redis, partitions: int, clock: Clock, wait_s: float) -> PeerCount:
    """Compare every hash `peer:*` with its row of the rosters.

    What differs is read again, for up to `wait_s` seconds: it may have changed between the two readings. Raises
    redis-py's errors. Cancellation: safe.
    """
    deadline = asyncio.get_running_loop().time() + wait_s
    mesh = _Mesh(source, bus, partitions)
    await mesh.read()
    problems = mesh.problems(mesh.hashes.keys() | mesh.rows, await clock())
    while problems and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(_PAUSE_S)  # the commit that is waited for may have been before we read
        await mesh.read_again(list(problems))
        problems = mesh.problems(problems, await clock())
    return mesh.count(problems)


class _Mesh:
    """What the hashes say, and what the rosters say of them."""

    def __init__(self, source: Redis, bus: Redis, partitions: int) -> None:
        self._source = source
        self._bus = bus
        self._partitions = partitions
        # By peer.
        self.hashes: dict[str, PeerView] = {}
        self.rows: dict[str, PeerView] = {}

    async def read(self) -> None:
        """Read all of both."""
        keys = [key async for key in self._source.scan_iter(match=_PREFIX + b"*", count=_KEYS_A_READ)]
        self.hashes = await _hashes(self._source, keys)
        for partition in streams.live_partitions(self._partitions):
            async for name, body in self._bus.hscan_iter(streams.peers_key(partition), count=_KEYS_A_READ):
                self.rows[name.decode()] = _row(body)

    async def read_again(self, peers: Sequence[str]) -> None:
        """Read both again, of some peers."""
        hashes = await _hashes(self._source, [_PREFIX + peer.encode() for peer in peers])
        homes = [streams.peers_key(streams.partition_of(peer, self._partitions)) for peer in peers]
        bodies = await in_one_trip(self._bus, [("HGET", *each) for each in zip(homes, peers, strict=True)])
        for peer, body in zip(peers, bodies, strict=True):
            self.hashes.pop(peer, None)
            self.rows.pop(peer, None)
            if body is not None:
                self.rows[peer] = _row(body)
        self.hashes |= hashes

    def problems(self, peers: Iterable[str], now: int) -> dict[str, str]:
        """In what hashes and rosters contradict each other at `now` (ms), of `peers`."""
        found = ((peer, peer_problem(peer, self.hashes.get(peer), self.rows.get(peer), now)) for peer in peers)
        return {peer: problem for peer, problem in found if problem is not None}

    def count(self, problems: dict[str, str]) -> PeerCount:
        """The numbers, beside what is wrong."""
        left = [peer for peer in self.hashes if peer not in self.rows and peer not in problems]
        total = len(self.hashes.keys() | self.rows) - len(left)
        equal = len(self.hashes.keys() - problems.keys())
        return PeerCount(len(self.hashes), equal, len(self.rows.keys() - self.hashes), total, problems)


def _row(body: bytes) -> PeerView:
    row = codec.decode_peer(body)
    return PeerView(row.hostname, row.tier, row.latency_ms, row.last_seen, row.status, row.learnt_from)


async def _hashes(source: Redis, keys: Sequence[bytes]) -> dict[str, PeerView]:
    """What the hashes at `keys` say; those that are gone, are no hash, or have no id of a peer are left out."""
    views: dict[str, PeerView] = {}
    for start in range(0, len(keys), _KEYS_A_READ):
        page = keys[start : start + _KEYS_A_READ]
        answers = await in_one_trip(source, [("HGETALL", key) for key in page], bearable=wrong_type)
        for key, fields in zip(page, answers, strict=True):
            peer = _utf8(key.removeprefix(_PREFIX))
            if isinstance(fields, dict) and fields and peer is not None and 1 <= len(peer) <= MAX_ID:
                views[peer] = _view(fields)
    return views


def _view(fields: Mapping[bytes, bytes]) -> PeerView:
    texts = {name: (_utf8(fields.get(name, b"")) or "").strip() for name in _FIELDS}
    hostname, tier = (texts[name] if len(texts[name]) <= MAX_ID else "" for name in (b"hostname", b"trust_tier"))
    latency_ms = _number(texts[b"latency"])
    usable = latency_ms is not None and 0 <= latency_ms <= _MAX_LATENCY_MS
    return PeerView(hostname or None, tier or None, latency_ms if usable else None, _moment(texts[b"last_seen"]))


class _Sync(NamedTuple):
    """What counts of an item of the list."""

    bytes: int
    ok: bool | None
    pair: tuple[str, str]


async def count_syncs(source: Redis, clock: Clock) -> Counts:
    """The values of `sync_events`, of the minute that ends now. Raises redis-py's errors. Cancellation: safe."""
    items, whole = await _newest_items(source, await clock())
    now = await clock()
    read = [each for each in map(_read_item, items) if each is not None]
    timed = [(ts, sync) for ts, sync in read if ts is not None and ts <= now + _AHEAD_MS]
    untimed = [sync for ts, sync in read if ts is None or ts > now + _AHEAD_MS]
    spans = _spans(timed, untimed, now)
    oldest = min((ts for ts, _ in timed), default=now)
    if whole and oldest > now - _WINDOW_MS - BUCKET_MS:
        note = f"{_LIST} reaches back {max(0, now - oldest) // 1_000} s only, and may have been trimmed"
        counts = {name: Count(Span(0 if span is None else span.low, math.inf), note) for name, span in spans.items()}
        # What was trimmed may have any outcome.
        counts["sync_success_rate"] = Count(Span(0, 100, or_absent=True), note)
        return counts
    return {name: Count(span) for name, span in spans.items()}


def _spans(timed: Sequence[tuple[int, _Sync]], untimed: Sequence[_Sync], now: int) -> dict[str, Span | None]:
    sure, border = in_window(timed, now, _WINDOW_MS)
    # What has no time counts as of when it was read, which only its reader knows.
    border += untimed
    newest: dict[tuple[str, str], int] = {}
    for ts, sync in timed:
        newest[sync.pair] = max(ts, newest.get(sync.pair, 0))
    active, leaving = in_window(((ts, pair) for pair, ts in newest.items()), now, _PAIR_WINDOW_MS)
    perhaps = {*leaving, *(sync.pair for sync in untimed)} - {*active}
    return {
        "sync_rate": rate([1] * len(sure), [1] * len(border), RATE_WINDOW_S),
        "sync_bytes_rate": rate([sync.bytes for sync in sure], [sync.bytes for sync in border], RATE_WINDOW_S),
        "sync_success_rate": success([sync.ok for sync in sure], [sync.ok for sync in border]),
        "active_syncs": Span(len(active), len(active) + len(perhaps)),
    }


async def _newest_items(source: Redis, now: int) -> tuple[list[bytes], bool]:
    """The items of more than the last minute, in one reading, and whether these are all there are."""
    count = _FIRST_ITEMS
    while True:
        # redis-py's hint covers both kinds of client.
        items = cast("list[bytes]", await cast("Awaitable[Any]", source.lrange(_LIST, 0, count - 1)))
        times = [read[0] for item in items[-_TAIL:] if (read := _read_item(item)) is not None and read[0] is not None]
        whole = len(items) < count
        if whole or count >= _MOST_ITEMS or (times and max(times) < now - _WINDOW_MS - _AHEAD_MS):
            return items, whole
        count *= 4


def _read_item(item: bytes) -> tuple[int | None, _Sync] | None:
    """The time of an item (ms, None if it says none) and what counts of it; None if it is no sync."""
    try:
        fields = json.loads(item.decode(), parse_constant=_refuse) if len(item) <= _MAX_ITEM_BYTES else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    pair = fields.get("source"), fields.get("target")
    if not all(isinstance(peer, str) and 1 <= len(peer) <= MAX_ID for peer in pair):
        return None
    sync = _Sync(_size(fields.get("bytes")), _outcome(fields.get("success")), cast("tuple[str, str]", pair))
    return _moment(fields.get("timestamp")), sync


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _size(value: object) -> int:
    whole = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_BYTES
    return int(value) if isinstance(value, int | float) and whole and value == int(value) else 0


def _outcome(value: object) -> bool | None:
    # True and 1 read the same as text in lower case.
    return _OUTCOMES.get(str(value).lower()) if isinstance(value, bool | int | str) else None


def _utf8(text: bytes) -> str | None:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None


def _number(text: str) -> float | None:
    # `float` alone also takes "1_000", and digits of other scripts.
    return float(text) if len(text) <= 64 and _NUMBER.fullmatch(text) else None


def _moment(value: object) -> int | None:
    """A time in ms, from seconds, milliseconds, either as text, or ISO 8601; None if it is none."""
    if isinstance(value, str):
        number = _number(value.strip())
        value = _iso_ms(value.strip()) if number is None else number
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _MAX_MS:
        return None
    return round(value * 1_000 if value < _SECONDS_BELOW else value)


def _iso_ms(text: str) -> float | None:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp() * 1_000
