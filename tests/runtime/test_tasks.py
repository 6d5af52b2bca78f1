import asyncio

from processors.runtime.tasks import end_tasks, is_set_within


async def test_tasks_are_cancelled_and_waited_for() -> None:
    ended = asyncio.Event()

    async def tidy() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()

    task = asyncio.create_task(tidy())
    await asyncio.sleep(0)
    await end_tasks([task])
    assert task.cancelled()
    assert ended.is_set()


async def test_a_task_that_has_ended_is_left_alone() -> None:
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    await end_tasks([task])
    assert not task.cancelled()


async def test_an_event_that_is_set_meanwhile_ends_the_wait_for_it() -> None:
    event = asyncio.Event()
    asyncio.get_running_loop().call_soon(event.set)
    assert await is_set_within(event, None)


async def test_an_event_that_is_not_set_in_time_is_told_as_such() -> None:
    assert not await is_set_within(asyncio.Event(), -1.0)


async def test_an_event_that_is_set_already_needs_no_time() -> None:
    event = asyncio.Event()
    event.set()
    assert await is_set_within(event, -1.0)
