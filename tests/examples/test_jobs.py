"""The job service of examples/jobs, with all its processes."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx
import pytest
from redis.asyncio import Redis
from rich.console import Console
from taskiq import ScheduledTask
from taskiq_redis import ListRedisScheduleSource

from examples.jobs import report
from examples.jobs.ledger import most_at_once, runs
from examples.jobs.settings import CAPACITY, CONCURRENCY, EXPRESS_ROOM, MAX_ATTEMPTS, ROOM, Settings
from examples.jobs.stage import Service, running
from examples.jobs.tasks import PAUSES
from examples.jobs.work import Order
from rig.instance import IN_BACKGROUND
from rig.waiting import eventually, until
from tests.demo.table import alive, descendants
from waitroom.demo.processes import free_port
from waitroom.store.keys import room_key

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

#: Seconds until something that must happen is taken for not happening.
DEADLINE_SECONDS: Final = 60.0

PAUSE_SECONDS: Final = 0.5
KEEP_SECONDS: Final = 300

Document = dict[str, Any]
T = TypeVar("T")


class Client:
    """A client of the service that also looks behind it."""

    def __init__(self, http: httpx.AsyncClient, tasks: Redis, rooms: Redis) -> None:
        self.http = http
        self.tasks = tasks
        self._rooms = rooms

    async def order(self, **order: Any) -> str:
        """Submit an order; the job's name."""
        answer = await self.http.post("/jobs", json=order)
        assert answer.status_code in (200, 202), answer.text
        return str(answer.json()["job"])

    async def get(self, job: str) -> Document:
        """The job's document."""
        answer = await self.http.get(f"/jobs/{job}")
        assert answer.status_code == 200, answer.text
        document: Document = answer.json()
        return document

    async def until(self, job: str, *states: str) -> Document:
        """The first document of the job in one of these states."""

        async def reached() -> Document | None:
            document = await self.get(job)
            return document if document["state"] in states else None

        return await eventually(reached, f"{job} {states}", seconds=DEADLINE_SECONDS)

    async def unknown(self, job: str) -> bool:
        """Whether the service knows nothing of the job."""
        return (await self.http.get(f"/jobs/{job}")).status_code == 404

    async def ended(self, jobs: list[str]) -> list[Document]:
        """How each of the jobs ended."""
        return [await self.until(job, "done", "failed") for job in jobs]

    async def log(self, jobs: list[str]) -> list[dict[str, str]]:
        """The log of these jobs' runs."""
        return [run for run in await runs(self.tasks) if run["job"] in jobs]

    async def inside(self) -> int:
        """How many places are taken in both rooms, at this moment."""
        return sum([await self._rooms.zcard(room_key(room, "active")) for room in (ROOM, EXPRESS_ROOM)])


def begun(log: list[dict[str, str]]) -> list[str]:
    """The jobs in the order in which their runs began."""
    return [run["job"] for run in log if run["event"] == "begin"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The whole service; nothing fails unless it is told to."""
    folder = tmp_path_factory.mktemp("jobs")
    settings = {
        "JOBS_FAULT_RATE": "0",
        "JOBS_PAUSE_SECONDS": str(PAUSE_SECONDS),
        "JOBS_KEEP_SECONDS": str(KEEP_SECONDS),
        "JOBS_SILENT_SECONDS": "3",
    }
    with running(folder, settings=settings) as service:
        yield service


@pytest.fixture
async def client(service: Service) -> AsyncIterator[Client]:
    tasks = Redis.from_url(service.redis_url, decode_responses=True)
    rooms = Redis.from_url(service.redis_url, db=0, decode_responses=True)
    async with httpx.AsyncClient(base_url=service.url, timeout=30, trust_env=False) as http, tasks, rooms:
        yield Client(http, tasks, rooms)


async def test_all_are_done_and_never_more_than_five_at_once(client: Client) -> None:
    """Twelve at once, and three workers that each take any number; the last is watched on its way."""
    jobs = await asyncio.gather(*(client.order(seed=seed, express=seed % 5 == 4) for seed in range(11)))
    last = await client.order(seed=11)
    jobs.append(last)
    seen: dict[str, Document] = {}

    async def watched() -> Document | None:
        document = await client.get(last)
        if document["state"] != "waiting" or "rank" in document:
            seen[document["state"]] = document
        return document if document["state"] == "done" else None

    done = await eventually(watched, "the end of the last", seconds=DEADLINE_SECONDS)
    ended = await client.ended(jobs)
    assert [document["state"] for document in ended] == ["done"] * 12
    log = await client.log(jobs)
    assert sorted(begun(log)) == sorted(jobs)
    assert 1 < most_at_once(log) <= CONCURRENCY
    assert 1 <= seen["waiting"]["rank"] <= seen["waiting"]["waiting"] <= 12
    assert seen["waiting"]["eta_low_seconds"] <= seen["waiting"]["eta_seconds"] <= seen["waiting"]["eta_high_seconds"]
    assert 0 <= seen["running"]["progress"] < 100
    assert done["submitted_at"] <= done["started_at"] <= done["finished_at"]
    picture = await client.http.get(done["picture"])
    assert picture.headers["content-type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")


async def test_same_requests_run_once_and_are_answered_from_the_kept_result(client: Client) -> None:
    """Five at once are one job; the same request later, however it is written, gets the result and runs nothing."""
    jobs = await asyncio.gather(*(client.order(seed=100) for _ in range(5)))
    assert len(set(jobs)) == 1
    done = await client.until(jobs[0], "done")
    again = await client.http.post("/jobs", json={"failures": 0, "size": 192, "express": True, "seed": 100})
    assert (again.status_code, again.json()) == (200, done)
    assert begun(await client.log(jobs)) == [jobs[0]]
    assert 0 < await client.tasks.ttl(f"jobs:outcome:{jobs[0]}") <= KEEP_SECONDS


async def test_a_result_that_has_lapsed_may_be_asked_for_again(client: Client) -> None:
    job = await client.order(seed=150)
    await client.until(job, "done")
    await client.tasks.delete(f"jobs:outcome:{job}")  # what its time to live does in the end
    # Its run ends a moment after its result is there: until then the job is one that runs.
    await eventually(lambda: client.unknown(job), "the end of the run", seconds=DEADLINE_SECONDS)
    assert await client.order(seed=150) == job
    await client.until(job, "done")
    assert begun(await client.log([job])) == [job, job]


async def test_a_failing_job_is_tried_again_after_growing_pauses_and_its_failure_is_kept(client: Client) -> None:
    """It holds no place in the pauses. One that fails less often than it is tried is done."""
    mended, doomed = await client.order(seed=200, failures=2), await client.order(seed=201, failures=9)
    pauses: dict[int, float] = {}
    idle = 0
    while (document := await client.get(doomed))["state"] not in ("failed", "done"):
        if document["state"] == "pausing":
            pauses[document["attempt"]] = document["pause_seconds"]
            taken = await client.inside()
            both = [await client.get(job) for job in (mended, doomed)]
            if all(each["state"] in ("pausing", "done") for each in both) and both[1] == document:
                assert taken == 0
                idle += 1
        await asyncio.sleep(0.05)
    assert idle > 0
    assert document["state"] == "failed"
    assert document["attempts"] == MAX_ATTEMPTS
    assert document["reason"] == f"attempt {MAX_ATTEMPTS} at picture 201 failed half-way"
    assert sorted(pauses) == [1, 2, 3]
    for attempt, seconds in pauses.items():
        assert PAUSE_SECONDS * attempt <= seconds <= PAUSE_SECONDS * attempt + 1.05
    again = await client.http.post("/jobs", json={"seed": 201, "failures": 9})
    assert (again.status_code, again.json()) == (200, document)
    assert len(begun(await client.log([doomed]))) == MAX_ATTEMPTS
    done = await client.until(mended, "done", "failed")
    assert (done["state"], done["attempts"]) == ("done", 3)
    no_picture = await client.http.get(f"/jobs/{doomed}/picture")
    assert no_picture.status_code == 409


async def test_a_pause_that_ended_while_nobody_looked_is_found(engine: str, redis: Redis) -> None:
    """The scheduler was away, or looked a moment too late, in the next minute."""
    pauses = ListRedisScheduleSource(engine, prefix=PAUSES)
    ended = datetime.now(UTC) - timedelta(minutes=5)
    await pauses.add_schedule(ScheduledTask(task_name="draw", labels={}, args=[], kwargs={}, time=ended))
    assert [found.task_name for found in await pauses.get_schedules()] == ["draw"]
    await pauses._connection_pool.disconnect()  # the library leaves its connections open


async def test_an_express_job_overtakes_through_a_room_of_its_own(client: Client) -> None:
    """It is ordered last and begins before those who wait in the other room."""
    jobs = [await client.order(seed=300 + number) for number in range(CAPACITY + 4)]
    express = await client.order(seed=399, express=True)
    await client.ended([*jobs, express])
    order = begun(await client.log([*jobs, express]))
    assert len(order) == len(jobs) + 1
    assert order.index(express) <= CAPACITY


async def test_a_killed_worker_loses_neither_its_place_nor_its_jobs(client: Client) -> None:
    """SIGKILL in the middle of a run: another worker runs the job again, and the place comes back."""
    seeds = iter(range(400, 500))

    async def struck() -> tuple[str, dict[str, str]] | None:
        """Kill the worker of a run that has just begun; the job, and that run, unless it ended before that."""
        job = await client.order(seed=next(seeds))
        run = (await eventually(lambda: _log_of(client, job), f"a run of {job}", seconds=DEADLINE_SECONDS))[0]
        os.kill(int(run["worker"]), signal.SIGKILL)
        return None if len(await client.log([job])) > 1 else (job, run)

    job, run = await eventually(struck, "a worker killed at its work", seconds=DEADLINE_SECONDS)
    beside = [await client.order(seed=500 + number) for number in range(CAPACITY)]
    ended = await client.ended([job, *beside])
    assert [document["state"] for document in ended] == ["done"] * len(ended)
    log = await client.log([job])
    assert [entry["event"] for entry in log] == ["begin", "begin", "end"]
    assert log[1]["worker"] != run["worker"]
    assert ended[0]["attempts"] == 2

    async def free() -> bool:
        return await client.inside() == 0

    await eventually(free, "an empty room", seconds=DEADLINE_SECONDS)


async def test_a_stopped_worker_hands_its_jobs_to_the_others(client: Client) -> None:
    """SIGTERM: what runs may end, what waits goes back; nothing fails."""
    jobs = [await client.order(seed=700 + number) for number in range(12)]
    run = (await eventually(lambda: _log_of(client, jobs[0]), "a run", seconds=DEADLINE_SECONDS))[0]
    os.kill(int(run["worker"]), signal.SIGTERM)
    assert {document["state"] for document in await client.ended(jobs)} == {"done"}
    assert most_at_once(await client.log(jobs)) <= CONCURRENCY


async def test_a_job_that_takes_all_its_workers_with_it_has_failed(client: Client) -> None:
    """Attempts that never ended count, so the next one is not begun."""
    order = Order(seed=600)
    await client.tasks.set(f"jobs:attempts:{order.key()}", MAX_ATTEMPTS)
    job = await client.order(seed=600)
    document = await client.until(job, "failed", "done")
    assert (job, document["state"]) == (order.key(), "failed")
    assert "a worker died" in document["reason"]
    assert await client.log([job]) == []


async def _log_of(client: Client, job: str) -> list[dict[str, str]] | None:
    return await client.log([job]) or None


async def test_the_address_that_is_printed_answers_with_a_page(client: Client) -> None:
    """It asks for nothing from elsewhere, and each address that it asks for is the service's own."""
    answer = await client.http.get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert not re.search(r"https?:", answer.text)
    assert set(re.findall(r"fetch\([\"`](/[a-z]*)", answer.text)) == {"/numbers", "/jobs"}


async def test_the_numbers_say_how_both_rooms_stand(client: Client) -> None:
    """Workers, jobs inside and waiting, and when a new one would begin."""
    jobs = [await client.order(seed=800 + number) for number in range(CAPACITY + 3)]

    async def full() -> Document | None:
        document: Document = (await client.http.get("/numbers")).raise_for_status().json()
        return document if document["rooms"][0]["waiting"] else None

    document = await eventually(full, "jobs that wait", seconds=DEADLINE_SECONDS)
    assert document["workers"] >= 3
    first, express = document["rooms"]
    assert first.keys() == express.keys() == {"room", "inside", "waiting", "capacity", "eta_seconds"}
    assert (first["room"], first["inside"], first["capacity"]) == (ROOM, CAPACITY, CAPACITY)
    assert (express["room"], express["inside"], express["waiting"]) == (EXPRESS_ROOM, 0, 0)
    await client.ended(jobs)


@pytest.mark.parametrize(
    ("order", "field", "value"),
    [
        ({}, "seed", "nothing"),
        ({"seed": -1}, "seed", "-1"),
        ({"seed": 1.5}, "seed", "1.5"),
        ({"seed": "1"}, "seed", "1"),
        ({"seed": 1, "size": 100_000}, "size", "100000"),
        ({"seed": 1, "express": "yes"}, "express", "yes"),
        ({"seed": 1, "failures": None}, "failures", "nothing"),
        ({"seed": 1, "priority": 9}, "priority", "9"),
        ([1], "body", "[1]"),
    ],
)
async def test_a_bad_order_is_told_field_and_value(client: Client, order: object, field: str, value: str) -> None:
    answer = await client.http.post("/jobs", json=order)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert [(fault["field"], fault["value"]) for fault in document["errors"]] == [(field, value)]
    assert f"{field}: " in document["detail"]
    assert f"got {value}" in document["detail"]


async def test_what_is_no_order_at_all_gets_a_problem_document(client: Client) -> None:
    kind = {"Content-Type": "application/json"}
    answers = [
        (await client.http.post("/jobs", content=b'{"seed": 1', headers=kind), 400),
        (await client.http.post("/jobs", content=b'{"seed": 1}', headers={"Content-Type": "text/plain"}), 415),
        (await client.http.post("/jobs", content=b" " * 5000, headers=kind), 413),
        (await client.http.get("/jobs/0123456789abcdef"), 404),
        (await client.http.get("/jobs/0123456789abcdef/picture"), 404),
        (await client.http.get("/elsewhere"), 404),
        (await client.http.delete("/jobs"), 405),
    ]
    for answer, status in answers:
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status


async def test_the_report_measures_what_the_service_does(service: Service) -> None:
    (row,) = await report.measure(service, [(6, 3)], Console(quiet=True))
    assert (row.total, row.burst, row.done, row.attempts) == (6, 3, 6, 6)
    assert 1 <= row.at_once <= CONCURRENCY
    assert 0 <= row.mean_wait <= row.longest_wait < DEADLINE_SECONDS
    assert row.per_second > 0


def test_the_report_names_each_bar_that_is_missed() -> None:
    good = report.Row(100, 20, done=100, attempts=103, mean_wait=29.9, longest_wait=60, per_second=3.01, at_once=5)
    assert good.missed == []
    bad = report.Row(100, 20, done=99, attempts=103, mean_wait=30, longest_wait=60, per_second=3, at_once=6)
    assert bad.missed == [
        "100 jobs, 20 at once: success is not above 99%",
        "100 jobs, 20 at once: the mean wait is not under 30 s",
        "100 jobs, 20 at once: not more than 3 jobs per second",
        "100 jobs, 20 at once: more than 5 ran at once",
    ]
    many = report.Row(200, 50, done=200, attempts=203, mean_wait=31, longest_wait=60, per_second=3.5, at_once=5)
    assert many.missed == []
    console = Console(width=150, file=io.StringIO(), record=True)
    console.print(report.table([good, bad]))
    assert "29.9 s" in console.export_text()


def test_the_settings_come_from_the_environment() -> None:
    assert Settings.from_environment({}) == Settings()
    found = Settings.from_environment(
        {"JOBS_KEEP_SECONDS": "7", "JOBS_FAULT_RATE": "0.5", "JOBS_WAITROOM_URL": "http://w"}
    )
    assert found == Settings(keep_seconds=7, fault_rate=0.5, waitroom_url="http://w")
    with pytest.raises(ValueError, match="many"):
        Settings.from_environment({"JOBS_KEEP_SECONDS": "many"})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_the_command(tmp_path: Path, number: signal.Signals) -> None:
    """However it ends, every process that it started ends too; Ctrl-C ends it also where a shell has had it ignored."""
    output = tmp_path / "output"
    options = ("--port", str(free_port()), "--workers", "1")
    command = (*IN_BACKGROUND, sys.executable, "-m", "examples.jobs.run", *options)
    temporary = {"TMPDIR": str(tmp_path)}
    with (
        output.open("wb") as file,
        subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | temporary) as run,
    ):
        try:
            until(lambda: "Ctrl-C stops it" in output.read_text() or run.poll() is not None, "the start")
            family = descendants(run.pid)
            assert len(family) >= 8  # a store, waitroom, workers, scheduler and app, each with a guard
            run.send_signal(number)
            code = run.wait(30)
        finally:
            run.kill()
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0), output.read_text()
    until(lambda: not alive(family), "the end of all")
