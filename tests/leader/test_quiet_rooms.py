"""Rooms in which no visitor waits cost little, and are served as soon as one does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
from redis.asyncio import Redis

from rig.clockwork import fast_forward
from rig.waiting import eventually
from tests.leader.ticking import admitted, arrive, instance, scheduler
from waitroom.errors import Unavailable
from waitroom.model import Admission, Ticket
from waitroom.settings.room import RoomSettings
from waitroom.store import keys
from waitroom.store.clock import Clock
from waitroom.store.servers import connect
from waitroom.store.store import Store


class Counting(Store):
    """A store that counts its calls of `admit` by room."""

    def __init__(self, url: str) -> None:
        super().__init__(connect(url, timeout_seconds=10), Clock(), timeout_seconds=10)
        self.calls: dict[str, int] = {}

    async def admit(self, room: str, *, term: int, most: int = 500) -> Admission:
        """As it is, and counted."""
        self.calls[room] = self.calls.get(room, 0) + 1
        return await super().admit(room, term=term, most=most)


@pytest.fixture
async def counting(engine: str, redis: Redis) -> AsyncIterator[Counting]:
    """Such a store on the emptied server."""
    opened = Counting(engine)
    yield opened
    await opened.close()


async def test_where_nobody_waits_little_is_done(counting: Counting) -> None:
    """Round after round of ticks calls no script for empty rooms, and serves the one in which somebody waits."""
    names = [f"empty{number}" for number in range(20)]
    rooms = await instance(counting, busy=RoomSettings(capacity=1), **{name: RoomSettings() for name in names})
    ticking = scheduler(counting, rooms)
    await ticking.tick()
    await arrive(rooms, "busy")
    await arrive(rooms, "busy")
    counting.calls.clear()
    for _ in range(10):
        await ticking.tick()
    # Once a second also the empty rooms are served; ten ticks on a slow machine may take some.
    assert counting.calls["busy"] == 10
    assert sum(counting.calls.values()) <= 10 + 20 * 3


async def test_who_begins_to_wait_is_found_at_the_next_tick(store: Store, redis: Redis) -> None:
    """In a room that was empty a moment ago a visitor who came by another instance is admitted at once (I17)."""
    rooms, others = [await instance(store, shop=RoomSettings(state="paused")) for _ in range(2)]
    ticking = scheduler(store, rooms)
    for _ in range(3):
        await ticking.tick()
    await arrive(others)
    await redis.hset(keys.room_key("shop", "config"), "state", "open")
    await ticking.tick()
    assert await admitted(store) == 1


async def test_empty_rooms_are_swept_all_the_same(store: Store, redis: Redis) -> None:
    """A session that ends in a room in which nobody waits is counted a second later."""
    rooms = await instance(store, shop=RoomSettings(capacity=2, session_seconds=60))
    place = await arrive(rooms)
    await rooms.get("shop").status(Ticket(place.visitor, place.serial, place.now_us))
    ticking = scheduler(store, rooms)
    await ticking.tick()
    await fast_forward(redis, "shop", 61)

    async def swept() -> bool:
        await ticking.tick()
        return (await store.read("shop")).counts.finished == 1

    await eventually(swept, "the sweep")


async def test_rooms_that_cannot_be_looked_at_together_are_served(counting: Counting, redis: Redis) -> None:
    """Where the look fails for a room, or for all, they are served like any other."""
    rooms = await instance(counting, a=RoomSettings(), b=RoomSettings())
    ticking = scheduler(counting, rooms)
    await ticking.tick()
    counting.calls.clear()
    await redis.set(keys.room_key("a", "wait"), "no set")
    await ticking.tick()
    assert counting.calls == {"a": 1}

    async def out_of_reach(_rooms: Sequence[str]) -> list[int | None]:
        raise Unavailable("not now")

    counting.waiting = out_of_reach  # type: ignore[method-assign, assignment]
    await ticking.tick()
    assert counting.calls == {"a": 2, "b": 1}
