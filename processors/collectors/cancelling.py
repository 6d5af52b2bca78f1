"""Ending tasks that talk to Redis."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

__all__ = ["end_tasks"]

_AGAIN_S: Final = 0.1


async def end_tasks(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel `tasks`, and return when they have ended. Their results and errors are for the caller to ask.

    One `cancel()` is not enough: redis-py sends each command within `asyncio.wait_for`, and that of Python 3.11 loses a
    cancellation which arrives just as the sending is done. Cancellation: safe; tasks may then still run.
    """
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_AGAIN_S)
