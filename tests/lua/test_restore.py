"""restore: sessions that an instance remembers go on after their records were lost."""

from __future__ import annotations

import pytest

from tests.lua.driven import DrivenRoom, pass_of, ticket_of
from waitroom.errors import RoomUnknown
from waitroom.model import Marks, Pass, Place, Standing, Visitor

SECOND = 1_000_000

ADMITTED, USED, UNKNOWN = Standing.ADMITTED, Standing.USED, Standing.UNKNOWN


async def inside(room: DrivenRoom, **settings: object) -> Place:
    """Configure the room and bring one visitor in, claimed."""
    await room.configure(**{"capacity": 1, "session_seconds": 100} | settings)
    (place,) = await room.claim(await room.arrive_alone())
    return place


async def test_unknown_room(room: DrivenRoom) -> None:
    """A session of a room that nobody configured writes nothing."""
    with pytest.raises(RoomUnknown):
        await room.store.restore(room.name, [Pass(Visitor("a"), 4e9)])
    assert await room.redis.keys() == []


@pytest.mark.parametrize("sliding", [False, True])
async def test_a_session_goes_on_no_longer_than_it_was_granted(room: DrivenRoom, sliding: bool) -> None:
    """Also a sliding one: no visitor was heard."""
    place = await inside(room, sliding=sliding)
    remembered = pass_of(place, expires_us=place.now_us + 50 * SECOND)
    await room.lose()
    await room.recreate(Marks(), hold_seconds=0, capacity=1, session_seconds=100, sliding=sliding)
    for _ in range(2):
        (found,) = await room.store.restore(room.name, [remembered])
        assert (found.standing, found.expires_us) == (ADMITTED, place.now_us + 50 * SECOND)
    counts = await room.counts()
    assert (counts.restored, counts.claimed) == (1, 0)


async def test_what_the_room_knows_better_stands(room: DrivenRoom) -> None:
    """A session that is over, one that was given back, and one past the capacity are not put back."""
    place = await inside(room)
    await room.leave(place)
    (other,) = await room.claim(await room.arrive_alone())
    remembered = [pass_of(place), pass_of(other, expires_us=other.now_us - 1), Pass(Visitor("stranger"), 4e9)]
    found = await room.store.restore(room.name, remembered)
    assert [one.standing for one in found] == [USED, ADMITTED, UNKNOWN]
    assert await room.scores("active") == {other.visitor: other.expires_us}


async def test_a_visitor_whose_admission_a_failover_lost(room: DrivenRoom) -> None:
    """One who waits is taken in, and counted as admitted."""
    await room.configure(capacity=1)
    _, waiting = await room.arrive(2)
    await room.configure(capacity=2)
    (found,) = await room.store.restore(room.name, [pass_of(waiting, expires_us=waiting.now_us + 60 * SECOND)])
    assert found.standing is ADMITTED
    assert await room.members("wait") == await room.members("seen") == []
    counts = await room.counts()
    assert (counts.admitted, counts.restored, counts.claimed) == (2, 0, 0)
    assert (await room.status(ticket_of(waiting)))[0].standing is ADMITTED


async def test_a_longer_session(room: DrivenRoom) -> None:
    """A session that was put back by an older pass lives as long as another instance remembers, a whole one at most."""
    place = await inside(room)
    older, newer = (pass_of(place, expires_us=place.now_us + seconds * SECOND) for seconds in (50, 80))
    await room.lose()
    await room.recreate(Marks(), hold_seconds=0, capacity=1, session_seconds=100)
    for proof, expires in ((older, older.expires), (newer, newer.expires), (older, newer.expires)):
        (found,) = await room.store.restore(room.name, [proof])
        assert (found.standing, found.expires_us) == (ADMITTED, round(expires * SECOND))
        assert await room.scores("active") == {place.visitor: found.expires_us}
    (found,) = await room.store.restore(room.name, [Pass(place.visitor, newer.expires + 1000)])
    assert found.expires_us == found.now_us + 100 * SECOND
    assert (await room.counts()).restored == 1


async def test_an_offer_is_not_lengthened(room: DrivenRoom) -> None:
    """Who has not claimed has no session that an instance could remember."""
    await room.configure(capacity=1, claim_seconds=10, session_seconds=100)
    offer = await room.arrive_alone()
    proof = pass_of(offer, expires_us=offer.expires_us + 50 * SECOND)
    (found,) = await room.store.restore(room.name, [proof])
    assert found.expires_us == offer.expires_us
    assert await room.scores("offered") == {offer.visitor: offer.expires_us}
