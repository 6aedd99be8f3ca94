"""The task, and the task library's parts around it. `taskiq worker examples.jobs.tasks:broker` runs it.

A worker takes every job that there is and waits in the waiting room with each; only who is inside works. So the limit
holds across all workers on all machines, and the order is that of the waiting room.
"""

from __future__ import annotations

import asyncio
import base64
import os
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, Final

from redis.exceptions import RedisError
from taskiq import (
    Context,
    SmartRetryMiddleware,
    TaskiqDepends,
    TaskiqEvents,
    TaskiqMessage,
    TaskiqMiddleware,
    TaskiqResult,
    TaskiqScheduler,
    TaskiqState,
)
from taskiq.depends.progress_tracker import ProgressTracker, TaskProgress
from taskiq.kicker import AsyncKicker
from taskiq.serializers import JSONSerializer
from taskiq_redis import ListRedisScheduleSource, RedisAsyncResultBackend

from examples.jobs.held import HeldStreamBroker
from examples.jobs.ledger import Ledger
from examples.jobs.settings import EXPRESS_ROOM, MAX_ATTEMPTS, ROOM, WORK_SECONDS, Settings
from examples.jobs.work import Fault, Order, draw
from waitroom.client import Waiting, WaitroomClient, WaitroomError

STREAM: Final = "jobs:stream"

#: Where pauses are kept. With a colon in it the library never finds those that ended before the minute of its look.
PAUSES: Final = "jobs-pauses"
GROUP: Final = "workers"

#: Failures that another attempt may mend; whatever else is raised is a mistake, and final at once.
MENDABLE: Final = (Fault, WaitroomError, RedisError, OSError, TimeoutError)

settings = Settings.from_environment()


def now() -> str:
    """The time as RFC 3339 text in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class GaveUp(Exception):
    """All attempts were begun, and at least one never ended: its worker died."""


class Retries(SmartRetryMiddleware):
    """The library's retries, with the pause made visible. The place in the waiting room was left before it."""

    async def on_error(self, message: TaskiqMessage, result: TaskiqResult[Any], exception: BaseException) -> None:
        """A job that was cut off has no outcome, and is not acknowledged: another worker takes it in time."""
        if isinstance(exception, asyncio.CancelledError):
            raise exception
        await super().on_error(message, result, exception)

    async def on_send(self, kicker: AsyncKicker[Any, Any], message: TaskiqMessage, delay: float) -> None:
        """Note the pause, then have the job come again."""
        meta = {"attempt": int(message.labels.get("attempt", 0)), "pause_seconds": round(delay, 1)}
        await self.broker.result_backend.set_progress(message.task_id, TaskProgress(state="pausing", meta=meta))
        await super().on_send(kicker, message, delay)


class Claims(TaskiqMiddleware):
    """Ends the claim of a job whose outcome is kept, so that it may be asked for again once that has lapsed."""

    async def post_save(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        """The outcome is in the result backend."""
        await ledger.disclaim(message.task_id)


backend: RedisAsyncResultBackend[dict[str, Any]] = RedisAsyncResultBackend(
    settings.redis_url, result_ex_time=settings.keep_seconds, prefix_str="jobs:outcome", serializer=JSONSerializer()
)
ledger = Ledger(settings.redis_url, backend)
pauses = ListRedisScheduleSource(settings.redis_url, prefix=PAUSES, serializer=JSONSerializer())
broker = (
    HeldStreamBroker(
        settings.redis_url,
        queue_name=STREAM,
        consumer_group_name=GROUP,
        consumer_id="0",
        xread_count=1,  # so that a burst spreads over the workers
        maxlen=100_000,
        silent_seconds=settings.silent_seconds,
    )
    .with_result_backend(backend)
    .with_middlewares(
        Claims(),
        Retries(
            default_retry_count=MAX_ATTEMPTS,
            default_retry_label=True,
            default_delay=settings.pause_seconds,
            use_delay_exponent=True,  # its name for a pause that grows by the same each time
            use_jitter=True,
            schedule_source=pauses,
            types_of_exceptions=MENDABLE,
        ),
    )
)
scheduler = TaskiqScheduler(broker, [pauses])


@broker.task("draw")
async def job(
    order: dict[str, Any],
    context: Context = TaskiqDepends(),  # noqa: B008 - how the library hands things in
    tracker: ProgressTracker[dict[str, Any]] = TaskiqDepends(),  # noqa: B008
) -> dict[str, Any]:
    """Wait for a place, work, leave the place. Raises Fault and others of MENDABLE, GaveUp."""
    wanted, room = Order.model_validate(order), EXPRESS_ROOM if order["express"] else ROOM

    async def waiting(place: Waiting) -> None:
        await tracker.set_progress("waiting", standing(place))

    task, in_hand = asyncio.current_task(), context.state.in_hand
    in_hand.add(task)
    try:
        await tracker.set_progress("waiting", {"room": room})
        async with context.state.waitroom.admission(room, on_progress=waiting):
            return await _inside(wanted, room, context, tracker)
    except asyncio.CancelledError:
        await context.requeue()  # this worker stops, another takes the job; raises NoResultError
        raise
    finally:
        in_hand.discard(task)


def standing(place: Waiting) -> dict[str, Any]:
    """What the waiting room said, for whoever asks for the job."""
    return {
        "room": place.room,
        "rank": place.rank,
        "waiting": place.room_waiting,
        "eta_seconds": place.eta_seconds,
        "eta_low_seconds": place.eta_low_seconds,
        "eta_high_seconds": place.eta_high_seconds,
    }


async def _inside(
    order: Order, room: str, context: Context, tracker: ProgressTracker[dict[str, Any]]
) -> dict[str, Any]:
    """One attempt, by a job that holds a place."""
    name, labels = context.message.task_id, context.message.labels
    attempt = await ledger.attempt(name)
    if attempt > MAX_ATTEMPTS:
        raise GaveUp(f"begun {MAX_ATTEMPTS} times, and not every attempt ended: a worker died in it")
    labels["attempt"] = attempt  # labels go along to the next attempt and into the outcome
    labels.setdefault("started_at", now())

    async def progress(percent: int) -> None:
        await tracker.set_progress("running", {"room": room, "attempt": attempt, "progress": percent})

    await ledger.note(name, "begin", room=room, attempt=attempt, worker=os.getpid())
    try:
        async with asyncio.timeout(WORK_SECONDS):
            picture = await draw(order, attempt=attempt, fault_rate=settings.fault_rate, progress=progress)
    finally:
        await ledger.note(name, "end", room=room, attempt=attempt, worker=os.getpid())
        labels["finished_at"] = now()
    return {"picture": base64.b64encode(picture).decode()}


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_worker(state: TaskiqState) -> None:
    """What a worker process needs besides the library."""
    state.in_hand = set()
    state.opened = AsyncExitStack()
    state.opened.push_async_callback(ledger.close)
    state.waitroom = await state.opened.enter_async_context(WaitroomClient(settings.waitroom_url))
    state.holding = asyncio.create_task(broker.hold())


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close_worker(state: TaskiqState) -> None:
    """Give back what has not ended in the time that `--wait-tasks-timeout` gave: places and jobs."""
    state.holding.cancel()
    for task in state.in_hand:
        task.cancel()
    await asyncio.gather(*state.in_hand, return_exceptions=True)
    await state.opened.aclose()
