"""extend: what a pass in use does to the session behind it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lua.driven import DrivenRoom, pass_of, ticket_of
from waitroom.errors import RoomUnknown
from waitroom.model import Marks, Pass, Place, Standing, Visitor

SECOND = 1_000_000

ADMITTED, USED, UNKNOWN = Standing.ADMITTED, Standing.USED, Standing.UNKNOWN


async def inside(room: DrivenRoom, **settings: Any) -> Place:
    """Configure the room and bring one visitor in, claimed."""
    await room.configure(**{"capacity": 1, "session_seconds": 100} | settings)
    (place,) = await room.claim(await room.arrive_alone())
    return place


async def test_unknown_room(room: DrivenRoom) -> None:
    """A pass in a room that nobody configured writes nothing."""
    with pytest.raises(RoomUnknown):
        await room.extend(Pass(Visitor("a"), 1.0))
    assert await room.redis.keys() == []


async def test_claims_an_offer(room: DrivenRoom) -> None:
    """The pass of an offer starts the session once."""
    await room.configure(capacity=1, claim_seconds=10, session_seconds=100)
    offer = await room.arrive_alone()
    first, second = await room.extend(pass_of(offer), pass_of(offer))
    assert first.expires_us == second.expires_us == first.now_us + 100_000_000
    assert await room.members("offered") == []
    assert (await room.counts()).claimed == 1


async def test_fixed_session_is_not_lengthened(room: DrivenRoom) -> None:
    """Without `sliding` use does not move the end of a session."""
    place = await inside(room)
    assert (await room.extend(pass_of(place)))[0].expires_us == place.expires_us


async def test_sliding_session_is_lengthened(room: DrivenRoom) -> None:
    """With `sliding` each use makes the session end session_seconds later."""
    place = await inside(room, sliding=True)
    await room.fast_forward(60)
    (longer,) = await room.extend(pass_of(place))
    assert longer.expires_us == longer.now_us + 100_000_000
    assert await room.scores("active") == {place.visitor: longer.expires_us}


async def test_sliding_never_shortens(room: DrivenRoom) -> None:
    """A session begun under longer session_seconds keeps its end."""
    place = await inside(room)
    await room.configure(capacity=1, session_seconds=10, sliding=True)
    assert (await room.extend(pass_of(place)))[0].expires_us == place.expires_us


@pytest.mark.parametrize("swept", [True, False])
async def test_finished_is_used(room: DrivenRoom, swept: bool) -> None:
    """Use after the end does not begin the session again."""
    place = await inside(room, sliding=True)
    await room.fast_forward(100)
    if swept:
        await room.expire()
    assert (await room.extend(pass_of(place)))[0].standing is USED
    assert (await room.counts()).finished == 1
    assert await room.members("active") == []


async def test_missed_offer_keeps_its_ticket(room: DrivenRoom) -> None:
    """The pass of an offer that ran out is worth nothing, the ticket still gives the place back."""
    await room.configure(capacity=1, claim_seconds=10)
    offer = await room.arrive_alone()
    await room.fast_forward(10)
    for _ in range(2):
        (found,) = await room.extend(pass_of(offer, expires_us=offer.expires_us - 10_000_000))
        assert found.standing is UNKNOWN
    assert (await room.status(ticket_of(offer)))[0].standing is Standing.WAITING
    assert (await room.counts()).no_show == 1


async def test_put_back_after_a_loss(room: DrivenRoom) -> None:
    """A session whose record was lost is put back for what its pass proves, once, and occupies a place."""
    place = await inside(room)
    await room.lose()
    await room.recreate(Marks(), hold_seconds=0, capacity=1, session_seconds=100)
    for _ in range(2):
        (found,) = await room.extend(pass_of(place))
        assert (found.standing, found.expires_us) == (ADMITTED, place.expires_us)
    assert (await room.counts()).restored == 1
    assert (await room.arrive_alone()).standing is Standing.WAITING


async def test_a_sliding_session_is_put_back_at_its_full_length(room: DrivenRoom) -> None:
    """The pass that puts a sliding session back lengthens it, as the same call again would (I9)."""
    place = await inside(room, sliding=True)
    await room.lose()
    await room.recreate(Marks(), hold_seconds=0, capacity=1, session_seconds=100, sliding=True)
    old = pass_of(place, expires_us=place.now_us + 60_000_000)
    (found,) = await room.extend(old)
    assert (found.standing, found.expires_us) == (ADMITTED, found.now_us + 100_000_000)


async def test_put_back_is_bounded_by_capacity(room: DrivenRoom) -> None:
    """Sessions are put back while there is room, in one batch or several."""
    await room.configure(capacity=3)
    places = await room.claim(*await room.arrive(3))
    await room.lose()
    await room.recreate(Marks(), hold_seconds=0, capacity=2)
    found = await room.extend(*map(pass_of, places))
    assert [place.standing for place in found] == [ADMITTED, ADMITTED, UNKNOWN]
    assert (await room.extend(pass_of(places[2])))[0].standing is UNKNOWN


async def test_put_back_is_bounded_by_the_session(room: DrivenRoom) -> None:
    """A session is put back for no longer than session_seconds, whatever its pass says."""
    place = await inside(room)
    await room.lose()
    await room.recreate(Marks(), hold_seconds=0, capacity=0, session_seconds=10)
    (found,) = await room.extend(pass_of(place))
    assert found.expires_us == found.now_us + 10_000_000


async def test_old_pass_puts_nobody_back(room: DrivenRoom) -> None:
    """A pass whose time is over puts nothing back."""
    await room.configure(capacity=1)
    now = (await room.read()).now_us
    assert (await room.extend(Pass(Visitor("a"), now / 1_000_000)))[0].standing is UNKNOWN


async def test_an_offer_is_put_back_as_a_whole_session(room: DrivenRoom) -> None:
    """An offer whose record was lost is claimed by the pass that shows it: a session, not the rest of the offer."""
    await room.configure(capacity=1, claim_seconds=10, session_seconds=100)
    offer = await room.arrive_alone()
    await room.lose()
    await room.recreate(Marks(), hold_seconds=0, capacity=1, session_seconds=100)
    first, second = await room.extend(pass_of(offer), pass_of(offer))
    assert first.expires_us == second.expires_us == first.now_us + 100_000_000
    assert ((await room.counts()).restored, (await room.counts()).claimed) == (1, 1)


@pytest.mark.parametrize("capacity", [2, 1])
async def test_one_whose_admission_a_failover_lost(room: DrivenRoom, capacity: int) -> None:
    """The pass of somebody who waits takes them in if there is room, and out of the queue (I1, I2, I3)."""
    await room.configure(capacity=1)
    _, waiting = await room.arrive(2)
    await room.configure(capacity=capacity)
    found = await room.extend(*2 * [pass_of(waiting, expires_us=waiting.now_us + 60_000_000)])
    assert {place.standing for place in found} == {ADMITTED if capacity == 2 else UNKNOWN}
    assert (waiting.visitor in await room.members("active")) is (capacity == 2)
    assert await room.members("wait") == await room.members("seen") == ([] if capacity == 2 else [waiting.visitor])
    counts = await room.counts()
    assert (counts.entered, counts.restored) == (2, 0)
    assert (counts.admitted, counts.claimed) == ((2, 0) if capacity == 2 else (1, 0))


async def test_batch(room: DrivenRoom) -> None:
    """A batch of 512 of every kind answers each in its place."""
    await room.configure(capacity=500, sliding=True, session_seconds=100)
    places = await room.arrive(500)
    await room.leave(*places[:10])
    strangers = [Pass(Visitor(f"s{i}"), places[0].now_us / 1_000_000) for i in range(12)]
    found = await room.extend(*map(pass_of, places), *strangers)
    assert [place.standing for place in found] == [USED] * 10 + [ADMITTED] * 490 + [UNKNOWN] * 12
    assert (await room.counts()).claimed == 490
