"""`ark-pulse bus backup|restore|reset|repartition`: the whole bus in a file, back from it, and anew.

Delivery: a backup is exact while everything runs. A partition is read by one script, so that its state, position,
cursors and digests are of one moment; each goes on from there as after a kill. The merged streams are read before: what
they note as gathered is still there. What a restore writes is no bus until its last step, the number of partitions;
until then that is 0, and nothing starts on it.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from processors.runtime.connection import partitions_of
from processors.runtime.errors import PulseError
from processors.runtime.observation import server_ms
from processors.runtime.output import print_lines
from processors.runtime.script import Script
from processors.runtime.settings import Settings
from processors.tools.archive import check_archive, read_archive, writing
from processors.tools.resting import HASHES, MERGED, STREAMS, check_rest, clear, on_bus, ours
from schemas import streams
from schemas.snapshots import Header, LoggedEntry, Piece, PieceOfHash, pieces_of_hash, pieces_of_stream

__all__ = ["Resharder", "backup", "repartition", "reset", "restore"]

Resharder: TypeAlias = Callable[[Iterable[Piece], int, int, int], Iterator[Piece]]
"""Pieces of so many partitions, as of so many others; the last is when they were taken, ms."""

_Add: TypeAlias = Callable[[Header | Piece], None]

_SNAPSHOT: Final = Script("snapshot")
_META: Final = re.compile(rb"ark:\{[^}]*\}:meta|\{ark:[^}]*\}:meta")
# What of it is its owner's. Without a run id the next owner begins a new epoch.
_OF_OWNER: Final = frozenset({b"owner", b"lease_until", b"run_id", b"token"})
_AT_ONCE: Final = 500
"""Fields and entries that are written in one round trip, or a few more."""


def backup(settings: Settings, path: Path, *, force: bool = False) -> None:
    """Write the whole bus into the file `path`, which must not be there unless `force`, and print what it holds.

    Raises BusDown; PulseError: if there is no bus to back up, or the file cannot be written.
    """
    if path.exists() and not force:
        raise PulseError(f"{path} is there already; use --force to replace it")
    header, keys = _back_up(settings, path)
    print_lines([f"backed up {header.partitions} partitions, {keys} keys: {path}, {path.stat().st_size} bytes"])


def restore(settings: Settings, path: Path, *, force: bool) -> None:
    """Put the backup `path` on a bus that holds nothing; `force`: in the place of what it holds. Prints what it did.

    Raises BusDown. Raises PulseError: if the file cannot be used, somebody works on the bus, or it holds something.
    """
    header = check_archive(path)
    keys = on_bus(settings, partial(_restore, path=path, force=force))
    print_lines([f"restored {header.partitions} partitions, {keys} keys, from {path}"])
    if header.partitions != settings.ark_partitions:
        print_lines([f"start everything with ARK_PARTITIONS={header.partitions}"])


def reset(settings: Settings, *, pins: bool) -> None:
    """Remove what the bus holds; of the keys of node ids only with `pins`. Prints what it did.

    Raises BusDown. Raises PulseError: if somebody works on the bus.
    """
    removed = on_bus(settings, partial(_reset, pins=pins))
    print_lines([f"removed {removed} keys"])


def repartition(settings: Settings, count: int, reshard: Resharder) -> None:
    """Give the bus `count` partitions, through backups in ARK_STATE_DIR. Prints what it did, and the way back.

    Raises BusDown. Raises PulseError: if somebody works on the bus, or `reshard` does; nothing was changed then.
    """
    if on_bus(settings, _count_at_rest) == count:
        raise PulseError(f"this bus has {count} partitions already")
    directory = settings.ark_state_dir / "backups"
    directory.mkdir(parents=True, exist_ok=True)
    stem = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    old, new = directory / f"{stem}-before", directory / f"{stem}-after"
    header, _ = _back_up(settings, old)
    with writing(new) as add:
        add(Header(release=header.release, partitions=count, taken=header.taken))
        for piece in reshard(read_archive(old)[1], header.partitions, count, header.taken):
            add(piece)
    print_lines(
        [
            f"{header.partitions} partitions are backed up: {old}",
            f"to finish if this is interrupted: ark-pulse bus restore {new}",
            f"to go back: ark-pulse bus restore --force {old}",
        ]
    )
    restore(settings, new, force=True)
    new.unlink()


async def _count_at_rest(client: Redis) -> int:
    await check_rest(client)
    return await partitions_of(client, 0)


def _back_up(settings: Settings, path: Path) -> tuple[Header, int]:
    """Write the backup; returns its header, and how many keys it holds."""
    release = metadata.version("ark-pulse")
    with writing(path) as add:
        return on_bus(settings, partial(_copy, add=add, release=release))


async def _copy(client: Redis, add: _Add, release: str) -> tuple[Header, int]:
    count = await partitions_of(client, 0)
    if not count:
        raise PulseError("there is nothing to back up: this bus was never used")
    header = Header(release=release, partitions=count, taken=await server_ms(client))
    await asyncio.to_thread(add, header)
    keys = 0
    groups = [
        *(partial(_read, client, [streams.writer_key(name).encode()], [name.encode()]) for name in MERGED),
        *(partial(_partition, client, name) for name in [*streams.live_partitions(count), streams.SIMULATED]),
        partial(_read, client, [], [streams.SOURCES.encode()]),
        partial(_read, client, [streams.SILENCES.encode()], []),
        partial(_read, client, [streams.FEDERATION_PINS.encode()], []),
    ]
    for group in groups:
        pieces = list(_pieces(*await group()))
        await asyncio.to_thread(_add_all, add, pieces)
        keys += len({piece.key for piece in pieces})
    return header, keys


_Group: TypeAlias = tuple[dict[bytes, dict[bytes, bytes]], dict[bytes, tuple[bytes, list[LoggedEntry]]]]
"""Hashes, and streams with their newest id, by key."""


async def _partition(client: Redis, name: str) -> _Group:
    """A partition with the digests of all its sources. Raises redis-py's errors."""
    cursors = streams.cursors_key(name).encode()
    sources = set(cast("list[bytes]", await client.hkeys(cursors)))
    while True:
        digests = [streams.published_key(name, "").encode() + source for source in sources]
        group = await _read(
            client,
            [*(key_of(name).encode() for key_of in HASHES), *digests],
            [key_of(name).encode() for key_of in STREAMS],
        )
        # A source that published for the first time meanwhile has digests that were not read.
        new = group[0].get(cursors, {}).keys() - sources
        if not new:
            return group
        sources |= new


async def _read(client: Redis, hashes: Sequence[bytes], logs: Sequence[bytes]) -> _Group:
    """Keys of one slot, all of one moment; streams that never had an entry are left out. Raises redis-py's errors."""
    keys = cast("list[str]", [*hashes, *logs])
    answers = await _SNAPSHOT.run(client, keys, [len(hashes)])
    held = {key: answer for key, answer in zip(logs, answers[len(hashes) :], strict=True) if answer}
    return (
        {key: _paired(answer) for key, answer in zip(hashes, answers, strict=False)},
        {
            key: (top, [(entry, _paired(fields)) for entry, fields in entries])
            for key, (top, entries) in held.items()
            if top != b"0-0"
        },
    )


def _paired(values: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(values[::2], values[1::2], strict=True))


def _pieces(hashes: Mapping[bytes, Mapping[bytes, bytes]], logs: Mapping[bytes, Any]) -> Iterator[Piece]:
    for key, fields in hashes.items():
        left_out = _OF_OWNER if _META.fullmatch(key) else frozenset[bytes]()
        yield from pieces_of_hash(key, {name: value for name, value in fields.items() if name not in left_out})
    for key, (top, entries) in logs.items():
        yield from pieces_of_stream(key, top, entries)


def _add_all(add: _Add, pieces: Iterable[Piece]) -> None:
    for piece in pieces:
        add(piece)


async def _restore(client: Redis, path: Path, *, force: bool) -> int:
    await check_rest(client)
    header, pieces = await asyncio.to_thread(read_archive, path)
    unfinished = await client.get(streams.PARTITIONS) == b"0"
    held = await ours(client)
    if held and not force and not unfinished:
        raise PulseError(f"this bus holds {len(held)} keys already; use --force to replace them")
    await clear(client, held)
    keys: set[bytes] = set()
    while some := await asyncio.to_thread(_some, pieces):
        await _write(client, some)
        keys.update(piece.key for piece in some)
    # Whoever was paused, or opened the bus before, may have begun to work on half of it.
    await check_rest(client)
    await client.set(streams.PARTITIONS, header.partitions)
    return len(keys)


def _some(pieces: Iterator[Piece]) -> list[Piece]:
    """The next pieces, of `_AT_ONCE` fields and entries together, or a few more; none at the end."""
    some: list[Piece] = []
    size = 0
    while size < _AT_ONCE and (piece := next(pieces, None)) is not None:
        some.append(piece)
        size += max(1, len(piece.fields if isinstance(piece, PieceOfHash) else piece.entries))
    return some


async def _write(client: Redis, pieces: Iterable[Piece]) -> None:
    async with client.pipeline(transaction=False) as pipe:
        for piece in pieces:
            if not isinstance(piece, PieceOfHash):
                for entry, fields in piece.entries or [(piece.top, {b"v": b"1"})]:
                    pipe.xadd(piece.key, fields, id=entry)  # type: ignore[arg-type]  # fields are bytes
                if not piece.entries:
                    pipe.xtrim(piece.key, maxlen=0, approximate=False)
                pipe.execute_command("XSETID", piece.key, piece.top)
            elif piece.key == streams.FEDERATION_PINS.encode():
                # Who was pinned since, or sent a newer manifest, must not be replaced by what was before.
                for name, pin in piece.fields.items():
                    pipe.hsetnx(piece.key, name, pin)
            elif piece.fields:
                pipe.hset(piece.key, mapping=piece.fields)  # type: ignore[arg-type]  # keys may be bytes
        try:
            await pipe.execute()
        except ResponseError as error:
            raise PulseError(f"the bus refuses a restore: {str(error)[:200]}; nothing starts on it now") from error


async def _reset(client: Redis, *, pins: bool) -> int:
    await check_rest(client)
    held = await ours(client, pins=pins)
    await clear(client, held)
    await client.unlink(streams.PARTITIONS)
    return len(held)
