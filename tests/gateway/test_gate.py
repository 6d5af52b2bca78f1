import asyncio
import contextlib
import dataclasses
import hashlib
import time
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from processors.gateway import gate
from processors.gateway.gate import Gate
from processors.gateway.tokens import ANYBODY
from processors.runtime.errors import SettingsError
from processors.runtime.tasks import end_tasks
from tests.gateway.support import SETTINGS, eventually

PROXY, CLIENT, OTHER = "10.0.0.1", "192.0.2.1", "192.0.2.2"


def line(token: str, role: str = "viewer", expiry: str = "never", name: str = "") -> str:
    return f"{role} {hashlib.sha256(token.encode()).hexdigest()} {expiry} {name or token}\n"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the tokens `anna` and `bob`, which is looked at all the time."""
    monkeypatch.setattr(gate, "LOOK_S", 0.01)
    path = tmp_path / "tokens"
    path.write_text(line("anna") + line("bob", "operator"))
    return path


def replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def gate_with(path: Path | None = None, **more: Any) -> Gate:
    return Gate(dataclasses.replace(SETTINGS, ark_tokens_file=path, **more))


@contextlib.asynccontextmanager
async def running(path: Path) -> AsyncIterator[Gate]:
    gate = gate_with(path)
    await gate.open()
    task = asyncio.create_task(gate.run())
    try:
        yield gate
        assert not task.done(), task.exception()
    finally:
        await end_tasks([task])


def request(*headers: tuple[str, str], peer: str | None = CLIENT) -> web.Request:
    transport = Mock()
    transport.get_extra_info = {"peername": None if peer is None else (peer, 4711)}.get
    return make_mocked_request("GET", "/", headers=CIMultiDict(headers), transport=transport)


async def called(event: asyncio.Event) -> None:
    async with asyncio.timeout(5):
        await event.wait()


async def test_without_a_file_everybody_is_an_operator() -> None:
    gate = gate_with()
    await gate.open()
    assert gate.visitor(request(("Authorization", "Bearer x"))) == gate.authenticate("x") == ANYBODY


async def test_a_file_that_cannot_be_used_ends_the_start_with_its_line(path: Path) -> None:
    replace(path, "admin\n")
    with pytest.raises(SettingsError, match=r"^ARK_TOKENS_FILE line 1: must be a role, "):
        await gate_with(path).open()


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ([("Authorization", "Bearer anna")], "anna"),
        ([("authorization", "bearer  bob ")], "bob"),
        ([("Cookie", "theme=dark; ark_token=anna")], "anna"),
        ([("Authorization", "Bearer bob"), ("Cookie", "ark_token=anna")], "bob"),
        ([("Authorization", "Bearer bob"), ("Cookie", "ark_token=rubbish")], "bob"),
    ],
)
async def test_a_visitor_is_whose_token_is_shown(path: Path, headers: list[tuple[str, str]], name: str) -> None:
    gate = gate_with(path)
    await gate.open()
    found = gate.visitor(request(*headers))
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    "headers", [[], [("Cookie", "theme=dark")], [("Cookie", "ark_token=")], [("Cookie", ";;=\x01\xff; =;")]]
)
async def test_who_shows_nothing_is_asked_for_a_token(path: Path, headers: list[tuple[str, str]]) -> None:
    gate = gate_with(path)
    await gate.open()
    assert gate.visitor(request(*headers)) is None


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([("Authorization", "Bearer eve")], "the token is not valid"),
        ([("Authorization", "Bearer ")], "the token is not valid"),
        ([("Authorization", "Bearer " + "a" * 1_000_000)], "the token is not valid"),
        ([("Authorization", "anna")], "Authorization must be Bearer, and a token"),
        ([("Authorization", "")], "Authorization must be Bearer, and a token"),
        ([("Authorization", "Basic YW5uYTphbm5h")], "Authorization must be Bearer, and a token"),
        ([("Authorization", "Bearer anna"), ("Authorization", "Bearer anna")], "Authorization must be there once"),
        ([("Authorization", "Bearer eve"), ("Cookie", "ark_token=anna")], "the token is not valid"),
        ([("Cookie", "ark_token=rubbish")], "the token is not valid"),
        ([("Cookie", 'ark_token="\\377\\000"')], "the token is not valid"),
    ],
)
async def test_a_token_that_is_not_valid_is_refused(path: Path, headers: list[tuple[str, str]], reason: str) -> None:
    gate = gate_with(path)
    await gate.open()
    with pytest.raises(web.HTTPUnauthorized) as error:
        gate.visitor(request(*headers))
    assert (error.value.reason, error.value.headers["WWW-Authenticate"]) == (reason, "Bearer")


async def test_a_token_that_has_expired_is_refused(path: Path) -> None:
    replace(path, line("anna", expiry="2023-01-01"))
    gate = gate_with(path)
    await gate.open()
    assert gate.authenticate("anna") is None


async def test_a_revoked_token_ends_what_its_visitors_have_open_and_nothing_else(path: Path) -> None:
    gone = {name: [asyncio.Event(), asyncio.Event()] for name in ("anna", "bob")}
    async with running(path) as gate:
        for name, events in gone.items():
            visitor = gate.authenticate(name)
            assert visitor is not None
            for event in events:
                gate.watch(visitor, event.set)
        replace(path, line("bob", "operator"))
        for event in gone["anna"]:
            await called(event)
        assert gate.authenticate("anna") is None
        assert not any(event.is_set() for event in gone["bob"])


async def test_a_token_that_expires_ends_what_is_open(path: Path) -> None:
    soon = time.gmtime(time.time() + 2)
    replace(path, line("anna", expiry=time.strftime("%Y-%m-%dT%H:%M:%SZ", soon)))
    async with running(path) as gate:
        visitor, gone = gate.authenticate("anna"), asyncio.Event()
        assert visitor is not None
        gate.watch(visitor, gone.set)
        await called(gone)
        assert gate.authenticate("anna") is None


async def test_a_token_that_was_revoked_before_it_was_watched_is_noticed(path: Path) -> None:
    async with running(path) as gate:
        visitor = gate.authenticate("anna")
        assert visitor is not None
        replace(path, line("bob"))
        await eventually(lambda: gate.authenticate("anna") is None)
        gone = asyncio.Event()
        gate.watch(visitor, gone.set)
        await called(gone)


async def test_who_has_left_is_told_nothing(path: Path) -> None:
    gone, told = Mock(), asyncio.Event()
    async with running(path) as gate:
        visitor = gate.authenticate("anna")
        assert visitor is not None
        end = gate.watch(visitor, gone)
        gate.watch(visitor, told.set)
        end()
        end()
        replace(path, line("bob"))
        await called(told)
    assert not gone.called


async def test_who_is_told_may_end_its_watching_then(path: Path) -> None:
    told = asyncio.Event()

    def gone() -> None:
        end()
        told.set()

    async with running(path) as gate:
        visitor = gate.authenticate("anna")
        assert visitor is not None
        end = gate.watch(visitor, gone)
        replace(path, "")
        await called(told)


async def test_a_broken_file_takes_nobodys_access(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(path) as gate:
        visitor, gone = gate.authenticate("anna"), Mock()
        assert visitor is not None
        gate.watch(visitor, gone)
        replace(path, "viewer secret never anna\n")
        await eventually(lambda: caplog.records)
        assert gate.authenticate("anna") is not None
    assert not gone.called
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("origins", "allowed"),
    [
        ([], True),
        (["http://gateway:8101"], True),
        (["https://ops.example.org"], True),
        (["https://ops.example.org:8443"], False),
        (["http://ops.example.org"], False),
        (["https://ops.example.org.evil.test"], False),
        (["https://evil.test"], False),
        (["null"], False),
        ([""], False),
        (["http://gateway:8101", "http://gateway:8101"], False),
        (["https://ops.example.org", "https://evil.test"], False),
    ],
)
def test_pages_of_other_origins_are_refused_unless_listed(origins: list[str], allowed: bool) -> None:
    gate = gate_with(ark_allowed_origins=("https://ops.example.org",))
    asked = request(("Host", "gateway:8101"), *(("Origin", origin) for origin in origins))
    with contextlib.nullcontext() if allowed else pytest.raises(web.HTTPForbidden):
        gate.check_origin(asked)


def test_all_places_may_be_taken() -> None:
    gate = gate_with(ark_max_clients=2)
    with gate.place(request()), gate.place(request(peer="127.0.0.1")):
        assert gate.clients == 2
        with pytest.raises(web.HTTPServiceUnavailable) as error, gate.place(request(peer=OTHER)):
            pass
        assert (error.value.reason, error.value.headers["Retry-After"]) == ("at most 2 clients", "5")
    assert gate.clients == 0


def test_an_address_may_take_its_share_of_the_places() -> None:
    gate = gate_with(ark_max_clients_per_address=1)
    with gate.place(request()):
        with pytest.raises(web.HTTPTooManyRequests) as error, gate.place(request()):
            pass
        assert (error.value.reason, error.value.headers["Retry-After"]) == ("at most 1 clients of an address", "5")
        with gate.place(request(peer=OTHER)):
            pass
    with gate.place(request()):
        pass


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_loopback_may_take_all_places(peer: str) -> None:
    gate = gate_with(ark_max_clients_per_address=1)
    with gate.place(request(peer=peer)), gate.place(request(peer=peer)):
        assert gate.clients == 2


def test_a_place_is_free_again_after_an_error() -> None:
    gate = gate_with(ark_max_clients_per_address=1)
    with contextlib.suppress(ConnectionError), gate.place(request()):
        raise ConnectionError
    assert gate.clients == 0
    with gate.place(request()):
        pass


@pytest.mark.parametrize(("peer", "address"), [(PROXY, OTHER), (CLIENT, CLIENT), (None, "None")])
def test_only_a_trusted_proxy_says_where_a_request_comes_from(peer: str | None, address: str) -> None:
    gate = gate_with(ark_trusted_proxies=(ip_network(PROXY),))
    assert gate.address(request(("X-Forwarded-For", f"6.6.6.6, {OTHER}"), peer=peer)) == address


@pytest.mark.parametrize(
    ("peer", "proto", "https"),
    [(PROXY, "https", True), (PROXY, "http, HTTPS", True), (PROXY, "https, http", False), (CLIENT, "https", False)],
)
def test_only_a_trusted_proxy_says_that_a_request_came_by_https(peer: str, proto: str, https: bool) -> None:
    gate = gate_with(ark_trusted_proxies=(ip_network(PROXY),))
    assert gate.is_https(request(("X-Forwarded-Proto", proto), peer=peer)) is https
