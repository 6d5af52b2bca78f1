"""`ark-pulse bus backup|restore|reset|repartition` on a real bus."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from processors.cli import FAILURE, OK, main
from processors.collectors.publisher import SourceBatch
from processors.runtime.bus import Bus
from processors.runtime.connection import open_client, partitions_of
from processors.runtime.embedded import EmbeddedServer
from processors.runtime.errors import SETTING_REFUSED, BusUnfinished
from processors.runtime.settings import bus_url_file
from processors.tools import backup as module
from processors.tools.archive import writing
from schemas import streams
from schemas.metrics import FederationSummary
from schemas.snapshots import Header, PieceOfHash
from tests.aggregators.support import entry
from tests.collectors.helpers import until
from tests.integration.aggregation import aggregating, memory_when, summary_when
from tests.integration.test_aggregators import publisher, say_live, thoughts, traffic
from tests.reading import entries_of
from tests.tools.contents import contents, lasting

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _settings(server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARK_BUS_URL", server_url)
    monkeypatch.setenv("ARK_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def client(server_url: str, redis_client: AsyncRedis) -> Iterator[Redis]:
    """A blocking client of the bus."""
    with Redis.from_url(server_url) as client:
        yield client


async def run(*arguments: str) -> int:
    return await asyncio.to_thread(main, ["bus", *arguments])


async def fill(bus: Bus, url: str, cursor: str = "1") -> FederationSummary:
    """Have a bus that aggregators worked, with both halves, dead letters and digests."""
    sender = await publisher(bus)
    async with aggregating(url):
        await say_live(bus)
        events = [*traffic(bus.clock.now_ms(), 40), *thoughts(bus.clock.now_ms(), 5)]
        digests = {f"p{number}": b"digest" for number in range(40)}
        await sender.publish(SourceBatch(cursor, events, dict(digests)))
        await memory_when(bus, lambda s: s.sessions_total == 5 and s.quarantine_count == 10)
        return await summary_when(bus, lambda s: s.sync_events_total == 40 and s.total_peers == 40)


async def test_what_is_restored_is_what_was_backed_up(bus: Bus, server_url: str, tmp_path: Path, client: Redis) -> None:
    await fill(bus, server_url)
    await bus.client.hset(streams.FEDERATION_PINS, "node", "pin")
    await bus.client.hset(streams.SILENCES, "node/peers", "silence")
    await bus.client.xadd(streams.parked_key("3"), {"v": "9", b"\xff": b"\xfe"})
    await bus.client.xtrim(streams.feed_key("2"), maxlen=0, approximate=False)
    before = contents(client)
    assert await run("backup", str(tmp_path / "b")) == OK
    await bus.client.flushall()
    assert await run("restore", str(tmp_path / "b")) == OK
    assert contents(client) == lasting(before)


async def test_aggregation_goes_on_after_a_restore_in_a_new_epoch(bus: Bus, server_url: str, tmp_path: Path) -> None:
    before = await fill(bus, server_url)
    await run("backup", str(tmp_path / "b"))
    await bus.client.flushall()
    await run("restore", str(tmp_path / "b"))
    sender = await publisher(bus)
    async with aggregating(server_url):
        await sender.publish(SourceBatch("2", list(traffic(bus.clock.now_ms(), 40))))
        summary = await summary_when(bus, lambda s: (s.sync_events_total or 0) >= 80)
    assert (summary.sync_events_total, summary.sync_bytes_total, summary.heartbeats_total) == (80, 800, 80)
    assert (summary.since, summary.total_peers) == (before.since, 40)
    epochs = {epoch for epoch, _ in summary.partials.values()}
    assert epochs.isdisjoint({epoch for epoch, _ in before.partials.values()})
    assert summary.epoch != before.epoch
    assert summary.n > before.n
    assert all(summary.partials[name][1] > n for name, (_, n) in before.partials.items())


async def test_a_backup_of_a_busy_bus_is_exact(bus: Bus, server_url: str, tmp_path: Path) -> None:
    sender = await publisher(bus)
    published, enough = 0, asyncio.Event()

    async def keep_publishing() -> None:
        nonlocal published
        while not enough.is_set():
            published += 1
            await sender.publish(SourceBatch(str(published), list(traffic(bus.clock.now_ms(), 20))))

    async with aggregating(server_url):
        publishing = asyncio.create_task(keep_publishing())
        await summary_when(bus, lambda s: (s.sync_events_total or 0) > 100)
        await run("backup", str(tmp_path / "b"))
        enough.set()
        await publishing
    await bus.client.flushall()
    await run("restore", str(tmp_path / "b"))
    # The source tells again what each partition lacks, as a collector does that was killed.
    cursors = await sender.read_cursors()
    last = max(map(int, cursors.values()))
    for number in range(min(map(int, cursors.values())) + 1, last + 1):
        lacking = [name for name, cursor in cursors.items() if int(cursor) < number]
        await sender.publish(SourceBatch(str(number), list(traffic(bus.clock.now_ms(), 20))), lacking)
    async with aggregating(server_url):
        summary = await summary_when(bus, lambda s: (s.sync_events_total or 0) >= 20 * last)
        assert (summary.sync_events_total, summary.heartbeats_total) == (20 * last, 20 * last)
        await _until_gathered(bus, 20 * last)


async def _until_gathered(bus: Bus, syncs: int) -> None:
    """Wait until the feed holds as many; it must never hold more."""
    async with asyncio.timeout(10):
        while (told := len(await entries_of(bus, streams.FEED_SYNC))) < syncs:
            await bus.read_many({streams.FEED_SYNC: "$"}, block_ms=50)
    assert told == syncs


async def test_a_source_that_begins_meanwhile_is_backed_up_with_its_digests(
    bus: Bus, tmp_path: Path, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Callable[..., Any] = module._read

    async def read_late(server: AsyncRedis, hashes: Sequence[bytes], logs: Sequence[bytes]) -> Any:
        if streams.state_key("3").encode() in hashes:
            await server.hset(streams.cursors_key("3"), "new", "1")
            await server.hset(streams.published_key("3", "new"), "key", "digest")
        return await read(server, hashes, logs)

    monkeypatch.setattr(module, "_read", read_late)
    await run("backup", str(tmp_path / "b"))
    await bus.client.flushall()
    await run("restore", str(tmp_path / "b"))
    assert client.hgetall(streams.published_key("3", "new")) == {b"key": b"digest"}


def test_a_bus_that_nobody_used_is_not_backed_up(client: Redis, tmp_path: Path, capsys: Output) -> None:
    assert main(["bus", "backup", str(tmp_path / "b")]) == FAILURE
    assert capsys.readouterr().err == "ark-pulse: there is nothing to back up: this bus was never used\n"
    assert list(tmp_path.iterdir()) == []


async def test_a_bus_that_holds_something_is_restored_by_force_only(
    bus: Bus, server_url: str, tmp_path: Path, client: Redis, capsys: Output
) -> None:
    await fill(bus, server_url)
    await run("backup", str(tmp_path / "b"))
    before = contents(client)
    capsys.readouterr()
    assert await run("restore", str(tmp_path / "b")) == FAILURE
    assert capsys.readouterr().err.endswith(" keys already; use --force to replace them\n")
    assert contents(client) == before
    await bus.client.hset(streams.state_key("3"), "peer:new", "x")
    assert await run("restore", "--force", str(tmp_path / "b")) == OK
    assert contents(client) == lasting(before)


async def test_a_damaged_file_changes_nothing(bus: Bus, server_url: str, tmp_path: Path, client: Redis) -> None:
    await fill(bus, server_url)
    path = tmp_path / "b"
    await run("backup", str(path))
    before = contents(client)
    path.write_bytes(path.read_bytes()[:-1])
    assert await run("restore", "--force", str(path)) == FAILURE
    assert contents(client) == before


async def test_nothing_starts_on_half_a_bus_and_a_restore_can_be_run_again(
    bus: Bus, server_url: str, tmp_path: Path, client: Redis, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    await fill(bus, server_url)
    await run("backup", str(tmp_path / "b"))
    before = contents(client)
    await bus.client.flushall()
    write = module._write

    async def write_once(server: AsyncRedis, pieces: Any) -> None:
        await write(server, pieces)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "_write", write_once)
        await run("restore", str(tmp_path / "b"))
    late = Bus(server_url)
    with pytest.raises(BusUnfinished):
        await late.open(16)
    await late.close()
    async with open_client(server_url) as other:
        with pytest.raises(BusUnfinished):
            await partitions_of(other, 16)
    capsys.readouterr()
    assert await run("backup", str(tmp_path / "half")) == SETTING_REFUSED
    assert capsys.readouterr().err == (
        "ark-pulse: `ark-pulse bus restore` or `bus reset` is at work on this bus, or did not end: "
        "run the same command again\n"
    )
    assert await run("restore", str(tmp_path / "b")) == OK
    assert contents(client) == lasting(before)


async def test_a_refusal_of_the_server_leaves_no_bus_that_something_starts_on(
    bus: Bus, tmp_path: Path, client: Redis, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    await bus.client.xadd(streams.events_key("3"), {"d": "x"}, id="5-1")
    await run("backup", str(tmp_path / "b"))

    async def clear_too_little(server: AsyncRedis, keys: object) -> None:
        await server.set(streams.PARTITIONS, 0)

    monkeypatch.setattr(module, "clear", clear_too_little)
    capsys.readouterr()
    assert await run("restore", "--force", str(tmp_path / "b")) == FAILURE
    assert "the bus refuses a restore: " in capsys.readouterr().err
    assert client.get(streams.PARTITIONS) == b"0"


@pytest.mark.parametrize("command", [("reset", "--yes"), ("restore", "--force", "b"), ("repartition", "5")])
async def test_a_bus_that_is_worked_on_is_left_alone(
    command: tuple[str, ...], bus: Bus, server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.chdir(tmp_path)
    await bus.client.hset(streams.state_key("3"), "peer:a", "x")
    await run("backup", "b")
    async with aggregating(server_url):
        await until(lambda: bus.client.zcard(streams.AGGREGATORS))
        capsys.readouterr()
        assert await run(*command) == FAILURE
        assert capsys.readouterr().err.startswith("ark-pulse: stop what works on this bus first: aggregator ")
    await bus.client.set(streams.lease_key("peers"), "node 1", px=60_000)
    assert await run(*command) == FAILURE
    assert capsys.readouterr().err == "ark-pulse: stop what works on this bus first: collector peers\n"
    assert await bus.client.hexists(streams.state_key("3"), "peer:a")
    assert await bus.client.get(streams.PARTITIONS) == b"16"


async def test_who_comes_while_a_bus_is_restored_keeps_it_from_being_one(
    bus: Bus, tmp_path: Path, client: Redis, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    await run("backup", str(tmp_path / "b"))
    write = module._write

    async def write_beside_a_collector(server: AsyncRedis, pieces: Any) -> None:
        await write(server, pieces)
        await server.set(streams.lease_key("peers"), "node 1", px=60_000)

    await bus.client.hset(streams.FEDERATION_PINS, "node", "pin")
    await run("backup", "--force", str(tmp_path / "b"))
    monkeypatch.setattr(module, "_write", write_beside_a_collector)
    assert await run("restore", str(tmp_path / "b")) == FAILURE
    assert client.get(streams.PARTITIONS) == b"0"


async def test_a_reset_leaves_what_is_not_ours_and_the_keys_of_node_ids(
    bus: Bus, server_url: str, client: Redis, capsys: Output
) -> None:
    await fill(bus, server_url)
    others = {b"peer:ark:1": "a", b"ark:mine": "b", b"ark:{x}:state": "c", b"{ark:mine}:meta": "d"}
    client.mset(others)
    client.hset(streams.FEDERATION_PINS, "node", "pin")
    client.hset(streams.SILENCES, "node/peers", "silence")
    with pytest.raises(SystemExit):
        await run("reset")
    capsys.readouterr()
    assert await run("reset", "--yes") == OK
    assert set(client.keys()) == {*others, streams.FEDERATION_PINS.encode()}
    assert capsys.readouterr().out.startswith("removed ")
    assert await run("reset", "--yes", "--pins") == OK
    assert set(client.keys()) == set(others)


async def test_who_was_pinned_since_stays_pinned(bus: Bus, tmp_path: Path, client: Redis) -> None:
    client.hset(streams.FEDERATION_PINS, mapping={"a": "old", "b": "old"})
    await run("backup", str(tmp_path / "b"))
    client.hset(streams.FEDERATION_PINS, mapping={"a": "new", "c": "new"})
    client.hdel(streams.FEDERATION_PINS, "b")
    assert await run("restore", str(tmp_path / "b")) == OK
    assert client.hgetall(streams.FEDERATION_PINS) == {b"a": b"new", b"b": b"old", b"c": b"new"}


async def test_another_number_of_partitions_changes_no_value_and_aggregation_goes_on(
    bus: Bus, server_url: str, tmp_path: Path, client: Redis, capsys: Output
) -> None:
    before = await fill(bus, server_url)
    waiting = bus.clock.now_ms()
    sender = await publisher(bus)
    await sender.publish(SourceBatch("2", list(traffic(waiting, 40))))
    capsys.readouterr()
    for count in (5, 32, 16):
        assert await run("repartition", str(count)) == OK
        assert client.get(streams.PARTITIONS) == str(count).encode()
        cursors = {client.hget(streams.cursors_key(name), "test") for name in streams.live_partitions(count)}
        assert cursors == {b"2"}
    shown = capsys.readouterr().out
    assert "start everything with ARK_PARTITIONS=5\n" in shown
    assert "to go back: ark-pulse bus restore --force " in shown
    homes: dict[Any, str] = {}
    for home in streams.live_partitions(16):
        homes |= dict.fromkeys(client.hkeys(streams.peers_key(home)), home)
    assert all(home == streams.partition_of(peer.decode(), 16) for peer, home in homes.items())
    assert len(homes) == 40
    async with aggregating(server_url):
        summary = await summary_when(bus, lambda s: (s.heartbeats_total or 0) >= 80 and len(s.partials) == 16)
        memory = await memory_when(bus, lambda s: len(s.partials) == 16 and s.sessions_total == 5)
        await _until_gathered(bus, 80)
    assert (summary.heartbeats_total, summary.sync_events_total, summary.total_peers) == (80, 80, 40)
    assert (summary.since, memory.nodes_total) == (before.since, 5)
    digests = [client.hkeys(streams.published_key(name, "test")) for name in streams.live_partitions(16)]
    assert sorted(name for share in digests for name in share) == sorted(f"p{n}".encode() for n in range(40))


async def test_a_number_of_partitions_that_it_has_already_is_refused(bus: Bus, client: Redis, capsys: Output) -> None:
    before = contents(client)
    assert await run("repartition", "16") == FAILURE
    assert capsys.readouterr().err == "ark-pulse: this bus has 16 partitions already\n"
    assert contents(client) == before


@pytest.mark.parametrize("count", ["0", "1025", "x"])
def test_a_number_of_partitions_must_be_one(count: str, capsys: Output) -> None:
    with pytest.raises(SystemExit):
        main(["bus", "repartition", count])
    assert "must be" in capsys.readouterr().err


async def test_what_cannot_be_moved_changes_nothing(bus: Bus, tmp_path: Path, client: Redis, capsys: Output) -> None:
    await bus.client.xadd(streams.parked_key("3"), entry())  # type: ignore[arg-type]
    before = contents(client)
    assert await run("repartition", "5") == FAILURE
    assert capsys.readouterr().err == "ark-pulse: partition 3 holds entries of a newer release: upgrade first\n"
    assert contents(client) == before


def test_the_embedded_bus_is_run_while_nobody_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.delenv("ARK_BUS_URL")
    path = tmp_path / "b"
    with writing(path) as add:
        add(Header(release="1", partitions=7, taken=0))
        add(PieceOfHash(streams.state_key("3").encode(), {b"peer:a": b"x"}))
    (tmp_path / "state").mkdir()
    assert main(["bus", "restore", str(path)]) == OK
    assert main(["bus", "backup", str(path)]) == FAILURE
    assert capsys.readouterr().err == f"ark-pulse: {path} is there already; use --force to replace it\n"
    assert main(["bus", "backup", "--force", str(path)]) == OK
    assert "backed up 7 partitions, 1 keys: " in capsys.readouterr().out
    assert not (tmp_path / "state" / "bus.url").exists()


def test_the_embedded_bus_that_somebody_runs_is_asked(
    client: Redis, server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.delenv("ARK_BUS_URL")
    client.set(streams.PARTITIONS, 7)
    with EmbeddedServer(tmp_path / "state"):
        bus_url_file(tmp_path / "state").write_text(server_url)
        assert main(["bus", "backup", str(tmp_path / "b")]) == OK
    assert "backed up 7 partitions, " in capsys.readouterr().out
