"""Rooms whose data are lost: made again as they were, with nobody let in twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from rig.clockwork import fast_forward
from tests.instances import ONE, LateStore, arrive, instance, ticket_of
from waitroom.model import Admission, Place, Standing, Ticket
from waitroom.rooms.eta.estimate import poll_after
from waitroom.settings.room import RoomSettings
from waitroom.store import keys
from waitroom.store.clock import Clock
from waitroom.store.servers import connect
from waitroom.store.store import Store
from waitroom.web import documents


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
    room = RoomSettings(capacity=1, session_seconds=3, abandon_seconds=360)
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
    room.memory.marks = replace(room.memory.marks, turn_serial=later.serial, turn_us=room.reading.now_us)
    await redis.zrem(keys.room_key("shop", "wait"), waiting.visitor)
    # The new one admits again.
    room.memory.note_admission(Admission(later.now_us, 1, 1, False, (1,)))
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
        assert room.memory.marks.last >= first.serial


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


async def test_a_room_made_anew_while_a_lost_one_is_mended_gets_nothing_of_that(
    late: LateStore, store: Store, redis: Redis
) -> None:
    """An operator is faster than the instance that has just found another's room in place of the lost one."""
    knowing, others = await instance(late, shop=ONE), await instance(store)
    claimed = await knowing.get("shop").status(ticket_of(await arrive(knowing)))
    assert claimed.standing is Standing.ADMITTED
    await knowing.refresh()
    await redis.flushall()
    await instance(store, shop=RoomSettings(capacity=100))

    async def make_anew() -> None:
        await others.delete("shop")
        await others.create("shop", RoomSettings(capacity=2))
        await others.change("shop", {"capacity": 3})

    late.meanwhile = make_anew
    for _ in range(3):
        await knowing.refresh()
    room = knowing.get("shop")
    assert room.settings == RoomSettings(capacity=3)
    assert (room.reading.occupancy, room.reading.hold_until_us, room.reading.origin.lost_us) == (0, 0, 0)
    assert room.memory.marks == room.reading.marks
