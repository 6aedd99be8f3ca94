"""Many more arrivals than a queue takes: what they cost, and whether those inside the queue notice.

`python -m benchmarks.flood`. 1,000,000 visitors arrive at a room whose `max_waiting` is 100,000, by wrk and one
instance. First until it is full, then on and on: the `refused` rows show what Redis and the instance hold beside what
they held when the queue became full. Meanwhile some of those who wait ask where they stand, one after the other.
"""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from benchmarks import report, servers, wrk
from benchmarks.figures import percentiles, significant
from benchmarks.report import Row, say
from benchmarks.scene import ENTER
from benchmarks.servers import DOCUMENT, ROOM
from rig import accounting, filling
from rig.embedded import Embedded
from rig.instance import Instance
from rig.origin import ask
from waitroom.model import Ticket
from waitroom.store import keys


@dataclass(frozen=True)
class Plan:
    """How many arrive, how many of them may wait, and seconds of load at a time."""

    arrivals: int = 1_000_000
    most_waiting: int = 100_000
    seconds: int = 4


QUICK: Final = Plan(arrivals=40_000, most_waiting=2_000)

#: Those who look where they stand.
ASKING: Final = 200

#: Arrivals at a time.
_CONNECTIONS: Final = 256

#: Seconds between two looks of a waiting visitor, all of them taken together.
_PAUSE_SECONDS: Final = 0.02

#: Seconds after which an instance has read what there is to read.
_REST_SECONDS: Final = 2.5


@dataclass
class Insiders:
    """Visitors who waited before the flood came, and what they were told."""

    port: int
    tickets: list[Ticket]
    faults: list[str] = field(default_factory=list)
    took_ms: list[float] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        """Look around until it is over: the serial stays, and no rank grows."""
        headers, ranks = filling.ticket_cookies(ROOM, self.tickets), dict[str, int]()
        for ticket, header in itertools.cycle(zip(self.tickets, headers, strict=True)):
            if self.over.wait(_PAUSE_SECONDS):
                return
            began = time.perf_counter()
            try:
                answer = ask(self.port, f"{DOCUMENT}/status", Cookie=header["Cookie"])
            except OSError as error:
                self.faults.append(f"{ticket.serial}: {error}")
                continue
            if answer.status != 200:
                self.faults.append(f"{ticket.serial}: {answer.status}")
                continue
            self.took_ms.append((time.perf_counter() - began) * 1000)
            place = orjson.loads(answer.body)
            known = ranks.setdefault(ticket.visitor, place["rank"])
            if place["serial"] != ticket.serial or place["rank"] > known:
                self.faults.append(f"{ticket.serial} at {known}: now {place['serial']} at {place['rank']}")
            ranks[ticket.visitor] = place["rank"]


def measure(plan: Plan) -> list[Row]:
    """A row when the queue is full, one for each further stretch, and one of those who waited."""
    with servers.empty_redis() as (folder, redis):
        servers.fill(redis, ASKING, state="paused", max_waiting=plan.most_waiting)
        with servers.instance(redis.url, folder) as instance, ThreadPoolExecutor(1) as pool:
            insiders = Insiders(instance.port, filling.tickets_of_waiting(redis.client, ROOM, ASKING))
            asking = pool.submit(insiders.look)
            try:
                rows = _flooded(redis, instance, plan)
            finally:
                insiders.over.set()
            asking.result()
    told: Row = {"looks": len(insiders.took_ms), "disturbed": len(insiders.faults)}
    told |= percentiles("{}_ms", insiders.took_ms, p50=50, p99=99)
    return [*rows, {"who": "those who waited before", **told}]


def _flooded(redis: Embedded, instance: Instance, plan: Plan) -> list[Row]:
    how: dict[str, Any] = {"connections": _CONNECTIONS, "seconds": plan.seconds, "accounts": (instance, redis)}
    while _row("", redis, instance)["waiting"] < plan.most_waiting:
        wrk.run(instance, ENTER, **how)
    rows = [_row("full", redis, instance)]
    while len(rows) == 1 or rows[-1]["arrivals"] < plan.arrivals:
        load = wrk.run(instance, replace(ENTER, refused=True), **how)
        took = {
            "per_second": significant(load.per_second),
            "p99_ms": significant(load.p99_ms),
            "bad": load.bad,
            **{f"{name}_us": significant(us) for name, us in load.cpu_us.items()},
        }
        rows.append(_row("refused", redis, instance) | took)
        say(f"flood: {rows[-1]['arrivals']:,} have come")
    time.sleep(_REST_SECONDS)
    return [*rows, _row("afterwards", redis, instance)]


def _row(what: str, redis: Embedded, instance: Instance) -> Row:
    counts: Any = redis.client.hgetall(keys.room_key(ROOM, "state"))
    return {
        "queue": what,
        "arrivals": int(counts.get("entered", 0)) + int(counts.get("refused_full", 0)),
        "waiting": int(redis.client.zcard(keys.room_key(ROOM, "wait"))),
        "redis_mb": significant(servers.used_bytes(redis) / 1e6),
        "redis_keys": int(redis.client.dbsize()),
        "waitroom_mb": significant(accounting.memory_bytes(instance.pid)["uss"] / 1e6),
    }


if __name__ == "__main__":
    report.run("flood", measure, Plan(), QUICK, description=__doc__)
