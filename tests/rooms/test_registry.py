"""The rooms of an instance: seeded once, changed, deleted, read anew through outages, and told of in the log."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from rig import servers
from tests.instances import ONE, LateStore, arrive, instance, ticket_of
from waitroom.errors import RoomUnknown, SettingsError, Unavailable, VersionConflict
from waitroom.model import Reading, Standing
from waitroom.proofs.tickets import new_visitor
from waitroom.rooms.registry import Rooms
from waitroom.settings.room import RoomSettings
from waitroom.store import keys
from waitroom.store.clock import Clock
from waitroom.store.servers import connect
from waitroom.store.store import Store

# Made, changed, deleted.


async def test_a_seed_is_created_once(store: Store) -> None:
    """A room of the settings is made at the first start; further starts and readings change nothing."""
    for _ in range(2):
        rooms = await instance(store, shop=RoomSettings(capacity=5))
        await rooms.refresh()
        assert rooms.get("shop").settings.capacity == 5
        assert rooms.get("shop").reading.version == 1
    assert rooms.reachable
    assert rooms.faults == {}


async def test_redis_wins_over_the_file(store: Store) -> None:
    """What was changed live stays changed, whatever the file says at the next start."""
    first = await instance(store, shop=RoomSettings(capacity=5))
    assert await first.create("shop", RoomSettings(capacity=7, message="live"), expected=1) == 2
    second = await instance(store, shop=RoomSettings(capacity=9))
    assert second.get("shop").settings == RoomSettings(capacity=7, message="live")


async def test_a_room_made_live_is_learned_by_the_others(store: Store) -> None:
    """Rooms and changes made on one instance are served by another one after its next reading."""
    first, second = await instance(store), await instance(store)
    await first.create("shop", RoomSettings(capacity=5))
    with pytest.raises(RoomUnknown, match="no room 'shop'"):
        second.get("shop")
    await second.refresh()
    assert second.get("shop").settings.capacity == 5
    await first.create("shop", RoomSettings(capacity=6))
    await second.refresh()
    assert second.get("shop").settings.capacity == 6
    assert [room.name for room in second] == ["shop"]


async def test_a_room_is_not_unknown_while_it_is_read_for_the_first_time(late: LateStore) -> None:
    """A visitor who comes to an instance that has just started is put off, not told that there is no such room."""
    rooms = Rooms(late, {"shop": ONE})
    told: list[type[Exception]] = []

    async def ask() -> None:
        with pytest.raises((RoomUnknown, Unavailable)) as raised:
            rooms.get("shop")
        told.append(raised.type)

    late.meanwhile = ask
    await rooms.refresh()
    assert told == [Unavailable]
    assert rooms.get("shop").settings == ONE
    with pytest.raises(RoomUnknown):
        rooms.get("other")


async def test_a_change_of_an_old_version_is_refused(store: Store) -> None:
    """Who changes what somebody else has changed meanwhile is told so, and nothing happens."""
    rooms = await instance(store, shop=ONE)
    await rooms.create("shop", RoomSettings(capacity=2), expected=1)
    with pytest.raises(VersionConflict) as conflict:
        await rooms.create("shop", RoomSettings(capacity=3), expected=1)
    assert conflict.value.version == 2
    await rooms.refresh()
    assert rooms.get("shop").settings.capacity == 2


async def test_a_change_keeps_what_it_does_not_name(store: Store) -> None:
    """Changing one setting leaves the others as they are, and a wrong one changes nothing."""
    rooms = await instance(store, shop=RoomSettings(capacity=5, message="Hi"))
    room = await rooms.change("shop", {"capacity": 6}, expected=1)
    assert room.settings == RoomSettings(capacity=6, message="Hi")
    with pytest.raises(SettingsError, match="capacity"):
        await rooms.change("shop", {"capacity": -1, "message": "no"})
    with pytest.raises(VersionConflict):
        await rooms.change("shop", {"capacity": 7}, expected=1)
    assert (await store.read("shop")).settings["capacity"] == "6"


async def test_two_changes_at_once_both_count(late: LateStore, store: Store) -> None:
    """A change without a version that another one overtook is made on top of the other."""
    rooms, other = await instance(late, shop=ONE), await instance(store)

    async def overtake() -> None:
        await other.change("shop", {"message": "mine"})

    late.meanwhile = overtake
    room = await rooms.change("shop", {"capacity": 9})
    assert (room.settings.capacity, room.settings.message, room.reading.version) == (9, "mine", 3)


async def test_a_change_does_not_revive_a_room_deleted_meanwhile(late: LateStore, store: Store) -> None:
    """A change that a deletion overtook is told that there is no room."""
    rooms, other = await instance(late, shop=ONE), await instance(store)

    async def overtake() -> None:
        await other.delete("shop")

    late.meanwhile = overtake
    with pytest.raises(RoomUnknown):
        await rooms.change("shop", {"capacity": 9})
    assert await store.registered() == {"shop": False}


async def test_a_deleted_room_stays_deleted(store: Store, redis: Redis) -> None:
    """A room deleted live is gone on every instance and is not made again from the file."""
    first, second = await instance(store, shop=ONE), await instance(store, shop=ONE)
    assert await first.delete("shop") is True
    assert await first.delete("shop") is False
    await second.refresh()
    third = await instance(store, shop=ONE)
    for rooms in (first, second, third):
        with pytest.raises(RoomUnknown):
            rooms.get("shop")
    assert await redis.keys() == [keys.ROOMS]


async def test_traffic_does_not_revive_a_deleted_room(store: Store, redis: Redis) -> None:
    """A visitor on an instance that has not heard of the deletion yet is told that there is no room."""
    first, second = await instance(store, shop=ONE), await instance(store, shop=ONE)
    room = second.get("shop")
    await first.delete("shop")
    with pytest.raises(RoomUnknown):
        await room.enter(new_visitor(), None)
    with pytest.raises(RoomUnknown):
        second.get("shop")
    assert await redis.keys() == [keys.ROOMS]


async def test_a_deleted_room_can_be_made_anew(store: Store) -> None:
    """Putting a room of the same name begins an empty one that all instances serve."""
    first, second = await instance(store, shop=ONE), await instance(store, shop=ONE)
    await arrive(first)
    await first.delete("shop")
    await first.create("shop", RoomSettings(capacity=3))
    await second.refresh()
    assert second.get("shop").settings.capacity == 3
    assert second.get("shop").reading.counts.entered == 0


async def test_a_refused_change_does_not_revive_a_deleted_room(store: Store) -> None:
    """A change by an old version after the deletion is refused, and no other instance makes the room again."""
    first, second = await instance(store, shop=ONE), await instance(store, shop=ONE)
    await first.delete("shop")
    with pytest.raises(VersionConflict):
        await first.create("shop", RoomSettings(capacity=2), expected=1)
    await second.refresh()
    with pytest.raises(RoomUnknown):
        second.get("shop")
    assert await store.registered() == {"shop": False}


async def test_a_reading_that_a_change_overtook_is_not_taken(
    late: LateStore, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Redis answered before a change, and the answer comes after it: the change stays, and is told once."""
    rooms = await instance(late, shop=ONE)
    caplog.set_level("INFO", "waitroom.rooms.room")

    async def change() -> None:
        await rooms.change("shop", {"capacity": 7})

    late.meanwhile = change
    await rooms.refresh()
    assert rooms.get("shop").settings.capacity == 7
    await rooms.refresh()
    assert rooms.get("shop").settings.capacity == 7
    assert caplog.messages == ["room shop was changed: capacity 1 to 7"]


async def test_what_the_file_wants_otherwise_is_told(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """An edited file changes no room that is there, and the log says what it would have changed."""
    caplog.set_level("INFO", "waitroom.rooms.registry")
    await instance(store, shop=ONE)
    assert caplog.messages == ["room shop created"]
    caplog.clear()
    await instance(store, shop=ONE)
    assert caplog.messages == []
    rooms = await instance(store, shop=RoomSettings(capacity=600, message="New"))
    told = "room shop exists: its settings in Redis count, not those of the config file: capacity 600 to 1, message"
    assert caplog.messages == [told]
    assert rooms.get("shop").settings == ONE


async def test_a_room_that_is_made_is_told_by_the_others(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Once, and not of the rooms that were there when an instance started."""
    first, second = await instance(store, shop=ONE), await instance(store)
    caplog.set_level("INFO", "waitroom.rooms.registry")
    await second.refresh()
    assert caplog.messages == []
    await first.create("other", ONE)
    for _ in range(2):
        await second.refresh()
    assert caplog.messages == ["room other was made"]


async def test_what_was_changed_is_told_by_every_instance(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Numbers and the state by value, texts by name; also that a room was deleted and made anew between two looks."""
    first, second = await instance(store, shop=ONE), await instance(store)
    await first.change("shop", {"admit_per_second": 0.1, "state": "paused", "message": "Soon."})
    await second.refresh()
    caplog.set_level("INFO", "waitroom.rooms.room")
    await first.change("shop", {"admit_per_second": 2.5, "state": "open", "message": "", "sliding": True})
    caplog.clear()
    await second.refresh()
    await second.refresh()
    told = "room shop was changed: admit_per_second 0.1 to 2.5, sliding False to True, state paused to open, message"
    assert caplog.messages == [told]
    await first.delete("shop")
    await first.create("shop", second.get("shop").settings)
    caplog.clear()
    await second.refresh()
    assert caplog.messages == ["room shop was deleted and made anew"]


async def test_a_room_that_is_deleted_before_it_could_be_read_is_unknown(store: Store) -> None:
    """It was listed and out of reach, and then it is gone: visitors are not put off for ever."""
    await instance(store, shop=ONE)
    rooms, read = Rooms(store, {}), store.read

    async def away(_room: str, *, since_us: int = 0) -> Reading:
        raise Unavailable(f"nothing since {since_us}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "read", away)
        await rooms.refresh()
        with pytest.raises(Unavailable):
            rooms.get("shop")
    assert store.read == read
    await store.delete("shop")
    await rooms.refresh()
    with pytest.raises(RoomUnknown):
        rooms.get("shop")


async def test_an_outage_is_said_and_waited_out() -> None:
    """Without Redis a refresh raises Unavailable and the instance is not reachable; what it knew stays."""
    program = servers.program()
    with servers.running(binary=program) as url:
        store = Store(connect(url, timeout_seconds=5), Clock(), timeout_seconds=5)
        rooms = await instance(store, shop=ONE)
    with pytest.raises(Unavailable):
        await rooms.refresh()
    assert not rooms.reachable
    assert rooms.get("shop").settings == ONE
    with pytest.raises(Unavailable):
        await arrive(rooms)
    await rooms.close()
    await store.close()


async def test_who_wants_it_fresh_gets_a_reading_of_this_moment(late: LateStore) -> None:
    """One reading is shared by all who ask for it, and is good for a moment."""
    rooms = await instance(late, shop=ONE)
    room, readings = rooms.get("shop"), list[int]()

    async def noted() -> None:
        readings.append(1)
        late.meanwhile = noted

    late.meanwhile = noted
    await arrive(rooms)
    await arrive(rooms)
    assert (room.reading.waiting, room.reading.occupancy) == (0, 0)
    room.read_at -= 1
    await asyncio.gather(*(rooms.freshen(room) for _ in range(10)))
    assert (room.reading.waiting, room.reading.occupancy) == (1, 1)
    await rooms.freshen(room)
    assert len(readings) == 1
    late.meanwhile = None
    await rooms.close()


@pytest.mark.parametrize("fault", ["gone", "frozen"])
async def test_what_is_known_is_told_where_nothing_fresh_is_to_be_had(fault: str) -> None:
    """Without Redis nobody waits longer than a moment, nothing is raised, and what was known stays."""
    program = servers.program()
    with servers.running(binary=program) as url:
        async with Redis.from_url(url) as redis:
            store = Store(connect(url, timeout_seconds=1), Clock(), timeout_seconds=1)
            rooms = await instance(store, shop=ONE)
            await arrive(rooms)
            room = rooms.get("shop")
            known = room.reading
            if fault == "gone":
                await redis.shutdown(nosave=True)
            else:
                await redis.client_pause(3_000)
            room.read_at -= 1
            await rooms.freshen(room)
            assert room.reading == known
            room.reachable = False
            await rooms.freshen(room)
            await rooms.close()
            await store.close()


async def test_a_room_made_again_owes_nothing_to_the_old_ones_tickets(store: Store) -> None:
    """Who waited when a room was deleted does not come first in the room made again under its name."""
    rooms = await instance(store, shop=ONE)
    await arrive(rooms)
    waiting = await arrive(rooms)
    await rooms.delete("shop")
    await rooms.create("shop", ONE)
    assert (await rooms.get("shop").status(ticket_of(waiting))).standing is Standing.EXPIRED
    again = await arrive(rooms, ticket=ticket_of(waiting))
    assert again.visitor != waiting.visitor


async def test_a_hundred_rooms_are_read_with_a_few_connections(redis: Redis, engine: str) -> None:
    """More rooms than connections are no outage, neither for the readings nor for their visitors."""
    few = Store(connect(engine, timeout_seconds=10, connections=4), Clock(), timeout_seconds=10)
    rooms = Rooms(few, {f"many-{number}": ONE for number in range(100)})
    await rooms.refresh()
    assert rooms.reachable
    assert len(list(rooms)) == 100
    places = await asyncio.gather(*(arrive(rooms, room.name) for room in rooms))
    assert {place.standing for place in places} == {Standing.OFFERED}
    await rooms.close()
    await few.close()


async def test_every_revocation_is_learned_at_once(store: Store, redis: Redis) -> None:
    """A new instance knows all who left, more of them than one call lists."""
    now_us = (await instance(store, shop=ONE)).get("shop").reading.now_us
    key = keys.room_key("shop", "revoked")
    await redis.zadd(key, {f"visitor-{number}": now_us - 20_000 + number for number in range(12_000)})
    assert len((await instance(store)).get("shop").memory.revoked) == 12_000


async def test_revocations_survive_a_clock_set_back(store: Store, redis: Redis) -> None:
    """Who leaves after the clock of Redis was set back is revoked as well."""
    rooms = await instance(store, shop=ONE)
    room = rooms.get("shop")
    inside = await arrive(rooms)
    room.renew(replace(room.reading, now_us=room.reading.now_us + 3_600_000_000), room.settings)
    await room.leave(inside.visitor)
    await rooms.refresh()
    assert inside.visitor in room.memory.revoked


@pytest.mark.parametrize("by_us", [1_000_000, -3_600_000_000])
async def test_nothing_of_a_deleted_room_comes_back_in_its_successor(store: Store, redis: Redis, by_us: int) -> None:
    """Neither settings nor sessions nor marks, also where the clock was set back before it was made anew."""
    knowing, other = await instance(store, shop=ONE), await instance(store)
    await other.delete("shop")
    await other.create("shop", RoomSettings(capacity=2))
    await knowing.refresh()
    claimed = await knowing.get("shop").status(ticket_of(await arrive(knowing)))
    assert claimed.standing is Standing.ADMITTED
    await other.delete("shop")
    await other.create("shop", RoomSettings(capacity=3, state="closed"))
    config = keys.room_key("shop", "config")
    await redis.hincrby(config, "passes_after_us", by_us)
    await redis.hincrby(config, "made_us", by_us)
    await knowing.refresh()
    room = knowing.get("shop")
    assert room.settings == RoomSettings(capacity=3, state="closed")
    assert (room.reading.occupancy, room.reading.hold_until_us, room.reading.origin.lost_us) == (0, 0, 0)
    assert room.memory.marks == room.reading.marks
