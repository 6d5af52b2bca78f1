"""Which keys may grant which tier: the file of trusted keys, and what it means for a claim.

A line is a tier, a public key in base64, and the node id that the key belongs to, or `*` for any node:

    core     Vtt0...=    ark-node-1
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from processors.federation.keys import BadKey, read_key

__all__ = ["ANY", "MAX_LINES", "TrustedKeys", "granted", "parse_trusted_keys"]

ANY: Final = "*"
"""In place of a node id: any node that signs with the key."""

MAX_LINES: Final = 10_000
"""Most lines of the file."""

_RANKS: Final = {"verified": 1, "trusted": 2, "core": 3}


class TrustedKeys:
    """What the file says. `grants` is the tier by node id (or `*`) and key."""

    def __init__(self, grants: Mapping[tuple[str, bytes], str]) -> None:
        self._grants = dict(grants)
        # The keys of each node id that is listed.
        self._keys: dict[str, set[bytes]] = defaultdict(set)
        for node_id, key in grants:
            self._keys[node_id].add(key)

    def keys_of(self, node_id: str) -> frozenset[bytes]:
        """The keys that alone may sign for `node_id`; empty if the file does not name it."""
        return frozenset(self._keys.get(node_id, ())) if node_id != ANY else frozenset()

    def highest(self, node_id: str, key: bytes) -> str:
        """The highest tier that `key` may claim for `node_id`."""
        tiers = (self._grants.get((name, key), "verified") for name in (node_id, ANY))
        return max(tiers, key=_RANKS.__getitem__)


def granted(claim: str | None, highest: str) -> str:
    """The tier of a node that claims `claim` (lower case; None: it claims nothing) and may have `highest`.

    A tier that is none of ours weighs nothing: a node may make itself as small as it likes.
    """
    if claim is None or _RANKS.get(claim, 0) > _RANKS[highest]:
        return highest
    return claim


def parse_trusted_keys(text: str) -> TrustedKeys:
    """The file's content. Empty lines, and those that begin with `#`, mean nothing.

    Raises ValueError: if a line cannot be used; the clause begins with its number.
    """
    lines = text.splitlines()
    if len(lines) > MAX_LINES:
        raise ValueError(f"must have at most {MAX_LINES} lines")
    grants: dict[tuple[str, bytes], str] = {}
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            tier, key, node_id = _entry(number, line)
            if (node_id, key) in grants:
                raise ValueError(f"line {number}: the key is listed for {node_id} already")
            grants[node_id, key] = tier
    return TrustedKeys(grants)


def _entry(number: int, line: str) -> tuple[str, bytes, str]:
    # The node id is last: it may have spaces in it.
    parts = line.strip().split(maxsplit=2)
    if len(parts) != 3:
        raise ValueError(f"line {number}: must be a tier, a key and a node id")
    tier, text, node_id = parts
    if tier not in _RANKS:
        raise ValueError(f"line {number}: tier must be core, trusted or verified")
    try:
        return tier, read_key(text), node_id
    except BadKey as error:
        raise ValueError(f"line {number}: key {error}") from error
