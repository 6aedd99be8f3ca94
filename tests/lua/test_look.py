"""look: where each stands, told without a trace."""

from __future__ import annotations

import pytest

from tests.lua import scene
from tests.lua.driven import DrivenRoom, dump
from waitroom.errors import RoomUnknown
from waitroom.model import Place, Standing, Visitor

WAITING, OFFERED, ADMITTED, UNKNOWN = Standing.WAITING, Standing.OFFERED, Standing.ADMITTED, Standing.UNKNOWN


async def look(room: DrivenRoom, *places: Place) -> list[Place]:
    """What a look at the holders of these places says."""
    return await room.store.look(room.name, [(place.visitor, place.serial) for place in places])


async def test_unknown_room(room: DrivenRoom) -> None:
    """A room that nobody configured is said to be missing."""
    with pytest.raises(RoomUnknown):
        await room.store.look(room.name, [(Visitor("a"), 1)])


async def test_every_standing(room: DrivenRoom) -> None:
    """Who waits has a rank, who is inside an expiry, claimed or not; everybody else is unknown."""
    placed = await scene.build(room)
    answers = {
        placed.silent: (WAITING, 1, 0),
        placed.first: (WAITING, 2, 0),
        placed.second: (WAITING, 3, 0),
        placed.offered: (OFFERED, 0, (await room.scores("active"))[placed.offered.visitor]),
        placed.inside: (ADMITTED, 0, (await room.scores("active"))[placed.inside.visitor]),
        **dict.fromkeys((placed.used, placed.left, placed.abandoned), (UNKNOWN, 0, 0)),
        # Over, and nobody has swept them yet.
        **dict.fromkeys((placed.finished, placed.missed), (UNKNOWN, 0, 0)),
    }
    found = await look(room, *answers)
    assert [(place.standing, place.rank, place.expires_us) for place in found] == list(answers.values())
    assert [(place.visitor, place.serial) for place in found] == [(place.visitor, place.serial) for place in answers]
    assert all(place.now_us >= placed.second.now_us for place in found)


async def test_it_leaves_no_trace(room: DrivenRoom) -> None:
    """Looking changes no key: nobody is heard, claimed, put back or swept by it."""
    placed = await scene.build(room)
    before = await dump(room.redis)
    await look(room, placed.silent, placed.first, placed.offered, placed.missed, placed.finished, placed.abandoned)
    assert await dump(room.redis) == before


async def test_being_watched_keeps_no_place(room: DrivenRoom) -> None:
    """Whom others look for, and who is not heard, stops counting all the same."""
    await room.configure(capacity=1, abandon_seconds=10)
    _, silent = await room.arrive(2)
    for _ in range(3):
        await room.fast_forward(4)
        assert (await look(room, silent))[0].standing is WAITING
    await room.expire()
    assert (await look(room, silent))[0].standing is UNKNOWN


async def test_an_offer_is_not_claimed(room: DrivenRoom) -> None:
    """An offer that is only looked at runs out."""
    await room.configure(capacity=1, claim_seconds=10)
    offer = await room.arrive_alone()
    assert (await look(room, offer))[0].standing is OFFERED
    await room.fast_forward(10)
    assert (await look(room, offer))[0].standing is UNKNOWN
    await room.expire()
    assert (await room.counts()).no_show == 1


async def test_a_full_batch(room: DrivenRoom) -> None:
    """A call may look for 512 visitors, and for one of them twice; nobody is an answer too."""
    await room.configure(state="paused")
    places = await room.arrive(512)
    assert [place.rank for place in await look(room, *places)] == list(range(1, 513))
    assert [place.rank for place in await look(room, places[7], places[7])] == [8, 8]
    assert await look(room) == []
