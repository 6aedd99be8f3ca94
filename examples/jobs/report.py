"""`make jobs-report`: what the service does with 50, 100 and 200 jobs, 10, 20 and 50 submitted at once.

Everything runs for real: processes, waiting room, work with faults at random. Exit code 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx
from redis.asyncio import Redis
from rich.console import Console
from rich.table import Table

from examples.jobs.ledger import most_at_once, runs
from examples.jobs.settings import CONCURRENCY, Settings
from examples.jobs.stage import END_SIGNALS, Service, end_by_signals, running
from examples.jobs.work import LONGEST_SECONDS, SHORTEST_SECONDS
from waitroom.errors import WaitroomError

TOTALS: Final = (50, 100, 200)
BURSTS: Final = (10, 20, 50)

#: Seconds between two bursts.
BURST_SECONDS: Final = 1.0

#: One job in so many is in a hurry: as many as the hurried room's share of the places.
EXPRESS_EVERY: Final = 5

#: The bars: more than this share of jobs must end well, ...
SUCCESS: Final = 0.99
#: ... jobs must wait less than so many seconds in the mean, up to so many jobs, ...
MEAN_WAIT_SECONDS, MEAN_WAIT_JOBS = 30.0, 100
#: ... and more than so many must end per second.
JOBS_PER_SECOND: Final = 3.0

_COLUMNS = ("jobs", "at once", "done", "success", "attempts", "mean wait", "longest wait", "jobs/s", "most running")

#: Seconds that one job may take, the waiting included.
_PATIENCE: Final = 180.0


class ServiceError(WaitroomError):
    """The service does nothing that could be reported on."""


@dataclass(frozen=True)
class Row:
    """What came of so many jobs, submitted so many at once."""

    total: int
    burst: int
    done: int
    attempts: int
    mean_wait: float
    longest_wait: float
    per_second: float
    at_once: int

    @property
    def missed(self) -> list[str]:
        """The bars that this row missed, in words."""
        bars = {
            f"success is not above {SUCCESS:.0%}": self.done / self.total > SUCCESS,
            f"the mean wait is not under {MEAN_WAIT_SECONDS:.0f} s": self.total > MEAN_WAIT_JOBS
            or self.mean_wait < MEAN_WAIT_SECONDS,
            f"not more than {JOBS_PER_SECOND:.0f} jobs per second": self.per_second > JOBS_PER_SECOND,
            f"more than {CONCURRENCY} ran at once": self.at_once <= CONCURRENCY,
        }
        return [f"{self.total} jobs, {self.burst} at once: {missed}" for missed, kept in bars.items() if not kept]


def main() -> None:
    """Run what the command line asks for, print the table."""
    pairs = _pairs()
    console = Console()
    end_by_signals()
    try:
        with tempfile.TemporaryDirectory(prefix="waitroom-jobs-") as folder, running(Path(folder)) as service:
            rows = asyncio.run(_measure_until_told(service, pairs, console))
    except WaitroomError as error:
        sys.exit(str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("stopped before the end")
    console.print(table(rows))
    missed = [each for row in rows for each in row.missed]
    for each in missed:
        console.print(f"missed: {each}", highlight=False)
    sys.exit(1 if missed else 0)


async def _measure_until_told(service: Service, pairs: Sequence[tuple[int, int]], console: Console) -> list[Row]:
    """`measure`, until a signal asks to end: inside a loop it must not raise, but cancel."""
    measuring = asyncio.ensure_future(measure(service, pairs, console))
    for number in END_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, measuring.cancel)
    return await measuring


async def measure(service: Service, pairs: Sequence[tuple[int, int]], console: Console) -> list[Row]:
    """A row for each pair of total and burst, one after the other."""
    rows = []
    limits = httpx.Limits(max_connections=20)
    async with httpx.AsyncClient(base_url=service.url, timeout=30, trust_env=False, limits=limits) as client:
        for total, burst in pairs:
            console.print(f"{total} jobs, {burst} at once ...", highlight=False)
            rows.append(await _row(service, client, total, burst, console))
    return rows


async def _row(service: Service, client: httpx.AsyncClient, total: int, burst: int, console: Console) -> Row:
    async with Redis.from_url(service.redis_url, decode_responses=True) as redis:
        before = len(await runs(redis))
        jobs = await _all(client, total, burst)
        log = (await runs(redis))[before:]
    done = [job for job in jobs if job["state"] == "done"]
    for job in jobs:
        if job["state"] != "done":
            console.print(f"not done: {job}", markup=False, highlight=False)
    if not done:
        raise ServiceError(f"not one of {total} jobs was done")
    waits = [_seconds(job["submitted_at"], job["started_at"]) for job in done]
    first, last = min(job["submitted_at"] for job in done), max(job["finished_at"] for job in done)
    return Row(
        total=total,
        burst=burst,
        done=len(done),
        attempts=sum(run["event"] == "begin" for run in log),
        mean_wait=statistics.fmean(waits),
        longest_wait=max(waits),
        per_second=len(done) / _seconds(first, last),
        at_once=most_at_once(log),
    )


async def _all(client: httpx.AsyncClient, total: int, burst: int) -> list[dict[str, Any]]:
    """Submit bursts of new orders, a second apart, and wait for the end of each job; the last documents."""
    began, waiting = time.monotonic(), []
    for start in range(0, total, burst):
        await asyncio.sleep(began + start // burst * BURST_SECONDS - time.monotonic())
        orders = [_order(number) for number in range(start, min(start + burst, total))]
        waiting += [asyncio.create_task(_one(client, order)) for order in orders]
    return list(await asyncio.gather(*waiting))


def _order(number: int) -> dict[str, Any]:
    return {"seed": random.randrange(1_000_000_000), "express": number % EXPRESS_EVERY == EXPRESS_EVERY - 1}


async def _one(client: httpx.AsyncClient, order: dict[str, Any]) -> dict[str, Any]:
    """Submit one order and ask as often as told, as a client would, until it has ended or patience is over."""
    deadline = time.monotonic() + _PATIENCE
    answer = (await client.post("/jobs", json=order)).raise_for_status()
    document: dict[str, Any] = answer.json()
    while document["state"] not in ("done", "failed") and time.monotonic() < deadline:
        await asyncio.sleep(float(answer.headers["retry-after"]) * random.uniform(0.8, 1.2))
        answer = (await client.get(f"/jobs/{document['job']}")).raise_for_status()
        document = answer.json()
    return document


def _seconds(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def table(rows: Sequence[Row]) -> Table:
    """The rows for people to read."""
    shown = Table(
        title=f"Jobs of {SHORTEST_SECONDS} to {LONGEST_SECONDS} s at concurrency {CONCURRENCY}",
        caption=f"every {EXPRESS_EVERY}th job is express; of all attempts {Settings.fault_rate:.0%} fail at random; "
        f"wait: from submission to the first start; bursts {BURST_SECONDS:.0f} s apart",
    )
    for name in (
        "jobs",
        "at once",
        "done",
        "success",
        "attempts",
        "mean wait",
        "longest wait",
        "jobs/s",
        "most running",
    ):
        shown.add_column(name, justify="right")
    for row in rows:
        shown.add_row(
            str(row.total),
            str(row.burst),
            str(row.done),
            f"{row.done / row.total:.1%}",
            str(row.attempts),
            f"{row.mean_wait:.1f} s",
            f"{row.longest_wait:.1f} s",
            f"{row.per_second:.2f}",
            str(row.at_once),
        )
    return shown


def _pairs() -> list[tuple[int, int]]:
    parser = argparse.ArgumentParser(prog="jobs-report", description=__doc__)
    parser.add_argument("pairs", nargs="*", type=_pair, help="like 100/20: total and burst; default: all nine")
    given: list[tuple[int, int]] = parser.parse_args().pairs
    return given or [(total, burst) for total in TOTALS for burst in BURSTS]


def _pair(text: str) -> tuple[int, int]:
    total, _, burst = text.partition("/")
    if not (total.isdecimal() and burst.isdecimal() and int(total) and int(burst)):
        raise argparse.ArgumentTypeError(f"not total/burst, as 100/20 is: {text!r}")
    return int(total), int(burst)


if __name__ == "__main__":
    main()
