"""The sources: ARK's Redis, what each collector says of what it reads, and why a half is simulated that need not be."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias, cast

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from processors.runtime.checks.finding import Finding, ok, trouble, warning
from processors.runtime.checks.processes import Process, how_to_end, running
from processors.runtime.connection import CONNECTION_FAILURES, in_one_trip, open_client, wrong_type
from processors.runtime.keyspace import NOTIFY_OPTION, UNNOTIFIED, missing_flags
from processors.runtime.observation import Heard, clause, read_sources, server_ms
from processors.runtime.settings import SETTINGS, Settings, hide_password
from schemas.values import AHEAD_MS, instant_ms

__all__ = ["Hearing", "check_redis", "check_sources", "hear"]

Hearing: TypeAlias = "asyncio.Task[list[Heard] | None]"
"""What `hear` gives: two checks need it."""

_GROUPS: Final[Mapping[str, frozenset[str]]] = {
    "federation": frozenset({"peers", "sync", "discovery"}),
    "memory": frozenset({"reasoning", "code"}),
}
_FILES: Final = {"reasoning": "reasoning_logs.db", "code": "ark.db"}
_AHEAD_MS: Final = 1_000
_KEYS_A_SCAN: Final = 1_000
_SCANS: Final = 20
_SAMPLE: Final = 500
_HEAR_S: Final = 1.0
_DEFAULTS: Final = {setting.name: setting.default or "" for setting in SETTINGS}


async def hear(url: str | None) -> list[Heard] | None:
    """The last word of each source; None if the bus does not answer within a second. Cancellation: safe."""
    if url is None:
        return None
    try:
        async with asyncio.timeout(_HEAR_S), open_client(url) as client:
            return (await read_sources(client))[0]
    except (RedisError, *CONNECTION_FAILURES, TimeoutError):
        return None  # the check of the bus says so


async def check_redis(settings: Settings, hearing: Hearing) -> Sequence[Finding]:
    """ARK's Redis. Cancellation: safe."""
    shown = hide_password(settings.redis_url)
    async with open_client(settings.redis_url, protocol=2) as client:
        try:
            flags = await _flags(client)
            held, keys = await _look(client)
            elsewhere = [] if held else await _elsewhere(client, settings.redis_url)
            furthest = await _furthest(client, keys)
        except (RedisError, *CONNECTION_FAILURES) as error:
            advice = "set REDIS_URL to ARK's Redis, with a user that may read; until then its half is not live"
            return [warning("redis", "arks-redis-does-not-answer", f"{shown}: {clause(error)}", advice)]
    peers = [each for each in await hearing or () if each.state.collector == "peers" and each.state.state == "live"]
    watching = next((each.state.detail for each in peers if not each.silent), None)
    return [_contents(shown, elsewhere, held=held), _notifications(flags, watching), *_clocks(furthest)]


async def _flags(client: Redis) -> str | None:
    """What the server notifies of; None if it does not tell. Raises redis-py's errors."""
    try:
        return str((await client.config_get(NOTIFY_OPTION)).get(NOTIFY_OPTION, ""))
    except ResponseError:
        return None


async def _look(client: Redis) -> tuple[bool, list[bytes]]:
    """Whether there is anything of what we read, and some of the peers' keys. Raises redis-py's errors.

    Where so many other keys are that none of ours is found in time, there is taken to be something.
    """
    cursor, keys = 0, list[bytes]()
    for _ in range(_SCANS):
        cursor, page = await client.scan(cursor, match="peer:*", count=_KEYS_A_SCAN)
        keys += cast("list[bytes]", page)
        if not cursor or len(keys) >= _SAMPLE:
            break
    return bool(keys or cursor or await client.exists("sync_events")), keys[:_SAMPLE]


async def _elsewhere(client: Redis, url: str) -> list[str]:
    """Other databases of the server that hold what we look for. Raises redis-py's errors."""
    try:
        found = []
        for name in await client.info("keyspace"):
            number = name.removeprefix("db")
            async with open_client(url, protocol=2, db=int(number)) as other:
                if (await other.scan(0, match="peer:*", count=_KEYS_A_SCAN))[1] or await other.exists("sync_events"):
                    found.append(number)
    except ResponseError:
        return []  # who may not look learns nothing
    return found


async def _furthest(client: Redis, keys: Sequence[bytes]) -> tuple[int, str] | None:
    """The `last_seen` that is furthest ahead of the server's clock, by how many ms, and whose that is.

    None if none says it, or this user may not ask. Raises redis-py's errors.
    """
    asked = [("HGET", key, "last_seen") for key in keys]
    try:
        answers = await in_one_trip(client, asked, bearable=wrong_type) if asked else []
        now = await server_ms(client)
    except NoPermissionError:
        return None
    times = [instant_ms(each.decode("utf-8", "replace")) if isinstance(each, bytes) else None for each in answers]
    told = zip(keys, times, strict=True)
    return max(((ms - now, key.decode("utf-8", "replace")) for key, ms in told if ms is not None), default=None)


def _contents(shown: str, elsewhere: Sequence[str], *, held: bool) -> Finding:
    if held:
        return ok("redis", f"{shown} answers")
    text = f"{shown} answers, but holds neither peer:* nor sync_events"
    if not elsewhere:
        return warning("redis", "live-but-empty", text, "see whether ARK writes to this server")
    advice = "set REDIS_URL to that database, for all processes, and start them again"
    return trouble("redis", "live-but-empty", f"{text}; database {' and '.join(elsewhere)} does", advice)


def _notifications(flags: str | None, watching: str | None) -> Finding:
    """`flags` None: the server does not tell. `watching`: how the collector does that is at work, None if none is."""
    missing, entry = missing_flags(flags or ""), "no-push-from-redis"
    advice = f'have {NOTIFY_OPTION} "{flags or ""}{missing}" set by whoever runs that server'
    if (watching or "").startswith(UNNOTIFIED):
        return trouble("notifications", entry, f"peers has {watching}", advice)
    if flags is None and watching is None:
        return warning("notifications", entry, "the server refuses CONFIG, so changes are found by scanning", advice)
    if flags is None:
        return ok("notifications", "the server does not tell its flags, but notifies")
    if missing:
        text = f'{NOTIFY_OPTION} is "{flags}", without {missing}'
        return warning("notifications", entry, text, "the peers collector adds them while it runs")
    return ok("notifications", f'{NOTIFY_OPTION} is "{flags}"')


def _clocks(furthest: tuple[int, str] | None) -> list[Finding]:
    if furthest is None:
        return []
    ahead_ms, key = furthest
    if ahead_ms <= _AHEAD_MS:
        return [ok("peers' clocks", "no last_seen is ahead of Redis' clock")]
    text, say = f"{key} has a last_seen {ahead_ms / 1_000:.1f} s ahead of Redis' clock", warning
    if ahead_ms > AHEAD_MS:
        text, say = f"{text}: such times are not believed", trouble
    return [say("peers' clocks", "clocks-differ", text, "let the machines of ARK's nodes follow an NTP server")]


async def check_sources(settings: Settings, url: str | None, hearing: Hearing) -> Sequence[Finding]:
    """What each collector said last of its source. Cancellation: safe."""
    words = await hearing
    if url is None or words is None:
        return []
    if not words:
        return [warning("sources", "it-does-not-run", "no collector has reported yet", "start `ark-pulse up`")]
    halves = {each.state.group for each in words if each.state.state == "simulated" and not each.silent}
    collectors = await asyncio.to_thread(running, "collectors", url)
    theirs = {half: await asyncio.to_thread(_otherwise, half, settings, collectors) for half in _GROUPS}
    why: dict[str, str] = {half: await _why(half, settings, theirs[half], words) for half in _GROUPS if half in halves}
    why |= {group: theirs[half] for half, groups in _GROUPS.items() for group in groups}
    data = await asyncio.to_thread((settings.ark_base_path / "data").absolute)
    hung = f"; {how_to_end(collectors[0])}" if collectors else ""
    return [_said(each, hung if each.silent else why.get(each.state.group, ""), data) for each in words]


async def _why(half: str, settings: Settings, theirs: str, words: Sequence[Heard]) -> str:
    """Why a half is made up although what it stands for is there; empty if nothing is there.

    `theirs`: see `_otherwise`.
    """
    there = await (_files(settings) if half == "memory" else _redis(settings))
    if not there:
        return ""
    said = {each.state.reason for each in words if each.state.group in _GROUPS[half]} - {""}
    return f"although there is {there}: {theirs or 'its collectors say: ' + '; '.join(sorted(said))}"


async def _files(settings: Settings) -> str:
    paths = [settings.ark_base_path / "data" / name for name in _FILES.values()]
    return " and ".join(await asyncio.to_thread(lambda: [str(path) for path in paths if path.is_file()]))


async def _redis(settings: Settings) -> str:
    async with open_client(settings.redis_url, protocol=2) as client:
        try:
            await client.ping()
        except (RedisError, *CONNECTION_FAILURES):
            return ""
    return hide_password(settings.redis_url)


def _otherwise(half: str, settings: Settings, collectors: Process | None) -> str:
    """The setting of the collectors that keeps a half from being live, if they are to be seen. Blocks."""
    if collectors is None:
        return ""
    pid, environment, folder = collectors
    theirs = {name: environment.get(name) or default for name, default in _DEFAULTS.items()}
    name, value, ours = "REDIS_URL", hide_password(theirs["REDIS_URL"]), hide_password(settings.redis_url)
    if half == "memory":
        value = str((folder / theirs["ARK_BASE_PATH"]).resolve())
        name, ours = "ARK_BASE_PATH", str(settings.ark_base_path.resolve())
    if theirs["ARK_SIMULATE"] == "always":
        name, value, ours = "ARK_SIMULATE", "always", ""
    return f"{name} is {value} in the collectors (process {pid})" if value != ours else ""


def _said(heard: Heard, why: str, data: Path) -> Finding:
    """What one collector said last. `why`: what is odd of its not being live, or what may help if it is silent."""
    state, level = heard.state, heard.level
    check, say = f"source {state.collector}", trouble if level == "trouble" else warning
    if heard.silent:
        text = f"{state.node} has not reported for {heard.age_ms // 1_000} s"
        return say(check, "a-collector-fell-silent", text, f"see whether `ark-pulse up` runs there, and its log{why}")
    if state.group in _GROUPS and state.state == "down":
        return ok(check, f"{state.node}: nothing is simulated")
    text = f"{state.node}: {state.group} is {state.state}" + (f" ({state.reason})" if state.reason else "")
    if level == "ok":
        return ok(check, text)
    if state.state == "simulated":
        say, text = (trouble, f"{text}, {why}") if why else (say, text)
        advice = "see REDIS_URL, ARK_BASE_PATH and ARK_SIMULATE of the collectors"
        return say(check, "a-half-is-simulated", text, advice)
    setting, source = "REDIS_URL", "whether its source answers"
    if state.group in _FILES:
        setting, source = "ARK_BASE_PATH", str(data / _FILES[state.group])
    entry = "a-source-is-stale" if state.state == "stale" else "a-source-never-was-live"
    return say(check, entry, text + (f", {why}" if why else ""), f"see {source}, and {setting} of the collectors")
