"""Groups of clients whose sockets the test holds: what the slow get, and that nobody else notices."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec
import pytest

from processors.gateway.backlog import Kept
from processors.gateway.channel import Want
from processors.gateway.encodings import JSON
from processors.gateway.fanout import Client
from processors.gateway.group import Mark
from processors.gateway.hub import Hub
from processors.gateway.state import State
from processors.gateway.traffic import Traffic
from processors.runtime.clock import BusClock
from schemas.frames import CLOSE_CODES, CloseCode
from schemas.metrics import PeerRow
from schemas.positions import EntryId
from tests.gateway.model import NaiveClient
from tests.gateway.support import eventually, hold, row, summary, tasks_of_clients


class HeldTransport(asyncio.Transport):
    """Keeps what is written until the test lets it go."""

    def __init__(self) -> None:
        super().__init__()
        self.client = NaiveClient()
        self.frames: list[dict[str, Any]] = []
        # What a client that does not read has in its buffer.
        self.buffer = bytearray()
        self.emptied = asyncio.Event()
        self.emptied.set()
        self.reads = True
        self.most_held = 0

    def write(self, data: Any) -> None:
        self.buffer += data
        self.most_held = max(self.most_held, len(self.buffer))
        self.emptied.clear()
        if self.reads:
            self.empty()

    def empty(self) -> None:
        """Read what was sent."""
        for frame in frames_of(bytes(self.buffer)):
            self.frames.append(frame)
            self.client.take(frame)
        self.buffer.clear()
        self.emptied.set()

    def get_write_buffer_size(self) -> int:
        return len(self.buffer)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False


def frames_of(written: bytes) -> Iterable[dict[str, Any]]:
    """The JSON of WebSocket text frames."""
    while written:
        size, begin = written[1], 2
        if size >= 126:
            begin = 4 if size == 126 else 10
            size = int.from_bytes(written[2:begin], "big")
        yield msgspec.json.decode(written[begin : begin + size])
        written = written[begin + size :]


class Crowd:
    """Clients of one hub, over a state that the test changes."""

    def __init__(self, drain_s: float = 20.0) -> None:
        self.state = State(2)
        self.clock = BusClock()
        self.hub = Hub(self.state, self.clock, lambda task: None, Traffic(), drain_s=drain_s)
        self.n = 0
        self.ended: list[CloseCode] = []
        self.clients: list[Client] = []

    async def join(self, *channels: str, rate: float = 0.0, since: dict[str, Mark] | None = None) -> HeldTransport:
        transport = HeldTransport()

        async def end(reason: CloseCode) -> None:
            self.ended.append(reason)

        client = Client(transport, transport.emptied.wait, end)  # type: ignore[arg-type]
        self.clients.append(client)
        await self.follow(client, *channels, rate=rate, since=since)
        await client.settled()
        return transport

    async def follow(
        self, client: Client, *channels: str, rate: float = 0.0, since: dict[str, Mark] | None = None
    ) -> None:
        await self.hub.follow(client, [Want(name, rate) for name in channels], JSON, since or {})

    def entry(self) -> EntryId:
        self.n += 1
        return EntryId(self.clock.now_ms(), self.n)

    async def summary(self, value: float) -> None:
        """Tell a new summary, and have everybody who reads get it."""
        entry = self.entry()
        hold(self.state.mesh, summary(network_health=value, n=entry.n, ts=entry.ms))
        self.hub.note_change("federation")
        await turns()

    async def syncs(self, count: int) -> None:
        for _ in range(count):
            entry = self.entry()
            self.state.syncs.add("e", Kept(entry, b'{"bytes":%d}' % entry.n))
        self.hub.note_change("sync")
        await turns()

    async def roster(self, peers: Iterable[str], size: int = 10) -> None:
        world, entry = self.state.mesh.live, self.entry()
        change: dict[str, PeerRow | None] = {peer: row(peer, hostname="h" * size, data_shared=self.n) for peer in peers}
        assert world.apply("0", entry, "e", world.rosters["0"].held, change)
        self.hub.note_change("peers", change)
        await turns()


async def turns() -> None:
    """Let everything run that can run at once."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def crowd() -> AsyncIterator[Crowd]:
    crowd = Crowd()
    crowd.state.mesh.live.load("0", "e", crowd.entry(), {})
    yield crowd
    for client in crowd.clients:
        crowd.hub.leave(client)
    await turns()
    assert tasks_of_clients() == []


async def test_everybody_gets_the_same_bytes(crowd: Crowd) -> None:
    await crowd.summary(1.0)
    one, other = await crowd.join("federation"), await crowd.join("federation")
    assert len(crowd.hub._groups) == 1
    await crowd.summary(2.0)
    assert one.frames == other.frames
    assert [frame["type"] for frame in one.frames] == ["snapshot", "delta"]


async def test_the_changes_of_one_moment_are_one_write(crowd: Crowd) -> None:
    await crowd.summary(1.0)
    transport = await crowd.join("federation", "sync", rate=10.0)
    writes: list[bytes] = []
    transport.write = writes.append  # type: ignore[assignment]
    # Both begin in one turn of the event loop, before any timer, however busy the machine is.
    await asyncio.gather(crowd.syncs(2), crowd.summary(2.0))
    await eventually(lambda: writes)
    [written] = writes
    assert {frame["type"] for frame in frames_of(written)} == {"delta", "event"}


async def test_a_slow_client_hears_how_many_frames_it_missed_and_the_newest_state(crowd: Crowd) -> None:
    await crowd.summary(0.0)
    slow, quick = await crowd.join("federation"), await crowd.join("federation")
    slow.reads = False
    for value in range(1, 6):
        await crowd.summary(float(value))
    slow.reads = True
    slow.empty()
    await turns()
    assert quick.client["federation"].frames == 6
    # The first stood in its buffer, the second was to be written next; the last stands for the two before it.
    assert slow.client["federation"].skipped == 2
    assert slow.client["federation"].frames == 4
    assert slow.client["federation"].data == quick.client["federation"].data
    assert slow.client["federation"].pos == quick.client["federation"].pos


async def test_what_a_slow_client_missed_is_counted_once_each_time(crowd: Crowd) -> None:
    await crowd.summary(0.0)
    slow = await crowd.join("federation")
    told = 0
    for stop in (4, 1, 7):
        slow.reads = False
        for value in range(stop):
            await crowd.summary(float(told + value + 1))
        told += stop
        slow.reads = True
        slow.empty()
        await turns()
    held = slow.client["federation"]
    assert held.skipped + held.frames == told + 1
    assert crowd.hub.traffic.skipped == held.skipped


async def test_records_that_a_slow_client_missed_come_all_the_same(crowd: Crowd) -> None:
    await crowd.syncs(1)
    slow = await crowd.join("sync")
    slow.reads = False
    for _ in range(30):
        await crowd.syncs(3)
    slow.reads = True
    slow.empty()
    await turns()
    assert [record["bytes"] for record in slow.client["sync"].data] == list(range(2, 93))
    assert slow.client["sync"].skipped == 0


async def test_a_client_that_never_reads_holds_one_write(crowd: Crowd) -> None:
    await crowd.syncs(1)
    stuck, quick = await crowd.join("sync"), await crowd.join("sync")
    stuck.reads = False
    await crowd.syncs(1)
    held = stuck.most_held
    for _ in range(50):
        await crowd.syncs(1)
    assert stuck.most_held == held
    assert quick.client["sync"].frames == 52


async def test_a_client_that_never_reads_is_closed_at_the_deadline() -> None:
    crowd = Crowd(drain_s=0.05)
    await crowd.summary(0.0)
    stuck = await crowd.join("federation")
    stuck.reads = False
    for value in (1.0, 2.0):
        await crowd.summary(value)
    await eventually(lambda: crowd.ended == [CLOSE_CODES["too_slow"]])
    crowd.hub.leave(crowd.clients[0])


async def test_what_is_too_much_for_one_write_comes_in_pieces(crowd: Crowd) -> None:
    transport = await crowd.join("peers")
    writes: list[int] = []
    write = transport.write
    transport.write = lambda data: (writes.append(len(data)), write(data))[1]  # type: ignore[method-assign,func-returns-value]
    await crowd.roster([f"p{number}" for number in range(3_500)], 300)
    await eventually(lambda: transport.client["peers"].pos == crowd.hub.positions(crowd.clients[0])["peers"])
    assert len(transport.client["peers"].data) == 3_500
    assert len(writes) > 1
    assert transport.client["peers"].skipped == 0


async def test_changes_while_much_is_told_are_counted_and_not_lost(crowd: Crowd) -> None:
    slow = await crowd.join("federation", "peers")
    slow.reads = False
    for number in range(5):
        await crowd.roster([f"p{each}" for each in range(3_500)], 300)
        await crowd.summary(float(number))
    for _ in range(20):
        slow.empty()
        await turns()
    slow.reads = True
    slow.empty()
    await turns()
    fresh = await crowd.join("federation", "peers")
    for channel in ("federation", "peers"):
        assert slow.client[channel].data == fresh.client[channel].data
    summaries = slow.client["federation"]
    assert summaries.skipped + summaries.frames == 5 + 1


async def test_a_client_that_is_behind_may_subscribe_more(crowd: Crowd) -> None:
    await crowd.summary(0.0)
    await crowd.syncs(2)
    slow = await crowd.join("federation", "sync")
    slow.reads = False
    for value in range(1, 5):
        await crowd.summary(float(value))
        await crowd.syncs(1)
    moving = asyncio.create_task(crowd.follow(crowd.clients[0], "federation", "sync", "peers"))
    await turns()
    assert not moving.done()
    slow.reads = True
    slow.empty()
    await moving
    await crowd.clients[0].settled()
    await crowd.summary(9.0)
    await crowd.syncs(1)
    fresh = await crowd.join("federation", "sync", "peers")
    assert slow.client["federation"].data == fresh.client["federation"].data
    assert slow.client["peers"].data == {}
    assert [record["bytes"] for record in slow.client["sync"].data] == [
        record["bytes"] for record in fresh.client["sync"].data
    ]


async def test_who_moves_to_a_slower_group_takes_it_along(crowd: Crowd) -> None:
    """What a client has been told already is not taken back by a group that has not come as far."""
    await crowd.summary(0.0)
    sluggish = await crowd.join("federation", rate=0.001)
    await crowd.summary(1.0)
    await eventually(lambda: sluggish.client["federation"].frames == 2)
    quick = await crowd.join("federation")
    await crowd.summary(2.0)
    assert sluggish.client["federation"].data["network_health"] == 1.0
    await crowd.follow(crowd.clients[1], "federation", rate=0.001)
    await crowd.clients[1].settled()
    assert sluggish.client["federation"].data == quick.client["federation"].data
    assert quick.client["federation"].data["network_health"] == 2.0


async def test_a_thousand_refreshes_are_answered_with_few_snapshots(crowd: Crowd) -> None:
    await crowd.summary(0.0)
    transport = await crowd.join("federation", "sync")
    now = asyncio.get_running_loop().time
    began = now()
    for _ in range(1_000):
        crowd.hub.refresh(crowd.clients[0], ["federation"])
        await asyncio.sleep(0)
    await crowd.clients[0].settled()
    snapshots = [frame for frame in transport.frames if frame["type"] == "snapshot"]
    # Ten a second, the one of the beginning, and the last.
    assert len([frame for frame in snapshots if frame["channel"] == "federation"]) <= 10 * (now() - began) + 3
    assert len([frame for frame in snapshots if frame["channel"] == "sync"]) == 1


async def test_a_peer_that_nobody_follows_any_more_is_forgotten(crowd: Crowd) -> None:
    await crowd.join("peer:a")
    assert "peer:a" in crowd.hub._channels
    crowd.hub.leave(crowd.clients[0])
    assert "peer:a" not in crowd.hub._channels
    assert crowd.hub._groups == {}
    assert crowd.hub._followers == {}
