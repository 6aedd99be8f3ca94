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
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any, Final

from benchmarks import report, servers, wrk
from benchmarks.figures import significant
from benchmarks.report import Options, Row, say
from benchmarks.scene import ROOM
from benchmarks.servers import BenchmarkError
from rig import filling
from rig.accounting import Bill, accounted
from rig.cores import OTHER_CORE, SERVER_CORE, on_core, pinned
from rig.embedded import Embedded
from rig.instance import Instance
from rig.machine import program
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

_SCRIPT: Final = Path(__file__).parent / "watchers.lua"


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


class Scene:
    """The servers, and a crowd that waits in the room."""

    def __init__(
        self, redis: Embedded, instance: Instance, nginx: Nginx, *, crowd: Crowd, proofs: Sequence[str]
    ) -> None:
        self.accounts = (nginx, instance, redis)
        self.crowd = crowd
        self._nginx = nginx
        self._proofs = proofs
        self._turns = cycle(proofs)

    async def load(self, seconds: float, *, documents: bool = False, looks: bool = False, ages: bool = False) -> Taken:
        """The crowd's requests of these kinds for so long, and what they took."""
        shown: list[Shown] = []
        async with self._fetching(seconds + 3, on=documents) as fetching, self._watching(shown, on=ages):
            await asyncio.sleep(1.5)  # connections are made
            with accounted(*self.accounts) as bill:
                began = time.perf_counter()
                done = await self._look(seconds) if looks else await asyncio.sleep(seconds, 0)
                took = time.perf_counter() - began
        said = _last_line(await fetching.stdout.read()) if fetching and fetching.stdout else {}
        fetched = said["requests"] / said["duration_us"] * 1_000_000 * took if said else 0.0
        return Taken(took, bill, fetched, done, said.get("bad", 0), [age for one in shown for age in one.ages()])

    @asynccontextmanager
    async def _fetching(self, seconds: float, *, on: bool) -> AsyncIterator[asyncio.subprocess.Process | None]:
        """Documents are fetched by wrk, a hundred visitors to a connection."""
        if not on:
            yield None
            return
        connections = self.crowd.waiting // _PER_CONNECTION
        pause_ms = round(connections / self.crowd.documents * 1000)
        # The clients whose ranks are looked at must not wait for the load that shares their core.
        command = ["nice", "-n", "10", *pinned(OTHER_CORE)]
        command += [program("wrk"), "-t1", f"-c{connections}", f"-d{round(seconds)}s"]
        command += ["--timeout", "10s", "-s", str(_SCRIPT), self._nginx.url, "--", str(pause_ms), f"/v1/rooms/{ROOM}"]
        fetching = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        try:
            yield fetching
        finally:
            await fetching.wait()

    async def _look(self, seconds: float) -> int:
        """Looks in person at the crowd's rate, each visitor with their own ticket; how many were answered."""
        number, done, began = round(seconds * self.crowd.looks), 0, time.perf_counter()
        starts = iter(range(number))

        async def looker() -> None:
            nonlocal done
            reader, writer = await asyncio.open_connection("127.0.0.1", self._nginx.port)
            for start in starts:
                await asyncio.sleep(began + start / self.crowd.looks - time.perf_counter())
                await _asked(reader, writer, next(self._turns))
                done += 1
            writer.close()

        await asyncio.gather(*(looker() for _ in range(_LOOKERS)))
        return done

    def busy(self, seconds: float, *, documents: bool) -> Taken:
        """Requests of one kind as fast as they are answered, by as many connections as keep a core busy."""
        cookies = [
            {"Cookie": f"waitroom_ticket_{ROOM}={proof}"} for proof in self._proofs[:: len(self._proofs) // 5000]
        ]
        path = f"/v1/rooms/{ROOM}"
        ask = wrk.Ask("documents", path) if documents else wrk.Ask("looks", f"{path}/status", visitors=cookies)
        with accounted(*self.accounts) as bill:
            began = time.perf_counter()
            load = wrk.run(self._nginx, ask, connections=256, seconds=round(seconds))
            took = time.perf_counter() - began
        number = load.requests
        return Taken(took, bill, number * documents, number * (not documents), load.bad)

    @asynccontextmanager
    async def _watching(self, shown: list[Shown], *, on: bool) -> AsyncIterator[None]:
        """Clients of the package's own watch, with places far from their turn."""
        if not on:
            yield
            return
        connection = Connection(self._nginx.url, timeout_seconds=10, http=None)
        watches = [asyncio.create_task(self._watch(connection, proof, shown)) for proof in self._proofs[-_WATCHERS:]]
        try:
            yield
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
            await connection.aclose(seconds=1)

    async def _watch(self, connection: Connection, proof: str, shown: list[Shown]) -> None:
        one = Shown()
        shown.append(one)
        while True:
            place = await connection.place("GET", ROOM, "status", proof)
            if not isinstance(place, Waiting):
                raise BenchmarkError("a client that was to watch has been admitted")
            await one.note(place)
            await Watch(connection, place, one.note).until_due()


async def _asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, proof: str) -> None:
    """One status over a connection that stays; raises BenchmarkError for anything but a place in the queue."""
    path = f"GET /v1/rooms/{ROOM}/status HTTP/1.1\r\nHost: localhost\r\n"
    writer.write(f"{path}Cookie: waitroom_ticket_{ROOM}={proof}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    body = await reader.readexactly(length)
    if not head.startswith(b"HTTP/1.1 200 "):
        raise BenchmarkError(f"a look in person was answered with {head.splitlines()[0]!r} {body[:200]!r}")


def _last_line(text: bytes) -> dict[str, Any]:
    with suppress(ValueError, IndexError):
        return dict(json.loads(text.splitlines()[-1]))
    raise BenchmarkError(f"wrk did not say what came of it: {text[-200:]!r}")


def main() -> None:
    """Measure and print."""
    report.run("million", measure, description=__doc__)


def measure(options: Options) -> list[Row]:
    """Rows of what was measured, then of the model."""
    crowd, seconds = (Crowd(10_000), 2.0) if options.quick else (Crowd(MILLION // 10), 30.0)
    with _scene(crowd) as scene, on_core(OTHER_CORE):
        rest = asyncio.run(scene.load(seconds / 3))
        fetched = asyncio.run(scene.load(seconds / 2, documents=True))
        looked = asyncio.run(scene.load(seconds / 2, looks=True))
        busy = [scene.busy(max(seconds / 5, 1), documents=kind) for kind in (True, False)]
        say(f"million: {crowd.waiting:,} waiting: documents alone, looks alone: done")
        both = asyncio.run(scene.load(max(seconds, 6), documents=True, looks=True, ages=True))
    named = {"documents": fetched, "looks": looked, "documents, busy": busy[0], "looks, busy": busy[1]}
    rows = [_row("at rest", crowd, rest), *(_costs(name, crowd, taken, rest) for name, taken in named.items())]
    rows += [_row("both", crowd, both), _ages(crowd, both)]
    for abandon_seconds in ABANDON_SECONDS:
        rows.append(_model(abandon_seconds, rest, fetched, looked))
        rows.append(_model(abandon_seconds, rest, *busy, how=", busy"))
    return rows


@contextmanager
def _scene(crowd: Crowd) -> Iterator[Scene]:
    """Everything in place: nginx and the instance on the first core, Redis and the load on the second."""
    with tempfile.TemporaryDirectory(prefix="waitroom-bench-") as name, Embedded(Path(name)) as redis:
        proofs = asyncio.run(_fill(redis, crowd))
        redis.settle()
        with (
            servers.instance(redis.url, Path(name)) as instance,
            crowded(Path(name), instances=[instance.port], origin=9, room=ROOM, at_core=SERVER_CORE) as nginx,
        ):
            asyncio.run(_open(redis, crowd))
            yield Scene(redis, instance, nginx, crowd=crowd, proofs=proofs)


async def _fill(redis: Embedded, crowd: Crowd) -> list[str]:
    """The crowd's tickets. In front of it wait those who are admitted meanwhile, a tenth as many."""
    office = filling.ticket_office()
    async with filling.opened(redis.url) as store:
        await filling.configure(store, ROOM, state="paused")
        await filling.enter(store, ROOM, crowd.waiting // 10)
        places = await filling.enter(store, ROOM, crowd.waiting, keep=crowd.waiting)
    return [office.issue(ROOM, filling.ticket_of(place)) for place in places]


async def _open(redis: Embedded, crowd: Crowd) -> None:
    async with filling.opened(redis.url) as store:
        await filling.configure(store, ROOM, capacity=0, admit_per_second=crowd.waiting / DRAIN_SECONDS)


def _costs(what: str, crowd: Crowd, taken: Taken, rest: Taken) -> Row:
    return _row(what, crowd, taken) | {
        f"{name}_us": significant(max(taken.us(name, rest=rest), 0.0)) for name in taken.bill.seconds
    }


def _ages(crowd: Crowd, both: Taken) -> Row:
    ages = statistics.quantiles(both.ages, n=100)
    told = {"median": ages[49], "p99": ages[98], "longest": max(both.ages)}
    return {
        "what": "measured: age of the rank shown",
        "waiting": crowd.waiting,
        **{f"age_{name}_s": significant(seconds) for name, seconds in told.items()},
    }


def _row(what: str, crowd: Crowd, taken: Taken) -> Row:
    cores = {name: taken.cores(name) for name in taken.bill.seconds}
    return {
        "what": f"measured: {what}",
        "waiting": crowd.waiting,
        "documents_per_second": round(taken.documents / taken.seconds),
        "looks_per_second": round(taken.looks / taken.seconds),
        **{f"{name}_cores": significant(number) for name, number in cores.items()},
        "cores": significant(sum(cores.values())),
        "bad": taken.bad,
    }


def _model(abandon_seconds: float, rest: Taken, fetched: Taken, looked: Taken, *, how: str = "") -> Row:
    """What each server takes at rest, and what the rates of a million take by what one request took."""
    crowd = Crowd(MILLION, abandon_seconds)
    cores = {
        name: rest.cores(name) + crowd.looks * looked.us(name, rest=rest) / 1_000_000 for name in rest.bill.seconds
    }
    cached = crowd.documents * fetched.us("nginx", rest=rest) / 1_000_000
    cores["nginx"] += cached
    return {
        "what": f"model{how}: abandon_seconds {abandon_seconds:g}",
        "waiting": MILLION,
        "documents_per_second": round(crowd.documents),
        "looks_per_second": round(crowd.looks),
        **{f"{name}_cores": significant(number) for name, number in cores.items()},
        "cores": significant(sum(cores.values())),
        "cores_behind_a_cdn": significant(sum(cores.values()) - cached),
    }


if __name__ == "__main__":
    main()
