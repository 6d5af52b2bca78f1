"""One owner, and one atomic step after the other."""

import asyncio
import secrets

import pytest
from redis.exceptions import ResponseError

from processors.aggregators.checkpoint import _COMMIT as COMMIT
from processors.aggregators.checkpoint import commit, read_parked, read_state
from processors.aggregators.ownership import Fenced, Grant, acquire, free, release, renew
from processors.aggregators.partition import Commit
from processors.runtime.bus import Bus
from schemas import streams
from tests.reading import entries_of

KEY = streams.meta_key("0")
HOUR = 3_600_000
LAST = "18446744073709551615-18446744073709551615"
NAMES = ["meta", "events", "state", "peers", "changes", "partials", "feed", "dead", "parked"]


@pytest.fixture(autouse=True)
async def read(bus: Bus) -> None:
    """Entries to commit as read; a test that needs others begins the stream anew."""
    for entry in ("1-0", "2-0", "3-0", "5-0", "9-0"):
        await bus.client.xadd(streams.events_key("0"), {"d": "x"}, id=entry)


async def granted(bus: Bus, owner: str = "one") -> Grant:
    [grant] = await acquire(bus, [KEY], owner)
    assert isinstance(grant, Grant)
    return grant


async def dump(bus: Bus) -> dict[str | bytes, bytes]:
    """Everything of the partition, but for the lease."""
    kept: dict[str | bytes, bytes] = {}
    for key in sorted(await bus.client.keys("ark:{0}:*")):
        if key == KEY.encode():
            kept[KEY] = repr(await bus.client.hmget(KEY, "n", "pos", "token")).encode()
        else:
            kept[key] = await bus.client.dump(key) or b""
    return kept


def work(position: str, **changes: object) -> Commit:
    return Commit(position, partial=b"{}", **changes)  # type: ignore[arg-type]


async def test_a_free_partition_begins_at_nothing(bus: Bus) -> None:
    grant = await granted(bus)
    assert (grant.n, grant.position) == (0, "0-0")
    assert len(grant.epoch) == 12
    assert grant.token == f"{grant.epoch}:1:one"


async def test_a_held_partition_is_not_given_away_before_its_lease_ends(bus: Bus) -> None:
    await granted(bus, "one")
    assert await acquire(bus, [KEY], "two") == [None]


async def test_a_lease_that_was_given_back_is_free_at_once(bus: Bus) -> None:
    first = await granted(bus, "one")
    await release(bus, {KEY: first.token})
    second = await granted(bus, "two")
    assert second.epoch == first.epoch
    assert second.token == f"{first.epoch}:2:two"


async def test_a_lease_that_ran_out_is_free(bus: Bus) -> None:
    first = await granted(bus, "one")
    await bus.client.hset(KEY, "lease_until", 1)
    await granted(bus, "two")
    assert await renew(bus, {KEY: first.token}) == [KEY]


async def test_a_lease_that_ends_later_than_any_is_given_for_is_free(bus: Bus) -> None:
    # As it is after a failover to a server whose clock is behind, if its owner died with the old one.
    first = await granted(bus, "one")
    await bus.client.hset(KEY, "lease_until", bus.clock.now_ms() + HOUR)
    assert await free(bus, [KEY]) == [KEY]
    second = await granted(bus, "two")
    assert await renew(bus, {KEY: first.token}) == [KEY]
    assert await renew(bus, {KEY: second.token}) == []


async def test_who_held_a_lease_of_the_server_before_has_lost_it(bus: Bus) -> None:
    # It may have read, and committed, what that server lost: what comes now would not be above where it waits.
    first = await granted(bus)
    await bus.client.hset(KEY, "run_id", "of the server before")
    assert await renew(bus, {KEY: first.token}) == [KEY]
    second = await granted(bus)
    assert await renew(bus, {KEY: second.token}) == []


async def test_a_renewed_lease_lasts(bus: Bus) -> None:
    grant = await granted(bus)
    await bus.client.hset(KEY, "lease_until", 1)
    assert await renew(bus, {KEY: grant.token}) == []
    assert await acquire(bus, [KEY], "two") == [None]


async def test_of_many_leases_only_the_lost_ones_are_named(bus: Bus) -> None:
    keys = [streams.meta_key(partition) for partition in streams.live_partitions(4)]
    grants = await acquire(bus, keys, "one")
    tokens = {key: grant.token for key, grant in zip(keys, grants, strict=True) if isinstance(grant, Grant)}
    for key in (keys[0], keys[2]):
        await bus.client.hset(key, "lease_until", 1)
    await acquire(bus, [keys[0], keys[2]], "two")
    assert await renew(bus, tokens) == [keys[0], keys[2]]


async def test_the_epoch_is_new_when_the_bus_was_wiped(bus: Bus) -> None:
    first = await granted(bus)
    await bus.client.flushall()
    assert await renew(bus, {KEY: first.token}) == [KEY]
    assert (await granted(bus)).epoch != first.epoch


async def test_the_epoch_is_new_when_the_server_is_another_process(bus: Bus) -> None:
    first = await granted(bus)
    await commit(bus, "0", first, work("5-0"), HOUR)
    await bus.client.hset(KEY, "run_id", "of another process")
    second = await granted(bus)
    assert second.epoch != first.epoch
    assert (second.n, second.position) == (1, "5-0")


async def test_a_commit_writes_everything_and_counts_on(bus: Bus) -> None:
    grant = await granted(bus)
    after = await commit(
        bus,
        "0",
        grant,
        work(
            "5-0",
            state={"peer:a": b"A", "peer:b": b"B"},
            roster={"a": b"row"},
            changes=b'{"a":1}',
            feed=[("sync", b"f1"), ("memory", b"f2")],
            dead=[b"d1"],
            parked=[{b"v": b"2", b"d": b"x"}],
        ),
        HOUR,
    )
    assert (after.n, after.position, after.token) == (1, "5-0", grant.token)
    assert [fields async for fields in read_state(bus, "0")] == [{b"peer:a": b"A", b"peer:b": b"B"}]
    assert await bus.client.hgetall(streams.peers_key("0")) == {b"a": b"row"}
    changes = await bus.newest(streams.changes_key("0"))
    partial = await bus.newest(streams.partials_key("0"))
    assert changes is not None
    assert partial is not None
    assert changes[0] == partial[0]
    assert changes[0].endswith(b"-1")
    assert changes[1] | {b"ts": b""} == {
        b"v": b"1", b"t": b"roster", b"ts": b"", b"e": grant.epoch.encode(), b"prev": b"0-0", b"d": b'{"a":1}',
    }  # fmt: skip
    assert await bus.client.hget(KEY, "changes_id") == changes[0]
    fed = [(fields[b"t"], fields[b"d"]) for _, fields in await entries_of(bus, streams.feed_key("0"))]
    assert fed == [(b"sync", b"f1"), (b"memory", b"f2")]
    assert [fields[b"d"] for _, fields in await entries_of(bus, streams.dead_key("0"))] == [b"d1"]
    parked = await bus.newest(streams.parked_key("0"))
    assert parked is not None
    assert parked[1] == {b"v": b"2", b"d": b"x"}


async def test_a_commit_removes_what_is_to_be_removed(bus: Bus) -> None:
    grant = await granted(bus)
    grant = await commit(bus, "0", grant, work("1-0", state={"a": b"1", "b": b"2"}, roster={"a": b"r"}), HOUR)
    await commit(bus, "0", grant, work("2-0", state={"a": None, "b": b"3"}, roster={"a": None}), HOUR)
    assert [fields async for fields in read_state(bus, "0")] == [{b"b": b"3"}]
    assert await bus.client.exists(streams.peers_key("0")) == 0


async def test_each_roster_change_names_the_one_before_it(bus: Bus) -> None:
    grant = await granted(bus)
    grant = await commit(bus, "0", grant, work("1-0", changes=b"{}"), HOUR)
    grant = await commit(bus, "0", grant, work("2-0"), HOUR)
    await commit(bus, "0", grant, work("3-0", changes=b"{}"), HOUR)
    (first, _), (_, second) = await entries_of(bus, streams.changes_key("0"))
    assert second[b"prev"] == first


async def test_a_stale_token_writes_nothing(bus: Bus) -> None:
    zombie = await granted(bus, "one")
    await bus.client.hset(KEY, "lease_until", 1)
    owner = await granted(bus, "two")
    await commit(bus, "0", owner, work("1-0", state={"a": b"1"}), HOUR)
    before = await dump(bus)
    with pytest.raises(Fenced, match="partition 0: fenced"):
        await commit(bus, "0", zombie, work("9-0", state={"a": b"9"}, feed=[("sync", b"x")]), HOUR)
    assert await dump(bus) == before
    assert await bus.client.hget(KEY, "fenced") == b"1"


async def test_a_wiped_partition_is_not_begun_by_a_refusal(bus: Bus) -> None:
    zombie = await granted(bus)
    await bus.client.delete(KEY)
    with pytest.raises(Fenced, match="partition 0: fenced"):
        await commit(bus, "0", zombie, work("1-0"), HOUR)
    assert await bus.client.exists(KEY) == 0


async def test_a_parked_entry_that_was_folded_is_removed_with_the_commit(bus: Bus) -> None:
    grant = await granted(bus)
    entries = [{b"v": b"2", b"d": b"x"}, {b"v": b"3", b"d": b"y"}]
    grant = await commit(bus, "0", grant, work("1-0", parked=entries), HOUR)
    (first, _), (second, _) = [entry async for entry in read_parked(bus, "0")]
    await commit(bus, "0", grant, work("1-0", unparked=[first.decode()]), HOUR)
    assert [entry async for entry in read_parked(bus, "0")] == [(second, entries[1])]


async def test_what_is_not_in_the_stream_any_more_is_not_committed(bus: Bus) -> None:
    # A server that took over may never have had it: the collector publishes it again, under another id.
    grant = await granted(bus)
    await bus.client.xdel(streams.events_key("0"), "9-0")
    before = await dump(bus)
    with pytest.raises(Fenced, match="partition 0: moved"):
        await commit(bus, "0", grant, work("9-0", state={"a": b"1"}), HOUR)
    assert await dump(bus) == before


async def test_where_n_went_back_the_next_owner_begins_a_new_epoch(bus: Bus) -> None:
    first = await granted(bus)
    older = await bus.client.hgetall(KEY)
    ahead = await commit(bus, "0", first, work("1-0"), HOUR)
    await bus.client.delete(KEY)
    await bus.client.hset(KEY, mapping=older)  # type: ignore[arg-type]  # as it was read
    with pytest.raises(Fenced, match="partition 0: moved"):
        await commit(bus, "0", ahead, work("2-0"), HOUR)
    second = await granted(bus)
    assert second.epoch != first.epoch
    assert (second.n, second.position) == (0, "0-0")


@pytest.mark.parametrize("name", ["state", "peers"])
async def test_a_key_of_another_type_keeps_a_commit_from_writing_by_halves(bus: Bus, name: str) -> None:
    grant = await granted(bus)
    await bus.client.set(f"ark:{{0}}:{name}", "foreign")
    before = await dump(bus)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await commit(bus, "0", grant, work("5-0", state={"a": b"1"}, roster={"a": b"r"}), HOUR)
    assert await dump(bus) == before


async def test_a_commit_that_is_repeated_writes_nothing(bus: Bus) -> None:
    grant = await granted(bus)
    await commit(bus, "0", grant, work("1-0", state={"a": b"1"}, feed=[("sync", b"x")]), HOUR)
    before = await dump(bus)
    with pytest.raises(Fenced, match="partition 0: moved"):
        await commit(bus, "0", grant, work("1-0", state={"a": b"1"}, feed=[("sync", b"x")]), HOUR)
    assert await dump(bus) == before


@pytest.mark.parametrize("cut", range(1, 13))
async def test_arguments_that_do_not_add_up_write_nothing(bus: Bus, cut: int) -> None:
    grant = await granted(bus)
    before = await dump(bus)
    keys = [f"ark:{{0}}:{name}" for name in NAMES]
    args = [grant.token, 0, "0-0", "1-0", HOUR, 1, b"{}", b"{}", 1, "a", "1", 1, "b", 0, 0, 1, "sync", "f", 0, 1, 1]
    args += ["v", "2"]
    with pytest.raises(ResponseError, match="the lists do not add up"):
        await COMMIT.run(bus.client, keys, args[:-cut])
    assert await dump(bus) == before


async def test_the_retention_trims_what_was_committed_and_nothing_else(bus: Bus) -> None:
    events = streams.events_key("0")
    await bus.client.delete(events)
    for number in range(1, 1_001):
        await bus.client.xadd(events, {"d": "x" * 100}, id=f"{number}-0")
    await commit(bus, "0", await granted(bus), work("500-0"), HOUR)
    ids = [int(entry_id.split(b"-")[0]) for entry_id, _ in await entries_of(bus, events)]
    assert ids[-1] == 1_000
    assert 300 < ids[0] <= 500


async def test_what_was_committed_is_trimmed_early_where_foreign_producers_wrote_too_much(bus: Bus) -> None:
    events = streams.events_key("0")
    await bus.client.delete(events)
    for number in range(1, 101):
        await bus.client.xadd(events, {"d": b"x" * 100_000}, id=f"9999999999999-{number}")
    await commit(bus, "0", await granted(bus), work("9999999999999-60"), HOUR)
    ids = [entry_id for entry_id, _ in await entries_of(bus, events)]
    assert (ids[0], ids[-1]) == (b"9999999999999-60", b"9999999999999-100")


@pytest.mark.parametrize(
    ("age_s", "count", "size", "kept"),
    [
        pytest.param(3_000, 100, 5_000, 100, id="as old as the retention where it is little"),
        pytest.param(3_000, 100, 20_000, 50, id="the younger half of what is more than a megabyte"),
        pytest.param(160, 100, 20_000, 75, id="but never less than two minutes"),
        pytest.param(100, 100, 100_000, 50, id="unless that is more than eight megabytes"),
        pytest.param(7_200, 100, 5_000, 50, id="nothing that is older than the retention"),
    ],
)
async def test_changes_of_the_roster_are_kept(bus: Bus, age_s: int, count: int, size: int, kept: int) -> None:
    changes = streams.changes_key("0")
    await bus.sync_clock()
    begin = bus.clock.now_ms() - age_s * 1_000
    for number in range(count):
        await bus.client.xadd(changes, {"d": b"x" * size}, id=f"{begin + number * age_s * 1_000 // count}-0")
    await commit(bus, "0", await granted(bus), work("1-0", changes=b"{}"), HOUR)
    assert await bus.client.xlen(changes) - 1 == pytest.approx(kept, abs=1)


async def test_what_is_younger_than_the_retention_stays(bus: Bus) -> None:
    events = streams.events_key("0")
    await bus.client.delete(events)
    for _ in range(300):
        await bus.client.xadd(events, {"d": "x"})
    [*_, (newest, _)] = await entries_of(bus, events)
    await commit(bus, "0", await granted(bus), work(newest.decode()), HOUR)
    assert await bus.client.xlen(events) == 300


async def test_after_the_last_possible_id_the_events_begin_anew_and_the_owner_too(bus: Bus) -> None:
    events = streams.events_key("0")
    grant = await granted(bus)
    await bus.client.xadd(events, {"d": "x"}, id=LAST)
    with pytest.raises(ResponseError, match="last possible ID"):
        await bus.client.xadd(events, {"d": "y"})
    after = await commit(bus, "0", grant, work(LAST, state={"a": b"1"}), HOUR)
    with pytest.raises(Fenced, match="partition 0: fenced"):
        await commit(bus, "0", after, work(LAST, state={"a": b"2"}), HOUR)
    assert await renew(bus, {KEY: grant.token}) == [KEY]
    await bus.client.xadd(events, {"d": "y"})
    again = await granted(bus)
    assert (again.epoch, again.n, again.position) == (grant.epoch, 1, "0-0")
    assert [fields for _, fields in await entries_of(bus, events)] == [{b"d": b"y"}]


async def test_what_waits_behind_an_id_that_is_almost_the_last_is_not_dropped(bus: Bus) -> None:
    events = streams.events_key("0")
    await bus.client.xadd(events, {"d": "x"}, id=LAST.removesuffix("5") + "4")
    await bus.client.xadd(events, {"d": "y"})
    grant = await commit(bus, "0", await granted(bus), work(LAST.removesuffix("5") + "4"), HOUR)
    assert [fields for _, fields in await entries_of(bus, events)][-1] == {b"d": b"y"}
    await commit(bus, "0", grant, work(LAST), HOUR)
    assert await entries_of(bus, events) == []


async def test_a_commit_is_whole_although_somebody_used_up_the_ids_it_writes(bus: Bus) -> None:
    written = [streams.changes_key("0"), streams.partials_key("0"), streams.feed_key("0"), streams.dead_key("0")]
    for key in written:
        await bus.client.xadd(key, {"d": "foreign"}, id=LAST)
    grant = await granted(bus)
    after = await commit(bus, "0", grant, work("1-0", changes=b"{}", feed=[("sync", b"{}")], dead=[b"{}"]), HOUR)
    assert after.n == 1
    assert [[fields[b"d"] for _, fields in await entries_of(bus, key)] for key in written] == [[b"{}"]] * 4


async def test_a_commit_succeeds_on_a_full_server(bus: Bus) -> None:
    grant = await granted(bus)
    await bus.client.config_set("maxmemory", "1")
    try:
        after = await commit(bus, "0", grant, work("1-0", state={"a": b"1"}), HOUR)
    finally:
        await bus.client.config_set("maxmemory", "0")
    assert after.n == 1


async def test_a_thousand_fields_fit_into_one_commit(bus: Bus) -> None:
    grant = await granted(bus)
    state: dict[str, bytes | None] = {f"peer:{number}": b"x" * 300 for number in range(1_000)}
    await commit(bus, "0", grant, work("1-0", state=state), HOUR)
    found: dict[bytes, bytes] = {}
    async for fields in read_state(bus, "0"):
        found |= fields
    assert len(found) == 1_000


async def test_ids_go_on_growing_when_the_servers_clock_went_back(bus: Bus) -> None:
    grant = await granted(bus)
    ahead = bus.clock.now_ms() + HOUR
    await bus.client.hset(KEY, "last_ms", ahead)
    await commit(bus, "0", grant, work("1-0"), HOUR)
    partial = await bus.newest(streams.partials_key("0"))
    assert partial is not None
    assert partial[0] == f"{ahead}-1".encode()


async def test_many_owners_at_once_get_each_partition_once(bus: Bus) -> None:
    keys = [streams.meta_key(partition) for partition in streams.live_partitions(4)]
    answers = await asyncio.gather(*(acquire(bus, keys, secrets.token_hex(4)) for _ in range(10)))
    for grants in zip(*answers, strict=True):
        assert sum(isinstance(grant, Grant) for grant in grants) == 1
