"""Visitors who bear an outage, a watch that goes on at whoever is primary, and what must be true when it is over."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import jwt
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from crowd.browser import Browser
from rig.instance import KEYS
from waitroom.cancelling import cancelled
from waitroom.proofs.keyring import parse
from waitroom.proofs.tickets import TicketOffice
from waitroom.store import keys

_OFFICE = TicketOffice(parse([KEYS]))

#: Connections opened at the same time: more would only test the machine's accept queue.
_AT_ONCE = 200

#: How many of the first who wait are looked at.
_HEAD: Final = 100

#: How the watch talks to a server: without redis-py's ten tries.
_AT_ONCE_OR_NOT: Final[dict[str, Any]] = {
    "decode_responses": True,
    "protocol": 2,
    "socket_timeout": 0.5,
    "retry": Retry(NoBackoff(), 0),
}


@dataclass
class Patient:
    """A visitor who tries again when told that nobody can serve them, and what they were told."""

    browser: Browser
    room: str
    chance: random.Random
    serials: list[int] = field(default_factory=list)
    identities: set[str] = field(default_factory=set)
    admitted_at: float | None = None
    unavailable: int = 0
    left: bool = False
    faults: list[str] = field(default_factory=list)

    async def enter(self) -> None:
        """Get a place."""
        while not self.serials and not self.faults:
            await self._ask("POST", "enter")

    async def come_in_and_leave(self, stay: float) -> None:
        """Poll until admitted, be seen at the gate, stay for up to `stay` seconds, and leave."""
        while self.admitted_at is None and not self.faults:
            await self._ask("GET", "status")
        await asyncio.sleep(self.chance.uniform(0, stay))
        status, _ = await self.browser.ask("GET", f"/gate/{self.room}")
        if status == 403:
            self.faults.append("the gate refused a good pass")
        # Not again: a goodbye that was answered 503 may have been heard, and the pass is spent then.
        while not self.left and not self.faults:
            await self._ask("POST", "leave")

    async def _ask(self, method: str, what: str) -> None:
        status, document = await self.browser.ask(method, f"/v1/rooms/{self.room}/{what}")
        if status == 503:
            self.unavailable += 1
            await asyncio.sleep(self.chance.uniform(1.0, 2.0))
        elif status == 204:
            self.left = True
        elif document.get("state") == "waiting":
            self._note_ticket(str(document["ticket"]))
            await asyncio.sleep(min(float(document["poll_after_seconds"]), 5.0))
        elif document.get("state") == "admitted":
            claims = jwt.decode(str(document["pass"]), options={"verify_signature": False})
            self.identities.add(str(claims["sub"]))
            self.admitted_at = self.admitted_at or time.monotonic()
        else:
            self.faults.append(f"{what}: {status} {document}")

    def _note_ticket(self, text: str) -> None:
        ticket = _OFFICE.verify(self.room, text)
        assert ticket is not None
        self.identities.add(ticket.visitor)
        self.serials.append(ticket.serial)

    @property
    def lost_place(self) -> bool:
        """Whether they were sent away, or to another place than their first."""
        return bool(self.faults) or len(set(self.serials)) > 1


def patients(browsers: list[Browser], *rooms: str) -> list[Patient]:
    """A visitor for each browser, dealt out over the rooms."""
    return [Patient(browser, rooms[index % len(rooms)], random.Random(index)) for index, browser in enumerate(browsers)]


async def all_enter(crowd: list[Patient]) -> None:
    """Everybody gets a place, some at a time."""
    together = asyncio.Semaphore(_AT_ONCE)

    async def one(visitor: Patient) -> None:
        async with together:
            await visitor.enter()

    await asyncio.gather(*(one(visitor) for visitor in crowd))


def check(crowd: list[Patient]) -> list[str]:
    """What is wrong: nothing, if everybody kept one serial and one identity of their own, came in, and left."""
    faults = []
    for number, visitor in enumerate(crowd):
        who = f"visitor {number} of {visitor.room}"
        faults += [f"{who}: {fault}" for fault in visitor.faults]
        if len(set(visitor.serials)) > 1:
            faults.append(f"{who}: changed place: {sorted(set(visitor.serials))}")
        if len(visitor.identities) != 1:
            faults.append(f"{who}: came in under {len(visitor.identities)} identities")
        if visitor.admitted_at is None or not visitor.left:
            faults.append(f"{who}: admitted at {visitor.admitted_at}, left {visitor.left}")
    if duplicates(crowd):
        faults.append(f"{duplicates(crowd)} serials or identities were given twice")
    return faults


def duplicates(crowd: list[Patient]) -> int:
    """Serials of a room, and identities, that more than one visitor has."""
    serials = Counter((visitor.room, serial) for visitor in crowd for serial in set(visitor.serials))
    identities = Counter(identity for visitor in crowd for identity in visitor.identities)
    return sum(number > 1 for number in (*serials.values(), *identities.values()))


def told(crowd: list[Patient]) -> str:
    """What the crowd went through, in a line."""
    lost = sum(visitor.lost_place for visitor in crowd)
    refused = sum(visitor.unavailable for visitor in crowd)
    return f"  of {len(crowd)} visitors {lost} lost the place; duplicates {duplicates(crowd)}; answers 503: {refused}"


@dataclass
class Follower:
    """Looks at a room all the time, at whichever of some servers is its primary; each look is one transaction.

    `ports` are asked in turn. A failover may set the count of admissions back.
    """

    room: str
    ports: list[int]
    login: dict[str, Any] = field(default_factory=dict)
    pause_seconds: float = 0.01
    looks: int = 0
    most_inside: int = 0
    faults: list[str] = field(default_factory=list)
    #: When so many had been offered a place, as each look saw it.
    admissions: list[tuple[float, int]] = field(default_factory=list)
    #: The same on the clock of Redis.
    on_its_clock: list[tuple[float, int]] = field(default_factory=list)
    _head: dict[str, int] = field(default_factory=dict)
    _turn: int = 0
    _restored: int = 0

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            port = self.ports[0]
            async with Redis(port=port, **_AT_ONCE_OR_NOT, **self.login) as redis:
                try:
                    if (await redis.info("replication"))["role"] == "master":
                        while True:
                            await self.look(redis)
                            await asyncio.sleep(self.pause_seconds)
                except RedisError:
                    pass
            self.ports = [*self.ports[1:], port]
            await asyncio.sleep(0.01)

    async def look(self, redis: Redis) -> None:
        """Note occupancy and admissions; hold what must hold at every instant."""
        names = {name: keys.room_key(self.room, name) for name in keys.ROOM_KEYS}
        asked = time.monotonic()
        async with redis.pipeline(transaction=True) as together:
            together.zrange(names["wait"], 0, _HEAD, withscores=True)
            together.zcard(names["wait"])
            together.zrange(names["active"], 0, -1, withscores=True)
            together.hgetall(names["state"])
            together.zinter([names["wait"], names["active"]])
            together.time()
            head, waiting, inside, state, both, (seconds, micros) = await together.execute()
        if not state:
            return
        self.looks += 1
        now = seconds + micros / 1_000_000
        # Those whose time is up count no more, though they may not be swept yet.
        self.most_inside = max(self.most_inside, sum(expires > now * 1_000_000 for _, expires in inside))
        self.admissions.append((asked, int(state.get("admitted", 0))))
        self.on_its_clock.append((now, int(state.get("admitted", 0))))
        self._hold_order({visitor: int(serial) for visitor, serial in head}, state)
        if both:
            self.faults.append(f"room {self.room}: waiting and inside at once: {both}")
        came = int(state.get("entered", 0)) + int(state.get("restored", 0))
        gone = sum(int(state.get(name, 0)) for name in ("left", "finished", "no_show", "abandoned"))
        if came != waiting + len(inside) + gone:
            self.faults.append(f"room {self.room}: {came} came, {waiting} wait, {len(inside)} inside, {gone} gone")

    def _hold_order(self, head: dict[str, int], state: dict[str, str]) -> None:
        """Nobody who waited at the last look and waits now was passed by a later serial in between.

        Somebody may have been away between the two, and come back: each is counted as restored.
        """
        turn, spent = int(state.get("turn_serial", 0)), int(state.get("spent_serial", 0))
        restored = int(state.get("restored", 0))
        # Up to `spent_serial` lie those whose admission a failover forgot: they come in again, first of all.
        known = max(spent, self._turn)
        passed = {name: serial for name, serial in head.items() if name in self._head and known < serial <= turn}
        if len(passed) > max(restored - self._restored, 0):
            told = f"{turn} was admitted, {restored - self._restored} came back"
            self.faults.append(f"room {self.room}: {passed} still wait, but {told}")
        self._head, self._turn, self._restored = head, turn, restored

    def resumed_after(self, at: float) -> float:
        """Seconds from `at` until the next admission that a look saw; infinite when there was none."""
        known = 0
        for when, admitted in self.admissions:
            if when > at and admitted > known:
                return when - at
            known = admitted if when <= at else min(known, admitted)
        return float("inf")

    def longest_gap(self, begin: float, end: float) -> float:
        """The longest time in that span in which no look saw an admission, in seconds."""
        times, known = [begin], 0
        for when, admitted in self.admissions:
            if admitted > known and begin < when < end:
                times.append(when)
            known = admitted
        times.append(end)
        return max(later - earlier for earlier, later in pairwise(times))


@asynccontextmanager
async def following(*followers: Follower) -> AsyncIterator[None]:
    """The followers look for the length of the block."""
    tasks = [asyncio.create_task(follower.run()) for follower in followers]
    try:
        yield
    finally:
        await cancelled(*tasks)


async def until(condition: Callable[[], bool], *, seconds: float = 60.0) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come about"
        await asyncio.sleep(0.01)
