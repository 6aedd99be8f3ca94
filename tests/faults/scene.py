"""Where faults happen: a Redis with an append-only file, a line to it, instances, and a crowd that lives through it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from crowd.browser import Browser
from crowd.habits import Manner
from crowd.history import History, clock
from crowd.rules import Rules
from crowd.visitors import Visitor, ended
from crowd.watch import Watch, watching
from rig.faults import Ground
from rig.instance import in_group, serving
from rig.line import Line
from rig.ports import free_port
from rig.servers import ON_DISK, Server
from rig.waiting import eventually, until
from tests.faults.scrape import Scraper

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

#: Rewrites of its file are seen by nobody, and would write to the disk that one test fills.
_SERVER: Final = (*ON_DISK, "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")

#: Seconds after which a visitor gives an answer up and asks another instance.
PATIENCE_SECONDS: Final = 4.0

#: Seconds that a run may take, faults and recovery included.
DEADLINE_SECONDS: Final = 120.0


@dataclass(kw_only=True)
class Stage(Ground):
    """All that a fault can be done to."""

    folder: Path
    watch: Watch
    scraper: Scraper
    room: dict[str, Any]
    history: History = field(default_factory=History)
    #: The cookies of somebody who has a place.
    cookie: str = ""
    #: When the leader was lost, on the history's clock.
    lost_at: float = 0.0

    @property
    def rules(self) -> Rules:
        """What the visitors are promised."""
        return Rules.of(self.room)

    def visitor(self, habit: str, number: int, name: str = "") -> Visitor:
        """A visitor of the room who bears faults; the instances take turns as the first to be asked."""
        ports = [served.port for served in self.instances]
        turn = number % len(ports)
        browser = Browser([*ports[turn:], *ports[:turn]], tries=1, patience=PATIENCE_SECONDS)
        name = name or f"{habit}-{number}"
        manner = Manner(room="shop", gate="/gate/shop", pages=(1, 3), stay_seconds=0.3)
        return Visitor(name, browser, manner, self.history, habit=habit, seed=number)

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
        given: dict[str, Any] = {"started_by": started_by, "binary": binary}
        servers = [stack.enter_context(Server(folder / "redis", *_SERVER, *settings, port=free_port(), **given))]
        redis = servers[0]
        if replica:
            follow = ("--replicaof", f"127.0.0.1 {redis.port}", "--repl-diskless-sync-delay", "0")
            servers.append(stack.enter_context(Server(folder / "replica", *_SERVER, *follow, port=free_port())))
            until(lambda: servers[1].ask("INFO", "replication")["master_link_status"] == "up", "the replica")
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
        watch = Watch("shop", *(each.url for each in servers), pause_seconds=0.02)
        scraper = Scraper({chr(ord("a") + number): one.port for number, one in enumerate(served)})
        await stack.enter_async_context(watching(watch))
        await stack.enter_async_context(scraper.running())
        stage = Stage(redis=redis, line=line, instances=served, folder=folder, watch=watch, scraper=scraper, room=made)
        stage.replica = servers[-1]
        if group:
            stage.group = group
        yield stage


@dataclass
class Run:
    """What a crowd has lived through. `began` and `lifted` are when the fault came and went, on the history's clock."""

    stage: Stage
    crowd: list[Visitor] = field(default_factory=list)
    began: float = 0.0
    lifted: float = 0.0

    @property
    def history(self) -> History:
        """What the visitors asked and were told."""
        return self.stage.history

    @property
    def told_to_wait(self) -> int:
        """Answers 503."""
        return self.history.statuses[503]


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

    def come(habit: str, *numbers: int) -> list[Visitor]:
        came = [stage.visitor(habit, number) for number in numbers]
        run.crowd += came
        return came

    early, during, late = (come("patient", *range(start, size, 3)) for start in range(3))
    probers = come("prober", size) if probing else []
    forgers = come("intruder", size + 1, size + 2)
    others: list[asyncio.Task[None]] = []
    try:
        async with asyncio.timeout(DEADLINE_SECONDS), asyncio.TaskGroup() as visits:
            others += [asyncio.create_task(each.visit()) for each in probers]
            visits_of = [visits.create_task(each.visit()) for each in early]
            await eventually(lambda: all(each.entered for each in (*early, *probers)), "the first entries")
            others += [asyncio.create_task(each.visit()) for each in forgers]
            await eventually(lambda: sum(each.inside for each in early) >= 2, "the admission of the first two")
            stage.cookie = "; ".join(each.browser.cookies.header()["Cookie"] for each in probers)
            run.began = clock()
            async with fault(stage):
                visits_of += [visits.create_task(each.visit()) for each in during]
                await asyncio.sleep(seconds)
            run.lifted = clock()
            visits_of += [visits.create_task(each.visit()) for each in late]
            await asyncio.wait(visits_of)
            await eventually(lambda: run.history.good("enter", since=run.lifted) < float("inf"), "an entry")
    finally:
        await ended(others, run.crowd)
    return run
