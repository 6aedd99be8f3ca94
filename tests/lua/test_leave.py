"""leave: goodbyes free the place at once and spend the proofs."""

from __future__ import annotations

import pytest

from tests.lua.driven import DrivenRoom, pass_of, ticket_of
from waitroom.errors import RoomUnknown
from waitroom.model import Standing, Visitor

LEFT, UNKNOWN = Standing.LEFT, Standing.UNKNOWN


async def test_unknown_room(room: DrivenRoom) -> None:
    """A goodbye to a room that nobody configured writes nothing."""
    with pytest.raises(RoomUnknown):
        await room.store.leave(room.name, [Visitor("a")])
    assert await room.redis.keys() == []


async def test_waiting(room: DrivenRoom) -> None:
    """Who leaves the queue is counted once, and everybody behind moves up."""
    await room.configure(capacity=1)
    _, leaver, other = await room.arrive(3)
    assert await room.leave(leaver) == [LEFT]
    assert await room.members("wait") == await room.members("seen") == [other.visitor]
    assert await room.members("revoked") == []
    assert (await room.status(ticket_of(other)))[0].rank == 1
    assert (await room.counts()).left == 1


@pytest.mark.parametrize("claimed", [True, False])
async def test_inside(room: DrivenRoom, claimed: bool) -> None:
    """Who leaves from inside, claimed or not, frees the place and is revoked."""
    await room.configure(capacity=1)
    leaver = await room.arrive_alone()
    if claimed:
        await room.claim(leaver)
    assert await room.leave(leaver) == [LEFT]
    assert await room.members("active") == await room.members("offered") == []
    assert await room.members("revoked") == [leaver.visitor]
    assert (await room.arrive_alone()).standing is Standing.OFFERED


async def test_twice(room: DrivenRoom) -> None:
    """A second goodbye, in the same call or a later one, changes no count."""
    await room.configure(capacity=1)
    inside, waiting = await room.arrive(2)
    assert await room.leave(inside, waiting, inside) == [LEFT, LEFT, UNKNOWN]
    counts = await room.counts()
    assert await room.leave(inside, waiting) == [UNKNOWN, UNKNOWN]
    assert await room.counts() == counts
    assert counts.left == 2


@pytest.mark.parametrize("claimed", [True, False])
async def test_after_the_end(room: DrivenRoom, claimed: bool) -> None:
    """A goodbye after the place inside was over counts as what it was: finished, or a no-show."""
    await room.configure(capacity=1, claim_seconds=10, session_seconds=10)
    place = await room.arrive_alone()
    if claimed:
        await room.claim(place)
    await room.fast_forward(10)
    assert await room.leave(place) == [UNKNOWN]
    counts = await room.counts()
    assert (counts.finished, counts.no_show, counts.left) == ((1, 0, 0) if claimed else (0, 1, 0))


async def test_stranger(room: DrivenRoom) -> None:
    """One who has no place is remembered as gone, so that an old ticket does not bring them back."""
    await room.configure(capacity=1)
    assert await room.store.leave(room.name, [Visitor("stranger")]) == [UNKNOWN]
    assert await room.members("used") == ["stranger"]


async def test_pass_is_spent(room: DrivenRoom) -> None:
    """The pass of a leaver gives the place back neither at once nor after the mark of the turn was swept."""
    settings = {"capacity": 1, "session_seconds": 1000, "abandon_seconds": 10, "ticket_seconds": 100}
    await room.configure(**settings)
    (inside,) = await room.claim(await room.arrive_alone())
    await room.leave(inside)
    assert (await room.extend(pass_of(inside)))[0].standing is Standing.USED
    await room.fast_forward(200)
    await room.expire()
    later = pass_of(inside, expires_us=inside.expires_us - 200_000_000)
    assert (await room.extend(later))[0].standing in (Standing.USED, UNKNOWN)
    assert await room.members("active") == []


async def test_batch(room: DrivenRoom) -> None:
    """A batch of 512 of every kind answers each in its place."""
    await room.configure(capacity=100)
    places = await room.arrive(500)
    strangers = [Visitor(f"s{i}") for i in range(12)]
    found = await room.store.leave(room.name, [*(place.visitor for place in places), *strangers])
    assert found == [LEFT] * 500 + [UNKNOWN] * 12
    assert await room.members("wait") == await room.members("active") == []
    assert (await room.counts()).left == 500


@pytest.mark.parametrize("state", ["paused", "closed", "bypass"])
async def test_every_state(room: DrivenRoom, state: str) -> None:
    """One may leave whatever the state of the room."""
    await room.configure(capacity=1)
    places = await room.arrive(2)
    await room.configure(capacity=1, state=state)
    assert await room.leave(*places) == [LEFT, LEFT]
