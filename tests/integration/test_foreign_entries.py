"""What foreign producers write, on a running bus: it is counted, told or left out, and stops nobody."""

import asyncio
import json
from collections.abc import Callable

import pytest
from redis.exceptions import ResponseError

from processors.runtime.bus import Bus
from schemas import codec, streams
from schemas.metrics import FederationSummary, SourceState
from schemas.positions import entry_id
from schemas.streams import partition_of
from tests.integration.aggregation import aggregating, summary_when
from tests.integration.test_aggregators import say_live
from tests.reading import entries_of

LAST = "18446744073709551615-18446744073709551615"
HOME = partition_of("a", 16)
EVENTS = streams.events_key(HOME)


def heartbeat(peer: str = "a") -> str:
    return json.dumps({"t": "heartbeat", "peer": peer, "ts": 1_700_000_000_000})


async def letters_when(bus: Bus, count: int) -> list[tuple[str, str]]:
    """Reason and excerpt of the dead letters, once there are so many."""
    position = "0-0"
    found: list[tuple[str, str]] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            for name, fields in (await bus.read_many({streams.DEAD: position})).get(streams.DEAD, []):
                position = name.decode()
                letter = codec.decode_dead(fields)
                found.append((letter.reason, letter.excerpt))
    return found


async def summaries_when(bus: Bus, holds: Callable[[FederationSummary], bool]) -> list[FederationSummary]:
    """All summaries of the mesh that were written by a commit, once one of them `holds`."""
    async with asyncio.timeout(10):
        while True:
            entries = await entries_of(bus, streams.METRICS_FEDERATION)
            summaries = [codec.decode_federation(fields) for _, fields in entries if b"e" in fields]
            if any(map(holds, summaries)):
                return summaries
            await bus.read_many({streams.METRICS_FEDERATION: "$"}, block_ms=20)


async def appended(bus: Bus, **more: str) -> None:
    """Add a heartbeat, once the stream takes it."""
    async with asyncio.timeout(10):
        while True:
            try:
                await bus.client.xadd(EVENTS, {"v": "1", "d": heartbeat()}, **more)  # type: ignore[arg-type]
            except ResponseError:
                await asyncio.sleep(0.01)
            else:
                return


@pytest.mark.parametrize("last", [LAST, "18446744073709551615-0", "9999999999999-0"])
async def test_after_an_id_of_the_far_future_everything_is_counted_once(bus: Bus, server_url: str, last: str) -> None:
    async with aggregating(server_url):
        await appended(bus)
        await appended(bus, id=last)
        for _ in range(5):
            await appended(bus)
        await summary_when(bus, lambda s: s.heartbeats_total == 7)
    async with aggregating(server_url):
        await appended(bus)
        await summary_when(bus, lambda s: s.heartbeats_total == 8)
    top = (await bus.client.xinfo_stream(EVENTS))["last-generated-id"]
    assert (entry_id(top).ms < 9_999_999_999_999) == (last == LAST)


async def test_each_bad_entry_is_one_letter_and_the_good_ones_count(bus: Bus, server_url: str) -> None:
    deep = f'{{"t":"heartbeat","peer":"a","ts":1,"x":{"[" * 5_000}{"]" * 5_000}}}'
    elsewhere = next(peer for peer in "bcdefg" if partition_of(peer, 16) != HOME)
    entries = [
        {"d": heartbeat()},
        {"v": "0", "d": heartbeat()},
        {"v": "1", "d": f"[{heartbeat()},{deep},{heartbeat()}]"},
        {"v": "1", "d": heartbeat(elsewhere)},
        {"v": "1", "d": '{"t":"unheard_of"}'},
        {"v": "1", "d": heartbeat()},
    ]
    for fields in entries:
        await bus.client.xadd(EVENTS, fields)  # type: ignore[arg-type]
    async with aggregating(server_url):
        letters = await letters_when(bus, 5)
        await summary_when(bus, lambda s: s.heartbeats_total == 3)
    assert [reason for reason, _ in letters] == [
        "field v is missing",
        "field v must be at least 1",
        "body is nested too deeply",
        f"belongs into partition {partition_of(elsewhere, 16)}",
        "invalid value 'unheard_of' - at `$.t`",
    ]
    assert letters[2][1] == deep[:1_024]


async def test_a_source_whose_ids_are_ahead_falls_silent_like_any_other(
    bus: Bus, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("merge", "merge_federation"):
        monkeypatch.setattr(f"processors.aggregators.{module}.SOURCE_TIMEOUT_MS", 500)
    state = SourceState(node="n", collector="peers", group="peers", state="live", since=1, as_of=1)
    async with aggregating(server_url):
        fields = codec.entry_fields("source", 1, codec.encode(state))
        await bus.client.xadd(streams.SOURCES, fields, id="9999999999999-0")  # type: ignore[arg-type]
        live = await summary_when(bus, lambda s: s.peers.source == "live")
        await summary_when(bus, lambda s: s.n > live.n and s.peers.source == "stale")


@pytest.mark.parametrize("stream", [streams.SOURCES, streams.METRICS_FEDERATION, streams.FEED_SYNC, streams.DEAD])
async def test_what_nobody_can_read_in_a_common_stream_stops_no_summary(
    bus: Bus, server_url: str, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with aggregating(server_url):
        async with bus.client.pipeline() as pipe:
            for number in range(100):
                pipe.xadd(stream, {"v": "1", "d": "\xff" * number})
            await pipe.execute()
        await appended(bus)
        await say_live(bus)
        await summaries_when(bus, lambda s: (s.heartbeats_total, s.peers.source) == (1, "live"))
    # Each half's merger reads the states of the sources.
    assert len([record for record in caplog.records if "left out" in record.message]) <= 2


async def test_after_a_wipe_no_summary_is_live_before_a_source_has_spoken(bus: Bus, server_url: str) -> None:
    async with aggregating(server_url):
        await say_live(bus)
        before = await summary_when(bus, lambda s: s.source == "live")
        await bus.client.flushall()
        await bus.client.set(streams.PARTITIONS, 16)
        await appended(bus)
        silent = await summaries_when(bus, lambda s: s.heartbeats_total == 1)
        assert {(summary.epoch == before.epoch, summary.source) for summary in silent} == {(False, "stale")}
        await say_live(bus)
        await summary_when(bus, lambda s: s.source == "live" and s.epoch != before.epoch)
