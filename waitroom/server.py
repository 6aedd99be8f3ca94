"""A server process: the application, and what works behind it. `create` is what each uvicorn worker calls."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from prometheus_client import multiprocess
from starlette.applications import Starlette

from waitroom.errors import WaitroomError
from waitroom.instance import Instance, assemble
from waitroom.leadership import Leadership
from waitroom.scheduler import Scheduler
from waitroom.settings import ServerSettings
from waitroom.web.app import create_app

logger = logging.getLogger(__name__)

#: Where `serve` leaves the complete settings for its workers, as JSON. They hold keys: never log the environment.
SETTINGS_VARIABLE: Final = "WAITROOM_RESOLVED_SETTINGS"

#: Where `serve` leaves its process id for workers that are processes of their own.
PARENT_VARIABLE: Final = "WAITROOM_SERVE_PID"

#: Seconds between two looks for the process that started this worker.
_PARENT_SECONDS: Final = 1.0


def create() -> Starlette:
    """The application of one worker, from the settings that `serve` left in the environment."""
    settings = ServerSettings.model_validate_json(os.environ[SETTINGS_VARIABLE])
    set_up_logging(settings)
    _forget_dead_workers()
    parent = os.environ.get(PARENT_VARIABLE)
    return build(settings, parent=int(parent) if parent else None)


def build(settings: ServerSettings, *, parent: int | None = None) -> Starlette:
    """The application and its background work, from complete settings; ends with the process `parent`, if given."""
    instance = assemble(settings)
    leadership = Leadership(instance.store, lease_seconds=settings.lease_seconds)
    scheduler = Scheduler(instance.store, instance.rooms, leadership, tick_seconds=settings.tick_seconds)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await _first_look(instance)
        tasks = [asyncio.create_task(instance.rooms.run()), asyncio.create_task(scheduler.run())]
        if parent is not None:
            tasks.append(asyncio.create_task(_end_with(parent)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await leadership.resign()
            await instance.rooms.close()
            await instance.store.close()

    return create_app(instance, lifespan=lifespan)


def set_up_logging(settings: ServerSettings) -> None:
    """One line per event on stderr."""
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", force=True
    )


async def _end_with(parent: int) -> None:
    """A worker whose `serve` is gone must not keep the port: it stops as if told to."""
    while os.getppid() == parent:  # noqa: ASYNC110 - another process's end sets no event
        await asyncio.sleep(_PARENT_SECONDS)
    logger.error("serve is gone: this worker stops")
    os.kill(os.getpid(), signal.SIGTERM)


async def _first_look(instance: Instance) -> None:
    """Know the rooms before the first request; without Redis the instance starts all the same, and answers 503."""
    with suppress(WaitroomError):
        await instance.rooms.refresh()


def _forget_dead_workers() -> None:
    """Take the gauges of workers that are gone out of the sum."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return
    for file in Path(folder).glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
