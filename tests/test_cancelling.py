"""Ending tasks for certain."""

from __future__ import annotations

import asyncio

import pytest

from waitroom.cancelling import cancelled


async def test_a_task_that_loses_its_cancellation_is_ended_all_the_same() -> None:
    """Python 3.11's wait_for returns what came at the same moment, as if nobody had cancelled; that must not hang."""
    sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        await asyncio.wait_for(sent, 60)
        await asyncio.sleep(3600)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    sent.set_result(None)
    await cancelled(task)
    assert task.cancelled()


async def test_several_end_whatever_they_raise() -> None:
    """One that is over, one that fails on its way out, one that takes its time: all have ended."""

    async def fails() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise ValueError("on its way out")

    async def slow() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
            raise

    async def over() -> int:
        return 1

    tasks = [asyncio.create_task(each()) for each in (fails, slow, over)]
    await asyncio.sleep(0)
    await cancelled(*tasks)
    with pytest.raises(ValueError, match="on its way out"):
        tasks[0].result()
    assert tasks[1].cancelled()
    assert tasks[2].result() == 1


async def test_nobody_to_end() -> None:
    """No tasks, nothing to wait for."""
    await cancelled()
