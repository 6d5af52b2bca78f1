"""The bus: its servers, what it was made with, its clock, who works on it, and what was rejected of late."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from processors.runtime.checks.finding import Finding, ok, trouble, warning
from processors.runtime.checks.processes import how_to_end, running
from processors.runtime.connection import CONNECTION_FAILURES, in_one_trip, is_too_old, open_client, servers_of
from processors.runtime.observation import clause, clock_skew_ms, server_ms, server_name
from processors.runtime.partitions import read_partitions
from processors.runtime.settings import Settings, hide_password
from schemas import streams
from schemas.answers import PartitionSeen
from schemas.values import AHEAD_MS

__all__ = ["check_bus"]

_NEARLY_FULL: Final = 0.8
_FULL: Final = 0.95
_SKEW_MS: Final = 1_000
_STUCK_MS: Final = 10_000
_RECENT_MS: Final = 300_000
_MANY_LETTERS: Final = 1_000
_NAMED: Final = 5


async def check_bus(settings: Settings, url: str | None, problem: str = "") -> Sequence[Finding]:
    """`url` None: there is no bus to look at; `problem` is why, if it does not just lack. Cancellation: safe."""
    if url is None:
        state_dir = await asyncio.to_thread(settings.ark_state_dir.absolute)
        text = f"ARK_BUS_URL is unset and no embedded server runs in {state_dir}"
        advice = "start it with `ark-pulse up`, or set ARK_BUS_URL or ARK_STATE_DIR as that has it"
        if gateway := await asyncio.to_thread(running, "gateway"):
            advice = f"run it in {gateway[2]}, or set ARK_STATE_DIR or ARK_BUS_URL as process {gateway[0]} has it"
        return [trouble("bus", "the-bus-does-not-answer", problem or text, advice)]
    shown = hide_password(url)
    async with open_client(url) as client:
        try:
            infos = await servers_of(client, "server", "memory", "persistence")
            made_with: Any = await client.get(streams.PARTITIONS)
            skew_ms = await clock_skew_ms(client)
            found = [_server(shown, infos), _persistence(shown, infos), _partitions(settings, made_with)]
            return [*found, _skew(skew_ms), *await _work(client, url), await _letters(client)]
        except (RedisError, *CONNECTION_FAILURES) as error:
            refused = isinstance(error, AuthenticationError | NoPermissionError)
            advice = "see user and password in ARK_BUS_URL" if refused else "see whether it runs: `ark-pulse up`"
            return [trouble("bus", "the-bus-does-not-answer", f"{shown}: {clause(error)}", advice)]


def _server(shown: str, infos: Sequence[Mapping[str, Any]]) -> Finding:
    """The first that something is amiss with."""
    for info in infos:
        server, policy = server_name(info), info["maxmemory_policy"]
        if is_too_old(info):
            advice = "use Redis 7.0 or later, or Valkey"
            return trouble("bus", "the-server-is-too-old", f"{shown} is {server}", advice)
        if policy != "noeviction":
            text = f"{shown} has maxmemory-policy {policy}, and may drop what is not yet counted"
            return trouble("bus", "the-bus-may-evict-keys", text, "set maxmemory-policy to noeviction")
        share = info["used_memory"] / info["maxmemory"] if info["maxmemory"] else 0.0
        if share >= _NEARLY_FULL:
            say = trouble if share >= _FULL else warning
            text = f"{shown} uses {share:.0%} of its maxmemory; when it is full, collectors wait"
            return say("bus", "the-bus-is-full", text, "raise maxmemory, or shorten ARK_RETENTION")
    return ok("bus", f"{shown} is {server_name(infos[0])}, maxmemory-policy noeviction")


def _persistence(shown: str, infos: Sequence[Mapping[str, Any]]) -> Finding:
    entry: Final = "the-bus-keeps-nothing-on-disk"
    if any(info["aof_enabled"] and info["aof_last_write_status"] != "ok" for info in infos):
        text = f"{shown} cannot write its append-only file"
        return trouble("persistence", entry, text, "see its log, and whether its disk is full")
    if not all(info["aof_enabled"] for info in infos):
        text = f"{shown} has no append-only file: when it ends, totals go back to its last snapshot, or begin again"
        return warning("persistence", entry, text, "set appendonly to yes")
    return ok("persistence", "append-only file")


def _partitions(settings: Settings, made_with: bytes | None) -> Finding:
    wanted = settings.ark_partitions
    if made_with is None:
        advice = "start `ark-pulse up`, or each process by its own, with its own user of the bus"
        return warning("partitions", "it-does-not-run", "this bus was not used yet", advice)
    if made_with == b"0":
        text = "a restore or reset of this bus is at work, or did not end: nothing starts on it"
        advice = "run the same `ark-pulse bus restore` or `ark-pulse bus reset --yes` again"
        return trouble("partitions", "an-unfinished-restore", text, advice)
    if made_with != str(wanted).encode():
        text = f"ARK_PARTITIONS is {wanted}, but this bus was made with {made_with.decode(errors='replace')}"
        advice = f"set ARK_PARTITIONS={text.rpartition(' ')[2]} for all processes, or use an empty bus"
        return trouble("partitions", "another-number-of-partitions", text, advice)
    return ok("partitions", f"{wanted} partitions")


def _skew(skew_ms: float) -> Finding:
    text = f"the bus's clock is {abs(skew_ms):.0f} ms {'ahead of' if skew_ms >= 0 else 'behind'} this machine's"
    if abs(skew_ms) <= _SKEW_MS:
        return ok("clock", text)
    say = trouble if abs(skew_ms) > AHEAD_MS else warning
    return say("clock", "clocks-differ", text, "let both machines follow an NTP server")


async def _work(client: Redis, url: str) -> list[Finding]:
    """Who works the partitions, and what waits. Raises redis-py's errors."""
    try:
        seen = await read_partitions(client)
    except NoPermissionError:
        raise
    except ResponseError as error:
        text = f"a partition cannot be read: {clause(error)}"
        return [trouble("work", "a-partition-stands-still", text, "see the aggregators' log, or restore a backup")]
    if not seen:
        return []
    lengths = await in_one_trip(client, [("XLEN", streams.parked_key(each.name)) for each in seen])
    aggregators = await asyncio.to_thread(running, "aggregators", url)
    found = [_stuck(seen, "start `ark-pulse up`" if aggregators is None else how_to_end(aggregators[0]))]
    if parked := sum(lengths):
        text = f"{parked} entries are of a newer release than the aggregators, and wait for it, for seven days"
        found.append(trouble("parked", "entries-of-a-newer-release", text, "upgrade the aggregators"))
    return found


def _stuck(seen: Sequence[PartitionSeen], advice: str) -> Finding:
    entry: Final = "a-partition-stands-still"
    free = [each.name for each in seen if each.owner is None]
    late = {each.name: each.lag_ms for each in seen if each.lag_ms > _STUCK_MS}
    if len(free) == len(seen):
        return trouble("work", entry, "no aggregator works on this bus", f"see its log; {advice}")
    if free:
        text = f"{len(free)} of {len(seen)} partitions without an owner: {_names(free)}"
        return trouble("work", entry, text, "see the log of the aggregators")
    if late:
        text = f"entries have waited for {max(late.values()) // 1_000} s in {_names([*late])}"
        return trouble("work", entry, text, "see the log of the aggregators; start more of them if they are busy")
    return ok("work", f"all of {len(seen)} partitions are worked")


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


async def _letters(client: Redis) -> Finding:
    """Whether input is rejected now; what was rejected once is no news. Raises redis-py's errors."""
    recent = await client.xrange(streams.DEAD, min=await server_ms(client) - _RECENT_MS, count=_MANY_LETTERS)
    if not recent:
        return ok("dead letters", "none in the last five minutes")
    many = f"{_MANY_LETTERS} or more" if len(recent) == _MANY_LETTERS else str(len(recent))
    text = f"{many} in the last five minutes: what somebody wrote could not be used"
    return warning("dead letters", "dead-letters-grow", text, "see `ark-pulse dead list`")
