"""Where faults happen: a Redis with an append-only file, a line to it, instances, and a crowd that lives through it."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from loadtest.rules import Rules
from tests import topology
from tests.faults.crowd import Forger, Guest, Journal, Prober, ended
from tests.faults.proxy import Proxy, proxying
from tests.faults.scrape import Scraper
from tests.servers import any_binary
from tests.system.outage import Follower, following, until
from tests.system.processes import Served, serving
from tests.topology import Node, free_ports

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
    "abandon_seconds": 9,
    "ticket_seconds": 600,
}

#: What the instances are told beside the rooms.
_VARIABLES: Final = {
    "WAITROOM_REDIS_TIMEOUT_SECONDS": "0.4",
    "WAITROOM_LEASE_SECONDS": "1",
    "WAITROOM_TICK_SECONDS": "0.1",
}

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
async def redis_server(folder: Path, *settings: str, started_by: tuple[str, ...] = ()) -> AsyncIterator[Node]:
    """A server with an append-only file in that folder; it can be killed, frozen, and started again.

    `started_by` is the command that starts it, if it is not the program alone.
    """
    (port,) = free_ports(1)
    program, *words = started_by or (str(any_binary()),)
    node = Node(port, Path(program), (*words, "--port", str(port), *_SERVER, *settings), folder=str(folder))
    await asyncio.to_thread(node.start)
    try:
        yield node
    finally:
        await asyncio.to_thread(node.kill)


@asynccontextmanager
async def instance(redis_url: str, rooms: Mapping[str, Any], **variables: str) -> AsyncIterator[Served]:
    """A `waitroom serve`. It is waited for in a thread: the line to its Redis runs here."""
    stack = ExitStack()
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wr-")))
    starting = serving(folder, rooms=dict(rooms), redis_url=redis_url, **{**_VARIABLES, **variables})
    try:
        yield await asyncio.to_thread(stack.enter_context, starting)
    finally:
        await asyncio.to_thread(stack.close)


@dataclass
class Stage:
    """All that a fault can be done to."""

    folder: Path
    node: Node
    line: Proxy
    instances: list[Served]
    watch: Follower
    scraper: Scraper
    room: dict[str, Any]
    replica: Node | None = None
    journal: Journal = field(default_factory=Journal)

    @property
    def rules(self) -> Rules:
        """What the visitors are promised."""
        return Rules(**{name: self.room[name] for name in Rules.__dataclass_fields__ if name in self.room})

    async def leader(self) -> Served:
        """The instance whose scheduler acts; waits until there is one."""
        while True:
            for served in self.instances:
                if served.process.poll() is None and await asyncio.to_thread(served.is_leader):
                    return served
            await asyncio.sleep(0.05)

    def logged(self, text: str) -> bool:
        """Whether an instance has logged that."""
        return any(text in served.log.read_text(errors="replace") for served in self.instances)


@asynccontextmanager
async def staged(
    folder: Path,
    *,
    instances: int = 2,
    settings: tuple[str, ...] = (),
    started_by: tuple[str, ...] = (),
    room: Mapping[str, Any] | None = None,
    replica: bool = False,
    **variables: str,
) -> AsyncIterator[Stage]:
    """A Redis, the line, and instances at the end of it, all with one room, `shop`; with `replica` it has one."""
    made = {**ROOM, **(room or {})}
    async with AsyncExitStack() as stack:
        (folder / "redis").mkdir(exist_ok=True)
        node = await stack.enter_async_context(redis_server(folder / "redis", *settings, started_by=started_by))
        follower = await stack.enter_async_context(_replica(folder, node)) if replica else None
        line = await stack.enter_async_context(proxying(node.port))
        rooms = {"shop": made}
        served = await _together(stack, [instance(line.url, rooms, **variables) for _ in range(instances)])
        watch = Follower("shop", [each.port for each in (node, follower) if each], pause_seconds=0.02)
        scraper = Scraper({chr(ord("a") + number): one.port for number, one in enumerate(served)})
        await stack.enter_async_context(following(watch))
        await stack.enter_async_context(scraper.running())
        yield Stage(folder, node, line, served, watch, scraper, made, follower)


@asynccontextmanager
async def _replica(folder: Path, node: Node) -> AsyncIterator[Node]:
    (folder / "replica").mkdir()
    settings = ("--replicaof", f"127.0.0.1 {node.port}", "--repl-diskless-sync-delay", "0")
    async with redis_server(folder / "replica", *settings) as made:
        await asyncio.to_thread(
            topology.until, lambda: made.ask("INFO", "replication")["master_link_status"] == "up", "the replica"
        )
        yield made


async def _together(stack: AsyncExitStack, opening: list[AbstractAsyncContextManager[Served]]) -> list[Served]:
    """Open them all at once: each takes seconds to start."""
    opened = await asyncio.gather(*(each.__aenter__() for each in opening))
    for each in opening:
        stack.push_async_exit(each.__aexit__)
    return list(opened)


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


async def live_through(stage: Stage, fault: Fault, *, size: int = 24, seconds: float = 1.5) -> Run:
    """A crowd of which a part enters before the fault, a part during it and a part after it; all get in and leave.

    The fault lasts at least so many seconds, and until those have entered who could.
    """
    run = Run(stage)
    ports = [served.port for served in stage.instances]

    def guest(kind: type[Guest], number: int) -> Guest:
        made = kind(f"{kind.habit}-{number}", ports, "shop", run.journal, seed=number)
        run.guests.append(made)
        return made

    early, during, late = ([guest(Guest, number) for number in range(start, size, 3)] for start in range(3))
    others = [guest(Prober, size), guest(Forger, size + 1), guest(Forger, size + 2)]
    async with asyncio.timeout(DEADLINE_SECONDS), asyncio.TaskGroup() as visits:
        prober = [asyncio.create_task(others[0].visit())]
        visits_of = [visits.create_task(each.visit()) for each in early]
        await asyncio.gather(*(each.entered.wait() for each in (*early, others[0])))
        forgers = [asyncio.create_task(each.visit()) for each in others[1:]]
        await until(lambda: sum(each.inside for each in early) >= 2)
        run.began, run.began_monotonic = run.journal.now(), time.monotonic()
        async with fault(stage):
            visits_of += [visits.create_task(each.visit()) for each in during]
            await asyncio.sleep(seconds)
        run.lifted, run.lifted_monotonic = run.journal.now(), time.monotonic()
        visits_of += [visits.create_task(each.visit()) for each in late]
        await asyncio.wait(visits_of)
        await until(lambda: run.journal.good("enter", since=run.lifted) < float("inf"))
        await ended([*prober, *forgers], others)
    return run
