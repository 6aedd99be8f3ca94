"""Many more arrivals than a queue takes: what they cost, and whether those inside the queue notice.

`python -m benchmarks.flood`. 1,000,000 visitors arrive at a room whose `max_waiting` is 100,000, by wrk and one
instance. First until it is full, then on and on: the `refused` rows show what Redis and the instance hold beside what
they held when the queue became full. Meanwhile some of those who wait ask where they stand, one after the other.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from benchmarks import report, servers, wrk
from benchmarks.figures import significant
from benchmarks.report import Options, Row, say
from rig import accounting, filling
from rig.embedded import Embedded
from rig.instance import Instance
from waitroom.model import Ticket
from waitroom.proofs.tickets import TicketOffice
from waitroom.store import keys

ROOM: Final = "shop"

ARRIVALS, MOST_WAITING, ASKING = 1_000_000, 100_000, 200

#: Arrivals at a time, and seconds of one stretch of them.
_CONNECTIONS, _STRETCH_SECONDS = 256, 4

#: Seconds between two looks of a waiting visitor, all of them taken together.
_PAUSE_SECONDS: Final = 0.02

#: Seconds after which an instance has read what there is to read.
_REST_SECONDS: Final = 2.5


@dataclass
class Insiders:
    """Visitors who waited before the flood came, and what they were told."""

    url: str
    tickets: Sequence[Ticket]
    looks: int = 0
    faults: list[str] = field(default_factory=list)
    took_ms: list[float] = field(default_factory=list)
    _ranks: dict[str, int] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        """Look around until told to stop: the serial stays, and no rank grows."""
        office = filling.ticket_office()
        for ticket in itertools.cycle(self.tickets):
            if self._over.wait(_PAUSE_SECONDS):
                return
            self._look(office, ticket)

    def _look(self, office: TicketOffice, ticket: Ticket) -> None:
        request = urllib.request.Request(  # noqa: S310 - our own instance
            f"{self.url}/v1/rooms/{ROOM}/status",
            headers={"Authorization": f"Bearer {office.issue(ROOM, ticket)}"},
        )
        began = time.perf_counter()
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                document = orjson.loads(answer.read())
        except OSError as error:
            self.faults.append(f"{ticket.serial}: {error}")
            return
        self.took_ms.append((time.perf_counter() - began) * 1000)
        self.looks += 1
        known = self._ranks.setdefault(ticket.visitor, document["rank"])
        if document["serial"] != ticket.serial or document["rank"] > known:
            self.faults.append(f"{ticket.serial} at {known}: now {document['serial']} at {document['rank']}")
        self._ranks[ticket.visitor] = document["rank"]

    @contextmanager
    def asking(self) -> Iterator[None]:
        """They ask for the length of the block."""
        thread = threading.Thread(target=self.ask)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()


def main() -> None:
    """Measure and print."""
    report.run("flood", measure, description=__doc__)


def measure(options: Options) -> list[Row]:
    """A row when the queue is full, one for each further stretch, and one of those who waited."""
    arrivals, most = (40_000, 2_000) if options.quick else (ARRIVALS, MOST_WAITING)
    with tempfile.TemporaryDirectory(prefix="waitroom-bench-") as name, Embedded(Path(name)) as redis:
        asyncio.run(_prepare(redis, most))
        with servers.instance(redis.url, Path(name)) as instance:
            insiders = Insiders(instance.url, filling.tickets_of_waiting(redis.client, ROOM, ASKING))
            with insiders.asking():
                rows = _flooded(redis, instance, arrivals=arrivals, most=most)
    took = sorted(insiders.took_ms)
    return [
        *rows,
        {
            "who": "those who waited before",
            "looks": insiders.looks,
            "disturbed": len(insiders.faults),
            "p50_ms": significant(took[len(took) // 2]),
            "p99_ms": significant(took[len(took) * 99 // 100]),
            "longest_ms": significant(took[-1]),
        },
    ]


async def _prepare(redis: Embedded, most: int) -> None:
    async with filling.opened(redis.url) as store:
        await filling.configure(store, ROOM, state="paused", max_waiting=most)
        await filling.enter(store, ROOM, ASKING)


def _flooded(redis: Embedded, instance: Instance, *, arrivals: int, most: int) -> list[Row]:
    enter = wrk.Ask("enter", f"/v1/rooms/{ROOM}/enter", "POST")
    while _counts(redis)["entered"] < most:
        wrk.run(instance, enter, connections=_CONNECTIONS, seconds=_STRETCH_SECONDS)
    rows = [_row("full", redis, instance)]
    while len(rows) == 1 or sum(_counts(redis)[name] for name in ("entered", "refused_full")) < arrivals:
        refused = wrk.Ask("enter", enter.path, "POST", refused=True)
        load = wrk.run(
            instance, refused, connections=_CONNECTIONS, seconds=_STRETCH_SECONDS, accounts=(instance, redis)
        )
        row = _row("refused", redis, instance)
        row |= {
            "per_second": significant(load.per_second),
            "p99_ms": significant(load.p99_ms),
            "bad": load.bad,
            "waitroom_us": significant(load.cpu_us[instance.name]),
            "redis_us": significant(load.cpu_us[redis.name]),
        }
        rows.append(row)
        say(f"flood: {row['arrivals']:,} have come")
    time.sleep(_REST_SECONDS)
    rows.append(_row("afterwards", redis, instance))
    return rows


def _row(what: str, redis: Embedded, instance: Instance) -> Row:
    counts, memory = _counts(redis), redis.info("memory")
    taken = accounting.memory_bytes(instance.pid)
    return {
        "queue": what,
        "arrivals": counts["entered"] + counts["refused_full"],
        "waiting": int(redis.client.zcard(keys.room_key(ROOM, "wait"))),
        "redis_mb": significant(
            (memory["used_memory"] - memory["mem_clients_normal"] - memory["mem_aof_buffer"]) / 1e6
        ),
        "redis_keys": int(redis.client.dbsize()),
        "waitroom_mb": significant(taken["uss"] / 1e6),
    }


def _counts(redis: Embedded) -> dict[str, int]:
    found: Any = redis.client.hgetall(keys.room_key(ROOM, "state"))
    return {name: int(found.get(name, 0)) for name in ("entered", "refused_full")}


if __name__ == "__main__":
    main()
