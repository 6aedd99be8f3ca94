"""Ending tasks for certain, also where Python 3.11 loses a cancellation."""

from __future__ import annotations

import asyncio
from typing import Any, Final

#: Seconds in which a cancelled task is expected to end before it is told again.
_AGAIN_SECONDS: Final = 0.1


async def cancelled(*tasks: asyncio.Future[Any]) -> None:
    """Cancel the tasks and wait for their ends. What they raise is theirs.

    They are told again until they end: in Python 3.11 `asyncio.wait_for`, by which redis-py sends, can lose a
    cancellation that comes just when it is done. So a goodbye of theirs that takes longer than a tenth of a second is
    cut short.
    """
    while lasting := [task for task in tasks if not task.done()]:
        for task in lasting:
            task.cancel()
        await asyncio.wait(lasting, timeout=_AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)


def heed_cancellation() -> None:
    """Raise CancelledError where this task was told to end, and something that it awaited has lost that."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
