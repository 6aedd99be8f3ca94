"""pass_through: the gate admits at once or not at all. (What it shares with enter is tested there.)"""

from __future__ import annotations

from tests.lua.driven import DrivenRoom, aged, ticket_of
from waitroom.model import Place, Standing

OFFERED, ADMITTED, WAITING = Standing.OFFERED, Standing.ADMITTED, Standing.WAITING
MUST_WAIT = Standing.MUST_WAIT


def standings(places: list[Place]) -> list[Standing]:
    """The standings alone."""
    return [place.standing for place in places]


async def test_admits_or_refuses(room: DrivenRoom) -> None:
    """The gate offers the free places and queues nobody."""
    await room.configure(capacity=1)
    assert standings(await room.pass_through(None, None, None)) == [OFFERED, MUST_WAIT, MUST_WAIT]
    assert await room.members("wait") == []
    counts = await room.counts()
    assert (counts.entered, counts.admitted, counts.refused_full) == (1, 1, 0)


async def test_does_not_overtake(room: DrivenRoom) -> None:
    """The gate admits nobody past those who wait."""
    await room.configure(capacity=1)
    await room.arrive(2)
    await room.configure(capacity=10)
    assert standings(await room.pass_through(None, None)) == [MUST_WAIT] * 2


async def test_never_queues_a_ticket(room: DrivenRoom) -> None:
    """The gate does not put an abandoned visitor back into the queue either, and counts nothing."""
    await room.configure(capacity=1, abandon_seconds=10)
    _, waiting = await room.arrive(2)
    await room.fast_forward(11)
    await room.expire()
    before = await room.state()
    assert standings(await room.pass_through(aged(ticket_of(waiting), 11))) == [MUST_WAIT]
    assert await room.members("wait") == []
    assert await room.state() == before


async def test_a_place_that_is_held_is_told(room: DrivenRoom) -> None:
    """Visitors who wait are told their rank, those inside until when; nothing moves."""
    await room.configure(capacity=1)
    inside, waiting = await room.arrive(2)
    places = await room.pass_through(ticket_of(waiting), ticket_of(inside), None)
    assert standings(places) == [WAITING, ADMITTED, MUST_WAIT]
    assert (places[0].rank, places[0].serial) == (1, waiting.serial)


async def test_a_ticket_gets_in_where_there_is_room(room: DrivenRoom) -> None:
    """An abandoned visitor is admitted at once when the queue is empty, at the old serial."""
    await room.configure(capacity=1, abandon_seconds=10)
    _, waiting = await room.arrive(2)
    await room.fast_forward(11)
    await room.expire()
    await room.configure(capacity=2, abandon_seconds=10)
    (place,) = await room.pass_through(aged(ticket_of(waiting), 11))
    assert (place.standing, place.visitor, place.serial) == (OFFERED, waiting.visitor, waiting.serial)
    assert (await room.counts()).restored == 1
