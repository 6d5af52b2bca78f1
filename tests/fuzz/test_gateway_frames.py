"""Whatever a client sends, the gateway answers or closes with the right code, and nothing of it stays."""

import asyncio
import base64
import contextlib
import logging
import os
import random
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from processors.gateway.subscriptions import Refused, read_message
from processors.runtime.bus import Bus
from schemas.frames import CLOSE_CODES, ERRORS, JSON_PROTOCOL, MSGPACK_PROTOCOL, Message
from tests.gateway.support import Gateway, World, eventually, row, running_gateway, sync, tasks_of_clients

SEED = int(os.environ.get("ARK_FUZZ_SEED", "1"))
CODES = {row.code for row in CLOSE_CODES.values()}
MASK = b"\x01\x02\x03\x04"


@pytest.fixture
async def gateway(bus: Bus, redis_client: Redis, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Gateway]:
    """A gateway that must log no error, and hold nothing of anybody in the end."""
    world = World(redis_client)
    await world.roster({"a": row("a")})
    await world.summary(network_health=1.0)
    await world.sync(sync("a"))
    async with running_gateway(bus) as running:
        await eventually(lambda: running.state.bus_answers)
        yield running
        await eventually(lambda: not running.gate.clients)
        await eventually(lambda: not tasks_of_clients())
        assert not running.hub._places
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


class Raw:
    """A client that shakes hands properly, and then sends bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    async def frame(self) -> tuple[int, bytes]:
        """The next frame's opcode and payload. Raises EOFError, ConnectionError: if there is none."""
        head = await self._reader.readexactly(2)
        size = head[1]
        if size >= 126:
            size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8), "big")
        return head[0] & 0x0F, await self._reader.readexactly(size)

    async def until(self, opcode: int) -> bytes:
        while True:
            found, payload = await self.frame()
            if found == opcode:
                return payload

    async def close_code(self) -> int | None:
        """The code that it is closed with; None if the connection just ended."""
        try:
            async with asyncio.timeout(8):
                return int.from_bytes((await self.until(8))[:2], "big")
        except (EOFError, ConnectionError):
            return None


@contextlib.asynccontextmanager
async def raw(gateway: Gateway, protocol: str = JSON_PROTOCOL) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    key = base64.b64encode(bytes(16)).decode()
    writer.write(
        f"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"
        f"\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n".encode()
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def frame(
    opcode: int, payload: bytes = b"", *, final: bool = True, reserved: int = 0, size: int | None = None
) -> bytes:
    """A client's frame, masked; `size` is what it says of its length."""
    told = len(payload) if size is None else size
    head = bytes(((0x80 if final else 0) | reserved << 4 | opcode,))
    if told < 126:
        head += bytes((0x80 | told,))
    elif told < 1 << 16:
        head += b"\xfe" + told.to_bytes(2, "big")
    else:
        head += b"\xff" + told.to_bytes(8, "big")
    return head + MASK + bytes(byte ^ MASK[index % 4] for index, byte in enumerate(payload))


PING = frame(1, b'{"op":"ping"}')


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(1, b"\xff\xfe"), 1007),
        (frame(1, b"\xed\xa0\x80"), 1007),
        (frame(2, b"x"), 1003),
        (frame(3, b"x"), 1002),
        (frame(7), 1002),
        (frame(11), 1002),
        (frame(1, b"{}", reserved=4), 1002),
        (frame(1, b"{}", reserved=1), 1002),
        (frame(0, b"x"), 1002),
        (frame(1, b"x", final=False) + frame(1, b"y"), 1002),
        (frame(9, b"x" * 126), 1002),
        (frame(9, b"x", final=False), 1002),
        (frame(8, b"x"), 1002),
        (frame(8, (1005).to_bytes(2, "big")), 1002),
        (frame(8, (999).to_bytes(2, "big")), 1002),
        (frame(1, b"x" * 70_000), 1009),
        (frame(1, b"x", size=1 << 40), 1009),
        (frame(1, b"x", size=(1 << 64) - 1), 1009),
        (frame(1, b"x" * 40_000, final=False) + frame(0, b"x" * 40_000), 1009),
        (frame(8, (1000).to_bytes(2, "big") + b"bye"), 1000),
        (frame(8), 1000),
    ],
)
async def test_what_is_no_frame_of_ours_closes_with_its_code(gateway: Gateway, sent: bytes, code: int) -> None:
    async with raw(gateway) as client:
        await client.send(sent)
        assert await client.close_code() == code


async def test_a_message_in_many_pieces_is_one(gateway: Gateway) -> None:
    text = b'{"op":"ping","id":"whole"}'
    async with raw(gateway) as client:
        for index, byte in enumerate(text):
            pieces = frame(0 if index else 1, bytes((byte,)), final=index == len(text) - 1)
            await client.send(pieces + (frame(9, b"between") if index % 5 == 0 and index < len(text) - 1 else b""))
        await client.until(10)
        while b"whole" not in await client.until(1):
            pass


async def test_any_bytes_after_the_handshake_end_in_a_close_or_an_answer(gateway: Gateway) -> None:
    chance = random.Random(SEED)
    for _ in range(150):
        async with raw(gateway, chance.choice([JSON_PROTOCOL, MSGPACK_PROTOCOL])) as client:
            sent = bytearray()
            for _ in range(chance.randint(1, 6)):
                if chance.random() < 0.3:
                    sent += chance.randbytes(chance.randint(1, 40))
                else:
                    sent += frame(
                        chance.choice([0, 1, 1, 2, 2, 8, 9, 10, chance.randint(0, 15)]),
                        chance.randbytes(chance.choice([0, 1, 2, 5, 125, 126, 300])),
                        final=chance.random() < 0.7,
                        reserved=chance.choice([0, 0, 0, 0, 1, 2, 4]),
                    )
            await client.send(bytes(sent))
            # After a whole message of the wrong kind it is closed at the latest.
            await client.send(frame(8, (1000).to_bytes(2, "big")))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    assert await client.close_code() in {None, 1000, *CODES, *range(3000, 5000)}
    async with raw(gateway) as client:
        await client.send(PING)
        assert b"pong" in await client.until(1) or b"pong" in await client.until(1)


names = st.sampled_from(["federation", "peers", "sync", "logs", "memory", "sources", "peer:a", "peer:", "x", "", "\0"])
odd = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=2)
)
known = st.fixed_dictionaries(
    {"op": st.sampled_from(["subscribe", "unsubscribe", "refresh", "ping", "subscribe", "subscribe"])},
    optional={
        "channels": st.one_of(st.lists(names, max_size=4), odd),
        "since": st.one_of(st.dictionaries(names, st.text(max_size=20), max_size=3), odd),
        "rate": st.one_of(st.floats(0, 100), odd),
        "fields": st.one_of(st.lists(st.sampled_from(["ts", "id", "network_health", "x"]), max_size=3), odd),
        "at": st.one_of(st.integers(-1, 2**64), odd),
        "speed": st.one_of(st.floats(0, 100), odd),
        "id": st.one_of(st.integers(), st.text(max_size=5), odd),
        "token": odd,
        "more": odd,
    },
)
anything = st.recursive(odd, lambda inner: st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=5)
messages = st.one_of(known, known, st.fixed_dictionaries({"op": odd}), anything)


@given(st.binary(max_size=60), st.booleans())
def test_no_bytes_are_read_as_anything_but_a_message_or_refused(data: bytes, msgpack: bool) -> None:
    with contextlib.suppress(Refused):
        assert isinstance(read_message(data, msgpack=msgpack), Message)


@pytest.mark.parametrize("protocol", [JSON_PROTOCOL, MSGPACK_PROTOCOL])
async def test_any_messages_are_answered_and_the_connection_stays(gateway: Gateway, protocol: str) -> None:
    batches: list[list[Any]] = []

    @given(st.lists(messages, max_size=12))
    @settings(max_examples=60, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    def collect(batch: list[Any]) -> None:
        batches.append(batch)

    collect()
    is_json = protocol == JSON_PROTOCOL
    encode, decode = (
        (msgspec.json.encode, msgspec.json.decode) if is_json else (msgspec.msgpack.encode, msgspec.msgpack.decode)
    )
    for batch in batches:
        async with raw(gateway, protocol) as client:
            for message in batch:
                with contextlib.suppress(OverflowError):  # an integer that msgpack cannot say
                    await client.send(frame(1 if is_json else 2, encode(message)))
            await client.send(frame(1 if is_json else 2, encode({"op": "ping", "id": "the last"})))
            async with asyncio.timeout(8):
                while True:
                    opcode, payload = await client.frame()
                    assert opcode == (1 if is_json else 2), (batch, opcode, payload)
                    answer = decode(payload)
                    if answer["type"] == "error":
                        assert answer["code"] in ERRORS
                    if answer["type"] == "pong" and answer.get("id") == "the last":
                        break
