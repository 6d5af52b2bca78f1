"""Waiting for events, and ending tasks."""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

__all__ = ["end_tasks", "is_set_within"]


async def end_tasks(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel `tasks`, and return when they have ended. Their results and errors are for the caller to ask.

    Cancellation: safe; tasks may then still run.
    """
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)


async def is_set_within(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait for `event`, `seconds` at most (None: without end). Returns whether it is set. Cancellation: safe."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
