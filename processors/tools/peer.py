"""`ark-pulse peer`: keys of nodes, signed manifests, and the pins that the federation service keeps of them.

A key file is PEM (PKCS 8), as OpenSSL writes and reads it too.
"""

import base64
import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from msgspec import Struct
from redis.asyncio import Redis

from processors.runtime.connection import ask_bus
from processors.runtime.errors import PulseError
from processors.runtime.output import print_line, visible
from processors.runtime.probes import address
from processors.runtime.settings import Settings
from processors.tools.errors import TargetFailed
from schemas.errors import MalformedEntry
from schemas.manifests import Pin, decode_pin, signed_form
from schemas.streams import FEDERATION_PINS

__all__ = ["Claims", "keygen", "pins", "register", "unpin"]

_ANSWER_S: Final = 10.0
_MAX_ANSWER: Final = 64 << 10
# Answers after which the same node may try again: it came too often, or a server was away.
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})


class Claims(Struct, frozen=True, omit_defaults=True):
    """What a node says of itself; None: nothing."""

    node_id: str
    hostname: str | None = None
    trust_tier: str | None = None
    # Milliseconds.
    latency: float | None = None


def keygen(out: Path | None) -> None:
    """Make a key, in the new file `out` that only its user may read, or on standard output; prints its public key.

    Raises PulseError: if the file is there already, or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    if out is None:
        print_line(pem.decode().rstrip())
    else:
        _write_new(out, pem)
    print_line(f"public key: {_public_text(key)}")


def register(settings: Settings, url: str | None, key_file: Path, claims: Claims, every_s: float | None) -> None:
    """Send the signed manifest of a node to the service at `url` (None: this one), and again every `every_s`; blocks.

    Prints what became of it, again when that changes. Raises PulseError: if it is refused, or the key cannot be used.
    Raises TargetFailed: if nobody answers; with `every_s` it goes on, as after refusals that pass by themselves.
    """
    url = url or f"http://{address(settings.federation_host, settings.federation_port)}"
    key = _load(key_file)
    said = ""
    for manifest in _manifests(claims):
        try:
            status, line = _post(url, _signed(manifest, key))
            if status != 200 and (every_s is None or status not in _PASSING):
                raise PulseError(f"{url} refused {claims.node_id}: {status} {line}")
            line = f"registered {claims.node_id}" if status == 200 else f"not registered: {status} {line}"
        except TargetFailed as error:
            if every_s is None:
                raise
            line = f"not registered: {error}"
        if line != said and not print_line(line):
            return
        said = line
        if every_s is None:
            return
        time.sleep(every_s)


def pins(settings: Settings, *, as_json: bool) -> None:
    """Print which key each node id belongs to. Raises BusDown: if the bus does not answer."""
    found = ask_bus(settings, _read_pins)
    if as_json:
        print_line(json.dumps(found))
        return
    for node_id, pin in sorted(found.items()):
        print_line(f"{node_id}  " + "  ".join(f"{name}={value}" for name, value in pin.items()))


def unpin(settings: Settings, node_id: str) -> None:
    """Forget the key of a node id: the next that comes is pinned. Raises BusDown; PulseError: if there is no pin."""

    async def remove(client: Redis) -> int:
        return await client.hdel(FEDERATION_PINS, node_id)

    if not ask_bus(settings, remove):
        raise PulseError(f"no pin of {node_id}")
    print_line(f"unpinned {node_id}")


def _write_new(path: Path, content: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except FileExistsError as error:
        raise PulseError(f"{path} is there already, and stays as it is") from error
    except OSError as error:
        raise PulseError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}") from error


def _load(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise PulseError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise PulseError(f"{path} must be a private key in PEM, without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise PulseError(f"{path} must be an Ed25519 key")
    return key


def _public_text(key: Ed25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def _manifests(claims: Claims) -> Iterator[dict[str, Any]]:
    """One manifest after the other, each with a higher number: the time, or more if the clock went back."""
    seq = 0
    while True:
        now = int(time.time() * 1000)
        seq = max(seq + 1, now)
        yield {"seq": seq, "issued_at": now, **msgspec.to_builtins(claims)}


def _signed(manifest: Mapping[str, Any], key: Ed25519PrivateKey) -> bytes:
    signature = base64.b64encode(key.sign(signed_form(manifest))).decode()
    return json.dumps({"manifest": manifest, "signature": signature, "pubkey": _public_text(key)}).encode()


def _post(url: str, body: bytes) -> tuple[int, str]:
    """Status and clause of the answer. Raises TargetFailed: if there is none."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise PulseError(f"{url} must begin with http:// or https://, and name a host")
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        with contextlib.closing(kind(parts.hostname, parts.port, timeout=_ANSWER_S)) as connection:
            connection.request("POST", parts.path.rstrip("/") + "/manifest", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, _clause(answer.read(_MAX_ANSWER))
    except (OSError, HTTPException, ValueError) as error:
        raise TargetFailed(url, error) from error


def _clause(body: bytes) -> str:
    try:
        return visible(str(json.loads(body)["error"])[:200])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "without a reason"


async def _read_pins(client: Redis) -> dict[str, dict[str, Any]]:
    found = client.hscan_iter(FEDERATION_PINS, count=1_000)
    return {name.decode(errors="replace"): _shown(value) async for name, value in found}


def _shown(value: bytes) -> dict[str, Any]:
    try:
        pin: Pin = decode_pin(value)
    except MalformedEntry as error:
        return {"unreadable": str(error)}
    return {name: said for name in pin.__struct_fields__ if (said := getattr(pin, name)) is not None}
