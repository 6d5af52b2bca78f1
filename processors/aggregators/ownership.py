"""Ownership: who may write a partition, or a merged stream.

A lease chooses the owner, by the server's clock; a fencing token protects what is owned: every commit presents it, and
one that is not the newest writes nothing, however late it arrives. Idempotency: acquiring again by the same owner gives
a newer token.
"""

import os
import platform
import secrets
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from processors.runtime.bus import Bus
from processors.runtime.connection import in_one_trip
from processors.runtime.script import Script
from schemas import streams

__all__ = [
    "LEASE_MS",
    "RENEW_MS",
    "Fenced",
    "Grant",
    "acquire",
    "free",
    "join",
    "leave",
    "new_owner",
    "release",
    "renew",
]

LEASE_MS: Final = 1_000
"""How long a lease lasts without being renewed."""

RENEW_MS: Final = 400
"""How often it is renewed: one renewal may be lost."""

_ACQUIRE: Final = Script("acquire")
_JOIN: Final = Script("join")
_RENEW: Final = Script("renew")


class Fenced(Exception):
    """Another owner has a newer token: what was held is lost, and nothing was written."""


class Grant(NamedTuple):
    """What an owner holds."""

    token: str
    epoch: str
    # The newest commit's number, and the id of the newest entry it consumed.
    n: int
    position: str


def new_owner() -> str:
    """A name for this process as an owner: machine, process id, and a random part that no other has."""
    return f"{platform.node()[:64]}/{os.getpid()}/{secrets.token_hex(4)}"


async def join(bus: Bus, owner: str) -> list[str]:
    """Say that `owner` runs. Returns all that run. Raises redis-py's errors."""
    server_ms, *members = await _JOIN.run(bus.client, [streams.AGGREGATORS], [owner, streams.AGGREGATOR_GONE_MS])
    bus.clock.sync(server_ms)
    return [member.decode("utf-8", "replace") for member in members]


async def leave(bus: Bus, owner: str) -> None:
    """Say that `owner` ends: the others need not wait. Raises redis-py's errors."""
    await _JOIN.run(bus.client, [streams.AGGREGATORS], [owner, 0])


async def free(bus: Bus, keys: Sequence[str]) -> list[str]:
    """Those of the meta keys whose lease is over by our clock, or ends later than any. Raises redis-py's errors."""
    answers = await in_one_trip(bus.client, [("HGET", key, "lease_until") for key in keys])
    now = bus.clock.now_ms()
    held = range(now + 1, now + 2 * LEASE_MS + 1)
    return [key for key, until in zip(keys, answers, strict=True) if until is None or int(until) not in held]


async def acquire(bus: Bus, keys: Sequence[str], owner: str) -> list[Grant | None]:
    """For each meta key a Grant, or None if another owner holds it.

    Raises redis-py's errors. Cancellation: some may have been acquired; they run out by themselves.
    """
    calls = [([key], [owner, LEASE_MS, secrets.token_hex(6)]) for key in keys]
    grants: list[Grant | None] = []
    for answer in await _ACQUIRE.run_many(bus.client, calls):
        if isinstance(answer, Exception):
            raise answer
        bus.clock.sync(answer[-1])
        if answer[0] == b"OK":
            _, token, epoch, n, position, _ = answer
            grants.append(Grant(token.decode(), epoch.decode(), int(n), position.decode()))
        else:
            grants.append(None)
    return grants


async def renew(bus: Bus, tokens: Mapping[str, str]) -> list[str]:
    """Renew the leases of `tokens`, by meta key; returns the keys that are lost, to a newer token or with their server.

    As few calls as the server allows: one a key would be most of what an idle system costs. Raises redis-py's
    errors; then the leases may run out.
    """
    return await _prolong(bus, tokens, LEASE_MS)


async def release(bus: Bus, tokens: Mapping[str, str]) -> None:
    """Give leases back, so that a successor need not wait for their end. Raises redis-py's errors."""
    await _prolong(bus, tokens, 0)


async def _prolong(bus: Bus, tokens: Mapping[str, str], lease_ms: int) -> list[str]:
    lost: list[str] = []
    groups = bus.together(list(tokens))
    calls = [(keys, [lease_ms, *(tokens[key] for key in keys)]) for keys in groups]
    for keys, answer in zip(groups, await _RENEW.run_many(bus.client, calls) if calls else [], strict=True):
        if isinstance(answer, Exception):
            raise answer
        server_ms, *numbers = answer
        bus.clock.sync(server_ms)
        lost += [keys[number - 1] for number in numbers]
    return lost
