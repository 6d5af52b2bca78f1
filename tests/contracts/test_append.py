"""Merged streams: one writer, entries that count on."""

from collections.abc import Sequence

import pytest

from processors.aggregators.merged import MergedWriter
from processors.aggregators.ownership import Fenced, Grant, acquire
from processors.runtime.bus import Bus
from schemas.streams import FEED_SYNC
from tests.reading import entries_of

HOUR = 3_600_000


class Writer(MergedWriter):
    """Writes what the test says, when it says so."""

    async def write(self, grant: Grant) -> None:
        pass


def writer(bus: Bus, most: int = 1_000) -> MergedWriter:
    return Writer(bus, FEED_SYNC, "sync", HOUR, most)


async def granted(bus: Bus, owner: str = "one") -> Grant:
    [grant] = await acquire(bus, [writer(bus).meta_key], owner)
    assert isinstance(grant, Grant)
    return grant


async def bodies(bus: Bus) -> Sequence[bytes]:
    return [fields[b"d"] for _, fields in await entries_of(bus, FEED_SYNC)]


async def test_entries_count_on_and_say_their_epoch(bus: Bus) -> None:
    grant = await granted(bus)
    after = await writer(bus).append(grant, [b"a", b"b"], {})
    after = await writer(bus).append(after, [b"c"], {})
    entries = await entries_of(bus, FEED_SYNC)
    assert [entry_id.split(b"-")[1] for entry_id, _ in entries] == [b"1", b"2", b"3"]
    assert {fields[b"e"] for _, fields in entries} == {grant.epoch.encode()}
    assert after.n == 3


async def test_how_far_was_gathered_is_noted_with_what_was_gathered(bus: Bus) -> None:
    out = writer(bus)
    await out.append(await granted(bus), [b"a"], {"0": "5-0", "3": "7-1"})
    meta = await bus.client.hgetall(out.meta_key)
    assert (meta[b"from:0"], meta[b"from:3"], meta[b"n"]) == (b"5-0", b"7-1", b"1")


async def test_a_stale_token_appends_nothing(bus: Bus) -> None:
    out, zombie = writer(bus), await granted(bus, "one")
    await bus.client.hset(out.meta_key, "lease_until", 1)
    await granted(bus, "two")
    with pytest.raises(Fenced, match="ark:feed:sync: fenced"):
        await out.append(zombie, [b"x"], {"0": "9-0"})
    assert await bodies(bus) == []


async def test_a_token_that_another_run_of_the_server_gave_appends_nothing(bus: Bus) -> None:
    out, grant = writer(bus), await granted(bus)
    await bus.client.hset(out.meta_key, "run_id", "of the server before")
    with pytest.raises(Fenced, match="ark:feed:sync: fenced"):
        await out.append(grant, [b"x"], {})
    assert await bodies(bus) == []


async def test_an_append_that_is_repeated_appends_nothing(bus: Bus) -> None:
    out, grant = writer(bus), await granted(bus)
    await out.append(grant, [b"a"], {})
    with pytest.raises(Fenced, match="ark:feed:sync: moved"):
        await out.append(grant, [b"a"], {})
    assert await bodies(bus) == [b"a"]


async def test_no_more_entries_are_kept_than_the_bound(bus: Bus) -> None:
    out, grant = writer(bus, most=200), await granted(bus)
    for _ in range(20):
        grant = await out.append(grant, [b"x"] * 100, {})
    assert 200 <= await bus.client.xlen(FEED_SYNC) <= 300


async def test_five_hundred_entries_fit_into_one_append(bus: Bus) -> None:
    assert (await writer(bus).append(await granted(bus), [b"x" * 200] * 500, {})).n == 500


async def test_a_stream_whose_ids_somebody_used_up_begins_anew(bus: Bus) -> None:
    await bus.client.xadd(FEED_SYNC, {"d": "foreign"}, id="9999999999999-1")
    out = writer(bus)
    grant = await out.append(await granted(bus), [b"a"], {})
    await out.append(grant, [b"b"], {})
    assert await bodies(bus) == [b"a", b"b"]
