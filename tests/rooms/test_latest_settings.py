"""After a loss the settings that were decided last come back, whoever makes the room again, and in whatever order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from tests.instances import LateStore, arrive, instance
from waitroom.errors import VersionConflict
from waitroom.rooms.registry import Rooms
from waitroom.settings.room import RoomSettings
from waitroom.store import keys
from waitroom.store.store import Store

CONFIG = keys.room_key("shop", "config")


async def refreshed(*rooms: Rooms, times: int = 3) -> set[int]:
    """The capacities that these instances know once they have read the room a few times."""
    for _ in range(times):
        for one in rooms:
            await one.refresh()
    return {one.get("shop").settings.capacity for one in rooms}


async def changed(rooms: Rooms, capacities: Iterable[int]) -> None:
    """One change after the other."""
    for capacity in capacities:
        await rooms.change("shop", {"capacity": capacity})


async def five(store: Store) -> list[Rooms]:
    """Instances of which each knows one change more than the one before: 100 to 104."""
    known = [await instance(store, shop=RoomSettings(capacity=100))]
    for number in range(1, 5):
        known.append(await instance(store))
        await changed(known[-1], [100 + number])
    return known


@pytest.mark.parametrize("changes", [1, 2])
@pytest.mark.parametrize("touched", [False, True])
async def test_the_latest_settings_come_back_whoever_makes_the_room_again(
    store: Store, redis: Redis, changes: int, touched: bool
) -> None:
    """One that had missed a change makes it first; who knows better says so, unless an operator has decided since."""
    behind = await instance(store, shop=RoomSettings(capacity=100))
    knowing = [await instance(store) for _ in range(changes)]
    for number, rooms in enumerate(knowing, start=1):
        await rooms.change("shop", {"capacity": 100 + number})
    first = await arrive(knowing[-1])
    await redis.flushall()
    await behind.refresh()
    assert behind.get("shop").settings.capacity == 100
    if touched:
        await behind.change("shop", {"capacity": 7})
    # From the one that knows least to the one that knows most, as each overrules the one before.
    for rooms in (*knowing, *knowing, behind):
        await rooms.refresh()
    capacity = 7 if touched else 100 + changes
    for rooms in (behind, *knowing):
        room = rooms.get("shop")
        assert room.settings.capacity == capacity
        assert room.reading.hold_until_us > room.reading.now_us
        assert room.memory.marks.last >= first.serial


@pytest.mark.parametrize("others", ["stale", "new"])
async def test_one_that_knows_less_comes_in_between(late: LateStore, store: Store, redis: Redis, others: str) -> None:
    """While the one who knows most decides what to do, another one that knows too little gives back its own."""
    first = await instance(store, shop=RoomSettings(capacity=100))
    second = await instance(store)
    if others == "stale":
        await changed(second, [101])
    most = await instance(late)
    await changed(most, [102])
    await redis.flushall()
    if others == "stale":
        await first.refresh()
        late.meanwhile = second.refresh
    else:
        second = await instance(store, shop=RoomSettings(capacity=55))
        late.meanwhile = first.refresh
    await most.refresh()
    assert await refreshed(first, second, most) == {102}


async def test_all_at_once(store: Store, redis: Redis) -> None:
    """Five instances that each know one more change, in ten orders that chance makes."""
    for seed in range(10):
        chance = random.Random(seed)
        await redis.flushall()
        known = await five(store)
        await redis.flushall()

        async def comes(rooms: Rooms, chance: random.Random = chance) -> None:
            for _ in range(3):
                await asyncio.sleep(chance.random() * 0.02)
                await rooms.refresh()

        await asyncio.gather(*map(comes, known))
        assert await refreshed(*known) == {104}, seed


async def test_nobody_overrules_for_ever(store: Store, redis: Redis) -> None:
    """Loss after loss, in any order and with new instances among them: after two readings of each all is at rest."""
    for seed in range(5):
        chance = random.Random(seed)
        await redis.flushall()
        known = await five(store)
        for _ in range(3):
            await redis.flushall()
            if chance.random() < 0.4:
                known.append(await instance(store, shop=RoomSettings(capacity=55)))
            chance.shuffle(known)
            await refreshed(*known, times=2)
            before = known[0].get("shop").reading
            assert await refreshed(*known) == {104}, seed
            after = known[0].get("shop").reading
            assert (after.version, after.hold_until_us) == (before.version, before.hold_until_us)
            assert {one.get("shop").reading.version for one in known} == {after.version}


@pytest.mark.parametrize("twice", [False, True])
async def test_a_deleted_room_does_not_overrule_its_successor(store: Store, redis: Redis, twice: bool) -> None:
    """One instance has missed that the room was deleted and made anew, and knows more versions of the old one."""
    knowing = await instance(store, shop=RoomSettings(capacity=100))
    if twice:
        await knowing.delete("shop")
        await knowing.create("shop", RoomSettings(capacity=100))
    await changed(knowing, range(110, 115))
    behind = await instance(store)
    await knowing.delete("shop")
    await knowing.create("shop", RoomSettings(capacity=7))
    await changed(knowing, [8])
    first = await arrive(knowing)
    after = knowing.get("shop").reading.origin.passes_after_us
    await redis.flushall()
    await behind.refresh()
    assert await refreshed(knowing, behind) == {8}
    for rooms in (knowing, behind):
        assert rooms.get("shop").reading.origin.passes_after_us == after > 0
        assert rooms.get("shop").memory.marks.last >= first.serial


@pytest.mark.parametrize("missed", [0, 1])
async def test_what_was_decided_between_two_losses(store: Store, redis: Redis, missed: int) -> None:
    """An operator decides on the instance that knows least, after the first loss: that stands after the second."""
    least, most = await instance(store, shop=RoomSettings(capacity=100)), await instance(store)
    await changed(most, range(110, 115))
    await redis.flushall()
    await least.refresh()
    await changed(least, [7])
    if missed:
        await most.refresh()
        await changed(least, [8])
    await redis.flushall()
    # The one who makes it again is each time the one that has missed the latest.
    await (most if missed else least).refresh()
    assert await refreshed(least, most) == {7 + missed}


async def test_a_change_that_a_failover_lost_comes_back(store: Store, redis: Redis) -> None:
    """The replica had not heard of it; nobody is admitted for a moment, and the next change starts from it."""
    rooms = await instance(store, shop=RoomSettings(capacity=100))
    replica = cast("dict[Any, Any]", await redis.hgetall(CONFIG))
    await changed(rooms, [5])
    await redis.delete(CONFIG)
    await redis.hset(CONFIG, mapping=replica)
    assert await refreshed(rooms) == {5}
    reading = rooms.get("shop").reading
    assert reading.version > 2
    assert 0 < reading.hold_until_us - reading.now_us < 5_000_000


async def test_no_change_meant_for_the_lost_room_fits_the_new_one(store: Store, redis: Redis) -> None:
    """Also while only an instance that missed some changes has made it again."""
    behind, knowing = await instance(store, shop=RoomSettings(capacity=100)), await instance(store)
    await changed(knowing, [101, 102])
    seen = knowing.get("shop").reading.version
    await redis.flushall()
    await behind.refresh()
    for version in range(1, seen + 1):
        with pytest.raises(VersionConflict):
            await behind.create("shop", RoomSettings(capacity=300), expected=version)
