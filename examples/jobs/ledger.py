"""What is known of each job: that it was asked for, how it gets on, and how it ended, until that lapses.

The task library keeps progress and outcome. Beside them a *claim* per job, from submission until the outcome is kept,
makes one run of any number of same requests; a counter of attempts outlives the workers; and a log of runs says
afterwards how many went on at once.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal

from redis.asyncio import Redis
from taskiq import AsyncResultBackend, TaskiqResult
from taskiq.depends.progress_tracker import TaskProgress
from taskiq_redis.exceptions import ResultIsMissingError

#: Seconds that a claim without a task behind it lasts: its submitter died between the two.
SUBMIT_SECONDS: Final = 30

#: Seconds after which a job that never ended is forgotten.
PENDING_SECONDS: Final = 24 * 3600

#: The log of runs, a stream, and how many entries it holds at least.
RUNS: Final = "jobs:runs"
_RUNS_KEPT: Final = 20_000


@dataclass(frozen=True)
class Standing:
    """Where a job stands: `outcome` once it has ended, else `progress`, None before a worker has it."""

    progress: TaskProgress[dict[str, Any]] | None
    outcome: TaskiqResult[dict[str, Any]] | None


class Ledger:
    """The book of jobs, on the Redis of the task library."""

    def __init__(self, redis_url: str, backend: AsyncResultBackend[Any]) -> None:
        self._redis = Redis.from_url(redis_url, decode_responses=True)
        self._backend = backend

    async def close(self) -> None:
        """Let go of the connections."""
        await self._redis.aclose()

    async def claim(self, job: str) -> bool:
        """Whether the caller, and nobody else, is to start this job; it then calls `started` or `disclaim`."""
        if not await self._redis.set(_claim(job), "submitted", nx=True, ex=SUBMIT_SECONDS):
            return False
        if not await self._backend.is_result_ready(job):
            return True
        # It ended between the caller's look and the claim.
        await self.disclaim(job)
        return False

    async def started(self, job: str) -> None:
        """The task is with the task library: the claim lasts until it ends."""
        await self._redis.expire(_claim(job), PENDING_SECONDS)

    async def disclaim(self, job: str) -> None:
        """The outcome is kept, or there will be none: the claim goes, and so does the counter."""
        await self._redis.delete(_claim(job), _attempts(job))

    async def attempt(self, job: str) -> int:
        """The number of the attempt that begins now, from 1; also counts those whose worker died."""
        number: int = await self._redis.incr(_attempts(job))
        await self._redis.expire(_attempts(job), PENDING_SECONDS)
        return number

    async def standing(self, job: str) -> Standing | None:
        """Where the job stands; None for one that nobody asked for, or whose outcome has lapsed."""
        # In this order: the outcome is kept before the claim goes.
        claimed = await self._redis.exists(_claim(job))
        with suppress(ResultIsMissingError):
            return Standing(progress=None, outcome=await self._backend.get_result(job))
        return Standing(progress=await self._backend.get_progress(job), outcome=None) if claimed else None

    async def note(self, job: str, event: Literal["begin", "end"], **details: str | int) -> None:
        """Put the beginning or end of a run into the log."""
        entry: dict[Any, Any] = {"job": job, "event": event, **details}
        await self._redis.xadd(RUNS, entry, maxlen=_RUNS_KEPT)

    async def listening(self, stream: str, group: str) -> int:
        """How many workers have listened for jobs."""
        consumers: list[dict[str, Any]] = await self._redis.xinfo_consumers(stream, group)
        return len(consumers)


async def runs(redis: Redis) -> list[dict[str, str]]:
    """The log of runs, in order; the client answers in text."""
    entries: Any = await redis.xrange(RUNS)
    return [entry for _, entry in entries]


def most_at_once(log: list[dict[str, str]]) -> int:
    """The most jobs that ran at one time, by the log's order; a run that a worker's death cut off lasts to the next."""
    running: set[str] = set()
    most = 0
    for entry in log:
        if entry["event"] == "begin":
            running.add(entry["job"])
        else:
            running.discard(entry["job"])
        most = max(most, len(running))
    return most


def _claim(job: str) -> str:
    return f"jobs:claim:{job}"


def _attempts(job: str) -> str:
    return f"jobs:attempts:{job}"
