"""How good the estimates are, and whether the order is kept: simulated crowds on a real server.

`python -m benchmarks.fairness`; `--only rate "capacity and"` plays the scenarios whose names begin so. Scripts,
scheduler, readings and estimates are the real ones on a real server; visitors are simulated and do as they are told
(`poll_after`). Between two steps the room's time is moved on, so that sessions of minutes fit in.

For each scenario: the share of those admitted whose turn came within [low, high], as told at arrival, at every look,
and at looks from half a minute after the first arrival on (a room never used knows nothing in its first seconds);
median and p90 of the relative error (waits below a second count as one); how wide the bounds are; how far the told
moment of admission jumps between two looks, as a share of what was told before; admissions out of order (must be 0).
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
import statistics
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis

from benchmarks import report
from benchmarks.report import Row, say
from rig.clockwork import fast_forward
from waitroom.leader.leadership import Leadership
from waitroom.leader.scheduler import Scheduler
from waitroom.model import Admission, Place, Standing, Ticket, Visitor
from waitroom.proofs.tickets import new_visitor
from waitroom.rooms.eta.estimate import Eta, poll_after
from waitroom.rooms.registry import Rooms
from waitroom.rooms.room import READING_SECONDS, Room
from waitroom.settings.room import RoomSettings
from waitroom.store.clock import Clock
from waitroom.store.embedded.server import EmbeddedServer
from waitroom.store.servers import connect
from waitroom.store.store import MOST_MOVED, Store


@dataclass(frozen=True)
class Plan:
    """Scenarios whose names begin so are played, all of them or few and small ones."""

    only: tuple[str, ...] = ("",)
    few: bool = False


#: A room that has never been used has seen by then how long its first visitors stay.
SETTLED_SECONDS: Final = 30.0

Draw = Callable[[random.Random], float]


def exponential(mean: float) -> Draw:
    """Stays without memory."""
    return lambda chance: chance.expovariate(1 / mean)


def fixed(seconds: float) -> Draw:
    """Everybody stays as long."""
    return lambda _chance: seconds


def about(seconds: float) -> Draw:
    """Everybody stays about as long."""
    return lambda chance: chance.gauss(seconds, seconds / 8)


def heavy(median: float) -> Draw:
    """Most stay shortly, some very long: log-normal, as page dwell times are."""
    return lambda chance: chance.lognormvariate(math.log(median), 1.2)


@dataclass(frozen=True)
class Scenario:
    """A room and its crowd. Times in seconds."""

    name: str
    room: RoomSettings
    stay: Draw
    #: Visitors in the first second, arrivals per second from then on, and bursts on top: every so often, so many.
    flash: int = 0
    per_second: float = 0.0
    burst: tuple[float, int] = (0.0, 0)
    #: A smaller crowd so many seconds earlier, which is not judged: what the room has learned by then is.
    before: tuple[float, int] = (0.0, 0)
    #: Share of those who wait that go silent before their turn.
    silent: float = 0.0
    #: Arrivals come for so long; the run ends when the queue is empty, at twice that at the latest.
    seconds: float = 600.0
    step: float = 0.5


def room(**settings: Any) -> RoomSettings:
    """A room with a short memory for used tickets, which every step must move on."""
    return RoomSettings.model_validate({"ticket_seconds": 120.0, "max_waiting": 100_000, **settings})


BY_RATE: Final = room(capacity=0, admit_per_second=5.0, session_seconds=30.0)
BY_CAPACITY: Final = room(capacity=100, session_seconds=300.0)
FULL_SESSIONS: Final = room(capacity=100, session_seconds=100.0)
BOTH: Final = room(capacity=150, admit_per_second=2.0, session_seconds=300.0)


def scenarios(*, quick: bool) -> list[Scenario]:
    """All of them, or few and small ones."""
    if quick:
        return [
            Scenario("rate, flash", BY_RATE, exponential(10), flash=250, silent=0.1, step=0.1, seconds=60),
            Scenario("capacity, exponential, flash", BY_CAPACITY, exponential(40), flash=250, silent=0.1, seconds=120),
        ]
    found = []
    for share in (0.0, 0.1, 0.3):
        found += [
            Scenario("rate, flash", BY_RATE, exponential(10), flash=1500, silent=share, step=0.1, seconds=200),
            Scenario("capacity, exponential, flash", BY_CAPACITY, exponential(100), flash=900, silent=share),
            Scenario("capacity, fixed, flash", FULL_SESSIONS, fixed(200), flash=700, silent=share),
            Scenario("capacity, heavy tail, flash", BY_CAPACITY, heavy(50), flash=900, silent=share),
        ]
    return [
        *found,
        Scenario(
            "rate, bursts", BY_RATE, exponential(10), per_second=3, burst=(40, 120), silent=0.1, step=0.1, seconds=300
        ),
        Scenario("capacity, exponential, steady", BY_CAPACITY, exponential(60), per_second=2.0, silent=0.1),
        Scenario("capacity, heavy tail, bursts", BY_CAPACITY, heavy(50), per_second=0.8, burst=(120, 120), silent=0.1),
        Scenario("capacity, all leave alike", BY_CAPACITY, about(60), flash=700, silent=0.1),
        Scenario(
            "capacity, exponential, second", BY_CAPACITY, exponential(100), before=(500, 250), flash=600, silent=0.1
        ),
        Scenario("capacity, fixed, second crowd", FULL_SESSIONS, fixed(200), before=(400, 200), flash=500, silent=0.1),
        Scenario("capacity, alike, second crowd", BY_CAPACITY, about(60), before=(400, 200), flash=600, silent=0.1),
        Scenario("capacity and rate", BOTH, exponential(60), flash=900, silent=0.1, step=0.1, seconds=400),
    ]


@dataclass
class Told:
    """What a visitor was told, and when."""

    at: float
    eta: Eta | None


@dataclass
class Person:
    """A simulated visitor. From `silent_at` on it asks no more."""

    ticket: Ticket
    told: list[Told] = field(default_factory=list)
    silent_at: float = math.inf
    inside: bool = False


class LookedAt(Store):
    """A store that notes when and in which order `admit` moved whom."""

    def __init__(self, url: str) -> None:
        super().__init__(connect(url, timeout_seconds=30), Clock(), timeout_seconds=30)
        self.travelled = 0.0
        self.admitted: dict[int, float] = {}
        self.inversions = 0
        self._newest = 0

    def now(self) -> float:
        """Seconds of room time."""
        return self.clock.now() + self.travelled

    async def admit(self, room: str, *, term: int, most: int = MOST_MOVED) -> Admission:
        """As the scheduler calls it."""
        admission = await super().admit(room, term=term, most=most)
        for serial in admission.serials:
            self.inversions += serial < self._newest
            self._newest = max(self._newest, serial)
            self.admitted[serial] = admission.now_us / 1_000_000 + self.travelled
        return admission


class Crowd:
    """Everybody of one scenario."""

    def __init__(self, scenario: Scenario, store: LookedAt, served: Room) -> None:
        self.scenario = scenario
        self.people: dict[Visitor, Person] = {}
        self._store = store
        self._room = served
        self._chance = random.Random(scenario.name + str(scenario.silent))
        #: Who looks, or leaves, next, and when.
        self._looks: list[tuple[float, Visitor]] = []
        self._goodbyes: list[tuple[float, Visitor]] = []
        self._began = store.now()
        self._arrived = 0
        self._bursts = 0

    def over(self) -> bool:
        """Whether nobody comes any more, and nobody who asks is waiting."""
        age = self._store.now() - self._began - self.scenario.before[0]
        return age > 2 * self.scenario.seconds or (age > self.scenario.seconds and not self._looks)

    async def step(self) -> None:
        """Everything that is due by now."""
        now = self._store.now()
        await self._in_batches(self._leave, _due(self._goodbyes, now))
        await self._in_batches(self._look, _due(self._looks, now))
        await self._in_batches(self._arrive, [new_visitor() for _ in range(self._arrivals(now))])

    def _arrivals(self, now: float) -> int:
        """How many come in this step."""
        scenario = self.scenario
        earlier, others = scenario.before
        age = now - self._began
        due = round(others * min(age, 1.0))
        if 0 < age - earlier <= scenario.seconds:
            age -= earlier
            every, size = scenario.burst
            bursts = int(age / every) if every else 0
            due += round(scenario.flash * min(age, 1.0)) + int(scenario.per_second * age) + bursts * size
        number = max(due - self._arrived, 0)
        self._arrived += number
        return number

    async def _in_batches(self, work: Callable[[Sequence[Visitor]], Awaitable[None]], who: Sequence[Visitor]) -> None:
        for start in range(0, len(who), 512):
            await work(who[start : start + 512])

    async def _arrive(self, fresh: Sequence[Visitor]) -> None:
        for place in await self._store.enter(self._room.name, [(visitor, None) for visitor in fresh]):
            person = Person(Ticket(place.visitor, place.serial, place.now_us))
            self.people[place.visitor] = person
            self._hear(person, place)
            eta = person.told[0].eta if person.told else None
            if eta is not None and self._chance.random() < self.scenario.silent:
                person.silent_at = self._store.now() + self._chance.uniform(0, eta.seconds)

    async def _look(self, visitors: Sequence[Visitor]) -> None:
        now = self._store.now()
        asking = [person for person in (self.people[it] for it in visitors) if now < person.silent_at]
        # Room time runs ahead of what is written in the tickets: they are renewed without asking.
        issued = self._store.clock.now_us()
        tickets = [Ticket(it.ticket.visitor, it.ticket.serial, issued) for it in asking]
        if tickets:
            for person, place in zip(asking, await self._store.status(self._room.name, tickets), strict=True):
                self._hear(person, place)

    def _hear(self, person: Person, place: Place) -> None:
        now, visitor = self._store.now(), place.visitor
        if place.standing is Standing.WAITING:
            eta = self._room.eta(place.rank)
            person.told.append(Told(now, eta))
            heapq.heappush(self._looks, (now + poll_after(eta, self._room.settings), visitor))
        elif place.standing is Standing.OFFERED:
            heapq.heappush(self._looks, (now + 1, visitor))
        elif place.standing is Standing.ADMITTED and not person.inside:
            person.inside = True
            stay = max(self.scenario.stay(self._chance), 0.5)
            if stay < self._room.settings.session_seconds:
                heapq.heappush(self._goodbyes, (now + stay, visitor))

    async def _leave(self, visitors: Sequence[Visitor]) -> None:
        await self._store.leave(self._room.name, visitors)


def _due(events: list[tuple[float, Visitor]], now: float) -> list[Visitor]:
    found = []
    while events and events[0][0] <= now:
        found.append(heapq.heappop(events)[1])
    return found


@dataclass(frozen=True)
class Played:
    """What came of a scenario: what was told and when the turn came, and the jumps.

    `first` is of arrivals, `every` of all looks, `settled` of those from half a minute on after the first arrival.
    """

    first: list[tuple[Told, float]]
    every: list[tuple[Told, float]]
    settled: list[tuple[Told, float]]
    jumps: list[float]
    inversions: int

    def row(self) -> Row:
        """The figures."""
        return {
            "waited": len(self.first),
            "looks": len(self.every),
            **_quality("arrival", self.first),
            **_quality("look", self.every),
            **_quality("settled", self.settled),
            "jump_median": round(statistics.median(self.jumps), 3) if self.jumps else None,
            "jump_p90": round(_quantile(self.jumps, 0.9), 3) if self.jumps else None,
            "inversions": self.inversions,
        }


async def play(url: str, name: str, scenario: Scenario) -> Played:
    """Play a scenario in a room of that name."""
    store, redis = LookedAt(url), Redis.from_url(url, decode_responses=True)
    try:
        rooms = Rooms(store, {name: scenario.room})
        await rooms.refresh()
        crowd = Crowd(scenario, store, rooms.get(name))
        leadership = Leadership(store, lease_seconds=3)
        scheduler = Scheduler(store, rooms, leadership, tick_seconds=1e-9)
        read_at = store.now()
        while not crowd.over():
            await crowd.step()
            await scheduler.tick()
            if store.now() >= read_at + READING_SECONDS:
                read_at = store.now()
                await rooms.refresh()
            await fast_forward(redis, name, scenario.step)
            store.travelled += scenario.step
        await leadership.resign()
        await rooms.delete(name)
    finally:
        await redis.aclose()
        await store.close()
    return _judged(scenario, crowd.people.values(), store)


def _judged(scenario: Scenario, people: Iterable[Person], store: LookedAt) -> Played:
    turns = [
        (person, store.admitted[person.ticket.serial])
        for person in people
        if person.told and person.silent_at == math.inf and person.ticket.serial in store.admitted
    ]
    # Half of the pause lies safely between the crowds.
    began = min((person.told[0].at for person, _ in turns), default=0.0) + scenario.before[0] / 2
    turns = [(person, turn) for person, turn in turns if person.told[0].at >= began]
    every = [(told, turn) for person, turn in turns for told in person.told]
    began = min((told.at for told, _ in every), default=0.0)
    return Played(
        first=[(person.told[0], turn) for person, turn in turns],
        every=every,
        settled=[(told, turn) for told, turn in every if told.at >= began + SETTLED_SECONDS],
        jumps=[
            abs(later.at + later.eta.seconds - told.at - told.eta.seconds) / max(told.eta.seconds, 1.0)
            for person, _ in turns
            for told, later in pairwise(person.told)
            if told.eta and later.eta
        ],
        inversions=store.inversions,
    )


def _together(played: Sequence[Played]) -> Played:
    """All scenarios as one: every visitor and every look counts the same."""
    return Played(
        [pair for each in played for pair in each.first],
        [pair for each in played for pair in each.every],
        [pair for each in played for pair in each.settled],
        [jump for each in played for jump in each.jumps],
        sum(each.inversions for each in played),
    )


def _quality(when: str, pairs: Sequence[tuple[Told, float]]) -> Row:
    known = [(turn - told.at, told.eta) for told, turn in pairs if told.eta is not None]
    if not known:
        return {}
    errors = [abs(took - eta.seconds) / max(took, 1.0) for took, eta in known]
    signed = [(eta.seconds - took) / max(took, 1.0) for took, eta in known]
    widths = [(eta.high - eta.low) / max(took, 1.0) for took, eta in known]
    return {
        f"{when}_within": round(sum(eta.low <= took <= eta.high for took, eta in known) / len(known), 3),
        f"{when}_error_median": round(statistics.median(errors), 3),
        f"{when}_error_p90": round(_quantile(errors, 0.9), 3),
        f"{when}_bias_median": round(statistics.median(signed), 3),
        f"{when}_width_median": round(statistics.median(widths), 3),
    }


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def measure(plan: Plan) -> list[Row]:
    """A row for each scenario, and one for all of them together."""
    rows, played = list[Row](), list[Played]()
    with tempfile.TemporaryDirectory(prefix="waitroom-bench-") as folder, EmbeddedServer(Path(folder)) as server:
        for number, scenario in enumerate(scenarios(quick=plan.few)):
            if not scenario.name.startswith(plan.only):
                continue
            played.append(asyncio.run(play(server.url, f"crowd{number}", scenario)))
            rows.append({"scenario": scenario.name, "silent": scenario.silent, **played[-1].row()})
            say(f"fairness: {scenario.name}, {scenario.silent:.0%} silent: done")
    return [*rows, {"scenario": "all of these", "silent": None, **_together(played).row()}]


if __name__ == "__main__":
    report.run("fairness", measure, Plan(), Plan(few=True), description=__doc__)
