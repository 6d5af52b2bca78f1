"""All that a server holds, read naively, to compare it with itself."""

import re
from typing import Any

from redis import Redis

from schemas import streams

__all__ = ["contents", "lasting"]


def contents(client: Redis) -> dict[bytes, Any]:
    """The value of each key; of a stream its entries and its newest id."""
    held: dict[bytes, Any] = {}
    keys: Any = client.scan_iter(count=1_000)
    for key in keys:
        kind: Any = client.type(key)
        if kind == b"hash":
            held[key] = client.hgetall(key)
        elif kind == b"stream":
            info: Any = client.xinfo_stream(key)
            held[key] = info["last-generated-id"], client.xrange(key)
        elif kind == b"string":
            held[key] = client.get(key)
    return held


def lasting(held: dict[bytes, Any]) -> dict[bytes, Any]:
    """What a backup keeps: not who works on it."""
    passing = {b"owner", b"lease_until", b"run_id", b"token"}
    kept = {}
    for key, value in held.items():
        if key.startswith(streams.lease_key("").encode()):
            continue
        meta = re.fullmatch(rb"ark:\{\w+\}:meta|\{ark:.*\}:meta", key)
        kept[key] = {name: value[name] for name in value.keys() - passing} if meta else value
    return kept
