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
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks import report
from benchmarks.figures import significant
from benchmarks.report import Options, Row, say
from rig import accounting, filling
from rig.cores import SERVER_CORE, on_core
from rig.embedded import Embedded
from waitroom.model import Marks, Pass, Ticket
from waitroom.proofs.tickets import new_visitor
from waitroom.settings.room import RoomSettings, fields_of
from waitroom.store import keys
from waitroom.store.store import MOST_MOVED, Store

ROOM: Final = "shop"
LENGTHS: Final = (1_000, 10_000, 100_000, 1_000_000)
BATCHES: Final = (1, 8, 64, 128, 512)

#: Visitors per script, batch size and length at most, and calls.
_VISITORS, _CALLS = 16_384, 1_000

#: Calls of each script that takes no visitors.
_LONE_CALLS: Final = 200

#: Visitors whom `admit` and `expire` move, per batch size and length, at most.
_MOVED: Final = 4_096

#: Share of the queue by which it may grow before the newcomers leave again.
_GROWTH: Final = 0.25

#: µs from which SLOWLOG notes a call. It would note what the scripts call as well, and that costs time: few of those
#: take as long as this.
_SLOW_US: Final = 30

#: Seconds that an offer is good for: as short as a room may have it, for `expire` to find something.
_CLAIM_SECONDS: Final = 1


def main() -> None:
    """Measure and print."""
    report.run("scripts", measure, description=__doc__)


def measure(options: Options) -> list[Row]:
    """A row for each script, batch size and length."""
    lengths, batches = ((1_000, 10_000), (1, 64)) if options.quick else (LENGTHS, BATCHES)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="waitroom-bench-"))
        redis = stack.enter_context(Embedded(Path(folder)))
        # The caller must not push the server aside.
        stack.enter_context(on_core(SERVER_CORE))
        return asyncio.run(_measure(redis, options, lengths, batches))


async def _measure(redis: Embedded, options: Options, lengths: Sequence[int], batches: Sequence[int]) -> list[Row]:
    rows = list[Row]()
    async with filling.opened(redis.url) as store:
        bench = await Bench.made(redis, store)
        for length in lengths:
            await bench.grow(length)
            for batch in batches:
                rows += await bench.batch(batch)
            rows += await bench.alone()
            say(f"scripts: {length:,} waiting: done")
    return rows


@dataclass
class Tally:
    """What the calls of one script took."""

    calls: int = 0
    visitors: int = 0
    script_us: float = 0.0
    redis_us: float = 0.0
    longest_us: int = _SLOW_US
    longest_cpu_us: float = 0.0

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
    inside: list[Pass]
    waiting: int = 0
    tallies: dict[str, Tally] = field(default_factory=dict)

    @classmethod
    async def made(cls, redis: Embedded, store: Store) -> Bench:
        """With as many inside as fit into a call."""
        await filling.configure(store, ROOM, capacity=0)
        places = await filling.admitted(store, ROOM, BATCHES[-1])
        return cls(redis, store, [Pass(place.visitor, place.expires_us / 1_000_000) for place in places])

    async def grow(self, length: int) -> None:
        """Let that many wait, and have the store at rest."""
        await filling.configure(self.store, ROOM, state="paused")
        await filling.enter(self.store, ROOM, length - self.waiting)
        await filling.configure(self.store, ROOM, capacity=0, sliding=True, claim_seconds=_CLAIM_SECONDS)
        self.waiting = length
        self.redis.settle()

    async def batch(self, size: int) -> list[Row]:
        """Every script that takes visitors, with that many per call."""
        self.tallies = {}
        tickets = filling.tickets_of_waiting(self.redis.client, ROOM, _VISITORS)
        random.Random(1).shuffle(tickets)
        await self._come_and_go("enter", size, self._newcomer)
        await self._come_and_go("enter, restored", size, self._returning)
        await self._asked(size, tickets)
        await self._used(size)
        await self._moved(size)
        return [tally.row(script, waiting=self.waiting, batch=size) for script, tally in self.tallies.items()]

    async def alone(self) -> list[Row]:
        """The scripts that take no visitors."""
        self.tallies = {}
        version = (await self.store.read(ROOM)).version
        same = fields_of(RoomSettings(**filling.LASTING, capacity=0, sliding=True, claim_seconds=_CLAIM_SECONDS))
        calls: dict[str, Callable[[int], Awaitable[Any]]] = {
            "read": lambda _: self.store.read(ROOM),
            "lease": lambda _: self.store.lease("hold", "benchmark", ttl_seconds=60),
            "configure": lambda at: self.store.configure(ROOM, same, expected=version + at, marks=Marks()),
        }
        for script, call in calls.items():
            await self._called(script, [partial(call, at) for at in range(_LONE_CALLS)])
        return [tally.row(script, waiting=self.waiting, batch=1) for script, tally in self.tallies.items()]

    def _newcomer(self) -> tuple[Any, Ticket | None]:
        return new_visitor(), None

    def _returning(self) -> tuple[Any, Ticket | None]:
        """Somebody whose place is gone from the store, and whose ticket says where it was."""
        now_us = self.store.clock.now_us()
        serial = now_us - random.randrange(1, 10_000_000)
        return new_visitor(), Ticket(new_visitor(), serial, now_us)

    async def _come_and_go(self, script: str, size: int, arrival: Callable[[], tuple[Any, Ticket | None]]) -> None:
        """Some enter and leave again, so that the queue stays as long as it is."""
        calls = min(_CALLS, _VISITORS // size)
        at_once = max(1, int(self.waiting * _GROWTH) // size)
        for start in range(0, calls, at_once):
            arrivals = [[arrival() for _ in range(size)] for _ in range(min(at_once, calls - start))]
            places = await self._called(script, [partial(self.store.enter, ROOM, each) for each in arrivals], size)
            gone = [[place.visitor for place in each] for each in places]
            await self._called("leave", [partial(self.store.leave, ROOM, each) for each in gone], size)
        # Their marks would add up over the run.
        self.redis.client.delete(keys.room_key(ROOM, "used"))

    async def _asked(self, size: int, tickets: list[Ticket]) -> None:
        calls, asking = min(_CALLS, _VISITORS // size), itertools.cycle(tickets)
        batches = [list(itertools.islice(asking, size)) for _ in range(calls)]
        await self._called("status", [partial(self.store.status, ROOM, each) for each in batches], size)
        watched = [[(ticket.visitor, ticket.serial) for ticket in each] for each in batches]
        await self._called("look", [partial(self.store.look, ROOM, each) for each in watched], size)

    async def _used(self, size: int) -> None:
        calls, passes = min(_CALLS, _VISITORS // size), itertools.cycle(self.inside)
        batches = [list(itertools.islice(passes, size)) for _ in range(calls)]
        await self._called("extend", [partial(self.store.extend, ROOM, each) for each in batches], size)

    async def _moved(self, size: int) -> None:
        """Offers to the head of the queue, which nobody claims; then as many enter again."""
        most = min(size, MOST_MOVED)
        calls = max(1, min(_CALLS, _MOVED // size, self.waiting // 2 // size))
        await self._called("admit", calls * [partial(self.store.admit, ROOM, term=1, most=most)], most)
        await asyncio.sleep(_CLAIM_SECONDS + 0.05)
        await self._called("expire", calls * [partial(self.store.expire, ROOM, term=1, most=most)], most)
        await filling.enter(self.store, ROOM, most * calls)

    async def _called(self, script: str, calls: Sequence[Callable[[], Awaitable[Any]]], size: int = 0) -> list[Any]:
        """Their results; what the server took for them is added to the script's tally."""
        tally = self.tallies.setdefault(script, Tally())
        results = list[Any]()
        client = self.redis.client
        client.config_set("slowlog-log-slower-than", _SLOW_US)
        client.config_set("slowlog-max-len", 10 * len(calls) + 100)
        client.slowlog_reset()
        script_before, redis_before = self._script_us(), self.redis.cpu_seconds()
        for call in calls:
            before = accounting.thread_cpu_us(self.redis.pid)
            results.append(await call())
            tally.longest_cpu_us = max(tally.longest_cpu_us, accounting.thread_cpu_us(self.redis.pid) - before)
        tally.redis_us += (self.redis.cpu_seconds() - redis_before) * 1_000_000
        tally.script_us += self._script_us() - script_before
        client.config_set("slowlog-log-slower-than", -1)
        tally.longest_us = max(tally.longest_us, self._longest_us())
        tally.calls += len(calls)
        tally.visitors += size * len(calls)
        return results

    def _script_us(self) -> float:
        stats = self.redis.info("commandstats")
        return sum(float(stats[name]["usec"]) for name in ("cmdstat_evalsha", "cmdstat_eval") if name in stats)

    def _longest_us(self) -> int:
        entries = self.redis.client.slowlog_get(100_000)
        return max(
            (int(entry["duration"]) for entry in entries if bytes(entry["command"]).startswith(b"EVAL")), default=0
        )


if __name__ == "__main__":
    main()
