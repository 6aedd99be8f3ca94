"""Rooms as a measurement wants them: so many inside, so many waiting, made by the scripts themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from redis import Redis

from rig.instance import KEYS
from waitroom.model import Pass, Place, Standing, Ticket, Visitor
from waitroom.proofs import keyring
from waitroom.proofs.passes import PassOffice
from waitroom.proofs.tickets import TicketOffice, new_visitor
from waitroom.settings.room import RoomSettings, fields_of
from waitroom.store import keys
from waitroom.store.clock import Clock
from waitroom.store.servers import connect
from waitroom.store.store import Store

#: Visitors per call, and calls in flight.
BATCH, IN_FLIGHT = 512, 4

#: Nobody goes silent, no ticket gets old and no session ends while something is measured.
LASTING: Final[dict[str, Any]] = {
    "max_waiting": 10_000_000,
    "abandon_seconds": 86_400,
    "ticket_seconds": 86_400,
    "session_seconds": 86_400,
}


def ticket_office() -> TicketOffice:
    """Makes tickets that instances with our keys take for their own."""
    return TicketOffice(keyring.parse([KEYS]))


def pass_office() -> PassOffice:
    """Makes passes that instances with our keys take for their own."""
    return PassOffice(keyring.parse([KEYS]))


@asynccontextmanager
async def opened(redis_url: str) -> AsyncIterator[Store]:
    """The scripts of that Redis, with time enough."""
    store = Store(connect(redis_url, timeout_seconds=60), Clock(), timeout_seconds=60)
    try:
        yield store
    finally:
        await store.close()


async def configure(store: Store, room: str, **settings: Any) -> None:
    """Make a room, or give it other settings; what is not given lasts, or has its default."""
    await store.configure(room, fields_of(RoomSettings(**(LASTING | settings))), expected=None)
    await store.register(room, live=True)


async def enter(store: Store, room: str, number: int, *, keep: int = 0) -> list[Place]:
    """Let so many visitors enter, several batches in flight; the places of `keep` of them, evenly spread."""
    starts, kept = iter(range(0, number, BATCH)), list[Place]()
    step = max(1, number // keep) if keep else 0

    async def work() -> None:
        for start in starts:
            size = min(BATCH, number - start)
            places = await store.enter(room, [(new_visitor(), None) for _ in range(size)])
            if step:
                kept.extend(place for at, place in enumerate(places, start) if at % step == 0)

    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return kept[:keep]


async def admitted(store: Store, room: str, number: int) -> list[Place]:
    """Let so many visitors in, who claim at once. The room must be open, with free places, and nobody waiting."""
    offers = await enter(store, room, number, keep=number)
    claimed = []
    for start in range(0, number, BATCH):
        claimed += await store.status(room, [ticket_of(place) for place in offers[start : start + BATCH]])
    outside = sum(place.standing is not Standing.ADMITTED for place in claimed)
    if outside:
        raise RuntimeError(f"room {room!r}: {outside} of {number} visitors were not let in")
    return claimed


def ticket_of(place: Place) -> Ticket:
    """What the place's holder was given with it."""
    return Ticket(place.visitor, place.serial, place.now_us)


def tickets_of_waiting(redis: Redis, room: str, number: int) -> list[Ticket]:
    """Tickets of so many who wait, evenly spread over the queue; of all, if they are fewer."""
    wait, now_us = keys.room_key(room, "wait"), int(time.time() * 1_000_000)
    waiting = int(redis.zcard(wait))
    pipeline = redis.pipeline(transaction=False)
    for step in range(min(number, waiting)):
        at = step * waiting // min(number, waiting)
        pipeline.zrange(wait, at, at, withscores=True)
    return [Ticket(Visitor(found[0][0]), int(found[0][1]), now_us) for found in pipeline.execute()]


def ticket_cookies(room: str, tickets: list[Ticket]) -> list[dict[str, str]]:
    """The headers of visitors who wait."""
    office = ticket_office()
    return [{"Cookie": f"waitroom_ticket_{room}={office.issue(room, ticket)}"} for ticket in tickets]


def pass_cookies(room: str, places: list[Place]) -> list[dict[str, str]]:
    """The headers of visitors who are inside."""
    office, now = pass_office(), time.time()

    def granted(place: Place) -> str:
        return office.issue(room, Pass(place.visitor, place.expires_us / 1_000_000), now=now)

    return [{"Cookie": f"waitroom_pass_{room}={granted(place)}"} for place in places]


def trim(redis: Redis, room: str, waiting: int) -> int:
    """Take the newest out of the queue until so many wait, as if they had left; how many that were.

    Past the scripts: goodbyes leave marks behind, which would add up over a run.
    """
    wait, seen = keys.room_key(room, "wait"), keys.room_key(room, "seen")
    gone = 0
    while newest := cast("list[Visitor]", redis.zrange(wait, waiting, waiting + 5 * BATCH)):
        redis.zrem(wait, *newest)
        redis.zrem(seen, *newest)
        gone += len(newest)
    redis.hincrby(keys.room_key(room, "state"), "left", gone)
    return gone
