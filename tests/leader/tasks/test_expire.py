"""Visitors whose time is over go out, as far as one tick's calls go."""

from __future__ import annotations

import asyncio
from itertools import repeat

import pytest
from redis.asyncio import Redis

from rig.clockwork import fast_forward
from tests.leader.ticking import instance
from waitroom.errors import TermStale
from waitroom.leader.tasks.expire import Expire
from waitroom.proofs.tickets import new_visitor
from waitroom.rooms.room import Room
from waitroom.settings.room import RoomSettings
from waitroom.store.store import MOST_MOVED, Store

#: More than two calls take out.
VISITORS = 2 * MOST_MOVED + 1


@pytest.fixture
async def room(store: Store, redis: Redis) -> Room:
    """A room in which as many offers were made, all of which have run out."""
    room = (await instance(store, shop=RoomSettings(capacity=0))).get("shop")
    await asyncio.gather(*(room.enter(new_visitor(), None) for _ in range(VISITORS)))
    await fast_forward(redis, "shop", 3600)
    return room


async def test_all_whose_time_is_over_go_out(store: Store, room: Room) -> None:
    """Call after call until none is left."""
    await Expire(store).run(room, 1, repeat(None))
    assert (await store.read("shop")).counts.no_show == VISITORS


async def test_no_call_too_many_is_made(store: Store, room: Room) -> None:
    """The others stay for the next tick."""
    await Expire(store).run(room, 1, repeat(None, 2))
    assert (await store.read("shop")).counts.no_show == 2 * MOST_MOVED


async def test_an_older_term_is_refused(store: Store, room: Room) -> None:
    """Nothing is taken out under it."""
    await store.expire("shop", term=99, most=1)
    with pytest.raises(TermStale):
        await Expire(store).run(room, 98, repeat(None))
    assert (await store.read("shop")).counts.no_show == 1
