"""A room on a real server that a test drives through its scripts, with its time in the test's hands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count
from typing import Any, cast

from redis.asyncio import Redis

from rig.clockwork import fast_forward
from waitroom.model import Counts, Expiry, Marks, Pass, Place, Reading, Standing, Ticket, Visitor
from waitroom.settings.room import RoomSettings, fields_of
from waitroom.store import keys, scripts
from waitroom.store.store import Store


def ticket_of(place: Place) -> Ticket:
    """The ticket that the place's holder was given with it."""
    return Ticket(place.visitor, place.serial, place.now_us)


def aged(ticket: Ticket, seconds: float) -> Ticket:
    """The ticket after the room's time was moved on."""
    return ticket._replace(issued_us=ticket.issued_us - round(seconds * 1_000_000))


def pass_of(place: Place, *, expires_us: int | None = None) -> Pass:
    """The pass that the place's holder was given with it."""
    expires_us = place.expires_us if expires_us is None else expires_us
    return Pass(place.visitor, expires_us / 1_000_000, offer=place.standing is Standing.OFFERED)


def burst(rate: float) -> int:
    """Admissions that may come at once after a quiet time: 0.2 s of them, at least one."""
    return max(1, math.floor(rate * 0.2))


def most_within(rate: float, seconds: float) -> float:
    """Admissions in a window of that length at most: one, and 0.2 s of lateness made up for."""
    return 1 + rate * (seconds + 0.2)


async def dump(redis: Redis) -> dict[str, bytes]:
    """Every key of the server with its serialised value."""
    names = cast("list[str]", await redis.keys())
    return {name: cast(bytes, await redis.dump(name)) for name in sorted(names)}


async def run(redis: Redis, name: str, room: str, arguments: Sequence[str | int]) -> list[Any]:
    """A script's raw reply."""
    source = scripts.load(name)
    names = [keys.LEASE] if name == "lease" else keys.room_keys(room, source.keys)
    return cast(list[Any], await redis.eval(source.text, len(names), *names, *map(str, arguments)))


class DrivenRoom:
    """One room. Visitors are named v1, v2, ... in the order of arrival."""

    def __init__(self, store: Store, redis: Redis, name: str = "shop") -> None:
        self.store = store
        self.redis = redis
        self.name = name
        self.term = 1
        self._numbers = count(1)

    async def configure(self, **settings: Any) -> int:
        """Create the room, or replace its settings; what is not given has its default."""
        return await self.store.configure(self.name, fields_of(RoomSettings(**settings)), expected=None)

    async def lose(self) -> None:
        """Lose all data, as a Redis that restarts empty does."""
        await self.redis.flushall()

    async def recreate(self, marks: Marks, *, hold_seconds: float, **settings: Any) -> None:
        """Make the room again after a loss, as an instance does that remembers the marks."""
        fields = fields_of(RoomSettings(**settings))
        await self.store.configure(self.name, fields, expected=0, marks=marks, hold_seconds=hold_seconds)

    def newcomer(self) -> Visitor:
        """The id of the next visitor."""
        return Visitor(f"v{next(self._numbers)}")

    async def arrive(self, number: int) -> list[Place]:
        """A batch of first contacts."""
        return await self.store.enter(self.name, [(self.newcomer(), None) for _ in range(number)])

    async def arrive_alone(self) -> Place:
        """One first contact."""
        return (await self.arrive(1))[0]

    async def enter(self, *tickets: Ticket) -> list[Place]:
        """A batch of arrivals that bring tickets."""
        return await self.store.enter(self.name, [(self.newcomer(), ticket) for ticket in tickets])

    async def pass_through(self, *tickets: Ticket | None) -> list[Place]:
        """A batch of arrivals at the gate, with a ticket or without."""
        return await self.store.pass_through(self.name, [(self.newcomer(), ticket) for ticket in tickets])

    async def status(self, *tickets: Ticket) -> list[Place]:
        """A batch of look-ups."""
        return await self.store.status(self.name, tickets)

    async def claim(self, *places: Place) -> list[Place]:
        """Look up those who were offered a place; each must be inside then."""
        found = await self.status(*map(ticket_of, places))
        assert {place.standing for place in found} <= {Standing.ADMITTED}
        return found

    async def leave(self, *places: Place) -> list[Standing]:
        """A batch of goodbyes."""
        return await self.store.leave(self.name, [place.visitor for place in places])

    async def extend(self, *passes: Pass) -> list[Place]:
        """A batch of passes in use."""
        return await self.store.extend(self.name, passes)

    async def admit(self, most: int = 500) -> tuple[int, ...]:
        """The serials that one call of the leader admits."""
        return (await self.store.admit(self.name, term=self.term, most=most)).serials

    async def expire(self, most: int = 500) -> Expiry:
        """One sweep of the leader."""
        return await self.store.expire(self.name, term=self.term, most=most)

    async def fast_forward(self, seconds: float) -> None:
        """Move the room's time on."""
        await fast_forward(self.redis, self.name, seconds)

    async def read(self) -> Reading:
        """The room at this instant."""
        return await self.store.read(self.name)

    async def counts(self) -> Counts:
        """What has happened in the room."""
        return (await self.read()).counts

    async def scores(self, name: str) -> dict[str, int]:
        """One of the room's sets, in its order."""
        found = await self.redis.zrange(keys.room_key(self.name, name), 0, -1, withscores=True)
        return {visitor: int(score) for visitor, score in cast("list[tuple[str, float]]", found)}

    async def members(self, name: str) -> list[str]:
        """The visitors in one of the room's sets, in its order."""
        return list(await self.scores(name))

    async def state(self) -> dict[str, str]:
        """The room's counts and marks as Redis holds them."""
        return cast("dict[str, str]", await self.redis.hgetall(keys.room_key(self.name, "state")))

    async def assert_legal(self) -> None:
        """The state is one that the invariants allow."""
        wait, seen, active, offered = [await self.scores(name) for name in ("wait", "seen", "active", "offered")]
        assert not wait.keys() & active.keys(), "I1: somebody waits and is inside"
        assert wait.keys() == seen.keys()
        assert offered.items() <= active.items()
        assert len(set(wait.values())) == len(wait), "I6: a serial was given twice"
        assert all(0 < serial < 2**53 for serial in wait.values())
        c = await self.counts()
        gone = c.left + c.finished + c.no_show + c.abandoned
        assert c.entered + c.restored == len(wait) + len(active) + gone, "I2: somebody vanished or doubled"
