"""Rooms whose keys are broken harm no other, and can be mended or deleted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from tests.instances import ONE, instance
from waitroom.errors import RoomUnknown
from waitroom.settings.room import RoomSettings
from waitroom.store import keys
from waitroom.store.store import SCHEMA, Store


async def broken_type(redis: Redis) -> None:
    await redis.delete(keys.room_key("sick", "config"))
    await redis.set(keys.room_key("sick", "config"), "not a hash")


async def broken_capacity(redis: Redis) -> None:
    await redis.hset(keys.room_key("sick", "config"), "capacity", "many")


async def missing_capacity(redis: Redis) -> None:
    await redis.hdel(keys.room_key("sick", "config"), "capacity")


async def broken_origins(redis: Redis) -> None:
    await redis.hset(keys.room_key("sick", "config"), "return_origins", "garbage")


async def broken_version(redis: Redis) -> None:
    await redis.hset(keys.room_key("sick", "config"), "version", "new")


async def broken_mark(redis: Redis) -> None:
    await redis.hset(keys.room_key("sick", "state"), "last", "x")


async def broken_longest_session(redis: Redis) -> None:
    await redis.hset(keys.room_key("sick", "config"), "longest_session_seconds", "x")


BREAKAGES = [
    broken_type, broken_capacity, missing_capacity, broken_origins, broken_version, broken_mark, broken_longest_session,
]  # fmt: skip


@pytest.mark.parametrize("breakage", BREAKAGES)
async def test_a_broken_room_harms_no_other(store: Store, redis: Redis, breakage: Callable[[Redis], object]) -> None:
    """A room whose keys were overwritten is named in `faults`; the others are read as ever."""
    rooms = await instance(store, sick=ONE, fair=ONE)
    await breakage(redis)  # type: ignore[misc]
    await rooms.create("fair", RoomSettings(capacity=2))
    await rooms.refresh()
    assert set(rooms.faults) == {"sick"}
    assert rooms.reachable
    assert rooms.get("fair").settings.capacity == 2


@pytest.mark.parametrize("breakage", [breakage for breakage in BREAKAGES if breakage is not broken_version])
async def test_a_start_beside_a_broken_room_succeeds(
    store: Store, redis: Redis, breakage: Callable[[Redis], object]
) -> None:
    """An instance that starts while one of its rooms is broken serves the others, also those it has to make."""
    await instance(store, sick=ONE)
    await breakage(redis)  # type: ignore[misc]
    rooms = await instance(store, sick=ONE, fair=ONE)
    assert set(rooms.faults) == {"sick"}
    assert rooms.get("fair").settings == ONE


@pytest.mark.parametrize("breakage", BREAKAGES)
async def test_a_broken_room_that_is_deleted_is_no_fault_any_more(
    store: Store, redis: Redis, breakage: Callable[[Redis], object], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither at an instance that knew it whole nor at one that never did; both say that it was deleted."""
    known = await instance(store, sick=ONE)
    await breakage(redis)  # type: ignore[misc]
    new = await instance(store)
    await known.refresh()
    assert set(known.faults) == set(new.faults) == {"sick"}
    await store.delete("sick")
    caplog.set_level("INFO", "waitroom.rooms.registry")
    for rooms in (known, new):
        await rooms.refresh()
        assert rooms.faults == {}
        with pytest.raises(RoomUnknown):
            rooms.get("sick")
    assert caplog.messages.count("room sick was deleted") == 2


async def test_a_healed_room_has_no_fault(store: Store, redis: Redis) -> None:
    """Once the keys are in order again the fault is gone."""
    rooms = await instance(store, sick=ONE)
    await broken_capacity(redis)
    await rooms.refresh()
    assert "capacity" in rooms.faults["sick"]
    await redis.hset(keys.room_key("sick", "config"), "capacity", "3")
    await rooms.refresh()
    assert rooms.faults == {}
    assert rooms.get("sick").settings.capacity == 3


async def test_a_room_of_another_schema_is_left_alone(store: Store, redis: Redis) -> None:
    """A room written by another version is a fault and is neither served by a new instance nor written over."""
    rooms = await instance(store, sick=ONE)
    await redis.hset(keys.room_key("sick", "config"), "schema", "99")
    before = await redis.hgetall(keys.room_key("sick", "config"))
    await rooms.refresh()
    fresh = await instance(store, sick=ONE)
    for known in (rooms, fresh):
        assert "schema '99' is not " + repr(SCHEMA) in known.faults["sick"]
    with pytest.raises(RoomUnknown):
        fresh.get("sick")
    assert await redis.hgetall(keys.room_key("sick", "config")) == before
