"""Who is let in by a running gateway."""

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from processors.gateway import gate as gate_module
from processors.gateway import handlers, login
from processors.gateway.gate import Gate
from processors.gateway.paths import PATHS
from processors.gateway.tries import MAX_TRIES
from processors.runtime.bus import Bus
from processors.runtime.observation import Health, ask_gateway
from tests.gateway.support import SETTINGS, Gateway, World, eventually, running_gateway
from tests.gateway.test_gate import line, replace

ANNA = {"Authorization": "Bearer anna"}
LEGACY = ("/ws/federation", "/ws/memory")
CLOSED = [
    path.path for path in PATHS if path.method == "get" and not path.is_open and not path.path.startswith("/ws")
]  # of /ws below: a token may come later there
OPEN = [path.path.replace("{name}", "app.js") for path in PATHS if path.method == "get" and path.is_open]


@pytest.fixture
def tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the tokens of two viewers, which is looked at all the time."""
    monkeypatch.setattr(gate_module, "LOOK_S", 0.01)
    path = tmp_path / "tokens"
    path.write_text(line("anna") + line("bob"))
    return path


@pytest.fixture
def more() -> dict[str, Any]:
    """Settings that differ from the defaults."""
    return {}


@pytest.fixture
async def gateway(bus: Bus, tokens: Path, more: dict[str, Any]) -> AsyncIterator[Gateway]:
    gate = Gate(dataclasses.replace(SETTINGS, ark_tokens_file=tokens, **more))
    await gate.open()
    async with running_gateway(bus, gate=gate) as running:
        await eventually(lambda: running.state.bus_answers)
        yield running


@pytest.fixture
async def http(gateway: Gateway) -> AsyncIterator[aiohttp.ClientSession]:
    jar = aiohttp.CookieJar(unsafe=True)  # cookies of an address without a name
    async with aiohttp.ClientSession(gateway.url, cookie_jar=jar) as session:
        yield session


async def status(http: aiohttp.ClientSession, path: str, **headers: str) -> int:
    async with http.get(path, headers=headers) as answer:
        return answer.status


async def enter(http: aiohttp.ClientSession, token: str = "anna", **headers: str) -> aiohttp.ClientResponse:
    async with http.post("/login", json={"token": token}, headers=headers) as answer:
        await answer.read()
        return answer


async def raw(gateway: Gateway, *lines: bytes) -> bytes:
    """The answer to a request for /api/health with `lines` in its head."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    try:
        writer.write(b"\r\n".join((b"GET /api/health HTTP/1.1", b"Host: a", b"Connection: close", *lines, b"", b"")))
        async with asyncio.timeout(5):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("path", CLOSED)
async def test_without_a_token_nothing_is_told(http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(path) as answer:
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert await answer.json() == {"error": "a token is needed"}


@pytest.mark.parametrize("path", OPEN)
async def test_the_page_the_references_and_the_probes_need_no_token(http: aiohttp.ClientSession, path: str) -> None:
    assert await status(http, path, Authorization="Bearer rubbish") in {200, 503}


@pytest.mark.parametrize("path", CLOSED)
async def test_a_valid_token_is_let_in(http: aiohttp.ClientSession, path: str) -> None:
    assert await status(http, path, **ANNA) in {200, 400, 503}


async def test_paths_and_methods_that_do_not_exist_are_no_secret(http: aiohttp.ClientSession) -> None:
    assert await status(http, "/nowhere") == 404
    async with http.delete("/api/health") as answer:
        assert answer.status == 405


async def test_a_gateway_with_tokens_answers_under_any_name(http: aiohttp.ClientSession) -> None:
    assert await status(http, "/api/health", Host="pulse.example.org", **ANNA) == 200


@pytest.mark.parametrize(
    "lines",
    [
        (b"Authorization: Bearer eve",),
        (b"Authorization: anna",),
        (b"Authorization: Basic YW5uYQ==",),
        (b"Authorization: Bearer anna", b"Authorization: Bearer anna"),
        (b"Authorization: Bearer \xff\xfe",),
        (b"Authorization: Bearer " + b"a" * 8_000,),
        (b"Cookie: ark_token=rubbish",),
        (b"Cookie: ark_token=\xff\xfe",),
        (b"Cookie: ;;;=; ark_token=\\377",),
    ],
)
async def test_a_bad_token_is_refused(gateway: Gateway, lines: tuple[bytes, ...]) -> None:
    head, _, body = (await raw(gateway, *lines)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 401 ")
    assert body.startswith(b'{"error":')


async def test_a_header_of_a_megabyte_is_refused_and_harms_nobody(
    gateway: Gateway, http: aiohttp.ClientSession
) -> None:
    try:
        answer = await raw(gateway, b"Authorization: Bearer " + b"a" * (1 << 20))
    except ConnectionError:
        answer = b""  # it was closed while it still sent
    assert b"200 OK" not in answer
    assert await status(http, "/api/health", **ANNA) == 200


async def test_status_and_doctor_learn_without_a_token_whether_it_is_ready(
    gateway: Gateway, redis_client: Redis
) -> None:
    settings = dataclasses.replace(SETTINGS, ark_http_port=int(gateway.url.rpartition(":")[2]))
    assert await ask_gateway(settings) == Health("down", "told with a token only")
    await World(redis_client).summary()
    await eventually(lambda: gateway.mesh.summary)
    assert await ask_gateway(settings) == Health("ok", "told with a token only")


async def test_a_token_in_the_address_counts_for_nothing(http: aiohttp.ClientSession) -> None:
    assert await status(http, "/api/health?token=anna&access_token=anna") == 401


async def test_a_login_gives_a_cookie_that_only_requests_of_the_page_carry(http: aiohttp.ClientSession) -> None:
    answer = await enter(http)
    assert answer.status == 204
    cookie = answer.cookies["ark_token"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
    assert (cookie["secure"], cookie["max-age"]) == ("", "")
    assert await status(http, "/api/health") == 200


async def test_a_token_may_be_pasted_with_the_blanks_around_it(http: aiohttp.ClientSession) -> None:
    assert (await enter(http, " anna\n")).cookies["ark_token"].value == "anna"


async def test_a_cookie_lives_no_longer_than_its_token(
    http: aiohttp.ClientSession, gateway: Gateway, tokens: Path
) -> None:
    replace(tokens, line("carl", expiry="2100-01-01"))
    await eventually(lambda: gateway.gate.authenticate("carl"))
    age_s = int((await enter(http, "carl")).cookies["ark_token"]["max-age"])
    assert 0 < age_s < 2_500_000_000


async def test_a_logout_takes_the_cookie_away(http: aiohttp.ClientSession) -> None:
    await enter(http)
    async with http.post("/logout") as answer:
        assert answer.status == 204
    assert await status(http, "/api/health") == 401


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", 400),
        (b"anna", 400),
        (b"[]", 400),
        (b"null", 400),
        (b'{"token": null}', 400),
        (b'{"token": ["anna"]}', 400),
        (b'{"token": "\xff"}', 400),
        (b"[" * 10_000, 400),
        (b'{"token": ""}', 401),
        (b'{"token": "\\ud800"}', 400),
        (b'{"token": "eve\\r\\nSet-Cookie: a=b"}', 401),
        (b'{"token": "' + b"a" * login.MAX_BODY + b'"}', 413),
    ],
)
async def test_a_login_that_cannot_be_used_is_refused(http: aiohttp.ClientSession, body: bytes, expected: int) -> None:
    async with http.post("/login", data=body) as answer:
        assert (answer.status, list(await answer.json())) == (expected, ["error"])
        assert "Set-Cookie" not in answer.headers


async def test_a_login_that_never_ends_is_given_up(
    gateway: Gateway, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "BODY_S", 0.05)

    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with asyncio.timeout(5), http.post("/login", data=body()) as answer:
        assert (answer.status, await answer.json()) == (408, {"error": "body must arrive within 0.05 s"})


async def test_who_guesses_is_told_to_wait_even_if_right_then(http: aiohttp.ClientSession) -> None:
    assert {(await enter(http, "eve")).status for _ in range(MAX_TRIES)} == {401}
    answer = await enter(http)
    assert (answer.status, 1 <= int(answer.headers["Retry-After"]) <= 60) == (429, True)
    assert await status(http, "/api/health", **ANNA) == 200


@pytest.mark.parametrize("path", ["/login", "/logout"])
@pytest.mark.parametrize("origins", [["null"], ["https://evil.test"], ["http://a", "http://a"]])
async def test_a_page_of_another_origin_can_change_nothing(
    http: aiohttp.ClientSession, path: str, origins: list[str]
) -> None:
    headers = [("Host", "a"), *(("Origin", origin) for origin in origins)]
    async with http.post(path, json={"token": "anna"}, headers=headers) as answer:
        assert (answer.status, "Set-Cookie" in answer.headers) == (403, False)


async def test_a_token_is_never_logged(http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await enter(http, "secret-one")
    await status(http, "/api/health?token=secret-two", Authorization="Bearer secret-three")
    await raw_text_of(http, "secret-four")
    assert "secret-" not in caplog.text


async def raw_text_of(http: aiohttp.ClientSession, token: str) -> None:
    async with http.post("/login", data=f"{{{token}") as answer:
        assert token not in await answer.text()


@pytest.mark.parametrize("path", ["/", "/api/health", "/nowhere"])
async def test_every_answer_is_sealed_off_from_other_origins(http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(path) as answer:
        headers = answer.headers
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "camera=()" in headers["Permissions-Policy"]
        assert "Strict-Transport-Security" not in headers


@pytest.mark.parametrize("path", LEGACY)
async def test_a_drop_in_path_asks_for_a_token(http: aiohttp.ClientSession, path: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as error:
        await http.ws_connect(path)
    assert error.value.status == 401
    async with http.ws_connect(path, headers=ANNA) as ws:
        await ws.receive_json()


@pytest.mark.parametrize("more", [{"ark_legacy_open": True}])
@pytest.mark.parametrize("path", LEGACY)
async def test_a_drop_in_path_may_be_open_to_everybody(http: aiohttp.ClientSession, path: str) -> None:
    async with http.ws_connect(path, headers={"Cookie": "ark_token=expired"}) as ws:
        await ws.receive_json()
    assert await status(http, "/api/health") == 401


async def test_a_socket_may_show_its_token_later_but_no_wrong_one_before(http: aiohttp.ClientSession) -> None:
    async with http.ws_connect("/ws") as ws:
        assert (await ws.receive_json())["role"] is None
        await ws.send_json({"op": "auth", "token": "anna"})
        assert (await ws.receive_json())["role"] == "viewer"
    with pytest.raises(aiohttp.WSServerHandshakeError) as error:
        await http.ws_connect("/ws", headers={"Authorization": "Bearer eve"})
    assert error.value.status == 401


@pytest.mark.parametrize("path", LEGACY)
async def test_a_revoked_token_ends_its_drop_in_socket(http: aiohttp.ClientSession, tokens: Path, path: str) -> None:
    async with http.ws_connect(path, headers=ANNA) as ws:
        replace(tokens, "")
        async with asyncio.timeout(5):
            async for _ in ws:
                pass


async def test_a_revoked_token_ends_its_stream(http: aiohttp.ClientSession, tokens: Path) -> None:
    async with http.get("/sse?channels=federation", headers=ANNA) as answer:
        replace(tokens, "")
        async with asyncio.timeout(5):
            await answer.content.read()


async def test_a_revoked_token_ends_its_socket(http: aiohttp.ClientSession, tokens: Path) -> None:
    async with (
        http.ws_connect("/ws", headers=ANNA) as ws,
        http.ws_connect("/ws", headers={"Authorization": "Bearer bob"}) as other,
    ):
        for each in (ws, other):
            assert (await each.receive_json())["role"] == "viewer"
        replace(tokens, line("bob"))
        async with asyncio.timeout(5):
            await ws.receive()
        assert ws.close_code == 4001
        await other.send_json({"op": "ping"})
        assert (await other.receive_json())["type"] == "pong"


@pytest.mark.parametrize("more", [{"ark_trusted_proxies": (ip_network("127.0.0.1"),)}])
async def test_behind_a_trusted_proxy_a_page_is_what_its_browser_says(http: aiohttp.ClientSession) -> None:
    proxied = {"Host": "pulse.example.org", "X-Forwarded-Proto": "https", "X-Forwarded-For": "6.6.6.6, 192.0.2.1"}
    answer = await enter(http, Origin="https://pulse.example.org", **proxied)
    assert answer.status == 204
    assert answer.cookies["ark_token"]["secure"] is True
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


@pytest.mark.parametrize("more", [{"ark_trusted_proxies": (ip_network("127.0.0.1"),)}])
async def test_behind_a_trusted_proxy_each_client_has_its_own_tries(http: aiohttp.ClientSession) -> None:
    for _ in range(MAX_TRIES):
        await enter(http, "eve", **{"X-Forwarded-For": "192.0.2.1"})
    assert (await enter(http, **{"X-Forwarded-For": "192.0.2.1"})).status == 429
    assert (await enter(http, **{"X-Forwarded-For": "192.0.2.2"})).status == 204


async def test_a_forged_address_does_not_give_more_tries(http: aiohttp.ClientSession) -> None:
    for number in range(MAX_TRIES):
        await enter(http, "eve", **{"X-Forwarded-For": f"192.0.2.{number}"})
    assert (await enter(http, **{"X-Forwarded-For": "192.0.2.99"})).status == 429


@pytest.mark.parametrize("more", [{"ark_max_clients": 1}])
async def test_of_more_clients_than_places_the_last_is_refused(http: aiohttp.ClientSession, gateway: Gateway) -> None:
    async with http.ws_connect("/ws", headers=ANNA):
        with pytest.raises(aiohttp.WSServerHandshakeError) as error:
            await http.ws_connect("/ws", headers=ANNA)
        assert (error.value.status, error.value.headers["Retry-After"]) == (503, "5")  # type: ignore[index]
    await eventually(lambda: gateway.gate.clients == 0)


@pytest.mark.parametrize(
    "more", [{"ark_max_clients_per_address": 1, "ark_trusted_proxies": (ip_network("127.0.0.1"),)}]
)
async def test_an_address_with_all_its_places_taken_is_refused(http: aiohttp.ClientSession) -> None:
    client = ANNA | {"X-Forwarded-For": "192.0.2.1"}
    async with http.ws_connect("/ws", headers=client):
        with pytest.raises(aiohttp.WSServerHandshakeError) as error:
            await http.ws_connect("/ws", headers=client)
        assert error.value.status == 429
        async with http.ws_connect("/ws", headers=ANNA | {"X-Forwarded-For": "192.0.2.2"}) as other:
            assert (await other.receive_json())["type"] == "welcome"
