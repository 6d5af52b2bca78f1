"""`ark-pulse uninstall`: takes away what ARK Pulse left behind, and nothing else.

Order: the bus first, because it tells whether anything still runs; then ARK's Redis, `ark.db`, our own files. Where one
step fails the others are done, and each may be repeated.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from redis.asyncio import Redis
from redis.exceptions import RedisError

from processors.runtime.connection import CONNECTION_FAILURES, ask_bus, open_client
from processors.runtime.embedded import is_ours
from processors.runtime.errors import BusDown, PulseError
from processors.runtime.keyspace import NOTIFY_OPTION, classes, forget, noted_flags
from processors.runtime.locks import holder
from processors.runtime.output import print_lines
from processors.runtime.probes import address, http_get
from processors.runtime.settings import Settings, hide_password
from processors.runtime.up import only_one
from processors.tools.capture import is_installed, remove
from processors.tools.errors import TargetFailed
from processors.tools.resting import check_rest, clear, on_bus, ours
from schemas import streams

__all__ = ["uninstall"]

_Step: TypeAlias = Callable[[Settings, bool], str]
"""Does something, or, unless told yes, only says what. Raises PulseError, OSError: if it cannot be done."""

_OWN: Final = (
    "node-id",
    "up.lock",
    f"{NOTIFY_OPTION}.json",
    "bus.url",
    "bus.port",
    "bus.log",
    "bus/temp-*",
    "bus/appendonlydir/appendonly.aof.*",
    "bus.password",
    "bus/lock",
)
"""Our files in ARK_STATE_DIR, what the bus is known by last; its `backups` are the operator's."""

_ASK_S: Final = 2.0


def uninstall(settings: Settings, *, yes: bool, state: bool) -> bool:
    """Print what was removed, and what is left; without `yes` what would be. `state`: our files in ARK_STATE_DIR, too.

    Returns whether all of it could be done. Raises PulseError: if something of ours still runs; nothing was changed.
    """
    directory = settings.ark_state_dir
    if (running := _running(settings)) and yes:
        raise PulseError(f"first stop {running}")
    with only_one(directory) if yes and (directory / "up.lock").is_file() else contextlib.nullcontext():
        done = _do(_empty_bus, settings, yes, bearable=BusDown)
        for step in (_put_back, _uncapture):
            done = _do(step, settings, yes) and done
        # What was noted is needed as long as something is to be done.
        done = done and (not state or _do(_forget_state, settings, yes))
    print_lines(_left(directory))
    if not yes:
        todo = f"first stop {running}" if running else "`ark-pulse uninstall --yes` does it"
        print_lines([f"nothing was changed yet: {todo}"])
    return done


def _running(settings: Settings) -> str:
    """What runs that does not say so on the bus; empty if nothing does."""
    if found := holder(settings.ark_state_dir / "up.lock"):
        return f"`ark-pulse up` ({found})"
    gateway = (settings.ark_http_host, settings.ark_http_port, "/healthz")
    federation = (settings.federation_host, settings.federation_port, "/discover")
    places = [address(*place[:2]) for place in (gateway, federation) if asyncio.run(_answers(*place))]
    return f"what answers at {' and '.join(places)}" if places else ""


async def _answers(host: str, port: int, path: str) -> bool:
    """Whether it is ours that answers there: ARK's own federation service knows `path`, too, but not our errors."""
    with contextlib.suppress(OSError):  # nobody listens, or no answer comes in time
        async with asyncio.timeout(_ASK_S):
            known, unknown = await http_get(host, port, path), await http_get(host, port, "/-")
        if known is not None and unknown is not None:
            return known.status in {200, 503} and unknown.body.lstrip().startswith(b'{"error"')
    return False


def _do(step: _Step, settings: Settings, yes: bool, *, bearable: type[PulseError] = PulseError) -> bool:
    """Do one step, and print what came of it. Returns whether it could be done."""
    try:
        print_lines([step(settings, yes)])
    except (bearable, OSError) as error:
        print_lines([f"FAILED  {error}"])
        return False
    return True


def _empty_bus(settings: Settings, yes: bool) -> str:
    directory = settings.ark_state_dir
    if settings.ark_bus_url is None and not is_ours(directory):
        return f"bus: no bus of ours in {directory}"
    if settings.ark_bus_url is None and not yes and not holder(directory / "bus" / "lock"):
        sizes = [path.stat().st_size for path in _own_files(directory) if path.parent != directory]
        return f"bus: {len(sizes)} files of ours in {directory / 'bus'}, {sum(sizes)} bytes: our keys to be removed"
    count = (on_bus if yes else ask_bus)(settings, partial(_clear, yes=yes))
    return f"bus: {count} keys of ours {'removed' if yes else 'to be removed'}"


async def _clear(client: Redis, *, yes: bool) -> int:
    held = await ours(client, pins=True)
    if yes:
        await check_rest(client)
        await clear(client, held)
        await client.unlink(streams.PARTITIONS)
    return len(held)


def _put_back(settings: Settings, yes: bool) -> str:
    """Have ARK's Redis notify of what it did before us, unless somebody else changed that since."""
    shown = f"{hide_password(settings.redis_url)}: {NOTIFY_OPTION}"
    noted = noted_flags(settings.ark_state_dir, settings.redis_url)
    if noted is None:
        return f"{shown} was not changed, as far as {settings.ark_state_dir} tells"
    current = asyncio.run(_option(settings))
    was, ours = classes(current) == classes(noted.before), classes(current) == classes(noted.after)
    if yes and ours:
        asyncio.run(_option(settings, noted.before))
    if yes and (was or ours):
        forget(settings.ark_state_dir, settings.redis_url)
    if was:
        return f'{shown} is "{current}", as it was before us'
    if not ours:
        return f'{shown} is "{current}", which somebody else set: left alone; before us it was "{noted.before}"'
    return f'{shown} {"put back" if yes else "to be put back"} to "{noted.before}"'


async def _option(settings: Settings, wanted: str | None = None) -> str:
    """What ARK's Redis notifies of; set to `wanted` before. Raises TargetFailed."""
    async with open_client(settings.redis_url, protocol=2) as client:
        try:
            if wanted is not None:
                await client.config_set(NOTIFY_OPTION, wanted)
            return str((await client.config_get(NOTIFY_OPTION)).get(NOTIFY_OPTION, ""))
        except (RedisError, *CONNECTION_FAILURES) as error:
            raise TargetFailed(hide_password(settings.redis_url), error) from error


def _uncapture(settings: Settings, yes: bool) -> str:
    path = settings.ark_base_path / "data" / "ark.db"
    if not path.is_file() or not is_installed(path):
        return f"{path}: nothing of ours is in it"
    if yes:
        remove(path)
    return f"{path}: log of changes {'removed' if yes else 'to be removed'}"


def _forget_state(settings: Settings, yes: bool) -> str:
    """Our files, and the folders that are empty then."""
    directory = settings.ark_state_dir
    files = list(_own_files(directory))
    if yes:
        for path in files:
            path.unlink(missing_ok=True)
        for folder in sorted({path.parent for path in files}, reverse=True):
            with contextlib.suppress(OSError):  # it holds what is not ours
                folder.rmdir()
    return f"{directory}: {len(files)} files of ours {'removed' if yes else 'to be removed'}"


def _own_files(directory: Path) -> Iterator[Path]:
    has_bus = is_ours(directory)
    for pattern in (name for name in _OWN if has_bus or not name.startswith("bus")):
        yield from (path for path in directory.glob(pattern) if path.is_file() and not path.is_symlink())


def _left(directory: Path) -> Iterator[str]:
    """What is not touched."""
    if directory.is_dir():
        names = ", ".join(sorted(path.name for path in directory.iterdir())[:10])
        yield f"left: {directory} with {names}; what is ours of it goes with --state"
    yield "left: this checkout with its .venv; files that settings name (tokens, keys)"
    yield "left: hashes peer:* that came by manifests; they expire by themselves, within 120 s of the last"
