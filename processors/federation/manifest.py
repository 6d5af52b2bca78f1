"""A node's signed manifest: read, held against its bounds and its signature, and turned into the hash of a peer.

The signature is checked over the bytes that we make of what was read, never over bytes that came: what is signed is
what is used. A manifest is flat. Nested values are refused, because a hash has no place for them, and no reader of
`peer:*` would look for JSON inside a field.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from processors.federation.errors import Refused
from processors.federation.keys import SIGNATURE_BYTES, BadKey, is_signed, read_bytes, read_key
from schemas.events import MAX_ID, MAX_LATENCY_MS
from schemas.manifests import MAX_SEQ, signed_form
from schemas.values import PEER_STATUS, instant_ms, number

__all__ = ["LIFE_MS", "MAX_BODY", "SKEW_MS", "Manifest", "check_times", "life_ms", "peer_hash", "read_manifest"]

MAX_BODY: Final = 64 << 10
"""Largest body of a request, in bytes."""

_MAX_FIELDS: Final = 64
"""Most fields of a manifest."""

_MAX_NAME: Final = 64
"""Longest name of a field, in characters."""

_MAX_VALUE: Final = 1024
"""Longest value of a field as text, in characters."""

_MAX_TIER: Final = 32
"""Longest trust tier, in characters."""

SKEW_MS: Final = 60_000
"""How far a manifest's time may be from ours, ms."""

LIFE_MS: Final = 120_000
"""How long a peer is known after its manifest, ms."""

_MARKUP: Final = frozenset("<>&\"'`")
_TIER: Final = re.compile(rf"[a-z0-9_-]{{1,{_MAX_TIER}}}")


class Manifest(NamedTuple):
    """What a node says of itself; its form and its signature are good."""

    node_id: str
    # Ed25519 public key that it is signed with.
    key: bytes
    # As it was signed: text, numbers, booleans and None.
    fields: Mapping[str, Any]
    # The tier that it claims, lower case; None if none.
    tier: str | None
    # None where the node does not use them; times in ms.
    seq: int | None
    issued_at: int | None
    expires_at: int | None


def read_manifest(body: bytes) -> Manifest:
    """The manifest in a request's body. Raises Refused: 400 if its form is bad, 401 if its signature is."""
    request = _object(body)
    fields = _member(request, "manifest")
    if not isinstance(fields, dict):
        raise Refused(400, "manifest must be a JSON object")
    signature = read_bytes(_text(request, "signature"), SIGNATURE_BYTES)
    if signature is None:
        raise Refused(400, f"signature must be base64 of {SIGNATURE_BYTES} bytes")
    try:
        key = read_key(_text(request, "pubkey"))
    except BadKey as error:
        raise Refused(400, f"pubkey {error}") from error
    manifest = _read_fields(fields, key)
    if not is_signed(signed_form(fields), signature, key):
        raise Refused(401, "invalid signature")
    return manifest


def check_times(manifest: Manifest, now: int) -> None:
    """Raises Refused: if the manifest is from too far in the past or the future, or has expired at `now` (ms)."""
    if manifest.issued_at is not None and abs(manifest.issued_at - now) > SKEW_MS:
        raise Refused(400, f"issued_at must be within {SKEW_MS // 1000} s of this server's clock")
    if manifest.expires_at is not None and manifest.expires_at <= now:
        raise Refused(400, "expires_at must be in the future")


def life_ms(manifest: Manifest, now: int) -> int:
    """How long the peer is known from `now` (ms) on: two minutes, or until the manifest expires."""
    return LIFE_MS if manifest.expires_at is None else min(LIFE_MS, manifest.expires_at - now)


def peer_hash(manifest: Manifest, tier: str, now: int) -> dict[str, str]:
    """The hash `peer:<node_id>`: the manifest's fields as text, and what every reader of it expects.

    `last_seen` is `now` in ms, whatever the manifest says: a manifest that is sent again is a heartbeat again.
    """
    said = {name: _as_text(value) for name, value in manifest.fields.items() if value is not None}
    return {
        "status": "online",
        **{name: text for name, text in said.items() if text},
        "node_id": manifest.node_id,
        "trust_tier": tier,
        "last_seen": str(now),
        "learnt_from": "manifest",
    }


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two equal keys another reader may take the other: what was signed would be open to doubt."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refused(400, "body must not name a key twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Refused(400, "body must not have numbers that are not finite")
    return value


_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = _decoder.decode(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Refused(400, "body must be UTF-8") from error
    except RecursionError as error:
        raise Refused(400, "body is nested too deeply") from error
    except ValueError as error:
        raise Refused(400, "body must be JSON") from error
    if not isinstance(value, dict):
        raise Refused(400, "body must be a JSON object")
    return value


def _member(request: Mapping[str, Any], name: str) -> object:
    if request.get(name) is None:
        raise Refused(400, f"{name} is missing")
    return request[name]


def _text(request: Mapping[str, Any], name: str) -> str:
    value = _member(request, name)
    if not isinstance(value, str):
        raise Refused(400, f"{name} must be text")
    return value


def _read_fields(fields: Mapping[str, Any], key: bytes) -> Manifest:
    if len(fields) > _MAX_FIELDS:
        raise Refused(400, f"manifest must have at most {_MAX_FIELDS} fields")
    for name, value in fields.items():
        _check_flat(name, value)
    _check_name("node_id", _member(fields, "node_id"))
    # An empty text means the same as its absence.
    said = {name: value for name, value in fields.items() if value not in {None, ""}}
    if "hostname" in said:
        _check_name("hostname", said["hostname"])
    # What is no text reads like no status either.
    if str(said.get("status", "online")).lower() not in PEER_STATUS:
        raise Refused(400, "status must be online, offline or syncing")
    if "latency" in said:
        _check_latency(said["latency"])
    return Manifest(
        node_id=fields["node_id"],
        key=key,
        fields=fields,
        tier=_tier(said["trust_tier"]) if "trust_tier" in said else None,
        seq=_seq(fields.get("seq")),
        issued_at=_time(fields, "issued_at"),
        expires_at=_time(fields, "expires_at"),
    )


def _check_flat(name: str, value: object) -> None:
    if not (1 <= len(name) <= _MAX_NAME and name.isprintable()):
        raise Refused(400, f"names of fields must have 1 to {_MAX_NAME} printable characters")
    if isinstance(value, dict | list):
        raise Refused(400, f"{name} must not be nested")
    text = _as_text(value)
    if len(text) > _MAX_VALUE:
        raise Refused(400, f"{name} must have at most {_MAX_VALUE} characters")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON may spell halves of a character
        raise Refused(400, f"{name} must be valid Unicode") from error


def _check_name(name: str, value: object) -> None:
    """Names are put into pages as they are by others than us."""
    if not (
        isinstance(value, str)
        and 1 <= len(value) <= MAX_ID
        and value == value.strip()
        and value.isprintable()
        and not _MARKUP.intersection(value)
    ):
        raise Refused(400, f"{name} must be text of 1 to {MAX_ID} printable characters without markup")


def _check_latency(value: object) -> None:
    # As text too: that is what the hash holds in the end.
    if isinstance(value, str):
        value = number(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(400, "latency must be a number")
    if not 0 <= value <= MAX_LATENCY_MS:
        raise Refused(400, f"latency must be 0 to {MAX_LATENCY_MS:.0f} ms")


def _tier(value: object) -> str:
    tier = value.strip().lower() if isinstance(value, str) else ""
    # ASCII only: a letter that looks like another, or becomes one in upper case, must not claim what it does not say.
    if _TIER.fullmatch(tier) is None:
        raise Refused(400, f"trust_tier must have 1 to {_MAX_TIER} letters, digits, - or _")
    return tier


def _seq(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_SEQ:
        raise Refused(400, f"seq must be a whole number from 0 to {MAX_SEQ}")
    return value


def _time(fields: Mapping[str, Any], name: str) -> int | None:
    """A time in ms, in any spelling that peers use for one."""
    value = fields.get(name)
    ms = instant_ms(value)
    if value is not None and ms is None:
        raise Refused(400, f"{name} must be a time: seconds, milliseconds, or ISO 8601")
    return ms
