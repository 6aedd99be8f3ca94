"""expire: who is taken out, as what, and that no more than 500 go at once."""

from __future__ import annotations

import pytest

from tests.lua.driven import DrivenRoom, ticket_of
from waitroom.errors import RoomUnknown, TermStale
from waitroom.model import Expiry, Visitor


async def test_unknown_room(room: DrivenRoom) -> None:
    """A room that nobody configured is left alone."""
    with pytest.raises(RoomUnknown):
        await room.expire()
    assert await room.redis.keys() == []


async def test_nothing_is_over(room: DrivenRoom) -> None:
    """Places that are not over stay."""
    await room.configure(capacity=1)
    await room.claim((await room.arrive(2))[0])
    assert await room.expire() == Expiry(False, 0, 0, 0, 0)


async def test_each_way_out(room: DrivenRoom) -> None:
    """Silence, a missed offer and the end of a session each count as what they are, once."""
    await room.configure(capacity=2, abandon_seconds=10, claim_seconds=10, session_seconds=10)
    claimed, missed, silent, heard = await room.arrive(4)
    await room.claim(claimed)
    await room.fast_forward(10)
    await room.status(ticket_of(heard))
    await room.fast_forward(0.1)
    assert await room.expire() == Expiry(False, abandoned=1, no_show=1, finished=1, swept=0)
    assert await room.expire() == Expiry(False, 0, 0, 0, 0)
    assert await room.members("wait") == [heard.visitor]
    assert await room.members("active") == await room.members("offered") == []
    assert await room.members("used") == [claimed.visitor]
    assert {missed.visitor, silent.visitor}.isdisjoint(await room.members("used"))
    counts = await room.counts()
    assert (counts.abandoned, counts.no_show, counts.finished) == (1, 1, 1)


async def test_ends_to_the_second(room: DrivenRoom) -> None:
    """A session lives until its expiry, and is over at it."""
    await room.configure(capacity=1, session_seconds=100, abandon_seconds=100)
    place = await room.arrive_alone()
    await room.claim(place)
    await room.fast_forward(99)
    assert (await room.expire()).finished == 0
    await room.fast_forward(1)
    assert (await room.expire()).finished == 1


async def test_paused_rooms_are_swept_too(room: DrivenRoom) -> None:
    """Who goes silent in a paused room stops counting."""
    await room.configure(state="paused", abandon_seconds=10)
    await room.arrive(3)
    await room.fast_forward(11)
    assert (await room.expire()).abandoned == 3


async def test_marks_are_swept(room: DrivenRoom) -> None:
    """Marks of used turns go after ticket_seconds, revocations when no pass can live any more (I13)."""
    await room.configure(capacity=1, session_seconds=100, abandon_seconds=10, claim_seconds=10, ticket_seconds=50)
    await room.leave(await room.arrive_alone())
    await room.configure(capacity=1, session_seconds=20, abandon_seconds=10, claim_seconds=10, ticket_seconds=50)
    await room.fast_forward(49)
    assert (await room.expire()).swept == 0
    await room.fast_forward(2)
    assert (await room.expire()).swept == 1
    assert await room.members("used") == []
    # The longest session that the room ever gave counts, not the one it gives now.
    await room.fast_forward(48)
    assert (await room.expire()).swept == 0
    await room.fast_forward(2)
    assert (await room.expire()).swept == 1
    assert await room.members("revoked") == []


async def test_at_most_500_per_call(room: DrivenRoom) -> None:
    """One call takes out 500 at most and says that there is more, until everything is out (I11)."""
    await room.configure(capacity=400, abandon_seconds=10, claim_seconds=10, session_seconds=10)
    await room.arrive(512)
    await room.arrive(512)
    await room.fast_forward(11)
    rounds = [await room.expire(100_000) for _ in range(4)]
    assert [done.abandoned + done.no_show for done in rounds] == [500, 500, 24, 0]
    assert [done.more for done in rounds] == [True, True, False, False]
    counts = await room.counts()
    assert (counts.abandoned, counts.no_show) == (624, 400)


async def test_budget_spans_the_kinds(room: DrivenRoom) -> None:
    """`most` bounds the sum of everything that is taken out; ended sessions go first."""
    await room.configure(capacity=3, abandon_seconds=10, claim_seconds=10)
    await room.arrive(8)
    await room.store.leave(room.name, [Visitor("stranger")])
    await room.fast_forward(4000)
    assert await room.expire(2) == Expiry(True, 0, 2, 0, 0)
    assert await room.expire(4) == Expiry(True, 3, 1, 0, 0)
    assert await room.expire(4) == Expiry(False, 2, 0, 0, 1)


async def test_stale_term(room: DrivenRoom) -> None:
    """An older leader takes nobody out (I16)."""
    await room.configure(capacity=1, claim_seconds=10)
    await room.arrive(1)
    await room.store.expire(room.name, term=7)
    await room.fast_forward(11)
    with pytest.raises(TermStale):
        await room.store.expire(room.name, term=6)
    assert len(await room.members("active")) == 1
    assert (await room.store.expire(room.name, term=7)).no_show == 1


async def test_no_show_is_not_used(room: DrivenRoom) -> None:
    """A missed offer leaves no mark, so that its ticket holds."""
    await room.configure(capacity=1, claim_seconds=10)
    await room.arrive(1)
    await room.fast_forward(10)
    await room.expire()
    assert await room.members("used") == []


async def test_ends_and_no_shows_in_one_order(room: DrivenRoom) -> None:
    """Sessions and offers that end are told apart wherever the bound cuts, and what is cut off stays for the next."""
    await room.configure(capacity=8, claim_seconds=10, session_seconds=10, abandon_seconds=100)
    places = await room.arrive(8)
    claimed = places[::2]
    await room.claim(*claimed)
    await room.fast_forward(11)
    seen = [await room.expire(3) for _ in range(3)]
    assert [done.no_show + done.finished for done in seen] == [3, 3, 2]
    assert (sum(done.no_show for done in seen), sum(done.finished for done in seen)) == (4, 4)
    assert await room.members("active") == await room.members("offered") == []
    assert set(await room.members("used")) == {place.visitor for place in claimed}


async def test_only_the_silent_go(room: DrivenRoom) -> None:
    """Of those who wait exactly the silent are taken out, wherever in the queue they stand."""
    await room.configure(state="paused", abandon_seconds=10)
    places = await room.arrive(9)
    await room.fast_forward(11)
    await room.status(*map(ticket_of, places[1::2]))
    assert (await room.expire()).abandoned == 5
    assert await room.members("wait") == [place.visitor for place in places[1::2]]
    assert set(await room.members("seen")) == {place.visitor for place in places[1::2]}
