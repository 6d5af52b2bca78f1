"""What another federation service tells of its peers: from the answer to GET /discover to hashes like those of Redis.

A peer that cannot be used is left out with its reason, the others go on.
"""

import base64
import json
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from processors.collectors.peers import PREFIX
from schemas.events import MAX_EXCERPT, OWN_REDIS

__all__ = ["COLLECTOR", "MAX_BYTES", "MAX_PEERS", "Listing", "Service", "UnusableAnswer", "read_listing", "service_at"]

COLLECTOR: Final = "discovery"

MAX_BYTES: Final = 16 << 20
"""Largest body of an answer."""

MAX_PEERS: Final = 10_000
"""Most peers of an answer."""

# Of small values alone, a body of the largest size would take half a gigabyte.
_MAX_VALUES: Final = 1_000_000
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class UnusableAnswer(Exception):
    """The service answered something that is no list of peers. Its text is the clause for the status."""


class Service(NamedTuple):
    """Another federation service. Only `authorization` is secret."""

    # Address of its list.
    url: str
    # Where its peers are learnt from: host, port if it is not the scheme's own, and path.
    name: str
    # Value of the header of that name; empty if the address has no user.
    authorization: str

    @property
    def cursor(self) -> str:
        """The name on cursors and digests.

        It is made of the service and not of the node: nodes that follow one service into one bus tell its peers once,
        and nodes that follow different ones do not mix up what each of them told.
        """
        return f"{COLLECTOR}:{self.name}"


class Listing(NamedTuple):
    """The peers of one answer."""

    # Their hashes by key, as in ARK's Redis. A key need not be a good one.
    hashes: dict[bytes, dict[bytes, bytes]]
    # Why others were left out, and the beginning of the first that was, for that reason.
    refused: dict[str, bytes]


def service_at(url: str) -> Service:
    """The service that ARK_FEDERATION_URL names; the setting was checked."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    place = parts.netloc.rpartition("@")[2].lower().removesuffix(":")
    host = place.removesuffix(f":{_DEFAULT_PORTS[parts.scheme]}")
    if host in OWN_REDIS:
        # A machine may be called `redis`, and its peers are not those of ours.
        host = f"{host}:{_DEFAULT_PORTS[parts.scheme]}"
    url = f"{parts.scheme}://{place}{path}/discover"
    if parts.username is None:
        return Service(url, host + path, "")
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return Service(url, host + path, "Basic " + base64.b64encode(pair.encode()).decode())


def read_listing(body: bytes) -> Listing:
    """The peers in the body of an answer. Of one that is there twice, the first counts.

    Raises UnusableAnswer: if it is no object with a list `peers`, or one that is too large.
    """
    try:
        return _listing(_peers(body))
    except RecursionError as error:
        raise UnusableAnswer("answer is nested too deeply") from error


def _listing(peers: list[Any]) -> Listing:
    listing = Listing({}, {})
    for peer in peers:
        if not isinstance(peer, dict):
            listing.refused.setdefault("peer is not an object", _excerpt(peer))
            continue
        fields = {_bytes(name): _bytes(value) for name, value in peer.items() if value is not None}
        node_id = fields.get(b"node_id")
        if node_id is None:
            listing.refused.setdefault("node_id is missing", _excerpt(peer))
        elif PREFIX + node_id in listing.hashes:
            listing.refused.setdefault("node_id is listed twice", _excerpt(peer))
        else:
            listing.hashes[PREFIX + node_id] = fields
    return listing


def _peers(body: bytes) -> list[Any]:
    if sum(map(body.count, (b",", b"[", b"{"))) > _MAX_VALUES:
        raise UnusableAnswer(f"answer must have at most {_MAX_VALUES} values")
    try:
        # Numbers stay the text they are, so that one that is too large spoils only its own field; so do bad bytes.
        text = body.decode("utf-8", "replace")
        answer = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except ValueError as error:
        raise UnusableAnswer("answer is not JSON") from error
    peers = answer.get("peers") if isinstance(answer, dict) else None
    if not isinstance(peers, list):
        raise UnusableAnswer("answer must be an object with a list `peers`")
    if len(peers) > MAX_PEERS:
        raise UnusableAnswer(f"answer must list at most {MAX_PEERS} peers")
    return peers


def _bytes(value: object) -> bytes:
    """A JSON value as a field of a hash: text as it is, everything else as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    # Half a surrogate pair is no text; whoever reads the field finds that it is not UTF-8.
    return text.encode("utf-8", "surrogatepass")


def _excerpt(peer: object) -> bytes:
    return _bytes(peer)[:MAX_EXCERPT]
