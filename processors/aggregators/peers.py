"""The roster of one partition: who is known, who is online, how suspicious a silence is.

State is made of facts alone: what was heard, and when. Whether a peer is online is a function of the facts and `now`;
the status that was last published is kept beside them, so that a successor knows what it still has to tell.
"""

import math
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from processors.aggregators import failure_detector as detector
from processors.aggregators.deadlines import Deadlines
from processors.aggregators.failure_detector import Intervals
from processors.aggregators.statistics import LatencySketch
from processors.aggregators.watch import Watch
from schemas.events import OWN_REDIS, Heartbeat, PeerGone
from schemas.metrics import PeerRow

__all__ = ["WEIGHTS", "Peer", "Roster"]

WEIGHTS: Final = {"core": 1_000_000_000, "trusted": 950_000_000, "verified": 900_000_000}
"""Weight of each tier in `data_integrity`, in 10^-9; every other tier weighs nothing."""

_HERE: Final = "redis"
# As long as the key of a registered peer lives.
_OWN_WORD_MS: Final = 120_000
_LEAVES_AFTER_MS: Final = 3_600_000
_PERMANENT_LEAVES_AFTER_MS: Final = 24 * 3_600_000


_Share: TypeAlias = tuple[int, int | None]
"""Of one peer in the sums: 1 if it is online, and then its latency, us."""

_OUT: Final[_Share] = 0, None


class Peer(Struct, array_like=True, omit_defaults=True, gc=False):
    """What is known of one peer; the value of its field in `ark:{p}:state`. New fields go to the end."""

    # When its last heartbeat was observed, ms.
    last_heartbeat: int
    # What it said last; None where it did not.
    hostname: str | None = None
    tier: str | None = None
    says: str | None = None
    latency_us: int | None = None
    learnt_from: str = "redis"
    # Whether its key expires by itself.
    expires: bool = False
    # Whether its key expired or was deleted after the last heartbeat.
    gone: bool = False
    # Bytes sent since it entered the roster.
    data_shared: int = 0
    intervals: Intervals = Intervals()
    # The status that was published last: "online", "syncing" or "offline".
    status: str = "offline"
    # How many of `detector.LEVELS` its published suspicion has reached.
    level: int = 0

    def leaves_at(self) -> int:
        """When it leaves the roster, ms, unless it is heard of again."""
        permanent = not self.expires and not self.gone
        return self.last_heartbeat + (_PERMANENT_LEAVES_AFTER_MS if permanent else _LEAVES_AFTER_MS)

    def settle(self, silence_ms: int, now: int) -> int:
        """Take the status and the level it has at `now`; returns when time alone changes its row next, ms."""
        self.level, next_silence = detector.reached(self.intervals, silence_ms)
        if self.gone or self.says == "offline" or self.level == len(detector.LEVELS):
            self.status = "offline"
        else:
            self.status = "syncing" if self.says == "syncing" else "online"
        leaves = self.leaves_at()
        if self.gone or next_silence == math.inf:
            return leaves
        return min(now - silence_ms + int(next_silence) + 1, leaves)

    def weight(self) -> int:
        """Its tier's weight, in 10^-9."""
        return WEIGHTS.get(self.tier or "", 0)


_WORDS: Final = {word: word for word in (*WEIGHTS, "online", "offline", "syncing")}


def _known_word(word: str | None) -> str | None:
    """The same word, of the frequent ones our own copy: each peer's would be a tenth of what it takes."""
    return None if word is None else _WORDS.get(word, word)


def _place(told: Peer | Heartbeat | PeerGone) -> str:
    """Where something of a peer was learnt; ARK's own Redis is one place, whoever wrote into it."""
    return _HERE if told.learnt_from in OWN_REDIS else told.learnt_from


def _is_told(peer: Peer, event: Heartbeat, ts: int) -> bool:
    """Whether a heartbeat that was observed at `ts` may be one that this node's own Redis told of."""
    by_another = _place(event) != _place(peer) == _HERE
    return by_another and not peer.gone and ts < peer.last_heartbeat + _OWN_WORD_MS


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Peer).decode


class Roster:
    """The peers of one partition, their sums, and the rows that have to be written anew.

    Facts are taken as they come; what they mean for status and sums is settled once for all of them, when it is asked
    for. Its `now` is the time up to which it is known what was to be heard; `watch` tells what of it nobody heard.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        # How many heartbeats counted, and the newest time of a fact about a peer, ms; None before the first.
        self.heartbeats = 0
        self.as_of: int | None = None
        # When the newest of those facts arrived, ms: then somebody was there to hear.
        self.heard_at = 0
        # Known peers by id.
        self.peers: dict[str, Peer] = {}
        # How many are online or syncing, and the latencies of those.
        self.online = 0
        self.latencies = LatencySketch()
        # What the sums hold of the peers of which something was heard since they were settled.
        self._unsettled: dict[str, _Share] = {}
        # Ids whose row differs from the published one, whose state differs from the committed one, and who left.
        self.changed_rows: set[str] = set()
        self.changed_state: set[str] = set()
        self.left: set[str] = set()
        # Ids that came, left, were restored, or changed their tier since this was last emptied.
        self.changed_weights: set[str] = set()
        self._deadlines = Deadlines()

    def restore(self, peer_id: str, encoded: bytes) -> None:
        """Take back a peer from its committed state, once. Raises msgspec.DecodeError: if it is not one of ours."""
        if peer_id in self.peers:
            return
        peer = self.peers[peer_id] = _decode(encoded)
        peer.tier, peer.says = _known_word(peer.tier), _known_word(peer.says)
        self._count(_OUT, self._sums_of(peer))
        self.changed_weights.add(peer_id)
        # It is looked at as soon as time may act: its status may be of long ago.
        self._deadlines.set(peer_id, 0)

    def encode_state(self, peer_id: str) -> bytes:
        """A known peer's field of `ark:{p}:state`."""
        return _encode(self.peers[peer_id])

    def _known(self, peer_id: str, arrived: int) -> Peer | None:
        """A peer, if it had not left yet when the event at hand arrived.

        An owner that catches up folds entries long after their arrival: it has to see what one on time had seen.
        """
        peer = self.peers.get(peer_id)
        if peer is None or arrived - peer.last_heartbeat < _LEAVES_AFTER_MS or arrived < peer.leaves_at():
            return peer
        self._remove(peer_id)
        return None

    def _note(self, ts: int, arrived: int) -> None:
        self.heard_at = max(self.heard_at, arrived)
        if self.as_of is None or ts > self.as_of:
            self.as_of = ts

    def hear(self, event: Heartbeat, ts: int, arrived: int) -> None:
        """A heartbeat, observed at `ts`.

        It does not count if another service tells of a peer that this node's own Redis told of within two minutes: the
        service may have it from the same Redis, and then it is the same heartbeat, seconds late.

        One that is dated before the last still brings news: its collector found it after an absence, and could not
        tell when it was written. Facts of one collector come in order, so it counts, and only its time does not.
        """
        self._note(ts, arrived)
        peer = self._known(event.peer, arrived)
        if peer is not None and peer.learnt_from != event.learnt_from and _is_told(peer, event, ts):
            return
        self.heartbeats += 1
        if peer is None:
            peer = self.peers[event.peer] = Peer(last_heartbeat=ts)
            self.left.discard(event.peer)
            self.changed_weights.add(event.peer)
        elif ts > peer.last_heartbeat:
            peer.intervals = detector.observe(peer.intervals, ts - peer.last_heartbeat)
        if event.peer not in self._unsettled:
            self._unsettle(event.peer, peer)
        if event.tier != peer.tier:
            self.changed_weights.add(event.peer)
        self._take(peer, event, ts)

    @staticmethod
    def _take(peer: Peer, event: Heartbeat, ts: int) -> None:
        peer.last_heartbeat = max(peer.last_heartbeat, ts)
        if event.hostname != peer.hostname:
            peer.hostname = event.hostname
        peer.tier, peer.says = _known_word(event.tier), _known_word(event.status)
        latency_ms = event.latency_ms
        peer.latency_us = None if latency_ms is None else round(latency_ms * 1000)
        peer.learnt_from, peer.expires, peer.gone = event.learnt_from, event.expires, False

    def lose(self, event: PeerGone, ts: int, arrived: int) -> None:
        """A peer is gone since `ts`.

        An unknown peer is not lost, nor one that was heard of since, or last from another place than it is gone from.
        """
        self._note(ts, arrived)
        peer = self._known(event.peer, arrived)
        if peer is None or ts < peer.last_heartbeat or peer.gone or _place(event) != _place(peer):
            return
        if event.peer not in self._unsettled:
            self._unsettle(event.peer, peer)
        peer.gone = True

    def share(self, peer_id: str, sent_bytes: int, arrived: int) -> None:
        """A peer sent so many bytes; unknown peers are not counted."""
        peer = self._known(peer_id, arrived)
        if peer is not None and sent_bytes:
            peer.data_shared += sent_bytes
            self.changed_state.add(peer_id)
            self.changed_rows.add(peer_id)

    def _unsettle(self, peer_id: str, peer: Peer) -> None:
        """Remember what the sums hold of a peer that is about to change."""
        self._unsettled[peer_id] = self._sums_of(peer)
        self.changed_state.add(peer_id)
        self.changed_rows.add(peer_id)

    def settle(self, now: int) -> None:
        """Take note of what was heard, as it is at `now`."""
        for peer_id, before in self._unsettled.items():
            self._publish(peer_id, self.peers[peer_id], before, now)
        self._unsettled.clear()

    def pass_time(self, now: int, most: int) -> None:
        """Let time act on at most `most` peers, which are settled: suspicion grows, peers go offline, and leave."""
        for peer_id in self._deadlines.pop_due(now, most):
            peer = self.peers.get(peer_id)
            if peer is None:
                continue
            if now >= peer.leaves_at():
                self._remove(peer_id)
                continue
            status, level, counted = peer.status, peer.level, self._sums_of(peer)
            deadline = self._settle(peer, now)
            if (status, level) == (peer.status, peer.level):
                self._deadlines.set(peer_id, deadline)
            else:
                self._publish(peer_id, peer, counted, now)

    def next_deadline(self) -> int | None:
        """When time alone changes something next, ms; None if nothing is known."""
        return self._deadlines.next_deadline()

    def row(self, peer_id: str, now: int) -> PeerRow:
        """A known peer's row at `now`."""
        peer = self.peers[peer_id]
        silence = self._watch.silence_ms(peer.last_heartbeat, now)
        return PeerRow(
            id=peer_id,
            status=peer.status,  # type: ignore[arg-type]  # settle gives nothing else
            suspicion=detector.OFFLINE_PHI if peer.gone else round(detector.suspicion(peer.intervals, silence), 1),
            data_shared=peer.data_shared,
            last_seen=peer.last_heartbeat,
            learnt_from=peer.learnt_from,
            hostname=peer.hostname,
            tier=peer.tier,
            latency_ms=None if peer.latency_us is None else peer.latency_us / 1000,
        )

    def _publish(self, peer_id: str, peer: Peer, before: _Share, now: int) -> None:
        """Settle a peer at `now` and have its row written. `before`: what the sums hold of it."""
        self._deadlines.set(peer_id, self._settle(peer, now))
        self._count(before, self._sums_of(peer))
        self.changed_state.add(peer_id)
        self.changed_rows.add(peer_id)

    def _settle(self, peer: Peer, now: int) -> int:
        return peer.settle(self._watch.silence_ms(peer.last_heartbeat, now), now)

    @staticmethod
    def _sums_of(peer: Peer) -> _Share:
        return _OUT if peer.status == "offline" else (1, peer.latency_us)

    def _count(self, before: _Share, after: _Share) -> None:
        """Put the share of a peer in the sums in the place of what they hold of it."""
        if before != after:
            self.online += after[0] - before[0]
            self.latencies.replace(before[1], after[1])

    def _remove(self, peer_id: str) -> None:
        peer = self.peers.pop(peer_id)
        self._count(self._unsettled.pop(peer_id, self._sums_of(peer)), _OUT)
        self._deadlines.discard(peer_id)
        self.changed_state.add(peer_id)
        self.changed_rows.discard(peer_id)
        self.changed_weights.add(peer_id)
        self.left.add(peer_id)
