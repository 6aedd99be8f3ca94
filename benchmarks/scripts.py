"""What each script costs alone: µs per visitor against visitors per call and length of the queue; the longest call.

`python -m benchmarks.scripts`. No instance runs, so nothing else calls the server. `script_us` is the server's own
account of the time in the script (INFO commandstats), per visitor, or per call for those that take none; `redis_us` its
CPU time with reading, writing and the append-only file. The longest single call: `longest_cpu_ms` is the most CPU time
that the server's thread took for one, by the kernel's account; `longest_ms` what SLOWLOG says, on the wall's clock, so
that what else runs on the machine shows there.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from benchmarks import report, servers
from benchmarks.calls import SLOW_US, Calls
from benchmarks.figures import significant
from benchmarks.report import Row, say
from benchmarks.servers import ROOM
from rig import filling
from rig.cores import SERVER_CORE, on_core
from rig.embedded import Embedded
from waitroom.model import Marks, Pass, Ticket, Visitor
from waitroom.proofs.tickets import new_visitor
from waitroom.settings.room import RoomSettings, fields_of
from waitroom.store import keys
from waitroom.store.store import MOST_MOVED, Store


@dataclass(frozen=True)
class Plan:
    """How much is measured: how many wait, visitors per call, and visitors and calls of a script at most."""

    lengths: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    batches: tuple[int, ...] = (1, 8, 64, 128, 512)
    visitors: int = 16_384
    calls: int = 1_000


QUICK: Final = Plan(lengths=(1_000, 10_000), batches=(1, 64), visitors=4_096, calls=100)

#: Calls of each script that takes no visitors.
_LONE_CALLS: Final = 200

#: Visitors whom `admit` and `expire` move, per batch size and length, at most.
_MOVED: Final = 4_096

#: Share of the queue by which it may grow before the newcomers leave again.
_GROWTH: Final = 0.25

#: The room. An offer is good for as short as a room may have it, for `expire` to find something.
_CLAIM_SECONDS: Final = 1
_SETTINGS: Final[dict[str, Any]] = {"capacity": 0, "sliding": True, "claim_seconds": _CLAIM_SECONDS}


def measure(plan: Plan) -> list[Row]:
    """A row for each script, batch size and length."""
    # The caller must not push the server aside.
    with servers.empty_redis() as (_, redis), on_core(SERVER_CORE):
        return asyncio.run(_measure(redis, plan))


async def _measure(redis: Embedded, plan: Plan) -> list[Row]:
    rows = list[Row]()
    async with filling.opened(redis.url) as store:
        bench = Bench(redis, store, plan)
        await bench.begin()
        for length in plan.lengths:
            await bench.grow(length)
            for batch in plan.batches:
                rows += await bench.batch(batch)
            rows += await bench.alone()
            say(f"scripts: {length:,} waiting: done")
    return rows


@dataclass
class Tally(Calls):
    """What the calls of one script took."""

    calls: int = 0
    visitors: int = 0
    script_us: float = 0.0
    redis_us: float = 0.0
    longest_us: int = SLOW_US

    def row(self, script: str, *, waiting: int, batch: int) -> Row:
        """As a row of the report."""
        each = self.visitors or self.calls
        return {
            "script": script,
            "waiting": waiting,
            "batch": batch,
            "script_us": significant(self.script_us / each),
            "redis_us": significant(self.redis_us / each),
            "call_us": significant(self.script_us / self.calls),
            "longest_cpu_ms": significant(self.longest_cpu_us / 1000),
            "longest_ms": significant(self.longest_us / 1000),
            "calls": self.calls,
        }


@dataclass
class Bench:
    """One room on one server, its length, and those inside who use their passes."""

    redis: Embedded
    store: Store
    plan: Plan
    inside: list[Pass] = field(default_factory=list)
    waiting: int = 0
    tallies: dict[str, Tally] = field(default_factory=dict)

    async def begin(self) -> None:
        """Let as many in as fit into a call."""
        await filling.configure(self.store, ROOM, capacity=0)
        places = await filling.admitted(self.store, ROOM, max(self.plan.batches))
        self.inside = [Pass(place.visitor, place.expires_us / 1_000_000) for place in places]

    async def grow(self, length: int) -> None:
        """Let that many wait, and have the store at rest."""
        await filling.configure(self.store, ROOM, state="paused")
        await filling.enter(self.store, ROOM, length - self.waiting)
        await filling.configure(self.store, ROOM, **_SETTINGS)
        self.waiting = length
        self.redis.settle()

    async def batch(self, size: int) -> list[Row]:
        """Every script that takes visitors, with that many per call."""
        calls = min(self.plan.calls, max(1, self.plan.visitors // size))
        tickets = filling.tickets_of_waiting(self.redis.client, ROOM, self.plan.visitors)
        random.Random(1).shuffle(tickets)
        await self._come_and_go("enter", size, calls, lambda: (new_visitor(), None))
        await self._come_and_go("enter, restored", size, calls, self._returning)
        batches = _batches(tickets, size, calls)
        watched = [[(ticket.visitor, ticket.serial) for ticket in each] for each in batches]
        await self._called("status", [partial(self.store.status, ROOM, each) for each in batches], size)
        await self._called("look", [partial(self.store.look, ROOM, each) for each in watched], size)
        passes = _batches(self.inside, size, calls)
        await self._called("extend", [partial(self.store.extend, ROOM, each) for each in passes], size)
        # Offers to the head of the queue, which nobody claims; then as many enter again.
        most = min(size, MOST_MOVED)
        moves = max(1, min(calls, _MOVED // size, self.waiting // 2 // size))
        await self._called("admit", moves * [partial(self.store.admit, ROOM, term=1, most=most)], most)
        await asyncio.sleep(_CLAIM_SECONDS + 0.05)
        await self._called("expire", moves * [partial(self.store.expire, ROOM, term=1, most=most)], most)
        await filling.enter(self.store, ROOM, most * moves)
        return self._rows(size)

    async def alone(self) -> list[Row]:
        """The scripts that take no visitors."""
        version = (await self.store.read(ROOM)).version
        same = fields_of(RoomSettings(**filling.LASTING, **_SETTINGS))
        calls: dict[str, Callable[[int], Awaitable[Any]]] = {
            "read": lambda _: self.store.read(ROOM),
            "lease": lambda _: self.store.lease("hold", "benchmark", ttl_seconds=60),
            "configure": lambda at: self.store.configure(ROOM, same, expected=version + at, marks=Marks()),
        }
        for script, call in calls.items():
            await self._called(script, [partial(call, at) for at in range(_LONE_CALLS)])
        return self._rows(1)

    def _rows(self, size: int) -> list[Row]:
        tallies, self.tallies = self.tallies, {}
        return [tally.row(script, waiting=self.waiting, batch=size) for script, tally in tallies.items()]

    def _returning(self) -> tuple[Visitor, Ticket]:
        """Somebody whose place is gone from the store, and whose ticket says where it was."""
        now_us = self.store.clock.now_us()
        return new_visitor(), Ticket(new_visitor(), now_us - random.randrange(1, 10_000_000), now_us)

    async def _come_and_go(
        self, script: str, size: int, calls: int, arrival: Callable[[], tuple[Visitor, Ticket | None]]
    ) -> None:
        """Some enter and leave again, so that the queue stays as long as it is."""
        at_once = max(1, int(self.waiting * _GROWTH) // size)
        for start in range(0, calls, at_once):
            arrivals = [[arrival() for _ in range(size)] for _ in range(min(at_once, calls - start))]
            places = await self._called(script, [partial(self.store.enter, ROOM, each) for each in arrivals], size)
            gone = [[place.visitor for place in each] for each in places]
            await self._called("leave", [partial(self.store.leave, ROOM, each) for each in gone], size)
        # Their marks would add up over the run.
        self.redis.client.delete(keys.room_key(ROOM, "used"))

    async def _called(self, script: str, calls: Sequence[Callable[[], Awaitable[Any]]], size: int = 0) -> list[Any]:
        """Their results; what the server took for them is added to the script's tally."""
        tally = self.tallies.setdefault(script, Tally(self.redis))
        with tally.logged() as took:
            script_before, redis_before = self._script_us(), self.redis.cpu_seconds()
            results = [await tally.call(call) for call in calls]
            tally.redis_us += (self.redis.cpu_seconds() - redis_before) * 1_000_000
            tally.script_us += self._script_us() - script_before
        tally.longest_us = max(tally.longest_us, *took, 0)
        tally.calls += len(calls)
        tally.visitors += size * len(calls)
        return results

    def _script_us(self) -> float:
        stats = self.redis.info("commandstats")
        return sum(float(stats[name]["usec"]) for name in ("cmdstat_evalsha", "cmdstat_eval") if name in stats)


def _batches(those: Sequence[Any], size: int, calls: int) -> list[list[Any]]:
    """So many batches of them, again and again in turn."""
    turns = itertools.cycle(those)
    return [list(itertools.islice(turns, size)) for _ in range(calls)]


if __name__ == "__main__":
    report.run("scripts", measure, Plan(), QUICK, description=__doc__)
