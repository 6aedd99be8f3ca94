"""The rooms of an instance: seeded once, read anew, lost and made again, broken without harm to others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from tests import servers
from tests.clockwork import fast_forward
from tests.instances import ONE, LateStore, arrive, instance, ticket_of
from waitroom import keys
from waitroom.clock import Clock
from waitroom.connections import connect
from waitroom.errors import RoomUnknown, SettingsError, Unavailable, VersionConflict
from waitroom.eta import poll_after
from waitroom.model import Admission, Place, Reading, Standing, Ticket
from waitroom.rooms import Rooms
from waitroom.settings import RoomSettings
from waitroom.store import SCHEMA, Store
from waitroom.tickets import new_visitor
from waitroom.web import documents

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


# Lost.


async def test_a_lost_room_is_made_again_as_last_known(store: Store, redis: Redis) -> None:
    """After a loss of all data the next reading makes the room again, with the settings it had live."""
    rooms = await instance(store, shop=ONE)
    await rooms.create("shop", RoomSettings(capacity=7, message="live"))
    await redis.flushall()
    await rooms.refresh()
    assert rooms.get("shop").settings == RoomSettings(capacity=7, message="live")
    assert await store.registered() == {"shop": True}
    assert rooms.get("shop").eta(1) is None


async def test_versions_go_on_after_a_loss(store: Store, redis: Redis) -> None:
    """A change by a version from before the loss cannot hit another state of the room: versions never come again."""
    rooms = await instance(store, shop=ONE)
    await rooms.create("shop", RoomSettings(capacity=7))
    known = rooms.get("shop").reading.version
    await redis.flushall()
    await rooms.refresh()
    assert rooms.get("shop").reading.version >= known


async def test_traffic_makes_a_lost_room_again(store: Store, redis: Redis) -> None:
    """The first visitor after a loss does not wait for the next reading, and gets a place."""
    rooms = await instance(store, shop=ONE)
    await redis.flushall()
    assert (await arrive(rooms)).standing is Standing.WAITING


async def test_the_old_order_comes_back_after_a_loss(store: Store, redis: Redis) -> None:
    """Whoever waited is back at their old serial at their next look, in whatever order they look, before newcomers."""
    rooms = await instance(store, shop=ONE)
    inside, *waiting = [await arrive(rooms) for _ in range(5)]
    await redis.flushall()
    newcomer = await arrive(rooms)
    for place in reversed(waiting):
        again = await rooms.get("shop").status(ticket_of(place))
        assert (again.standing, again.serial) == (Standing.WAITING, place.serial)
    ranks = [(await rooms.get("shop").status(ticket_of(place))).rank for place in [*waiting, newcomer]]
    assert ranks == [1, 2, 3, 4, 5]
    assert newcomer.serial > max(place.serial for place in waiting)
    assert (await store.admit("shop", term=1)).serials == ()
    await fast_forward(redis, "shop", 45)
    assert (await store.admit("shop", term=1)).serials == (waiting[0].serial,)
    assert inside.serial < waiting[0].serial


async def test_a_used_turn_stays_used_after_a_loss(store: Store, redis: Redis) -> None:
    """Who had left before the loss cannot queue with the old ticket at the old place."""
    rooms = await instance(store, shop=ONE)
    gone, waiting = await arrive(rooms), await arrive(rooms)
    await rooms.get("shop").status(ticket_of(gone))
    await rooms.get("shop").leave(gone.visitor)
    await redis.flushall()
    assert (await rooms.get("shop").status(ticket_of(gone))).standing is Standing.USED
    again = await arrive(rooms, ticket=ticket_of(gone))
    assert again.visitor != gone.visitor
    assert again.serial > waiting.serial
    assert await redis.zrange(keys.room_key("shop", "revoked"), 0, -1) == [gone.visitor]


async def test_a_session_that_had_ended_stays_used_after_a_loss(store: Store, redis: Redis) -> None:
    """Its ticket is young enough to be that of somebody who never heard of the turn; the instance knows better."""
    room = RoomSettings(capacity=1, session_seconds=1, abandon_seconds=360)
    rooms = await instance(store, shop=room)
    gone = await arrive(rooms)
    inside = await rooms.get("shop").status(ticket_of(gone))
    assert inside.standing is Standing.ADMITTED
    waiting = await arrive(rooms)
    await asyncio.sleep((inside.expires_us - inside.now_us) / 1_000_000 + 0.01)
    await redis.flushall()
    assert (await rooms.get("shop").status(ticket_of(waiting))).rank == 1
    assert (await rooms.get("shop").status(ticket_of(gone))).standing is Standing.USED
    again = await arrive(rooms, ticket=ticket_of(gone))
    assert again.serial > waiting.serial


async def test_who_is_inside_stays_inside_after_a_loss(store: Store, redis: Redis) -> None:
    """Sessions that the instance has seen are put back with the room, until when they last: no place is given twice."""
    rooms = await instance(store, shop=ONE)
    inside = await rooms.get("shop").status(ticket_of(await arrive(rooms)))
    await redis.flushall()
    assert (await arrive(rooms)).standing is Standing.WAITING
    reading = await rooms.get("shop").read()
    assert (reading.occupancy, reading.counts.restored) == (1, 1)
    again = await rooms.get("shop").status(ticket_of(inside))
    assert again.standing is Standing.ADMITTED
    assert abs(again.expires_us - inside.expires_us) <= 1


async def test_an_offer_not_seen_yet_is_made_again_after_a_loss(store: Store, redis: Redis) -> None:
    """Who had been offered a place shortly before the loss, and has not looked yet, is back at the old serial."""
    rooms = await instance(store, shop=ONE)
    offered, waiting = await arrive(rooms), await arrive(rooms)
    assert offered.standing is Standing.OFFERED
    await redis.flushall()
    for place, rank in ((offered, 1), (waiting, 2)):
        again = await rooms.get("shop").status(ticket_of(place))
        assert (again.standing, again.serial, again.rank) == (Standing.WAITING, place.serial, rank)


async def test_who_watched_and_missed_an_offer_by_a_loss_is_back_in_place(store: Store, redis: Redis) -> None:
    """A ticket as old as a client that watches the document lets it get, offered a place just before the loss: it was
    not heard of, so the turn is not used."""
    rooms = await instance(store, shop=ONE)
    offered = await arrive(rooms)
    await redis.flushall()
    silent_us = round(ONE.latest_poll_seconds * 1_000_000)
    again = await rooms.get("shop").status(ticket_of(offered)._replace(issued_us=offered.now_us - silent_us))
    assert (again.standing, again.serial) == (Standing.WAITING, offered.serial)


@pytest.mark.parametrize("times", [{}, {"abandon_seconds": 600}, {"claim_seconds": 20}, {"abandon_seconds": 15}])
async def test_who_watches_is_back_before_the_hold_ends(store: Store, redis: Redis, times: dict[str, float]) -> None:
    """The hold after a loss is shorter than watching clients may stay away: the document says what happened."""
    settings = RoomSettings(capacity=1, **times)  # type: ignore[arg-type]  # of seconds only
    rooms = await instance(store, shop=settings)
    before = [await arrive(rooms) for _ in range(3)]
    await rooms.refresh()
    assert documents.public(rooms.get("shop"))["lost_at"] is None
    await redis.flushall()
    await rooms.refresh()
    room = rooms.get("shop")
    document = documents.public(room)
    assert document["lost_at"] is not None
    assert document["lost_at"] >= documents.iso(before[-1].now_us)
    assert (document["ladder"], document["eta_seconds"]) == ((), None)
    # An instance's reading and a cache later; and told to come back so late at most, which the spread has to fit in.
    latest = 2 + poll_at_most(settings)
    assert room.reading.hold_until_us - room.reading.now_us >= latest * 1_000_000


def poll_at_most(settings: RoomSettings) -> float:
    """The longest of many times to the next poll that such a room tells while nobody can say an eta."""
    return max(poll_after(None, settings) for _ in range(200))


def long_silent(place: Place) -> Ticket:
    """A ticket of that place from long before: whoever comes with it knows of the turn, or has missed it."""
    return ticket_of(place)._replace(issued_us=place.now_us - 100_000_000)


async def test_an_admission_read_a_second_ago_is_remembered(store: Store, redis: Redis) -> None:
    """An instance that only reads, and neither admits nor serves the visitor, knows the used turns too."""
    first, second = await instance(store, shop=ONE), await instance(store, shop=ONE)
    inside = await arrive(first)
    await arrive(first)
    await second.refresh()
    await redis.flushall()
    await second.refresh()
    assert (await second.get("shop").status(long_silent(inside))).standing is Standing.USED


async def test_sessions_seen_by_another_instance_are_put_back(store: Store, redis: Redis) -> None:
    """An instance finds at its next reading that another made the room again, and adds the sessions that it knows."""
    ignorant, knowing = await instance(store, shop=ONE), await instance(store, shop=ONE)
    inside = await knowing.get("shop").status(ticket_of(await arrive(knowing)))
    await ignorant.refresh()
    await redis.flushall()
    await ignorant.refresh()
    assert await redis.zrange(keys.room_key("shop", "active"), 0, -1) == []
    # The ticket would still queue: nobody there knows better yet.
    assert (await ignorant.get("shop").status(ticket_of(inside))).standing is Standing.WAITING
    await knowing.refresh()
    assert await redis.zrange(keys.room_key("shop", "active"), 0, -1) == [inside.visitor]
    assert await redis.zrange(keys.room_key("shop", "wait"), 0, -1) == []


async def test_two_instances_recover_at_once(store: Store, engine: str, redis: Redis) -> None:
    """Both make the room again at the same moment: one wins, both serve it, and it holds once."""
    other = Store(connect(engine, timeout_seconds=10), Clock(), timeout_seconds=10)
    first, second = await instance(store, shop=ONE), await instance(other)
    inside, waiting = await arrive(first), await arrive(first)
    await first.get("shop").status(ticket_of(inside))
    await redis.flushall()
    await asyncio.gather(first.refresh(), second.refresh(), arrive(second), arrive(first))
    readings = [await rooms.get("shop").read() for rooms in (first, second)]
    assert {reading.version for reading in readings} == {1002}
    assert readings[0].waiting == 2
    assert (await second.get("shop").status(ticket_of(inside))).standing is Standing.ADMITTED
    assert (await second.get("shop").status(ticket_of(waiting))).rank == 1
    await other.close()


async def test_the_later_knowledge_of_used_turns_is_added(store: Store, redis: Redis) -> None:
    """When an instance that knew less made the room again, one that knew more adds what it knew."""
    ignorant, knowing = await instance(store, shop=ONE), await instance(store, shop=ONE)
    inside = await arrive(knowing)
    await redis.flushall()
    await ignorant.refresh()
    await knowing.refresh()
    assert (await ignorant.get("shop").status(long_silent(inside))).standing is Standing.USED


async def test_a_session_lengthened_elsewhere_is_not_taken_for_over(store: Store, redis: Redis) -> None:
    """What looks over to one instance may have been lengthened through another: putting back takes nobody out."""
    first, second = await instance(store, shop=ONE), await instance(store, shop=ONE)
    inside = await first.get("shop").status(ticket_of(await arrive(first)))
    first.get("shop").note_session(inside.visitor, inside.now_us - 1)
    await redis.hset(keys.room_key("shop", "state"), "turn_serial", 0)
    await first.refresh()
    await second.refresh()
    assert await redis.zrange(keys.room_key("shop", "active"), 0, -1) == [inside.visitor]
    for name in ("used", "revoked"):
        assert await redis.zrange(keys.room_key("shop", name), 0, -1) == []


async def test_every_instance_hears_of_a_failover_that_lost_something(store: Store, redis: Redis) -> None:
    """The first instance to notice raises the marks; the others put their sessions back all the same."""
    first, second = await instance(store, shop=ONE), await instance(store, shop=ONE)
    inside = await second.get("shop").status(ticket_of(await arrive(second)))
    await arrive(first)
    for rooms in (first, second):
        await rooms.refresh()
    found_lost = REGISTRY.get_sample_value("waitroom_recovered_total", {"room": "shop"}) or 0.0
    # As on a replica that had not heard of the admission yet.
    await redis.delete(keys.room_key("shop", "active"))
    await redis.hset(keys.room_key("shop", "state"), "turn_serial", 0)
    await first.refresh()
    assert await redis.zrange(keys.room_key("shop", "active"), 0, -1) == []
    assert (await store.admit("shop", term=1)).serials == ()  # held until all have had the time
    await second.refresh()
    assert await redis.zrange(keys.room_key("shop", "active"), 0, -1) == [inside.visitor]
    # Operators hear of it too.
    assert REGISTRY.get_sample_value("waitroom_recovered_total", {"room": "shop"}) == found_lost + 1


async def test_an_admission_after_a_failover_spends_no_ticket_of_before(store: Store, redis: Redis) -> None:
    """The outage was long, and the new primary admitted somebody before the loss was noticed: who waited is back."""
    rooms = await instance(store, shop=ONE)
    room = rooms.get("shop")
    await arrive(rooms)
    waiting, later = await arrive(rooms), await arrive(rooms)
    long_ago = 600_000_000
    ticket = Ticket(waiting.visitor, waiting.serial, waiting.now_us - long_ago)
    # Last read before the outage; the old primary had admitted both of them, of which nobody else heard.
    room.reading = replace(room.reading, now_us=room.reading.now_us - long_ago)
    room.marks = replace(room.marks, turn_serial=later.serial, turn_us=room.reading.now_us)
    await redis.zrem(keys.room_key("shop", "wait"), waiting.visitor)
    # The new one admits again.
    room.note_admission(Admission(later.now_us, 1, 1, False, (1,)))
    await rooms.refresh()
    place = await room.status(ticket)
    assert (place.standing, place.serial) == (Standing.WAITING, waiting.serial)


async def test_a_longer_session_wins_over_a_shorter_memory(store: Store, redis: Redis) -> None:
    """Whichever instance puts a session back first, it lasts until the latest end that anybody was told of."""
    first, second = await instance(store, shop=ONE), await instance(store, shop=ONE)
    inside = await second.get("shop").status(ticket_of(await arrive(second)))
    first.get("shop").note_session(inside.visitor, inside.expires_us - 100_000_000)
    await redis.flushall()
    await first.refresh()
    await second.refresh()
    expiry = await redis.zscore(keys.room_key("shop", "active"), inside.visitor)
    assert expiry is not None
    assert abs(expiry - inside.expires_us) <= 1


async def test_a_late_reading_is_no_loss(late: LateStore, redis: Redis) -> None:
    """A reading overtaken by an arrival is not taken for a loss of data: a no-show's ticket still holds."""
    rooms = await instance(late, shop=ONE)
    absent = await arrive(rooms)
    await fast_forward(redis, "shop", 61)
    await late.expire("shop", term=1)

    async def overtake() -> None:
        await arrive(rooms)

    late.meanwhile = overtake
    await rooms.refresh()
    again = await rooms.get("shop").status(ticket_of(absent))
    assert (again.standing, again.serial) == (Standing.WAITING, absent.serial)


# Broken.


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
    caplog.set_level("INFO", "waitroom.rooms")
    for rooms in (known, new):
        await rooms.refresh()
        assert rooms.faults == {}
        with pytest.raises(RoomUnknown):
            rooms.get("sick")
    assert caplog.messages.count("room sick was deleted") == 2


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


async def test_a_reading_that_a_change_overtook_is_not_taken(
    late: LateStore, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Redis answered before a change, and the answer comes after it: the change stays, and is told once."""
    rooms = await instance(late, shop=ONE)
    caplog.set_level("INFO", "waitroom.room")

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
    caplog.set_level("INFO", "waitroom.rooms")
    await instance(store, shop=ONE)
    assert caplog.messages == ["room shop created"]
    caplog.clear()
    await instance(store, shop=ONE)
    assert caplog.messages == []
    rooms = await instance(store, shop=RoomSettings(capacity=600, message="New"))
    told = "room shop is there, and what Redis holds counts, not the file: capacity 600 to 1, message"
    assert caplog.messages == [told]
    assert rooms.get("shop").settings == ONE


async def test_a_room_that_is_made_is_told_by_the_others(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Once, and not of the rooms that were there when an instance started."""
    first, second = await instance(store, shop=ONE), await instance(store)
    caplog.set_level("INFO", "waitroom.rooms")
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
    caplog.set_level("INFO", "waitroom.room")
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


async def test_an_outage_is_said_and_waited_out() -> None:
    """Without Redis a refresh raises Unavailable and the instance is not reachable; what it knew stays."""
    program = servers.any_binary()
    with servers.running(program) as url:
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
    program = servers.any_binary()
    with servers.running(program) as url:
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
    assert len((await instance(store)).get("shop").revoked) == 12_000


async def test_revocations_survive_a_clock_set_back(store: Store, redis: Redis) -> None:
    """Who leaves after the clock of Redis was set back is revoked as well."""
    rooms = await instance(store, shop=ONE)
    room = rooms.get("shop")
    inside = await arrive(rooms)
    room.renew(replace(room.reading, now_us=room.reading.now_us + 3_600_000_000), room.settings)
    await room.leave(inside.visitor)
    await rooms.refresh()
    assert inside.visitor in room.revoked


async def test_a_new_instance_that_finds_a_lost_room_first_takes_nothing_back(store: Store, redis: Redis) -> None:
    """It makes the room from its file; those who knew it give it settings, version and hold back, once."""
    knowing = await instance(store, shop=RoomSettings(capacity=1))
    await knowing.change("shop", {"capacity": 3, "state": "paused"})
    await knowing.change("shop", {"state": "open"})
    first = await arrive(knowing)
    version = knowing.get("shop").reading.version
    await redis.flushall()
    new = await instance(store, shop=RoomSettings(capacity=1))
    await knowing.refresh()
    await new.refresh()
    for rooms in (knowing, new):
        room = rooms.get("shop")
        assert room.settings.capacity == 3
        assert room.reading.version > version
        assert room.reading.hold_until_us - room.reading.now_us > 15_000_000
    assert (await arrive(new)).standing is Standing.WAITING
    assert (await arrive(new)).serial > first.serial
    settled = new.get("shop").reading.version
    await knowing.refresh()
    await new.refresh()
    assert new.get("shop").reading.version == settled


@pytest.mark.parametrize("anew", [False, True])
async def test_what_an_operator_decided_after_a_loss_stands(store: Store, redis: Redis, anew: bool) -> None:
    """An instance that was away gives the room its marks and a hold, not the settings of before."""
    away = await instance(store, shop=RoomSettings(capacity=100))
    first = await arrive(away)
    await redis.flushall()
    shut = RoomSettings(capacity=5, state="closed")
    if anew:
        others = await instance(store)
        await others.create("shop", shut, expected=0)
    else:
        others = await instance(store, shop=RoomSettings(capacity=100))
        await others.change("shop", {"capacity": 5, "state": "closed"})
    await away.refresh()
    await others.refresh()
    for rooms in (away, others):
        room = rooms.get("shop")
        assert room.settings == shut
        assert room.reading.hold_until_us > room.reading.now_us
        assert room.marks.last >= first.serial


async def test_a_room_that_a_new_instance_makes_in_the_middle_gets_its_settings_back(
    late: LateStore, store: Store
) -> None:
    """Between finding the room gone and making it again, somebody who knew nothing made it from the file."""
    knowing = await instance(late, shop=RoomSettings(capacity=500, state="paused"))
    await store.delete("shop")
    await store.register("shop", live=True)

    async def sow() -> None:
        late.meanwhile = None
        await instance(store, shop=RoomSettings(capacity=7))

    late.meanwhile = sow
    await knowing.refresh()
    await knowing.refresh()
    room = knowing.get("shop")
    assert (room.settings.capacity, room.settings.state) == (500, "paused")
    assert room.reading.hold_until_us > room.reading.now_us


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
    assert (room.reading.occupancy, room.reading.hold_until_us, room.reading.lost_us) == (0, 0, 0)
    assert room.marks == room.reading.marks
