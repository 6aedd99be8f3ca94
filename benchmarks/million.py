"""What 1,000,000 waiting visitors cost: a crowd that watches the room document, at a tenth of that, and a model.

`python -m benchmarks.million`. Measured with 100,000 waiting, at the rates that so many watching clients produce: CPU
µs of nginx for each document out of its cache; of nginx, waitroom and Redis for each look in person; the cores that
both take together; and how old the rank is that the package's own client shows meanwhile. A connection of the load
stands for a hundred visitors: what an idle one costs is memory. Then both kinds of request as fast as a core answers
them: a busy server takes less for each, for it finds several at once. The rest is a model without TLS: the rates of a
million times what one request took, at a tenth of the scale (more than at the full one) and on a busy core (less than
on one that is not). The queue moves at the rate at which it is gone after an hour.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import cycle, pairwise
from typing import Final

from benchmarks import report, servers, wrk
from benchmarks.figures import percentiles, significant
from benchmarks.report import Row, say
from benchmarks.servers import DOCUMENT, ROOM, BenchmarkError
from benchmarks.wrk import Ask
from rig import filling
from rig.accounting import Accountable, Bill, accounted
from rig.cores import OTHER_CORE, SERVER_CORE, on_core
from rig.nginx import Nginx, crowded
from waitroom.client import Waiting
from waitroom.client.connection import Connection
from waitroom.client.watching import CLOSE_SECONDS, EARLY_SECONDS, LEAST_WORTH_SECONDS, Watch
from waitroom.settings.room import REFRESH_AFTER_SECONDS, RoomSettings

#: Those who wait in the model, and seconds until the last of them has been admitted.
MILLION, DRAIN_SECONDS = 1_000_000, 3600

#: Silences after which a visitor counts as gone, for which the model is made: the default, and one for long queues.
ABANDON_SECONDS: Final = (120.0, 300.0)

#: Looks in person of each visitor just before the turn, when polls are a second apart.
CLOSE_LOOKS: Final = CLOSE_SECONDS + LEAST_WORTH_SECONDS

#: Average age of a document that a client gets: an instance reads the room for it, nginx keeps it for a second.
AGE_SECONDS: Final = 0.5

#: Visitors that a connection stands for, clients that watch in this process, and their looks under way at once.
_PER_CONNECTION, _WATCHERS, _LOOKERS = 100, 100, 64


@dataclass(frozen=True)
class Plan:
    """How many wait while it is measured, and seconds of the longest measurement."""

    waiting: int = MILLION // 10
    seconds: float = 30.0


QUICK: Final = Plan(waiting=10_000, seconds=2.0)


@dataclass(frozen=True)
class Crowd:
    """So many who wait, and what they ask for in a second."""

    waiting: int
    abandon_seconds: float = ABANDON_SECONDS[0]

    @property
    def documents(self) -> float:
        """The next is fetched when the last is so old, or up to half a second before."""
        return self.waiting / (REFRESH_AFTER_SECONDS - EARLY_SECONDS / 2 - AGE_SECONDS)

    @property
    def looks(self) -> float:
        """In person: to keep the place, up to a tenth earlier than it must be, and just before the turn."""
        settings = RoomSettings(abandon_seconds=self.abandon_seconds)
        keeping = self.waiting / (settings.latest_poll_seconds * 0.95)
        return keeping + self.waiting / DRAIN_SECONDS * CLOSE_LOOKS


@dataclass(frozen=True)
class Taken:
    """What a while of load came to. `ages` are those of the ranks that were shown, a tenth of a second apart."""

    seconds: float
    bill: Bill
    documents: float = 0.0
    looks: int = 0
    bad: int = 0
    ages: Sequence[float] = ()

    def cores(self, name: str) -> float:
        """Cores that a server took on average."""
        return self.bill.seconds[name] / self.seconds

    def us(self, name: str, *, rest: Taken) -> float:
        """CPU µs of a server for each request of the one kind there was, without what it takes at rest."""
        return (self.cores(name) - rest.cores(name)) * self.seconds / (self.documents or self.looks) * 1_000_000


@dataclass
class Shown:
    """When one client got which rank: its own clock, and the time that the rank is of."""

    seen: list[tuple[float, float]] = field(default_factory=list)

    async def note(self, place: Waiting) -> None:
        """A rank is shown from now on."""
        if place.as_of is not None:
            self.seen.append((time.time(), place.as_of.timestamp()))

    def ages(self) -> Iterator[float]:
        """The age of the rank shown, every tenth of a second and just before it is replaced."""
        for (since, as_of), (until, _) in pairwise(self.seen):
            steps = int((until - since) * 10)
            yield from (since + step / 10 - as_of for step in range(steps + 1))
            yield until - as_of


@dataclass
class Scene:
    """The servers, and a crowd that waits in the room: the cookies of all."""

    nginx: Nginx
    accounts: Sequence[Accountable]
    crowd: Crowd
    cookies: list[dict[str, str]]

    async def load(self, seconds: float, *, documents: bool = False, looks: bool = False, ages: bool = False) -> Taken:
        """The crowd's requests of these kinds for so long, and what they took."""
        async with asyncio.TaskGroup() as group, self._watching(_WATCHERS if ages else 0) as shown:
            fetched = group.create_task(self._fetch(seconds + 3)) if documents else None
            await asyncio.sleep(1.5)  # connections are made
            with accounted(*self.accounts) as bill:
                began = time.perf_counter()
                looked = await self._look(seconds) if looks else await asyncio.sleep(seconds, 0)
                took = time.perf_counter() - began
        rate, bad = (fetched.result().per_second, fetched.result().bad) if fetched else (0.0, 0)
        return Taken(took, bill, rate * took, looked, bad, [age for one in shown for age in one.ages()])

    async def _fetch(self, seconds: float) -> wrk.Load:
        """Documents at the crowd's rate, a hundred visitors to a connection."""
        connections = self.crowd.waiting // _PER_CONNECTION
        return await asyncio.to_thread(
            wrk.run,
            self.nginx,
            Ask("documents", DOCUMENT),
            connections=connections,
            seconds=round(seconds),
            pause_ms=round(connections / self.crowd.documents * 1000),
            # The clients whose ranks are looked at must not wait for the load that shares their core.
            started_by=("nice", "-n", "10"),
        )

    async def _look(self, seconds: float) -> int:
        """Looks in person at the crowd's rate, each visitor with their own ticket; how many were answered."""
        number, began = round(seconds * self.crowd.looks), time.perf_counter()
        turns = iter(zip(range(number), cycle(self.cookies), strict=False))

        async def looker() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.nginx.port)
            for start, cookie in turns:
                await asyncio.sleep(began + start / self.crowd.looks - time.perf_counter())
                await _asked(reader, writer, cookie["Cookie"])
            writer.close()

        await asyncio.gather(*(looker() for _ in range(_LOOKERS)))
        return number

    def busy(self, seconds: float, *, documents: bool) -> Taken:
        """Requests of one kind as fast as they are answered, by as many connections as keep a core busy."""
        some = self.cookies[:: len(self.cookies) // 5000]
        ask = Ask("documents", DOCUMENT) if documents else Ask("looks", f"{DOCUMENT}/status", visitors=some)
        with accounted(*self.accounts) as bill:
            began = time.perf_counter()
            load = wrk.run(self.nginx, ask, connections=256, seconds=round(seconds))
            took = time.perf_counter() - began
        return Taken(took, bill, load.requests * documents, load.requests * (not documents), load.bad)

    @asynccontextmanager
    async def _watching(self, number: int) -> AsyncIterator[list[Shown]]:
        """Clients of the package's own watch, with places far from their turn; what they show."""
        connection = Connection(self.nginx.url, timeout_seconds=10, http=None)
        shown = [Shown() for _ in range(number)]

        async def watch(one: Shown, cookie: dict[str, str]) -> None:
            proof = cookie["Cookie"].partition("=")[2]
            while True:
                place = await connection.place("GET", ROOM, "status", proof)
                if not isinstance(place, Waiting):
                    raise BenchmarkError("a client that was to watch has been admitted")
                await one.note(place)
                await Watch(connection, place, one.note).until_due()

        watches = [asyncio.create_task(watch(*each)) for each in zip(shown, reversed(self.cookies), strict=False)]
        try:
            yield shown
        finally:
            for each in watches:
                each.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
            await connection.aclose(seconds=1)


async def _asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cookie: str) -> None:
    """One status over a connection that stays; raises BenchmarkError for anything but a place in the queue."""
    writer.write(f"GET {DOCUMENT}/status HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    body = await reader.readexactly(length)
    if not head.startswith(b"HTTP/1.1 200 "):
        raise BenchmarkError(f"a look in person was answered with {head.splitlines()[0]!r} {body[:200]!r}")


def measure(plan: Plan) -> list[Row]:
    """Rows of what was measured, then of the model."""
    crowd, seconds = Crowd(plan.waiting), plan.seconds
    with _scene(crowd) as scene, on_core(OTHER_CORE):
        rest = asyncio.run(scene.load(seconds / 3))
        fetched = asyncio.run(scene.load(seconds / 2, documents=True))
        looked = asyncio.run(scene.load(seconds / 2, looks=True))
        busy = [scene.busy(max(seconds / 5, 1), documents=kind) for kind in (True, False)]
        say(f"million: {crowd.waiting:,} waiting: documents alone, looks alone: done")
        both = asyncio.run(scene.load(max(seconds, 6), documents=True, looks=True, ages=True))
    named = {"documents": fetched, "looks": looked, "documents, busy": busy[0], "looks, busy": busy[1]}
    rows = [_measured("at rest", crowd, rest)]
    for name, taken in named.items():
        each = {f"{server}_us": max(taken.us(server, rest=rest), 0.0) for server in taken.bill.seconds}
        rows.append(_measured(name, crowd, taken) | {us: significant(value) for us, value in each.items()})
    ages = percentiles("age_{}_s", both.ages, median=50, p99=99)
    rows.append(_measured("both", crowd, both))
    rows.append({"what": "measured: age of the rank shown", "waiting": crowd.waiting, **ages})
    for abandon_seconds in ABANDON_SECONDS:
        rows.append(_model(abandon_seconds, rest, fetched, looked))
        rows.append(_model(abandon_seconds, rest, *busy, how=", busy"))
    return rows


@contextmanager
def _scene(crowd: Crowd) -> Iterator[Scene]:
    """Everything in place: nginx and the instance on the first core, Redis and the load on the second."""
    with servers.empty_redis() as (folder, redis):
        # In front of the crowd wait those who are admitted meanwhile, a tenth as many.
        servers.fill(redis, crowd.waiting // 10, state="paused")
        places = servers.fill(redis, crowd.waiting, keep=crowd.waiting)
        redis.settle()
        with (
            servers.instance(redis.url, folder) as instance,
            crowded(folder, instances=[instance.port], origin=9, room=ROOM, at_core=SERVER_CORE) as nginx,
        ):
            servers.fill(redis, capacity=0, admit_per_second=crowd.waiting / DRAIN_SECONDS)
            tickets = [filling.ticket_of(place) for place in places]
            yield Scene(nginx, (nginx, instance, redis), crowd, filling.ticket_cookies(ROOM, tickets))


def _measured(what: str, crowd: Crowd, taken: Taken) -> Row:
    cores = {name: taken.cores(name) for name in taken.bill.seconds}
    rates = (taken.documents / taken.seconds, taken.looks / taken.seconds)
    return {**_row(f"measured: {what}", crowd, rates, cores), "bad": taken.bad}


def _model(abandon_seconds: float, rest: Taken, fetched: Taken, looked: Taken, *, how: str = "") -> Row:
    """What each server takes at rest, and what the rates of a million take by what one request took."""
    crowd = Crowd(MILLION, abandon_seconds)
    cores = {
        name: rest.cores(name) + crowd.looks * looked.us(name, rest=rest) / 1_000_000 for name in rest.bill.seconds
    }
    cached = crowd.documents * fetched.us("nginx", rest=rest) / 1_000_000
    cores["nginx"] += cached
    row = _row(f"model{how}: abandon_seconds {abandon_seconds:g}", crowd, (crowd.documents, crowd.looks), cores)
    return {**row, "cores_behind_a_cdn": significant(sum(cores.values()) - cached)}


def _row(what: str, crowd: Crowd, rates: tuple[float, float], cores: dict[str, float]) -> Row:
    return {
        "what": what,
        "waiting": crowd.waiting,
        "documents_per_second": round(rates[0]),
        "looks_per_second": round(rates[1]),
        **{f"{name}_cores": significant(number) for name, number in cores.items()},
        "cores": significant(sum(cores.values())),
    }


if __name__ == "__main__":
    report.run("million", measure, Plan(), QUICK, description=__doc__)
