"""status: what a ticket's holder is told, and what being heard does."""

from __future__ import annotations

import pytest

from tests.lua.driven import DrivenRoom, aged, ticket_of
from waitroom.errors import RoomUnknown
from waitroom.model import Marks, Place, Standing, Ticket, Visitor

WAITING, ADMITTED, USED = Standing.WAITING, Standing.ADMITTED, Standing.USED


def standings(places: list[Place]) -> list[Standing]:
    return [place.standing for place in places]


async def test_unknown_room(room: DrivenRoom) -> None:
    """A look-up in a room that nobody configured writes nothing."""
    with pytest.raises(RoomUnknown):
        await room.status(Ticket(Visitor("a"), 1, 1))
    assert await room.redis.keys() == []


async def test_rank_is_exact(room: DrivenRoom) -> None:
    """Everybody's rank is the number of those with smaller serials plus one, and falls as others go."""
    await room.configure(state="paused")
    places = await room.arrive(512)
    tickets = [ticket_of(place) for place in places]
    assert [place.rank for place in await room.status(*tickets)] == list(range(1, 513))
    await room.leave(*places[0:512:2])
    assert [place.rank for place in await room.status(*tickets[1:512:2])] == list(range(1, 257))


async def test_rank_never_grows(room: DrivenRoom) -> None:
    """Later arrivals do not change the rank of those before them."""
    await room.configure(capacity=1)
    _, *places = await room.arrive(4)
    await room.arrive(10)
    assert [place.rank for place in await room.status(*map(ticket_of, places))] == [1, 2, 3]


async def test_being_heard_keeps_the_place(room: DrivenRoom) -> None:
    """Who asks within abandon_seconds waits on; who does not stops counting."""
    await room.configure(capacity=1, abandon_seconds=10)
    inside, asking, silent = await room.arrive(3)
    await room.claim(inside)
    for _ in range(3):
        await room.fast_forward(8)
        assert (await room.status(ticket_of(asking)))[0].rank == 1
        await room.expire()
    assert await room.members("wait") == [asking.visitor]
    assert (await room.counts()).abandoned == 1
    assert silent.visitor not in await room.members("seen")


async def test_claim_starts_the_session(room: DrivenRoom) -> None:
    """The first look-up after an offer starts the session; later ones leave its end alone."""
    await room.configure(capacity=1, claim_seconds=10, session_seconds=100)
    offer = await room.arrive_alone()
    await room.fast_forward(9)
    (claimed,) = await room.claim(offer)
    assert claimed.expires_us == claimed.now_us + 100_000_000
    assert await room.scores("active") == {offer.visitor: claimed.expires_us}
    assert await room.members("offered") == []
    first, second = await room.status(ticket_of(offer), ticket_of(offer))
    assert first.expires_us == second.expires_us == claimed.expires_us
    assert (await room.counts()).claimed == 1


async def test_claim_after_being_admitted_from_the_queue(room: DrivenRoom) -> None:
    """The leader's offer is claimed like one of first contact."""
    await room.configure(capacity=2)
    await room.configure(capacity=2, state="paused")
    (place,) = await room.arrive(1)
    await room.configure(capacity=2)
    assert await room.admit() == (place.serial,)
    await room.claim(place)
    assert (await room.counts()).claimed == 1


@pytest.mark.parametrize("swept", [True, False])
async def test_no_show_is_restored(room: DrivenRoom, swept: bool) -> None:
    """A look-up after a missed offer gives the old serial back, before those who wait."""
    await room.configure(capacity=1, claim_seconds=10)
    late, _ = await room.arrive(2)
    await room.fast_forward(10)
    if swept:
        assert (await room.expire()).no_show == 1
    (back,) = await room.status(aged(ticket_of(late), 10))
    assert (back.standing, back.rank) == (WAITING, 1)
    assert (await room.scores("wait"))[late.visitor] == late.serial
    counts = await room.counts()
    assert (counts.no_show, counts.restored, counts.finished) == (1, 1, 0)


async def test_abandoned_is_restored_once(room: DrivenRoom) -> None:
    """Several look-ups of one who had gone silent, in one batch or more, restore one place."""
    await room.configure(capacity=1, abandon_seconds=10, session_seconds=100)
    inside, silent, other = await room.arrive(3)
    await room.claim(inside)
    await room.fast_forward(11)
    assert (await room.expire()).abandoned == 2
    ticket = aged(ticket_of(silent), 11)
    assert [place.rank for place in await room.status(aged(ticket_of(other), 11), ticket, ticket)] == [1, 1, 1]
    assert (await room.status(ticket))[0].rank == 1
    assert await room.members("wait") == [silent.visitor, other.visitor]
    assert (await room.counts()).restored == 2


@pytest.mark.parametrize("swept", [True, False])
async def test_finished_is_used(room: DrivenRoom, swept: bool) -> None:
    """After the session the turn is used, however often one asks."""
    await room.configure(capacity=1, session_seconds=10)
    place = await room.arrive_alone()
    await room.claim(place)
    await room.fast_forward(10)
    if swept:
        assert (await room.expire()).finished == 1
    for _ in range(2):
        assert standings(await room.status(aged(ticket_of(place), 10))) == [USED]
    counts = await room.counts()
    assert (counts.finished, counts.no_show) == (1, 0)
    assert await room.members("active") == []


async def test_leaver_is_used(room: DrivenRoom) -> None:
    """Who said goodbye, waiting or inside, has no place any more."""
    await room.configure(capacity=1)
    inside, waiting = await room.arrive(2)
    await room.leave(inside, waiting)
    assert standings(await room.status(ticket_of(inside), ticket_of(waiting))) == [USED, USED]


async def test_expired_ticket(room: DrivenRoom) -> None:
    """A ticket older than ticket_seconds is expired, whatever it once proved, and its holder is not heard."""
    await room.configure(capacity=1, abandon_seconds=50, ticket_seconds=50)
    places = await room.arrive(2)
    seen = await room.scores("seen")
    tickets = [aged(ticket_of(place), 51) for place in places]
    assert standings(await room.status(*tickets)) == [Standing.EXPIRED] * 2
    assert await room.scores("seen") == seen
    assert (await room.counts()).claimed == 0


async def test_raised_ticket_seconds_revives_no_ticket(room: DrivenRoom) -> None:
    """A ticket that had died by the old ticket_seconds stays dead under a longer one, a younger one lives on."""
    await room.configure(capacity=1, abandon_seconds=10, ticket_seconds=10, session_seconds=100)
    inside, waiting = await room.arrive(2)
    await room.claim(inside)
    await room.fast_forward(11)
    await room.expire()
    young = await room.arrive_alone()
    await room.configure(capacity=1, abandon_seconds=10, ticket_seconds=3600, session_seconds=100)
    assert standings(await room.status(aged(ticket_of(waiting), 11))) == [Standing.EXPIRED]
    await room.fast_forward(60)
    await room.expire()
    assert standings(await room.status(aged(ticket_of(young), 60))) == [WAITING]
    assert standings(await room.status(aged(ticket_of(waiting), 71))) == [Standing.EXPIRED]


async def test_used_turns_are_remembered_as_long_as_tickets_live(room: DrivenRoom) -> None:
    """When the mark of a used turn is swept, every ticket for it has expired."""
    await room.configure(capacity=1, session_seconds=10, abandon_seconds=20, ticket_seconds=20)
    place = await room.arrive_alone()
    await room.claim(place)
    await room.fast_forward(11)
    await room.expire()
    await room.fast_forward(19)
    await room.expire()
    assert standings(await room.status(aged(ticket_of(place), 19))) == [USED]
    await room.fast_forward(2)
    assert (await room.expire()).swept == 1
    assert standings(await room.status(aged(ticket_of(place), 21))) == [Standing.EXPIRED]


async def test_full(room: DrivenRoom) -> None:
    """One who had gone silent finds a full queue full, and is restored when there is room again."""
    await room.configure(capacity=1, max_waiting=1, abandon_seconds=10)
    inside, silent = await room.arrive(2)
    await room.claim(inside)
    await room.fast_forward(11)
    await room.expire()
    other = await room.arrive_alone()
    ticket = aged(ticket_of(silent), 11)
    assert standings(await room.status(ticket)) == [Standing.FULL]
    await room.leave(other)
    assert [(place.standing, place.rank) for place in await room.status(ticket)] == [(WAITING, 1)]


@pytest.mark.parametrize("state", ["paused", "closed", "bypass"])
async def test_every_state_tells_and_claims(room: DrivenRoom, state: str) -> None:
    """Places are told and offers are claimed whatever the state of the room."""
    await room.configure(capacity=1)
    offer, waiting = await room.arrive(2)
    await room.configure(capacity=1, state=state)
    assert standings(await room.status(ticket_of(offer), ticket_of(waiting))) == [ADMITTED, WAITING]


async def test_restored_after_a_loss(room: DrivenRoom) -> None:
    """After a loss look-ups rebuild the queue in its old order; turns that had come are used; serials grow on."""
    await room.configure(capacity=2)
    first, second, *waiting = await room.arrive(5)
    marks = (await room.read()).marks
    await room.lose()
    await room.recreate(marks, hold_seconds=20, capacity=2)
    found = await room.status(*map(ticket_of, [waiting[2], first, waiting[0], second, waiting[1]]))
    assert standings(found) == [WAITING, USED, WAITING, USED, WAITING]
    assert await room.members("wait") == [place.visitor for place in waiting]
    assert await room.admit() == ()
    assert (await room.arrive_alone()).serial > waiting[2].serial
    await room.fast_forward(20)
    assert await room.admit() == (waiting[0].serial, waiting[1].serial)


async def test_restoring_raises_last(room: DrivenRoom) -> None:
    """A restored serial ahead of all that is known is followed, not met, by later arrivals."""
    await room.recreate(Marks(), hold_seconds=20, capacity=1)
    now = (await room.read()).now_us
    ticket = Ticket(Visitor("old"), now + 3_600_000_000, now)
    await room.status(ticket)
    assert (await room.arrive_alone()).serial == ticket.serial + 1


async def test_an_older_ticket_beside_a_newer_one_of_the_same_visitor(room: DrivenRoom) -> None:
    """After a loss one call may bring both; the newer gives the place back, and then the older holds it too."""
    seconds, micros = await room.redis.time()
    now = seconds * 1_000_000 + micros
    await room.recreate(Marks(last=now, turn_serial=now, turn_us=now), hold_seconds=20)
    older, newer = Ticket(Visitor("v"), now - 10, now - 1), Ticket(Visitor("v"), now - 10, now + 1)
    assert standings(await room.status(older)) == [USED]
    assert standings(await room.status(newer, older)) == [WAITING, WAITING]
    assert (await room.counts()).restored == 1


async def test_mixed_batch(room: DrivenRoom) -> None:
    """A batch of 512 of every kind answers each ticket in its place."""
    await room.configure(capacity=2, abandon_seconds=10, ticket_seconds=100, session_seconds=50)
    inside, offered, *waiting, leaver, silent = await room.arrive(200)
    await room.claim(inside)
    await room.leave(leaver)
    await room.fast_forward(11)
    await room.status(*map(ticket_of, waiting))
    await room.expire()
    kinds = [ticket_of(inside), ticket_of(offered), *map(ticket_of, waiting), ticket_of(leaver)]
    tickets = [*kinds, aged(ticket_of(silent), 11), aged(ticket_of(silent), 101)]
    batch = (tickets * 3)[:512]
    expected = [ADMITTED, ADMITTED, *[WAITING] * 196, USED, WAITING, Standing.EXPIRED]
    found = await room.status(*batch)
    assert standings(found) == (expected * 3)[:512]
    ranks = [0, 0, *range(1, 197), 0, 197, 0]
    assert [place.rank for place in found] == (ranks * 3)[:512]
    assert (await room.counts()).restored == 1
