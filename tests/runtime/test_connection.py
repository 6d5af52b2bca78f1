import asyncio
import random
import socket

import pytest
import uvloop
from redis.exceptions import ResponseError

from processors.runtime.bus import Bus
from processors.runtime.connection import CONNECTION_FAILURES, connection_options, in_one_trip, open_client, wrong_type
from processors.runtime.tasks import end_tasks
from tests.servers import free_port


async def test_a_task_that_talks_to_the_server_ends_at_whatever_moment_it_is_cancelled(server_url: str) -> None:
    rng = random.Random(1)

    async def talk() -> None:
        async with open_client(server_url) as client:
            while True:
                await client.ping()

    for _ in range(100):
        task = asyncio.create_task(talk())
        await asyncio.sleep(rng.random() / 200)
        async with asyncio.timeout(2):
            await end_tasks([task])
        assert task.cancelled()


async def test_a_server_that_does_not_answer_is_a_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        async with open_client(url, socket_timeout=0.1, socket_connect_timeout=0.1) as client:
            with pytest.raises(CONNECTION_FAILURES, match="Timeout"):
                await client.ping()


async def test_a_bearable_error_stands_in_the_place_of_its_answer(server_url: str) -> None:
    async with open_client(server_url) as client:
        await client.set("text", "x")
        refused, answer = await in_one_trip(client, [("HGETALL", "text"), ("GET", "text")], bearable=wrong_type)
    assert wrong_type(refused)
    assert answer == b"x"


async def test_an_error_of_one_command_among_others_is_raised_unless_it_is_bearable(server_url: str) -> None:
    async with open_client(server_url) as client:
        await client.set("text", "x")
        for transaction in (False, True):
            with pytest.raises(ResponseError) as caught:
                await in_one_trip(client, [("GET", "text"), ("LLEN", "text")], transaction=transaction)
            assert wrong_type(caught.value)
        with pytest.raises(ResponseError, match="unknown command"):
            await in_one_trip(client, [("NONSENSE",)], bearable=wrong_type)


def test_a_connection_that_was_reset_fails_like_any_other_on_uvloop_too(server_url: str) -> None:
    async def send() -> None:
        options = connection_options(server_url)
        connection = options.pop("connection_class")(**options)
        await connection.connect()
        connection._writer.transport.abort()
        await asyncio.sleep(0.01)
        await connection.send_command("PING")

    with pytest.raises(CONNECTION_FAILURES):
        uvloop.run(send())


@pytest.mark.parametrize("scheme", ["redis://localhost", "rediss://localhost", "unix:///tmp/socket"])
def test_each_kind_of_address_has_a_connection_that_can_be_cancelled(scheme: str) -> None:
    assert connection_options(scheme)["connection_class"].__name__.startswith("Cancellable")


async def test_a_bus_that_does_not_answer_is_waited_for_and_said_so_once(caplog: pytest.LogCaptureFixture) -> None:
    bus = Bus(f"redis://127.0.0.1:{free_port()}")
    opening = asyncio.create_task(bus.open(16))
    await asyncio.wait({opening}, timeout=0.8)
    assert not opening.done()
    await end_tasks([opening])
    await bus.close()
    assert len([record for record in caplog.records if "waiting for the bus" in record.message]) == 1
