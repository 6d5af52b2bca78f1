"""The table of paths, and the references that are made of it, against the running gateway."""

import aiohttp
import pytest
from redis.asyncio import Redis

from processors.gateway.assets import REFERENCES, references
from processors.gateway.paths import PATHS, Path
from processors.runtime.bus import Bus
from tests.gateway.support import Gateway, World, eventually, frame_where, node, row, sync
from tests.gateway.test_reference import ASYNCAPI, MESSAGES, OPENAPI, check, found


@pytest.fixture
async def world(bus: Bus, redis_client: Redis, gateway: Gateway) -> World:
    """A world of which everything is known to the gateway."""
    world = World(redis_client)
    await world.heartbeat("peers", "sync", "reasoning", "code")
    await world.roster({"a": row("a"), "b": row("b", status="offline")})
    await world.memory(ingestion_rate=0.1, nodes={"node-1": node()}, nodes_total=1)
    await world.summary(network_health=66.5, total_peers=2, online_peers=1)
    await eventually(lambda: all(half.view(bus.clock.now_ms()).source == "live" for half in gateway.state.halves))
    await eventually(lambda: gateway.mesh.live.total == 2 and len(gateway.state.sources.by_name()) == 4)
    return world


def test_every_route_is_documented_and_every_documented_path_is_a_route(gateway: Gateway) -> None:
    routes = gateway.server._runner.app.router.routes()
    served = {(route.method.lower(), route.resource.canonical) for route in routes if route.resource}
    assert {each for each in served if each[0] != "head"} == {(path.method, path.path) for path in PATHS}


@pytest.mark.parametrize("path", REFERENCES)
async def test_a_reference_is_served_with_its_type_and_not_twice(http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(path) as answer:
        assert (answer.status, await answer.read()) == (200, references()[path].body)
        assert answer.content_type == ("text/html" if path == "/docs" else "application/json")
    async with http.get(path, headers={"If-None-Match": answer.headers["ETag"]}) as again:
        assert (again.status, await again.read()) == (304, b"")


TYPED = [path for path in PATHS if path.method == "get" and isinstance(path.body, type)]


@pytest.mark.parametrize("path", TYPED, ids=lambda each: each.path)
async def test_real_answers_are_as_openapi_says(http: aiohttp.ClientSession, world: World, path: Path) -> None:
    async with http.get(path.path) as answer:
        said = OPENAPI["paths"][path.path]["get"]["responses"][str(answer.status)]
        body = await answer.json()
    [content] = said["content"].values()
    check(body, content["schema"], OPENAPI)
    assert body.keys() <= found(OPENAPI, content["schema"]["$ref"])["properties"].keys()
    assert ("ETag" in answer.headers) == ("headers" in said)


@pytest.mark.parametrize(
    ("path", "status"),
    [("/api/v1/peers?limit=0", 400), ("/api/v1/federation", 503), ("/readyz", 503), ("/static/x", 404)],
)
async def test_refusals_are_as_openapi_says(http: aiohttp.ClientSession, path: str, status: int) -> None:
    async with http.get(path) as answer:
        body = await answer.json()
    template = path.removesuffix("?limit=0").replace("/static/x", "/static/{name}")
    said = OPENAPI["paths"][template]["get"]["responses"][str(answer.status)]
    assert answer.status == status
    check(body, said["content"]["application/json"]["schema"], OPENAPI)


@pytest.mark.parametrize("channel", ["ws_federation", "ws_memory"])
async def test_frames_of_the_drop_in_paths_are_as_asyncapi_says(
    http: aiohttp.ClientSession, world: World, channel: str
) -> None:
    messages = ASYNCAPI["channels"][channel]
    payloads = {MESSAGES[name]["name"]: MESSAGES[name]["payload"] for name in messages["messages"]}
    seen: set[str] = set()
    async with http.ws_connect(messages["address"]) as ws:
        await ws.send_str("ping")
        await ws.send_str("what?")
        await world.sync(sync())
        awaited = payloads.keys() - {"legacy_ask"}
        while seen < awaited:
            frame = await frame_where(ws, lambda _: True)
            check(frame, payloads[frame["type"]], ASYNCAPI)
            seen.add(frame["type"])
    assert seen == awaited


async def test_frames_of_protocol_v1_are_as_asyncapi_says(http: aiohttp.ClientSession, world: World) -> None:
    data = {each["name"]: each["data"] for each in ASYNCAPI["channels"]["ws"]["x-channels"]}
    data["peer:a"] = data.pop("peer:<id>")
    await world.sync(sync())
    snapshots: set[str] = set()
    async with http.ws_connect("/ws") as ws:
        await ws.send_json({"op": "subscribe", "channels": [*data]})
        while snapshots != data.keys():
            frame = await frame_where(ws, lambda _: True)
            check(frame, MESSAGES[frame["type"]]["payload"], ASYNCAPI)
            if frame["type"] == "snapshot":
                check(frame["data"], data[frame["channel"]], ASYNCAPI)
                snapshots.add(frame["channel"])
