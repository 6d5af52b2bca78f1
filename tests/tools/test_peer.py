"""`ark-pulse peer` against a real service."""

import asyncio
import json
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from redis.asyncio import Redis

from processors.cli import FAILURE, INTERRUPTED, OK, main
from processors.runtime.bus import Bus
from processors.tools import peer
from schemas import streams
from tests.federation.support import Service, running_service

NOWHERE = "http://127.0.0.1:1"
Output = pytest.CaptureFixture[str]


@pytest.fixture
async def redis_of_ark(server_url: str, redis_client: Redis) -> AsyncIterator[Redis]:
    """A client of ARK's Redis, which is empty before the test."""
    async with Redis.from_url(server_url.removesuffix("0") + "3", decode_responses=True) as client:
        yield client


@pytest.fixture
async def service(
    bus: Bus, server_url: str, redis_of_ark: Redis, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Service]:
    monkeypatch.setenv("ARK_BUS_URL", server_url)
    async with running_service(bus, server_url.removesuffix("0") + "3") as running:
        monkeypatch.setenv("FEDERATION_PORT", running.url.rpartition(":")[2])
        yield running


@pytest.fixture
def key(tmp_path: Path) -> str:
    path = tmp_path / "node.key"
    peer.keygen(path)
    return str(path)


async def run(*arguments: str) -> int:
    """The exit code of the command, which blocks, beside the service."""
    return await asyncio.to_thread(main, ["peer", *arguments])


async def register(key: str, *more: str) -> int:
    return await run("register", "--key", key, "--node-id", "ark-node-1", *more)


def test_a_key_is_readable_by_its_user_only(tmp_path: Path, capsys: Output) -> None:
    path = tmp_path / "node.key"
    assert main(["peer", "keygen", "--out", str(path)]) == OK
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith("-----BEGIN PRIVATE KEY-----\n")
    assert len(capsys.readouterr().out.removeprefix("public key: ").strip()) == 44


def test_a_key_that_is_there_is_not_overwritten(tmp_path: Path, capsys: Output) -> None:
    path = tmp_path / "node.key"
    path.write_text("mine")
    assert main(["peer", "keygen", "--out", str(path)]) == FAILURE
    assert capsys.readouterr().err == f"ark-pulse: {path} is there already, and stays as it is\n"
    assert path.read_text() == "mine"


def test_a_key_without_a_file_is_printed(capsys: Output) -> None:
    assert main(["peer", "keygen"]) == OK
    assert capsys.readouterr().out.startswith("-----BEGIN PRIVATE KEY-----\n")


async def test_a_node_is_registered_with_what_it_says(
    service: Service, redis_of_ark: Redis, key: str, capsys: Output
) -> None:
    assert await register(key, "--hostname", "one.local", "--tier", "core", "--latency", "12.5") == OK
    assert capsys.readouterr().out.splitlines()[-1] == "registered ark-node-1"
    found = await redis_of_ark.hgetall("peer:ark-node-1")
    names = ("hostname", "trust_tier", "latency", "learnt_from")
    assert [found[name] for name in names] == ["one.local", "verified", "12.5", "manifest"]


async def test_a_node_may_register_again_and_again(service: Service, bus: Bus, key: str) -> None:
    numbers = []
    for _ in range(3):
        assert await register(key) == OK
        pin = json.loads(await bus.client.hget(streams.FEDERATION_PINS, "ark-node-1") or b"")
        numbers.append(pin["seq"])
    assert numbers == sorted(set(numbers))


async def test_a_refusal_is_a_failure_that_says_why(service: Service, key: str, tmp_path: Path, capsys: Output) -> None:
    await register(key)
    other = tmp_path / "other.key"
    await run("keygen", "--out", str(other))
    assert await register(str(other), "--every", "1") == FAILURE
    assert capsys.readouterr().err == (
        f"ark-pulse: {service.url} refused ark-node-1: 403 node_id is pinned to another pubkey\n"
    )


def test_a_service_that_does_not_answer_is_a_failure(key: str, capsys: Output) -> None:
    assert main(["peer", "register", "--key", key, "--node-id", "a", "--url", NOWHERE]) == FAILURE
    message = capsys.readouterr().err
    assert message.startswith(f"ark-pulse: {NOWHERE}: ")
    assert message.endswith("Connection refused\n")


def test_a_node_that_registers_again_and_again_waits_for_a_service_that_is_away(
    key: str, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    capsys.readouterr()
    command = ["peer", "register", "--key", key, "--node-id", "a", "--url", NOWHERE, "--every", "30"]
    assert main(command) == INTERRUPTED
    assert waits == [30.0] * 3
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith(f"not registered: {NOWHERE}: ")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host", "ftp://host must begin with http:// or https://, and name a host"),
        ("http://", "http:// must begin with http:// or https://, and name a host"),
        ("http://host:x", "http://host:x: Port could not be cast to integer value as 'x'"),
    ],
)
def test_an_address_that_cannot_be_used_is_a_failure(key: str, capsys: Output, url: str, message: str) -> None:
    assert main(["peer", "register", "--key", key, "--node-id", "a", "--url", url]) == FAILURE
    assert capsys.readouterr().err == f"ark-pulse: {message}\n"


def _other_kind() -> bytes:
    return generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read: no such file or directory"),
        (b"rubbish", "must be a private key in PEM, without a password"),
        (_other_kind(), "must be an Ed25519 key"),
    ],
)
def test_a_file_that_is_no_key_is_a_failure(
    tmp_path: Path, capsys: Output, content: bytes | None, problem: str
) -> None:
    path = tmp_path / "bad.key"
    if content is not None:
        path.write_bytes(content)
    assert main(["peer", "register", "--key", str(path), "--node-id", "a"]) == FAILURE
    assert capsys.readouterr().err == f"ark-pulse: {path} {problem}\n"


async def test_pins_are_listed_and_removed(service: Service, key: str, capsys: Output) -> None:
    await register(key)
    capsys.readouterr()
    assert await run("pins") == OK
    assert capsys.readouterr().out.startswith("ark-node-1  key=")
    assert await run("unpin", "ark-node-1") == OK
    assert await run("unpin", "ark-node-1") == FAILURE
    assert capsys.readouterr() == ("unpinned ark-node-1\n", "ark-pulse: no pin of ark-node-1\n")


async def test_pins_as_json_are_one_object(service: Service, bus: Bus, key: str, capsys: Output) -> None:
    await register(key)
    await bus.client.hset(streams.FEDERATION_PINS, "bad", "rubbish")
    capsys.readouterr()
    assert await run("pins", "--json") == OK
    found = json.loads(capsys.readouterr().out)
    assert found["bad"] == {"unreadable": "not a pin"}
    assert set(found["ark-node-1"]) == {"key", "first_seen", "seq", "issued_at"}


def test_pins_without_a_bus_are_a_failure(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARK_BUS_URL", "redis://127.0.0.1:1/0")
    assert main(["peer", "pins"]) == FAILURE
    assert capsys.readouterr().err.startswith("ark-pulse: the bus does not answer: ")


@pytest.mark.parametrize("text", ["0", "-1", "x", "nan", "inf"])
def test_an_interval_that_is_none_is_a_usage_error(text: str, capsys: Output) -> None:
    with pytest.raises(SystemExit):
        main(["peer", "register", "--key", "k", "--node-id", "a", f"--every={text}"])
    assert "argument --every: must be a number above 0" in capsys.readouterr().err
