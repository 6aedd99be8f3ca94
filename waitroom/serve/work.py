"""What an instance does behind its requests."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from waitroom.cancelling import cancelled
from waitroom.errors import WaitroomError
from waitroom.leader.leadership import Leadership
from waitroom.leader.scheduler import Scheduler
from waitroom.web.instance import Instance

logger = logging.getLogger(__name__)

#: Seconds between two looks for the process that started this worker.
_PARENT_SECONDS: Final = 1.0

#: How often the rooms are looked for before the first request, and seconds between two looks.
_FIRST_LOOKS: Final = 3
_LOOK_AGAIN_SECONDS: Final = 0.2


class Work:
    """What an instance does behind its requests: reads the rooms, and ticks while it leads."""

    def __init__(self, instance: Instance) -> None:
        settings = instance.settings
        self._leadership = Leadership(instance.store, lease_seconds=settings.lease_seconds)
        scheduler = Scheduler(instance.store, instance.rooms, self._leadership, tick_seconds=settings.tick_seconds)
        self._scheduling = asyncio.create_task(scheduler.run())
        loops = (instance.rooms, instance.signers, instance.fitness)
        self._tasks = [asyncio.create_task(loop.run()) for loop in loops]

    def end_with(self, parent: int) -> None:
        """Stop this process when that one is gone."""
        self._tasks.append(asyncio.create_task(_end_with(parent)))

    async def stop_leading(self) -> None:
        """Tick no more, and give the lease back so that another instance leads at its next tick."""
        await cancelled(self._scheduling)
        await self._leadership.resign()

    async def stop(self) -> None:
        """End it all."""
        await cancelled(*self._tasks)
        await self.stop_leading()


@asynccontextmanager
async def working(instance: Instance, *, parent: int | None = None) -> AsyncIterator[Work]:
    """Do an instance's background work. At the end all that wait for Redis are answered, and it is closed."""
    await _first_look(instance)
    work = Work(instance)
    if parent is not None:
        work.end_with(parent)
    try:
        yield work
    finally:
        await work.stop()
        await instance.streams.close()
        await instance.rooms.close()
        await instance.store.close()


async def _end_with(parent: int) -> None:
    """A worker without its `serve` must not keep the port: it stops as if told to."""
    while os.getppid() == parent:  # noqa: ASYNC110 - another process's end sets no event
        await asyncio.sleep(_PARENT_SECONDS)
    logger.error("the process of `waitroom serve` is gone: this worker stops")
    os.kill(os.getpid(), signal.SIGTERM)


async def _first_look(instance: Instance) -> None:
    """Know the rooms before the first request. Without Redis the instance starts all the same, and answers 503.

    Not after one look that failed: until the rooms are known the gate turns good passes away.
    """
    for _ in range(_FIRST_LOOKS):
        with suppress(WaitroomError):
            await instance.rooms.refresh()
            return
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
