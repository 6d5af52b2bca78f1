"""Ending tasks."""

import asyncio
from collections.abc import Iterable
from typing import Any

__all__ = ["end_tasks"]


async def end_tasks(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel `tasks`, and return when they have ended. Their results and errors are for the caller to ask.

    Cancellation: safe; tasks may then still run.
    """
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)
