"""To whom a node id belongs, and whether its manifest is newer than what was seen."""

import msgspec

from processors.federation.errors import Refused
from processors.federation.keys import write_key
from processors.federation.manifest import Manifest
from schemas.manifests import Pin

__all__ = ["renewed"]


def renewed(pin: Pin | None, manifest: Manifest, listed: frozenset[bytes], now: int) -> Pin:
    """The pin after `manifest`, seen at `now` (ms), where `pin` is the one before (None: there is none).

    `listed`: the keys that alone may sign for the node by the operator's word; without them it is the key that came
    first. Between listed keys the node may change, and goes on counting; one that held the id before it was listed is
    forgotten. Raises Refused: 403 if the key is another, 409 if the manifest is not newer.
    """
    key = write_key(manifest.key)
    if listed and manifest.key not in listed:
        raise Refused(403, "node_id belongs to a trusted key, and pubkey is another")
    if pin is not None and pin.key != key:
        if not listed:
            raise Refused(403, "node_id is pinned to another pubkey")
        pin = msgspec.structs.replace(pin, key=key) if pin.key in map(write_key, listed) else None
    if pin is None:
        return Pin(key=key, first_seen=now, seq=manifest.seq, issued_at=manifest.issued_at)
    _check_newer(pin, manifest)
    return msgspec.structs.replace(pin, key=key, seq=manifest.seq, issued_at=manifest.issued_at)


def _check_newer(pin: Pin, manifest: Manifest) -> None:
    """A node that never numbered or dated its manifests may send the same one again; one that did may not go back."""
    if pin.seq is not None:
        if manifest.seq is None:
            raise Refused(409, "seq is missing, and this node has used it")
        if manifest.seq <= pin.seq:
            raise Refused(409, f"seq must be above {pin.seq}")
    if pin.issued_at is not None:
        if manifest.issued_at is None:
            raise Refused(409, "issued_at is missing, and this node has used it")
        # Two of the same millisecond are told apart by their number, if they have one.
        if manifest.seq is None and manifest.issued_at <= pin.issued_at:
            raise Refused(409, f"issued_at must be after {pin.issued_at}")
        if manifest.issued_at < pin.issued_at:
            raise Refused(409, f"issued_at must not be before {pin.issued_at}")
