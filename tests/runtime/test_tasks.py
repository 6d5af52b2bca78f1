import asyncio

from processors.runtime.tasks import end_tasks


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
