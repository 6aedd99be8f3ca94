"""The head of the queue comes in, in order and within exact limits, whoever ticks."""

from __future__ import annotations

import asyncio
from itertools import repeat

from redis.asyncio import Redis

from rig.clockwork import fast_forward
from tests.leader.ticking import admitted, arrive, instance, scheduler
from waitroom.leader.tasks.admit import Admit
from waitroom.model import Standing, Ticket
from waitroom.proofs.tickets import new_visitor
from waitroom.settings.room import RoomSettings
from waitroom.store import keys
from waitroom.store.store import MOST_MOVED, Store


async def test_the_queue_is_admitted_in_order(store: Store, redis: Redis) -> None:
    """As places become free, tick by tick, the waiting are admitted exactly in their order."""
    rooms = await instance(
        store, shop=RoomSettings(capacity=2, session_seconds=60, abandon_seconds=86_400, ticket_seconds=86_400)
    )
    ticking = scheduler(store, rooms)
    places = [await arrive(rooms) for _ in range(8)]
    assert [place.standing for place in places[:3]] == [Standing.OFFERED, Standing.OFFERED, Standing.WAITING]
    order: list[str] = [place.visitor for place in places[:2]]
    while len(order) < 8:
        await fast_forward(redis, "shop", 61)
        await ticking.tick()
        inside = await redis.zrange(keys.room_key("shop", "active"), 0, -1)
        assert len(inside) == 2
        order += [place.visitor for place in places if place.visitor in inside]
    assert order == [place.visitor for place in places]


async def test_without_any_lease_capacity_is_exact(store: Store, redis: Redis) -> None:
    """Three schedulers that all believe to lead, ticking at once, never let in one visitor too many."""
    rooms = [await instance(store, shop=RoomSettings(capacity=7, state="paused")) for _ in range(3)]
    for _ in range(40):
        await arrive(rooms[0])
    await rooms[0].create("shop", RoomSettings(capacity=7))
    ticking = [scheduler(store, one) for one in rooms]
    for turn in range(1, 5):
        for _ in range(5):
            await asyncio.gather(*(one.tick() for one in ticking))
            reading = await store.read("shop")
            assert (reading.occupancy, reading.counts.admitted) == (7, 7 * turn)
        # The offers run out, nobody goes silent: seven places are free again.
        await redis.zunionstore(keys.room_key("shop", "active"), {keys.room_key("shop", "active"): 0.5})


async def test_without_any_lease_the_rate_is_exact(store: Store, redis: Redis) -> None:
    """Three schedulers that all believe to lead admit together at most the burst and the rate."""
    slow = RoomSettings(
        capacity=0, admit_per_second=0.01, claim_seconds=3600, abandon_seconds=86_400, ticket_seconds=86_400
    )
    rooms = [await instance(store, shop=slow) for _ in range(3)]
    for _ in range(20):
        await arrive(rooms[0])
    ticking = [scheduler(store, one) for one in rooms]
    for expected in range(1, 6):
        for _ in range(4):
            await asyncio.gather(*(one.tick() for one in ticking))
            assert await admitted(store) == expected
        await fast_forward(redis, "shop", 100)


async def test_admissions_are_remembered_at_once(store: Store, redis: Redis) -> None:
    """What the leader admitted is known to its instance before the next reading, should the data be lost."""
    rooms = await instance(store, shop=RoomSettings(capacity=0, state="paused"))
    place = await arrive(rooms)
    await rooms.create("shop", RoomSettings(capacity=0))
    await scheduler(store, rooms).tick()
    await redis.flushall()
    # Of long ago: who was heard later may not know of the offer, and is restored.
    found = await rooms.get("shop").status(Ticket(place.visitor, place.serial, place.now_us - 100_000_000))
    assert found.standing is Standing.USED


async def test_no_call_too_many_is_made(store: Store) -> None:
    """The others wait for the next tick, and the room is not held to be empty until all are in."""
    rooms = await instance(store, shop=RoomSettings(capacity=0, state="paused", max_waiting=10_000))
    await asyncio.gather(*(rooms.get("shop").enter(new_visitor(), None) for _ in range(2 * MOST_MOVED + 1)))
    await rooms.create("shop", RoomSettings(capacity=0, max_waiting=10_000))
    room, measured = rooms.get("shop"), list[int]()
    admit = Admit(store, lambda _room, admission: measured.append(len(admission.serials)))
    await admit.run(room, 1, repeat(None, 2))
    assert (measured, admit.waiting.get(room)) == ([MOST_MOVED] * 2, None)
    await admit.run(room, 1, repeat(None))
    assert (measured[2:], admit.waiting.get(room)) == ([1], 0)
