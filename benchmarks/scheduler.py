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

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import report, servers
from benchmarks.report import Options, Row
from benchmarks.servers import BenchmarkError
from rig import accounting, filling
from rig.accounting import accounted
from rig.embedded import Embedded
from rig.instance import Instance
from rig.waiting import until
from waitroom.model import Ticket
from waitroom.store import keys
from waitroom.store.store import MOST_MOVED, Store

ROOM: Final = "shop"
WAIT: Final = keys.room_key(ROOM, "wait")

#: µs from which SLOWLOG notes a call. It would note what the scripts call as well, and that costs them time: few of
#: those take as long as this, and no whole call is done so soon.
_SLOW_US: Final = 30

#: Rounds of calls, of each of which the longest is taken.
ROUNDS: Final = 5

#: The instances' default.
LEASE_SECONDS: Final = 3.0


@dataclass(frozen=True)
class Bench:
    """Where a part runs, and how much it is asked for."""

    folder: Path
    redis: Embedded
    waiting: int
    deaths: int
    idle_rooms: int
    idle_seconds: float

    def instance(self, number: int = 0) -> Instance:
        """An instance, ready; `number` tells it from others."""
        return servers.instance(self.redis.url, self.folder, name=f"waitroom {number}")


def main() -> None:
    """Measure and print."""
    report.run("scheduler", measure, description=__doc__, extend=_extend)


def measure(options: Options) -> list[Row]:
    """The rows of each part."""
    parts: dict[str, Callable[[Bench], list[Row]]] = {
        "drain": _drain,
        "rate": _rate,
        "calls": _calls,
        "death": _death,
        "idle": _idle,
    }
    rows = list[Row]()
    for name in options.given.only or parts:
        with _bench(options) as bench:
            rows += [{"part": name, **row} for row in parts[name](bench)]
    return rows


def _extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--waiting", type=int, default=0, help="default 1,000,000, with --quick 30,000")
    parser.add_argument("--only", nargs="+", choices=("drain", "rate", "calls", "death", "idle"), metavar="PART")


@contextmanager
def _bench(options: Options) -> Iterator[Bench]:
    """An empty server of its own for each part."""
    quick, waiting = options.quick, options.given.waiting
    with tempfile.TemporaryDirectory(prefix="waitroom-bench-") as name, Embedded(Path(name)) as redis:
        yield Bench(
            Path(name),
            redis,
            waiting=waiting or (30_000 if quick else 1_000_000),
            deaths=1 if quick else 4,
            idle_rooms=60,
            idle_seconds=0.5 if quick else 10.0,
        )


# The parts.


def _drain(bench: Bench) -> list[Row]:
    return [_opened(bench, admit_per_second=0.0)]


def _rate(bench: Bench) -> list[Row]:
    return [_opened(bench, admit_per_second=100_000.0)]


def _opened(bench: Bench, *, admit_per_second: float) -> Row:
    """Fill a paused room, open it, and look on until it is empty."""
    asyncio.run(_fill(bench, waiting=bench.waiting, admit_per_second=admit_per_second))
    with bench.instance() as instance, accounted(instance, bench.redis) as bill:
        opened = time.monotonic()
        _open(bench)
        while bench.redis.client.zcard(WAIT):
            time.sleep(0.02)
        took = time.monotonic() - opened
    used = bill.us_per(bench.waiting)
    return {
        "room_rate_per_second": admit_per_second,
        "admitted": bench.waiting,
        "seconds": round(took, 2),
        "admissions_per_second": round(bench.waiting / took),
        "instance_us_per_admission": round(used[instance.name], 2),
        "redis_us_per_admission": round(used[bench.redis.name], 2),
    }


def _calls(bench: Bench) -> list[Row]:
    """Each kind of work of one call, of the size that the scheduler asks for, with so many waiting behind it."""
    return asyncio.run(_measured_calls(bench))


async def _measured_calls(bench: Bench) -> list[Row]:
    tickets = await _fill(bench, waiting=bench.waiting, claim_seconds=0.1, session_seconds=0.1)
    # Whole calls in each round, so that each kind of work finds what the one before has left.
    whole = MOST_MOVED * ROUNDS
    head = min(100_000, bench.waiting // 5) // whole * whole
    async with filling.opened(bench.redis.url) as store:

        async def admit() -> int:
            before = int(bench.redis.client.zcard(WAIT))
            return before - (await store.admit(ROOM, term=1)).waiting

        async def expire() -> int:
            done = await store.expire(ROOM, term=1)
            return done.abandoned + done.no_show + done.finished

        async def measured(name: str, call: Callable[[], Awaitable[int]]) -> Row:
            return {"call": name, **await _logged(bench, call, head)}

        await store.configure(ROOM, {"state": "open"}, expected=None)
        rows = [await measured("admit", admit)]
        await asyncio.sleep(0.2)
        rows.append(await measured("expire: no-shows", expire))
        await store.configure(ROOM, {"claim_seconds": "3600"}, expected=None)
        await _admit_all(store, head)
        await _heard(store, tickets[head : 2 * head])
        await asyncio.sleep(0.2)
        rows.append(await measured("expire: finished", expire))
        # Every second one of the head has gone silent.
        silent = {str(ticket.visitor): 1 for ticket in tickets[2 * head : 3 * head : 2]}
        bench.redis.client.zadd(keys.room_key(ROOM, "seen"), silent)
        rows.append(await measured("admit: half are silent", admit))
        await store.configure(ROOM, {"abandon_seconds": "0.1"}, expected=None)
        rows.append(await measured("expire: silent", expire))
    return rows


async def _logged(bench: Bench, call: Callable[[], Awaitable[int]], head: int) -> Row:
    """Calls until so many were moved; how long each took, as the server's slow log has it.

    That is time on the wall, in which a shared machine may do something else. So the longest call is taken of each of
    five rounds, and their median stands beside least and most; and `longest_cpu_ms` is the server's own account of the
    CPU time that the most expensive call took, with all that it did from before the call until after it.
    """
    redis, moved, busiest = bench.redis.client, 0, 0.0
    waiting, longest, took = redis.zcard(WAIT), list[float](), list[float]()
    redis.config_set("slowlog-max-len", 100_000)
    for number in range(1, ROUNDS + 1):
        redis.slowlog_reset()
        redis.config_set("slowlog-log-slower-than", _SLOW_US)
        while moved < head * number / ROUNDS:
            before = accounting.thread_cpu_us(bench.redis.pid)
            done = await call()
            if not done:
                raise BenchmarkError(f"{moved} of {head} were moved, and nobody more can be")
            moved += done
            busiest = max(busiest, accounting.thread_cpu_us(bench.redis.pid) - before)
        redis.config_set("slowlog-log-slower-than", -1)
        log: list[dict[str, Any]] = redis.slowlog_get(100_000)
        round_took = [entry["duration"] / 1000 for entry in log if bytes(entry["command"]).startswith(b"EVAL")]
        longest.append(max(round_took))
        took += round_took
    return {
        "waiting_at_start": waiting,
        "calls": len(took),
        "moved_per_call": round(moved / len(took)),
        "median_ms": round(statistics.median(took), 3),
        "p99_ms": round(sorted(took)[int(len(took) * 0.99)], 3),
        "longest_ms": round(statistics.median(longest), 3),
        "longest_ms_spread": [round(min(longest), 3), round(max(longest), 3)],
        "longest_cpu_ms": round(busiest / 1000, 3),
        "us_per_visitor": round(sum(took) * 1000 / moved, 2),
    }


async def _admit_all(store: Store, number: int) -> None:
    while number > 0:
        number -= len((await store.admit(ROOM, term=1, most=min(number, 500))).serials)


async def _heard(store: Store, tickets: list[Ticket]) -> None:
    for start in range(0, len(tickets), 500):
        await store.status(ROOM, tickets[start : start + 500])


def _death(bench: Bench) -> list[Row]:
    """Kill whoever leads, some times over; how long nobody is admitted then."""
    asyncio.run(_fill(bench, waiting=5_000, admit_per_second=50.0))
    _open(bench)
    gaps = [_gap(bench) for _ in range(bench.deaths)]
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
    with bench.instance(1) as one, bench.instance(2) as other:
        leader = _leader((one, other))
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
    rows = []
    for rooms in (1, bench.idle_rooms):
        asyncio.run(_empty_rooms(bench, rooms))
        with bench.instance(1) as one, bench.instance(2) as two:
            leader = _leader((one, two))
            other = two if leader is one else one
            time.sleep(min(1.5, bench.idle_seconds))
            with accounted(leader, other, bench.redis) as bill:
                time.sleep(bench.idle_seconds)
        leads, follows, redis = (100 * seconds / bench.idle_seconds for seconds in bill.seconds.values())
        rows.append(
            {
                "rooms": rooms,
                "leader_percent_of_core": round(leads, 1),
                "other_percent_of_core": round(follows, 1),
                "scheduler_percent_of_core": round(leads - follows, 1),
                "redis_percent_of_core": round(redis, 1),
            }
        )
    return rows


# Rooms and instances.


async def _fill(bench: Bench, *, waiting: int, **settings: Any) -> list[Ticket]:
    """A paused room without limits in which so many wait; their tickets, first to last."""
    calm = {"capacity": 0, "claim_seconds": 3600.0, "session_seconds": 300.0, "state": "paused"}
    async with filling.opened(bench.redis.url) as store:
        await filling.configure(store, ROOM, **(calm | settings))
        places = await filling.enter(store, ROOM, waiting, keep=waiting)
    bench.redis.settle()
    return [filling.ticket_of(place) for place in sorted(places, key=lambda place: place.serial)]


def _open(bench: Bench) -> None:
    bench.redis.client.hset(keys.room_key(ROOM, "config"), "state", "open")


async def _empty_rooms(bench: Bench, number: int) -> None:
    async with filling.opened(bench.redis.url) as store:
        for each in range(number):
            await filling.configure(store, f"empty{each}")


def _leader(instances: Iterable[Instance]) -> Instance:
    """The instance whose scheduler acts."""
    return until(lambda: next((each for each in instances if each.leads()), None), "a leader")


if __name__ == "__main__":
    main()
