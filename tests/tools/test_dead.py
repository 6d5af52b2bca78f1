"""`ark-pulse dead` on a real bus: what it shows, and that a replay counts once whatever happens to it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from processors.cli import FAILURE, OK, main
from processors.runtime.bus import Bus
from processors.tools import dead
from schemas import codec, streams
from schemas.events import Heartbeat
from schemas.metrics import DeadLetter
from schemas.streams import partition_of
from tests.integration.aggregation import aggregating, summary_when
from tests.integration.up import ROOT
from tests.stack import wait_for

Output = pytest.CaptureFixture[str]
PARTITIONS = [*streams.live_partitions(16), streams.SIMULATED]


@pytest.fixture
def client(server_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    """A client of the bus, of 16 partitions and empty, that the commands use too."""
    monkeypatch.setenv("ARK_BUS_URL", server_url)
    with Redis.from_url(server_url) as client:
        client.flushall()
        client.set(streams.PARTITIONS, 16)
        yield client


def heartbeat(peer: str) -> str:
    return codec.encode(Heartbeat(peer=peer, ts=1)).decode()


def write(client: Redis, excerpt: str = "", *, by: str = "aggregator", reason: str = "r", whole: bool = True) -> str:
    """Write a letter; returns its id."""
    body = codec.encode(DeadLetter(ts=1, rejected_by=by, reason=reason, excerpt=excerpt, whole=whole))
    name: Any = client.xadd(streams.DEAD, codec.entry_fields("dead", 1, body))  # type: ignore[arg-type]
    return str(name.decode())


def published(client: Redis) -> list[str]:
    """The peers of all events on the bus."""
    found: list[str] = []
    for partition in PARTITIONS:
        entries: Any = client.xrange(streams.events_key(partition))
        for _, fields in entries:
            events = [event for event in codec.decode_events(fields).events if isinstance(event, Heartbeat)]
            assert all(partition_of(event.peer, 16) == partition for event in events)
            found += [event.peer for event in events]
    return sorted(found)


def test_a_list_counts_by_source_and_reason_and_shows_the_newest_first(client: Redis, capsys: Output) -> None:
    ids = [write(client, f"x{n}", by="peers", reason=f"latency is not a number: '{n}'") for n in range(3)]
    write(client, "y", by="sync_events", reason="item is not JSON")
    assert main(["dead", "list", "--count", "2"]) == OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["     3  peers: latency is not a number: '…'", "     1  sync_events: item is not JSON", ""]
    assert [line.rpartition("  ")[2] for line in lines[3:]] == ["y", "x2"]
    assert lines[4].startswith(f"{ids[2]}  1970-01-01 ")


def test_a_list_can_be_narrowed_down(client: Redis, capsys: Output) -> None:
    for by, reason in (("peers", "one"), ("peers", "two"), ("reasoning", "one")):
        write(client, by=by, reason=reason)
    main(["dead", "list", "--source", "peers", "--reason", "on", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["counts"] == [{"source": "peers", "reason": "one", "letters": 1}]
    assert [letter["reason"] for letter in report["letters"]] == ["one"]


def test_a_list_of_nothing_says_so(client: Redis, capsys: Output) -> None:
    assert main(["dead", "list"]) == OK
    assert capsys.readouterr().out == "no dead letters\n"


def test_what_a_terminal_would_obey_is_escaped(client: Redis, capsys: Output) -> None:
    evil = "\x1b]0;evil\x07\nline\u202e\x9b"
    name = write(client, evil, reason="\x1b[2J")
    for arguments in (["list"], ["show", name], ["show", name, "--json"], ["list", "--json"]):
        main(["dead", *arguments])
        output = capsys.readouterr().out
        assert all(char.isprintable() for char in output.replace("\n", ""))
    assert json.loads(output)["letters"][0]["excerpt"] == evil


def test_a_letter_is_shown_whole(client: Redis, capsys: Output) -> None:
    name = write(client, "x" * 1_000)
    assert main(["dead", "show", name]) == OK
    assert "x" * 1_000 in capsys.readouterr().out
    main(["dead", "show", name, "--json"])
    assert json.loads(capsys.readouterr().out) == {
        "id": name, "ts": 1, "rejected_by": "aggregator", "reason": "r", "excerpt": "x" * 1_000, "whole": True,
        "partition": "",
    }  # fmt: skip


@pytest.mark.parametrize("action", ["show", "replay"])
@pytest.mark.parametrize(
    ("name", "message"),
    [("5-1", "ark:dead has no letter 5-1"), ("five", "five is not the id of a letter, <ms>-<n>")],
)
def test_a_letter_that_is_not_there_is_a_failure(
    client: Redis, action: str, name: str, message: str, capsys: Output
) -> None:
    assert main(["dead", action, name]) == FAILURE
    assert capsys.readouterr().err == f"ark-pulse: {message}\n"


def test_a_bus_that_does_not_answer_is_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setenv("ARK_BUS_URL", "redis://127.0.0.1:1/0")
    assert main(["dead", "list"]) == FAILURE
    assert capsys.readouterr().err.startswith("ark-pulse: the bus does not answer: ")


def test_a_replayed_letter_is_published_where_it_belongs_and_taken_off(client: Redis, capsys: Output) -> None:
    name, other = write(client, heartbeat("a")), write(client, heartbeat("b"))
    assert main(["dead", "replay", name]) == OK
    assert capsys.readouterr().out == f"replayed {name}\n"
    assert published(client) == ["a"]
    left: Any = client.xrange(streams.DEAD)
    assert [entry[0].decode() for entry in left] == [other]
    assert main(["dead", "replay", name]) == FAILURE
    assert published(client) == ["a"]


def test_a_letter_that_cannot_be_replayed_stays_and_is_a_failure(client: Redis, capsys: Output) -> None:
    name = write(client, heartbeat("a"), whole=False)
    assert main(["dead", "replay", name]) == FAILURE
    why = "it does not hold all of the input, or some of that was used"
    assert capsys.readouterr().err == f"ark-pulse: letter {name} stays: {why}\n"
    assert client.xlen(streams.DEAD) == 1


def test_all_that_are_chosen_are_replayed_and_what_stays_is_counted_by_reason(client: Redis, capsys: Output) -> None:
    for peer in "abc":
        write(client, heartbeat(peer), reason="belongs into partition 1")
        write(client, by="peers", reason="belongs to peers")
    write(client, heartbeat("d"), reason="another")
    assert main(["dead", "replay", "--all", "--reason", "belongs"]) == FAILURE
    assert capsys.readouterr().out.splitlines() == [
        "3 stay: its source still holds the input, and peers reads it again at every look",
        "replayed 3 of 6 letters",
    ]
    assert (published(client), client.xlen(streams.DEAD)) == (["a", "b", "c"], 4)
    assert main(["dead", "replay", "--all", "--source", "aggregator"]) == OK


def test_what_is_to_be_replayed_must_be_named(capsys: Output) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["dead", "replay"])
    assert caught.value.code == 2


def test_a_full_partition_is_a_failure_and_the_letter_stays(
    client: Redis, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead, "_MAX_STREAM_BYTES", 0)
    name = write(client, heartbeat("a"))
    assert main(["dead", "replay", name]) == FAILURE
    assert "is full until the aggregators have caught up" in capsys.readouterr().err
    assert (published(client), client.xlen(streams.DEAD)) == ([], 1)


def test_a_replay_killed_before_the_letter_was_taken_off_is_finished_by_the_next(
    client: Redis, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = write(client, heartbeat("a")), write(client, heartbeat("a"))

    async def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(AsyncRedis, "xdel", killed)
        main(["dead", "replay", first])
    assert main(["dead", "replay", second]) == OK
    assert capsys.readouterr().out == f"finished {first}, which an earlier replay began\nreplayed {second}\n"
    assert (published(client), client.xlen(streams.DEAD)) == (["a", "a"], 0)


def test_a_replay_killed_between_two_partitions_is_completed_by_the_next(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = write(client, f"[{','.join(map(heartbeat, 'abcdefgh'))}]", reason="field v is missing")
    other = write(client, heartbeat("a"))
    run, runs = dead._PUBLISH.run, 0

    async def killed(*arguments: Any) -> Any:
        nonlocal runs
        runs += 1
        if runs > 3:
            raise KeyboardInterrupt
        return await run(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(dead._PUBLISH, "run", killed)
        main(["dead", "replay", name])
    assert 0 < len(published(client)) < 8
    assert main(["dead", "replay", other]) == OK
    assert (published(client), client.xlen(streams.DEAD)) == (sorted("abcdefgh" + "a"), 0)


def start() -> subprocess.Popen[bytes]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "ARK_BUS_URL": os.environ["ARK_BUS_URL"]}
    command = [sys.executable, "-m", "processors.cli", "dead", "replay", "--all"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def test_replays_that_are_killed_at_any_point_count_each_letter_once(client: Redis) -> None:
    peers = [f"p{number}" for number in range(2_000)]
    for peer in peers:
        write(client, heartbeat(peer))
    for left in (1_900, 1_200, 500):
        with start() as process:
            wait_for(f"{left} letters are left", lambda left=left: client.xlen(streams.DEAD) <= left)  # type: ignore[misc]
            process.send_signal(signal.SIGKILL)
    assert client.xlen(streams.DEAD) > 0
    assert main(["dead", "replay", "--all"]) == OK
    assert (published(client), client.xlen(streams.DEAD)) == (sorted(peers), 0)


def test_replays_at_once_fence_each_other_and_count_each_letter_once(client: Redis) -> None:
    peers = [f"p{number}" for number in range(2_000)]
    for peer in peers:
        write(client, heartbeat(peer))
    with start() as one, start() as two, start() as three:
        errors = [process.communicate(timeout=30)[1].decode() for process in (one, two, three)]
    assert set(errors) <= {"", "ark-pulse: another replay is at work\n"}
    assert main(["dead", "replay", "--all"]) == OK
    assert (published(client), client.xlen(streams.DEAD)) == (sorted(peers), 0)


async def test_an_event_of_another_partition_is_mended_by_a_replay(
    bus: Bus, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARK_BUS_URL", server_url)
    away = next(partition for partition in PARTITIONS if partition != partition_of("a", 16))
    body = codec.encode(Heartbeat(peer="a", ts=bus.clock.now_ms()))
    async with aggregating(server_url):
        await bus.client.xadd(streams.events_key(away), {"v": "1", "d": body})
        async with asyncio.timeout(10):
            while not await bus.read_many({streams.DEAD: "0-0"}):
                pass
        assert await asyncio.to_thread(main, ["dead", "replay", "--all"]) == OK
        summary = await summary_when(bus, lambda s: s.heartbeats_total == 1)
    assert summary.total_peers in {1, None}
    assert await bus.client.xlen(streams.DEAD) == 0
