"""Where faults happen: a Redis with an append-only file, a line to it, instances, and a crowd that lives through it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from loadtest.rules import Rules
from rig.faults import Ground
from rig.instance import in_group, serving
from rig.line import Line
from rig.ports import free_port
from rig.servers import Server
from rig.waiting import eventually
from tests.faults.crowd import Forger, Guest, Journal, Prober, ended
from tests.faults.scrape import Scraper
from tests.system.outage import Follower, following

#: Whether faults last as long as they do for operators: `make failures`.
LONG: Final = os.environ.get("WAITROOM_FAULTS") == "long"


def lasting(short: float, long: float) -> float:
    """How long a fault lasts, in seconds: short within the suite, long for the table."""
    return long if LONG else short


#: The room: brisk, and every limit is in force.
ROOM: Final[dict[str, Any]] = {
    "capacity": 6,
    "admit_per_second": 20,
    "session_seconds": 300,
    "claim_seconds": lasting(3, 6),
    "abandon_seconds": lasting(9, 45),
    "ticket_seconds": 600,
}

#: What the instances are told beside the rooms.
_VARIABLES: Final = {
    "WAITROOM_REDIS_TIMEOUT_SECONDS": "0.4",
    "WAITROOM_LEASE_SECONDS": "1",
    "WAITROOM_TICK_SECONDS": "0.1",
}

#: WAITROOM_REDIS_TIMEOUT_SECONDS for faults that cost no visitor a 503: a busy machine must not do so either.
UNHURRIED: Final = "10"

_SERVER: Final = (
    *("--bind", "127.0.0.1"),
    *("--save", ""),
    *("--appendonly", "yes"),
    *("--appendfsync", "everysec"),
    *("--daemonize", "no"),
    *("--maxmemory-policy", "noeviction"),
    # Seen by nobody, and it would write to the disk that one test fills.
    *("--auto-aof-rewrite-percentage", "0"),
)

#: Seconds that a run may take, faults and recovery included.
DEADLINE_SECONDS: Final = 120.0


@asynccontextmanager
async def redis_server(folder: Path, *settings: str, **more: Any) -> AsyncIterator[Server]:
    """A server with an append-only file in that folder; `more` is the Server's own."""
    server = Server(folder, *_SERVER, *settings, port=free_port(), **more)
    await asyncio.to_thread(server.start)
    try:
        yield server
    finally:
        await asyncio.to_thread(server.kill)


@dataclass(kw_only=True)
class Stage(Ground):
    """All that a fault can be done to."""

    folder: Path
    watch: Follower
    scraper: Scraper
    room: dict[str, Any]
    journal: Journal = field(default_factory=Journal)
    #: The cookies of somebody who has a place.
    cookie: str = ""
    #: When the leader was lost, on the monotonic clock.
    lost_at: float = 0.0

    @property
    def rules(self) -> Rules:
        """What the visitors are promised."""
        return Rules(**{name: self.room[name] for name in Rules.__dataclass_fields__ if name in self.room})

    async def led(self) -> None:
        """Wait until the scheduler of an instance acts."""

        async def leads() -> bool:
            return any(await asyncio.gather(*(asyncio.to_thread(each.leads) for each in self.instances)))

        await eventually(leads, "a leader")

    def logged(self, text: str) -> bool:
        """Whether an instance has logged that."""
        return any(text in each.said() for each in self.instances)


@asynccontextmanager
async def staged(
    folder: Path,
    *,
    instances: int = 2,
    settings: tuple[str, ...] = (),
    started_by: tuple[str, ...] = (),
    binary: Path | None = None,
    room: Mapping[str, Any] | None = None,
    replica: bool = False,
    group: Path | None = None,
    each: Sequence[Mapping[str, str]] = (),
    **variables: str,
) -> AsyncIterator[Stage]:
    """A Redis, the line, and instances at the end of it, all with one room, `shop`; with `replica` Redis has one.

    `variables` are the instances' environment, `each` is more of every single one's; the first runs in the control
    group.
    """
    made = {**ROOM, **(room or {})}
    async with AsyncExitStack() as stack:
        (folder / "redis").mkdir(exist_ok=True)
        redis = await stack.enter_async_context(
            redis_server(folder / "redis", *settings, started_by=started_by, binary=binary)
        )
        follower = await stack.enter_async_context(_replica(folder, redis)) if replica else None
        line = await stack.enter_async_context(Line(redis.url))
        served = [
            serving(
                folder,
                rooms={"shop": made},
                redis_url=line.url,
                prefix=in_group(group) if group and not number else (),
                **{**_VARIABLES, **variables, **more},
            )
            for number, more in enumerate(each or [{}] * instances)
        ]
        # In threads: the line to their Redis runs here.
        stack.push_async_callback(lambda: asyncio.gather(*(asyncio.to_thread(each.stop) for each in served)))
        await asyncio.gather(*(asyncio.to_thread(each.__enter__) for each in served))
        watch = Follower("shop", [each.port for each in (redis, follower) if each], pause_seconds=0.02)
        scraper = Scraper({chr(ord("a") + number): one.port for number, one in enumerate(served)})
        await stack.enter_async_context(following(watch))
        await stack.enter_async_context(scraper.running())
        stage = Stage(redis=redis, line=line, instances=served, folder=folder, watch=watch, scraper=scraper, room=made)
        if follower:
            stage.replica = follower
        if group:
            stage.group = group
        yield stage


@asynccontextmanager
async def _replica(folder: Path, redis: Server) -> AsyncIterator[Server]:
    (folder / "replica").mkdir()
    settings = ("--replicaof", f"127.0.0.1 {redis.port}", "--repl-diskless-sync-delay", "0")
    async with redis_server(folder / "replica", *settings) as made:
        await eventually(lambda: made.ask("INFO", "replication")["master_link_status"] == "up", "the replica")
        yield made


@dataclass
class Run:
    """What a crowd has lived through. `began` and `lifted` are when the fault came and went, on both clocks."""

    stage: Stage
    guests: list[Guest] = field(default_factory=list)
    began: float = 0.0
    lifted: float = 0.0
    lifted_monotonic: float = 0.0
    began_monotonic: float = 0.0

    @property
    def journal(self) -> Journal:
        """What the visitors asked and were told."""
        return self.stage.journal

    @property
    def told_to_wait(self) -> int:
        """Answers 503."""
        return sum(guest.told_to_wait for guest in self.guests)


#: A fault: it is there for the length of the block.
Fault = Callable[[Stage], AbstractAsyncContextManager[Any]]


async def live_through(
    stage: Stage, fault: Fault, *, size: int = 24, seconds: float = 1.5, probing: bool = True
) -> Run:
    """A crowd of which a part enters before the fault, a part during it and a part after it; all get in and leave.

    The fault lasts at least so many seconds. `probing`: somebody enters again and again, and so sees at once when
    it is over.
    """
    run = Run(stage)
    ports = [served.port for served in stage.instances]

    def guest(kind: type[Guest], number: int) -> Guest:
        made = kind(f"{kind.habit}-{number}", ports, "shop", run.journal, seed=number)
        run.guests.append(made)
        return made

    early, during, late = ([guest(Guest, number) for number in range(start, size, 3)] for start in range(3))
    probers = [guest(Prober, size)] if probing else []
    forgers = [guest(Forger, size + 1), guest(Forger, size + 2)]
    others: list[asyncio.Task[None]] = []
    try:
        async with asyncio.timeout(DEADLINE_SECONDS), asyncio.TaskGroup() as visits:
            others += [asyncio.create_task(each.visit()) for each in probers]
            visits_of = [visits.create_task(each.visit()) for each in early]
            await asyncio.gather(*(each.entered.wait() for each in (*early, *probers)))
            others += [asyncio.create_task(each.visit()) for each in forgers]
            await eventually(lambda: sum(each.inside for each in early) >= 2, "the admission of the first two")
            cookies = [cookie for each in probers for cookie in each.browser.cookies.items()]
            stage.cookie = "; ".join(f"{name}={value}" for name, value in cookies)
            run.began, run.began_monotonic = run.journal.now(), time.monotonic()
            async with fault(stage):
                visits_of += [visits.create_task(each.visit()) for each in during]
                await asyncio.sleep(seconds)
            run.lifted, run.lifted_monotonic = run.journal.now(), time.monotonic()
            visits_of += [visits.create_task(each.visit()) for each in late]
            await asyncio.wait(visits_of)
            await eventually(lambda: run.journal.good("enter", since=run.lifted) < float("inf"), "an entry")
    finally:
        await ended(others, run.guests)
    return run
