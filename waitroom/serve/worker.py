"""A server process: the application, and what works behind it. `create` is what each uvicorn worker calls."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

from prometheus_client import multiprocess
from starlette.applications import Starlette

from waitroom.cancelling import cancelled
from waitroom.errors import WaitroomError
from waitroom.leader.leadership import Leadership
from waitroom.leader.scheduler import Scheduler
from waitroom.serve.assemble import assemble
from waitroom.settings.server import ServerSettings
from waitroom.web.app import Application
from waitroom.web.instance import Instance

logger = logging.getLogger(__name__)

#: Where `serve` leaves the complete settings for its workers, as JSON. They hold keys: never log the environment.
SETTINGS_VARIABLE: Final = "WAITROOM_RESOLVED_SETTINGS"

#: Where `serve` leaves its process id for workers that are processes of their own.
PARENT_VARIABLE: Final = "WAITROOM_SERVE_PID"

#: New objects after which the garbage collector looks at them: about 20 MB.
_YOUNG_OBJECTS: Final = 50_000

#: Seconds between two looks for the process that started this worker.
_PARENT_SECONDS: Final = 1.0

#: How often the rooms are looked for before the first request, and seconds between two looks.
_FIRST_LOOKS: Final = 3
_LOOK_AGAIN_SECONDS: Final = 0.2


def create() -> Starlette:
    """The application of one worker, from the settings that `serve` left in the environment."""
    settings = ServerSettings.model_validate_json(os.environ[SETTINGS_VARIABLE])
    set_up_logging(settings)
    _collect_rarely()
    _allow_many_files()
    _forget_dead_workers()
    parent = os.environ.get(PARENT_VARIABLE)
    return build(settings, parent=int(parent) if parent else None)


def build(settings: ServerSettings, *, parent: int | None = None) -> Starlette:
    """The application and its background work, from complete settings; ends with the process `parent`, if given."""
    instance = assemble(settings)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with working(instance, parent=parent) as work:
            with _draining_at_sigterm(instance, work), _ending_streams_at_sigint(instance):
                yield

    return Application(instance, lifespan=lifespan)


class Work:
    """What an instance does behind its requests: reads the rooms, and ticks while it leads."""

    def __init__(self, instance: Instance) -> None:
        settings = instance.settings
        self._leadership = Leadership(instance.store, lease_seconds=settings.lease_seconds)
        scheduler = Scheduler(instance.store, instance.rooms, self._leadership, tick_seconds=settings.tick_seconds)
        self._scheduling = asyncio.create_task(scheduler.run())
        loops = (instance.rooms, instance.agreement, instance.fitness)
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
    """Do an instance's background work; at the end everybody who waits for Redis is answered, and it is closed."""
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


@contextmanager
def _draining_at_sigterm(instance: Instance, work: Work) -> Iterator[None]:
    """At SIGTERM tell the balancers first, give up the lease, end the streams, stop listening after `drain_seconds`.

    The web server's own handler, which closes the listener and lets requests in flight end, comes last. A second
    SIGTERM does not wait for it.
    """
    stop_serving = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(stop_serving):
        yield
        return
    loop, goodbyes = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    def drain() -> None:
        goodbyes.add(loop.create_task(work.stop_leading()))
        goodbyes.add(loop.create_task(instance.streams.end()))
        seconds = instance.settings.drain_seconds
        if seconds:
            logger.info("draining: not ready any more, serving for another %g s", seconds)
        loop.call_later(seconds, stop_serving, signal.SIGTERM, None)

    def told(number: int, frame: FrameType | None) -> None:
        if instance.drain.started:
            stop_serving(number, frame)
        else:
            instance.drain.started = True
            loop.call_soon_threadsafe(drain)

    signal.signal(signal.SIGTERM, told)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, stop_serving)


@contextmanager
def _ending_streams_at_sigint(instance: Instance) -> Iterator[None]:
    """At SIGINT nothing drains, for who presses Ctrl-C wants it over; but streams would not end by themselves."""
    stop_serving = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(stop_serving):
        yield
        return
    loop, goodbyes = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    def told(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(lambda: goodbyes.add(loop.create_task(instance.streams.end())))
        stop_serving(number, frame)

    signal.signal(signal.SIGINT, told)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, stop_serving)


def set_up_logging(settings: ServerSettings) -> None:
    """One line per event on stderr."""
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", force=True
    )


def _collect_rarely() -> None:
    """Let garbage that refers to itself lie for a while.

    The collector would look at all that a few hundred requests in flight hold after every few of them, and find
    nothing: a tenth of an enter. What is there from the start is not looked at again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)


async def _end_with(parent: int) -> None:
    """A worker whose `serve` is gone must not keep the port: it stops as if told to."""
    while os.getppid() == parent:  # noqa: ASYNC110 - another process's end sets no event
        await asyncio.sleep(_PARENT_SECONDS)
    logger.error("serve is gone: this worker stops")
    os.kill(os.getpid(), signal.SIGTERM)


async def _first_look(instance: Instance) -> None:
    """Know the rooms before the first request; without Redis the instance starts all the same, and answers 503.

    Not after one look that failed: until the rooms are known the gate turns good passes away.
    """
    for _ in range(_FIRST_LOOKS):
        with suppress(WaitroomError):
            await instance.rooms.refresh()
            return
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


def _allow_many_files() -> None:
    """Take as many open files as the machine lets this process have: a stream is one, and 1,024 are the custom."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS lets nobody have all that it promises
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


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
