"""What the scheduler sustains, how long a script call takes with a million waiting, and what idle rooms cost.

`python -m benchmarks.scheduler`; `--only drain calls` runs parts. Real instances on an embedded server that writes its
append-only file, as in operation, but does not rewrite it meanwhile.

drain    a room without limits is opened: admissions per second until nobody waits, CPU of instance and Redis for each
rate     the same with a rate of 100,000/s
calls    longest `admit` and `expire` with so many waiting, as the server's slow log has them
death    two instances, the leader is killed: the longest time without an admission
idle     what empty rooms cost the leader and Redis, as a share of a core
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import report, servers
from benchmarks.calls import Calls
from benchmarks.report import Row
from benchmarks.servers import ROOM, BenchmarkError
from rig import filling
from rig.accounting import accounted
from rig.embedded import Embedded
from rig.instance import Instance
from rig.waiting import until
from waitroom.model import Ticket
from waitroom.store import keys
from waitroom.store.store import MOST_MOVED, Store

WAIT: Final = keys.room_key(ROOM, "wait")

#: Rounds of calls, of each of which the longest is taken.
ROUNDS: Final = 5

#: The instances' default.
LEASE_SECONDS: Final = 3.0


@dataclass(frozen=True)
class Plan:
    """How many wait, how often a leader dies, how many rooms are idle for how long, and the parts that run."""

    waiting: int = 1_000_000
    deaths: int = 4
    idle_rooms: int = 60
    idle_seconds: float = 10.0
    only: tuple[str, ...] = ("drain", "rate", "calls", "death", "idle")


QUICK: Final = Plan(waiting=30_000, deaths=1, idle_seconds=0.5)


@dataclass(frozen=True)
class Bench:
    """Where a part runs, and how much it is asked for."""

    folder: Path
    redis: Embedded
    plan: Plan

    def instance(self, number: int = 0) -> Instance:
        """An instance, ready; `number` tells it from others."""
        return servers.instance(self.redis.url, self.folder, name=f"waitroom {number}")

    def fill(self, waiting: int, **settings: Any) -> list[Ticket]:
        """A paused room without limits in which so many wait; their tickets, first to last."""
        calm: dict[str, Any] = {"capacity": 0, "claim_seconds": 3600.0, "session_seconds": 300.0, "state": "paused"}
        places = servers.fill(self.redis, waiting, keep=waiting, **(calm | settings))
        self.redis.settle()
        return [filling.ticket_of(place) for place in sorted(places, key=lambda place: place.serial)]

    def open(self) -> None:
        """Let the room admit."""
        self.redis.client.hset(keys.room_key(ROOM, "config"), "state", "open")


def measure(plan: Plan) -> list[Row]:
    """The rows of each part, on an empty server of its own."""
    parts: dict[str, Callable[[Bench], list[Row]]] = {
        "drain": lambda bench: [_opened(bench, admit_per_second=0.0)],
        "rate": lambda bench: [_opened(bench, admit_per_second=100_000.0)],
        "calls": _calls,
        "death": _death,
        "idle": _idle,
    }
    rows = list[Row]()
    for name in plan.only:
        with servers.empty_redis() as (folder, redis):
            rows += [{"part": name, **row} for row in parts[name](Bench(folder, redis, plan))]
    return rows


def _opened(bench: Bench, *, admit_per_second: float) -> Row:
    """Fill a paused room, open it, and look on until it is empty."""
    waiting = bench.plan.waiting
    bench.fill(waiting, admit_per_second=admit_per_second)
    with bench.instance() as instance, accounted(instance, bench.redis) as bill:
        opened = time.monotonic()
        bench.open()
        while bench.redis.client.zcard(WAIT):
            time.sleep(0.02)
        took = time.monotonic() - opened
    used = bill.us_per(waiting)
    return {
        "room_rate_per_second": admit_per_second,
        "admitted": waiting,
        "seconds": round(took, 2),
        "admissions_per_second": round(waiting / took),
        "instance_us_per_admission": round(used[instance.name], 2),
        "redis_us_per_admission": round(used[bench.redis.name], 2),
    }


def _calls(bench: Bench) -> list[Row]:
    """Each kind of work of one call, of the size that the scheduler asks for, with so many waiting behind it."""
    tickets = bench.fill(bench.plan.waiting, claim_seconds=0.1, session_seconds=0.1)
    return asyncio.run(_measured_calls(bench.redis, tickets))


async def _measured_calls(redis: Embedded, tickets: list[Ticket]) -> list[Row]:
    # Whole calls in each round, so that each kind of work finds what the one before has left.
    whole = MOST_MOVED * ROUNDS
    head = min(100_000, len(tickets) // 5) // whole * whole
    rows = list[Row]()
    async with filling.opened(redis.url) as store:

        async def admit() -> int:
            before = int(redis.client.zcard(WAIT))
            return before - (await store.admit(ROOM, term=1)).waiting

        async def expire() -> int:
            done = await store.expire(ROOM, term=1)
            return done.abandoned + done.no_show + done.finished

        async def measured(name: str, call: Callable[[], Awaitable[int]]) -> None:
            rows.append({"call": name, **await _logged(redis, call, head)})

        await store.configure(ROOM, {"state": "open"}, expected=None)
        await measured("admit", admit)
        await asyncio.sleep(0.2)
        await measured("expire: no-shows", expire)
        await store.configure(ROOM, {"claim_seconds": "3600"}, expected=None)
        await _admitted_and_heard(store, tickets[head : 2 * head])
        await asyncio.sleep(0.2)
        await measured("expire: finished", expire)
        # Every second one of the head has gone silent.
        silent = {str(ticket.visitor): 1 for ticket in tickets[2 * head : 3 * head : 2]}
        redis.client.zadd(keys.room_key(ROOM, "seen"), silent)
        await measured("admit: half are silent", admit)
        await store.configure(ROOM, {"abandon_seconds": "0.1"}, expected=None)
        await measured("expire: silent", expire)
    return rows


async def _logged(redis: Embedded, call: Callable[[], Awaitable[int]], head: int) -> Row:
    """Calls until so many were moved; how long each took, as the server's slow log has it.

    That is time on the wall, in which a shared machine may do something else. So the longest call is taken of each of
    five rounds, and their median stands beside least and most; and `longest_cpu_ms` is the server's own account of the
    CPU time that the most expensive call took, with all that it did from before the call until after it.
    """
    calls, moved, waiting = Calls(redis), 0, redis.client.zcard(WAIT)
    rounds = list[list[int]]()
    for number in range(1, ROUNDS + 1):
        with calls.logged() as took:
            while moved < head * number / ROUNDS:
                done = await calls.call(call)
                if not done:
                    raise BenchmarkError(f"{moved} of {head} were moved, and nobody more can be")
                moved += done
        rounds.append(took)
    every, longest = [us / 1000 for took in rounds for us in took], [max(took) / 1000 for took in rounds]
    return {
        "waiting_at_start": waiting,
        "calls": len(every),
        "moved_per_call": round(moved / len(every)),
        "median_ms": round(statistics.median(every), 3),
        "p99_ms": round(statistics.quantiles(every, n=100, method="inclusive")[98], 3),
        "longest_ms": round(statistics.median(longest), 3),
        "longest_ms_spread": [round(min(longest), 3), round(max(longest), 3)],
        "longest_cpu_ms": round(calls.longest_cpu_us / 1000, 3),
        "us_per_visitor": round(sum(every) * 1000 / moved, 2),
    }


async def _admitted_and_heard(store: Store, tickets: list[Ticket]) -> None:
    """Let so many in, and have these, who are at the head, hear of it."""
    number = len(tickets)
    while number > 0:
        number -= len((await store.admit(ROOM, term=1, most=min(number, 500))).serials)
    for start in range(0, len(tickets), 500):
        await store.status(ROOM, tickets[start : start + 500])


def _death(bench: Bench) -> list[Row]:
    """Kill whoever leads, some times over; how long nobody is admitted then."""
    bench.fill(5_000, admit_per_second=50.0)
    bench.open()
    gaps = [_gap(bench) for _ in range(bench.plan.deaths)]
    return [
        {
            "deaths": len(gaps),
            "lease_seconds": LEASE_SECONDS,
            "gap_median_seconds": round(statistics.median(gaps), 2),
            "gap_longest_seconds": round(max(gaps), 2),
        }
    ]


def _gap(bench: Bench) -> float:
    state, client = keys.room_key(ROOM, "state"), bench.redis.client
    with bench.instance(1) as one, bench.instance(2) as two:
        leader, _ = _by_leading(one, two)
        time.sleep(0.5)
        leader.kill()
        last, longest, until = time.monotonic(), 0.0, time.monotonic() + LEASE_SECONDS + 2
        count = client.hget(state, "admitted")
        while time.monotonic() < until:
            if (now_at := client.hget(state, "admitted")) != count:
                count, longest, last = now_at, max(longest, time.monotonic() - last), time.monotonic()
            time.sleep(0.002)
    return max(longest, time.monotonic() - last)


def _idle(bench: Bench) -> list[Row]:
    """Two instances: what the leader uses more than the other is the scheduler's; both read every room each second."""
    rows, pause = list[Row](), bench.plan.idle_seconds
    for rooms in (1, bench.plan.idle_rooms):
        for number in range(rooms):
            servers.fill(bench.redis, room=f"empty{number}", state="open")
        with bench.instance(1) as one, bench.instance(2) as two:
            leader, other = _by_leading(one, two)
            time.sleep(min(1.5, pause))
            with accounted(leader, other, bench.redis) as bill:
                time.sleep(pause)
        leads, follows, redis = (100 * seconds / pause for seconds in bill.seconds.values())
        shares = {"leader": leads, "other": follows, "scheduler": leads - follows, "redis": redis}
        rows.append({"rooms": rooms, **{f"{who}_percent_of_core": round(share, 1) for who, share in shares.items()}})
    return rows


def _by_leading(one: Instance, two: Instance) -> tuple[Instance, Instance]:
    """The instance whose scheduler acts, and the other one."""
    leader = until(lambda: next((each for each in (one, two) if each.leads()), None), "a leader")
    return leader, two if leader is one else one


if __name__ == "__main__":
    report.run("scheduler", measure, Plan(), QUICK, description=__doc__)
