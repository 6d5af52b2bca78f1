"""What changed in the hashes of the peers of one source, compared with what was last published of each.

A heartbeat is an observed change of a peer's hash: an equal digest means that nothing happened.
"""

import hashlib
import itertools
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from processors.collectors.peers import COLLECTOR, PREFIX, Complaint, bad_id, digest, read_peer, rejection
from schemas.events import Event, PeerGone

__all__ = ["Change", "PeerDiffer", "published_name", "rejected_name"]

_MAX_COMPLAINED: Final = 10_000
# Shorter than any digest, so that it is none.
_WRONG_TYPE: Final = b"wrong"
_REJECTED: Final = b"rejected"
# Not UTF-8 once it is bytes again, so that it begins no peer's id.
_NO_PEER: Final = "\udcff"


class Change(NamedTuple):
    """What happened to one key: events, and the digests that are published with them (None: forget it)."""

    events: tuple[Event, ...] = ()
    digests: Mapping[str, bytes | None] = {}


_NOTHING: Final = Change()


def published_name(key: bytes) -> str:
    """The name under which the digest of `key` is kept: the peer's id, so that it lives in that peer's partition.

    A key that cannot be a peer's has the digest of its own name: it may be a megabyte long.
    """
    if bad_id(key) is None:
        return key.removeprefix(PREFIX).decode("utf-8")
    return rejected_name(key)


def rejected_name(what: bytes) -> str:
    """The name under which it is kept that `what` was rejected."""
    return _NO_PEER + hashlib.blake2b(what, digest_size=16).hexdigest()


class PeerDiffer:
    """The digests of what is published of one source, and the changes against them.

    `collector` names the source in dead letters. `service`: the other federation service that it is, None for ARK's
    own Redis.
    """

    def __init__(self, collector: str = COLLECTOR, service: str | None = None) -> None:
        self._collector = collector
        self._service = service
        # Digest of the published value, by `published_name`. Bounded by the keys that the source has.
        self._digests: dict[str, bytes] = {}
        # Clauses of the last complaints about a peer, oldest peer first. The oldest is dropped beyond the bound: its
        # complaint may then be repeated once.
        self._complained: dict[str, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._digests)

    def load(self, digests: Mapping[str, bytes]) -> None:
        """Begin again with what the bus says is published."""
        self._digests = dict(digests)

    def observe(
        self,
        key: bytes,
        fields: Mapping[bytes, bytes] | None,
        now: int,
        *,
        expires: bool = False,
        away: bool = False,
        why_not: str = "key is not a hash",
    ) -> Change:
        """What reading `key` at `now` (ms) means. `fields` is empty if it is gone, None if it is of no use: `why_not`.

        The change is taken as published: the caller publishes it, or loads anew. `expires` and `away` as in
        `read_peer`.
        """
        name = published_name(key)
        old = self._digests.get(name)
        if fields is not None and not fields:
            return self._gone(name, now)
        clause = bad_id(key)
        if clause is not None or fields is None:
            new = _REJECTED if clause is not None else _WRONG_TYPE
            complaint = Complaint(clause or why_not)
        else:
            new = digest(fields)
        if old == new:
            return _NOTHING
        self._digests[name] = new
        if clause is not None or fields is None:
            gone = self._absent(name, old, now)
            return Change((*gone, rejection(key, [complaint], now, self._collector)), {name: new})
        heartbeat, complaints = read_peer(key, fields, now, expires=expires, away=away, service=self._service)
        if self._is_news(name, complaints):
            return Change((heartbeat, rejection(key, complaints, now, self._collector)), {name: new})
        return Change((heartbeat,), {name: new})

    def some(self, count: int) -> list[bytes]:
        """Keys of up to `count` peers that are published."""
        names = (name for name in self._digests if not name.startswith(_NO_PEER))
        return [PREFIX + name.encode("utf-8") for name in itertools.islice(names, count)]

    def refuse(self, clause: str, excerpt: bytes, now: int) -> Change:
        """Something that names no peer was refused: told once for each reason, until that is not met any more."""
        name = rejected_name(clause.encode())
        if name in self._digests:
            return _NOTHING
        self._digests[name] = _REJECTED
        return Change((rejection(excerpt, [Complaint(clause)], now, self._collector),), {name: _REJECTED})

    def unseen(self, seen: Iterable[str]) -> list[bytes]:
        """Keys of the published peers that a full scan did not meet. To be read once more: a key may come back."""
        missing = self._digests.keys() - set(seen)
        return [PREFIX + name.encode("utf-8") for name in missing if not name.startswith(_NO_PEER)]

    def unseen_rejected(self, seen: Iterable[str]) -> Change:
        """Forget what was rejected and could not be a peer, and that a full scan did not meet."""
        missing = {name for name in self._digests.keys() - set(seen) if name.startswith(_NO_PEER)}
        for name in missing:
            del self._digests[name]
        return Change((), dict.fromkeys(missing))

    def _gone(self, name: str, now: int) -> Change:
        old = self._digests.pop(name, None)
        self._complained.pop(name, None)
        if old is None:
            return _NOTHING
        return Change(self._absent(name, old, now), {name: None})

    def _absent(self, name: str, old: bytes | None, now: int) -> tuple[Event, ...]:
        """A peer that was published is so no more; what was rejected was never a peer."""
        if old is None or old in {_WRONG_TYPE, _REJECTED} or name.startswith(_NO_PEER):
            return ()
        return (PeerGone(peer=name, ts=now, learnt_from=self._service or "redis"),)

    def _is_news(self, name: str, complaints: tuple[Complaint, ...]) -> bool:
        """Whether these complaints differ from the last ones about this peer: values may change at every heartbeat."""
        clauses = tuple(complaint.clause for complaint in complaints)
        known = self._complained.pop(name, ())
        if clauses:
            self._complained[name] = clauses
        while len(self._complained) > _MAX_COMPLAINED:
            del self._complained[next(iter(self._complained))]
        return bool(clauses) and clauses != known
