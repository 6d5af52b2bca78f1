import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from redis.asyncio import Redis

from processors.collectors import discovery_reader
from processors.collectors.discovery_reader import DiscoveryCollector
from processors.collectors.status import SourceStatus
from processors.runtime.bus import Bus
from processors.runtime.http import HttpServer
from schemas import codec, streams
from schemas.events import Event, Heartbeat, PeerGone, Rejected
from tests.collectors.helpers import LIVE, FailingScript, published, running, until
from tests.federation.support import Node, running_service
from tests.servers import free_port

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Other:
    """Another federation service: it answers what a test wants, at the address that it keeps."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.name = f"127.0.0.1:{self.port}"
        self.requests: list[web.Request] = []
        self.answering: Answering = self.listing()

    @staticmethod
    def listing(*peers: Any, headers: dict[str, str] | None = None) -> Answering:
        return Other.body(codec.encode({"peers": peers, "count": len(peers)}), headers=headers)

    @staticmethod
    def body(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> Answering:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(body=body, status=status, headers=headers, content_type="application/json")

        return answer

    def tell(self, *peers: Any) -> None:
        self.answering = self.listing(*peers)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        return await self.answering(request)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_get("/discover", self._answer)
        app.router.add_get("/elsewhere", self.listing({"node_id": "elsewhere"}))
        server = HttpServer(app, "FEDERATION_PORT")
        await server.start("127.0.0.1", self.port)
        try:
            yield
        finally:
            await server.stop()

    async def asked(self, times: int) -> None:
        """Until it was asked so many times more, and the answer to the last but one is worked off."""
        most = len(self.requests) + times
        await until(lambda: len(self.requests) > most)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery_reader, "_POLL_S", 0.02)


@pytest.fixture
async def other() -> AsyncIterator[Other]:
    service = Other()
    async with service.running():
        yield service


@pytest.fixture
def status() -> SourceStatus:
    return new_status()


def new_status() -> SourceStatus:
    return SourceStatus("discovery", "discovery", node="n", changed=lambda status: None)


def following(bus: Bus, url: str, status: SourceStatus) -> Any:
    return running(DiscoveryCollector(bus, url, LIVE, status).run())


async def some(bus: Bus, kind: type[Event], count: int = 1) -> list[Any]:
    """At least `count` published events of a kind, as soon as they are there."""

    async def there() -> list[Event]:
        found = [event for event in await published(bus) if isinstance(event, kind)]
        return found if len(found) >= count else []

    found: list[Event] = await until(there)
    return found


async def test_peers_of_another_service_are_told_with_where_they_were_learnt(
    bus: Bus, other: Other, status: SourceStatus
) -> None:
    other.tell({"node_id": "a", "hostname": "a.local", "last_seen": 1_700_000_000, "learnt_from": "manifest"})
    async with following(bus, other.url, status):
        assert await some(bus, Heartbeat) == [
            Heartbeat(peer="a", ts=1_700_000_000_000, hostname="a.local", learnt_from=other.name)
        ]


async def test_a_service_that_lists_nobody_is_live(bus: Bus, other: Other, status: SourceStatus) -> None:
    async with following(bus, other.url, status):
        await until(lambda: status.state == "live")
    assert await published(bus) == []


async def test_a_changed_hash_is_a_heartbeat_of_now_and_an_unchanged_one_is_none(
    bus: Bus, other: Other, status: SourceStatus
) -> None:
    other.tell({"node_id": "a", "latency": 1, "last_seen": 1_700_000_000}, {"node_id": "b"})
    async with following(bus, other.url, status):
        await some(bus, Heartbeat, 2)
        other.tell({"node_id": "a", "latency": 2, "last_seen": 1_700_000_000}, {"node_id": "b"})
        await some(bus, Heartbeat, 3)
        await other.asked(3)
        beats = [event for event in await some(bus, Heartbeat, 3) if event.peer == "a"]
    assert status.published == 3
    assert [beat.latency_ms for beat in beats] == [1, 2]
    assert beats[1].ts > beats[0].ts == 1_700_000_000_000


async def test_a_peer_that_is_listed_no_more_is_gone_from_there(bus: Bus, other: Other, status: SourceStatus) -> None:
    other.tell({"node_id": "a"}, {"node_id": "b"})
    async with following(bus, other.url, status):
        await some(bus, Heartbeat, 2)
        other.tell({"node_id": "b"})
        [gone] = await some(bus, PeerGone)
    assert (gone.peer, gone.learnt_from) == ("a", other.name)


async def test_nothing_is_gone_from_a_list_that_is_full(
    bus: Bus, other: Other, status: SourceStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery_reader, "MAX_PEERS", 2)
    other.tell({"node_id": "a"}, {"node_id": "b"})
    async with following(bus, other.url, status):
        await some(bus, Heartbeat, 2)
        other.tell({"node_id": "c"}, {"node_id": "b"})
        await some(bus, Heartbeat, 3)
        await other.asked(2)
        assert not any(isinstance(event, PeerGone) for event in await published(bus))


async def test_what_is_remembered_of_full_lists_is_bounded(
    bus: Bus, other: Other, status: SourceStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery_reader, "MAX_PEERS", 2)
    async with following(bus, other.url, status):
        for number in range(0, 8, 2):
            other.tell({"node_id": f"{number}"}, {"node_id": f"{number + 1}"})
            await some(bus, Heartbeat, number + 2)
        await some(bus, PeerGone, 1)


UNUSABLE = [
    (Other.body(b"", status=500), "status is 500, and must be 200"),
    (Other.body(b"", status=304), "status is 304, and must be 200"),
    (Other.body(b"", status=302, headers={"Location": "/elsewhere"}), "status is 302, and must be 200"),
    (Other.body(b"garbage"), "answer is not JSON"),
    (Other.body(b"[]"), "answer must be an object with a list `peers`"),
    (Other.body(b" " * ((16 << 20) + 1)), "answer must have at most 16777216 bytes"),
    (Other.body(b"x", headers={"Content-Encoding": "gzip"}), "answer must not be encoded"),
]


@pytest.mark.parametrize(("answering", "clause"), UNUSABLE, ids=[clause for _, clause in UNUSABLE])
async def test_an_answer_that_is_no_list_fails_the_source_and_takes_no_peer_away(
    bus: Bus, other: Other, status: SourceStatus, answering: Answering, clause: str
) -> None:
    other.tell({"node_id": "a"})
    async with following(bus, other.url, status):
        await some(bus, Heartbeat)
        other.answering = answering
        await until(lambda: status.state == "stale")
        reason = status.reason
        other.tell({"node_id": "a"}, {"node_id": "b"})
        await some(bus, Heartbeat, 2)
        await until(lambda: status.state == "live")
    assert reason == clause
    assert [type(event) for event in await published(bus)] == [Heartbeat, Heartbeat]


async def test_a_body_that_never_ends_is_not_waited_for(
    bus: Bus, other: Other, status: SourceStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery_reader, "_ANSWER_S", 0.2)
    begun = asyncio.Event()

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"{")
        begun.set()
        await asyncio.Event().wait()
        return response

    other.answering = drip
    async with following(bus, other.url, status):
        await begun.wait()
        await until(lambda: status.state == "down")
    assert status.reason == "no whole answer within 0.2 s"


async def test_a_body_is_read_no_further_than_its_bound(bus: Bus, other: Other, status: SourceStatus) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b" " * 65_536)
        return response

    other.answering = endless
    async with following(bus, other.url, status):
        await until(lambda: status.state == "down")
    assert status.reason == "answer must have at most 16777216 bytes"


async def test_a_service_that_vanishes_and_returns_is_stale_and_live_again(bus: Bus, status: SourceStatus) -> None:
    other = Other()
    other.tell({"node_id": "a"})
    async with following(bus, other.url, status):
        await until(lambda: status.state == "down")
        first_reason = status.reason
        async with other.running():
            await until(lambda: status.state == "live")
        await until(lambda: status.state == "stale")
        other.tell({"node_id": "a", "last_seen": 1_700_000_000})
        async with other.running():
            await until(lambda: status.state == "live")
            [_, found_later] = await some(bus, Heartbeat, 2)
    assert first_reason == "connection refused"
    # Nobody watched: it is as old as it says.
    assert found_later.ts == 1_700_000_000_000


async def test_a_peer_that_cannot_be_used_is_a_dead_letter_once_and_the_others_go_on(
    bus: Bus, other: Other, status: SourceStatus
) -> None:
    unusable = [5, {"hostname": "x"}, {"node_id": "x" * 300}, {"node_id": "a", "latency": "much"}]
    other.tell(*unusable, {"node_id": "b"})
    async with following(bus, other.url, status):
        letters = await some(bus, Rejected, 4)
        other.tell(*unusable, {"node_id": "b", "latency": 1})
        await some(bus, Heartbeat, 3)
        await other.asked(2)
        assert len(await some(bus, Rejected, 4)) == 4
    assert {letter.collector for letter in letters} == {"discovery"}
    assert sorted(letter.reason for letter in letters) == [
        "latency is not a number: 'much'",
        "node_id is missing",
        "peer id must have 1 to 256 characters",
        "peer is not an object",
    ]
    assert status.rejected == 4


async def test_what_was_refused_is_forgotten_when_it_is_met_no_more(
    bus: Bus, other: Other, status: SourceStatus
) -> None:
    other.tell(5)
    async with following(bus, other.url, status):
        await some(bus, Rejected)
        other.tell({"node_id": "a"})
        await some(bus, Heartbeat)
        other.tell(5, {"node_id": "a"})
        assert len(await some(bus, Rejected, 2)) == 2


async def test_a_start_after_a_stop_tells_what_changed_meanwhile_and_nothing_twice(bus: Bus, other: Other) -> None:
    other.tell({"node_id": "a"}, {"node_id": "b"}, {"node_id": "c"}, 5)
    async with following(bus, other.url, new_status()):
        await some(bus, Rejected)
    other.tell({"node_id": "a"}, {"node_id": "b", "latency": 1}, 5)
    async with following(bus, other.url, status := new_status()):
        await until(lambda: status.state == "live")
    told = [event for event in await published(bus) if isinstance(event, Heartbeat | PeerGone)]
    assert sorted((type(event).__name__, event.peer) for event in told) == [
        ("Heartbeat", "a"),
        ("Heartbeat", "b"),
        ("Heartbeat", "b"),
        ("Heartbeat", "c"),
        ("PeerGone", "c"),
    ]
    assert len(await some(bus, Rejected)) == 1


@pytest.mark.parametrize("allowed", [0, 1, 16, 20, 31])
async def test_a_kill_at_any_script_of_a_publication_loses_and_doubles_nothing(
    bus: Bus, other: Other, allowed: int
) -> None:
    other.tell(*({"node_id": f"p{number}"} for number in range(40)))
    with FailingScript(allowed).installed() as script:
        async with following(bus, other.url, new_status()):
            await script.dead.wait()
    async with following(bus, other.url, status := new_status()):
        await until(lambda: status.state == "live")
    told = sorted(event.peer for event in await published(bus) if isinstance(event, Heartbeat))
    assert told == sorted(f"p{number}" for number in range(40))


async def test_a_wiped_bus_is_told_all_again(bus: Bus, other: Other, status: SourceStatus, redis_client: Redis) -> None:
    other.answering = other.listing({"node_id": "a"}, headers={"ETag": '"1"'})
    async with following(bus, other.url, status):
        await some(bus, Heartbeat)
        await redis_client.flushall()
        status.doubted = True
        await some(bus, Heartbeat)
        await until(lambda: status.state == "live")


async def test_an_answer_that_has_a_name_is_asked_for_by_it(bus: Bus, other: Other, status: SourceStatus) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.headers.get("If-None-Match") == '"1"':
            return web.Response(status=304)
        return await other.listing({"node_id": "a"}, headers={"ETag": '"1"'})(request)

    other.answering = answer
    async with following(bus, other.url, status):
        await some(bus, Heartbeat)
        await other.asked(3)
        assert status.state == "live"
        other.tell({"node_id": "b"})
        await some(bus, PeerGone)
    assert "If-None-Match" not in other.requests[0].headers


async def test_a_name_of_an_answer_that_no_header_may_hold_is_not_sent_back(
    bus: Bus, other: Other, status: SourceStatus
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = await other.listing({"node_id": "a"})(request)
        # aiohttp refuses to send it, other servers do not.
        transport = request.transport
        assert transport is not None
        assert isinstance(response, web.Response)
        assert isinstance(response.body, bytes)
        transport.write(
            b'HTTP/1.1 200 OK\r\nConnection: close\r\nETag: "\x1b[31m"\r\nContent-Length: %d\r\n\r\n%b'
            % (len(response.body), response.body)
        )
        transport.close()
        return response

    other.answering = answer
    async with following(bus, other.url, status):
        await some(bus, Heartbeat)
        await other.asked(3)
        assert status.state == "live"
    assert all("If-None-Match" not in request.headers for request in other.requests)


async def test_user_and_password_are_sent_and_not_told(bus: Bus, other: Other, status: SourceStatus) -> None:
    async with following(bus, other.url.replace("//", "//us%40er:s%3Aecret@"), status):
        await until(lambda: status.state == "live")
    assert other.requests[0].headers["Authorization"] == "Basic " + base64.b64encode(b"us@er:s:ecret").decode()
    cursors = await bus.client.hkeys(streams.cursors_key("0"))
    assert cursors == [f"discovery:{other.name}".encode()]


async def test_cookies_are_not_kept(bus: Bus, other: Other, status: SourceStatus) -> None:
    other.answering = other.listing(headers={"Set-Cookie": "a=b; Path=/"})
    async with following(bus, other.url, status):
        await other.asked(2)
    assert all("Cookie" not in request.headers for request in other.requests)


async def test_our_own_federation_service_can_be_followed(
    bus: Bus, redis_client: Redis, server_url: str, status: SourceStatus
) -> None:
    far = server_url.removesuffix("0") + "7"
    async with running_service(bus, far) as service:
        await service.post(Node("ark-far").body(hostname="far.local", latency=3, trust_tier="core"))
        async with following(bus, service.url, status):
            [beat] = await some(bus, Heartbeat)
            async with Redis.from_url(far) as client:
                await client.delete("peer:ark-far")
            [gone] = await some(bus, PeerGone)
    assert (beat.peer, beat.hostname, beat.tier, beat.latency_ms, beat.status) == (
        "ark-far",
        "far.local",
        "verified",
        3,
        "online",
    )
    assert beat.learnt_from == gone.learnt_from == service.url.removeprefix("http://")
