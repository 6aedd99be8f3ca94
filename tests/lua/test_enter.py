"""enter: who gets which place, and what never changes it."""

from __future__ import annotations

import pytest

from tests.lua.driven import DrivenRoom, aged, burst, ticket_of
from waitroom.errors import RoomUnknown
from waitroom.model import Marks, Place, Standing, Ticket, Visitor

WAITING, OFFERED, ADMITTED = Standing.WAITING, Standing.OFFERED, Standing.ADMITTED


def standings(places: list[Place]) -> list[Standing]:
    return [place.standing for place in places]


async def test_unknown_room(room: DrivenRoom) -> None:
    """A room that nobody configured takes nobody and gets no keys."""
    with pytest.raises(RoomUnknown):
        await room.arrive(1)
    assert await room.redis.keys() == []


async def test_first_contact_is_an_offer(room: DrivenRoom) -> None:
    """Whoever comes to an empty queue with a free place is offered it for claim_seconds."""
    await room.configure(capacity=1, claim_seconds=7)
    place = await room.arrive_alone()
    assert place.standing is OFFERED
    assert place.expires_us == place.now_us + 7_000_000
    assert await room.scores("offered") == {place.visitor: place.expires_us}
    assert await room.scores("active") == {place.visitor: place.expires_us}


@pytest.mark.parametrize("capacity", [1, 2, 3, 10])
async def test_capacity_is_exact(room: DrivenRoom, capacity: int) -> None:
    """A batch larger than the capacity fills it to the last place and not beyond."""
    await room.configure(capacity=capacity)
    places = await room.arrive(capacity + 3)
    assert standings(places) == [OFFERED] * capacity + [WAITING] * 3
    assert [place.rank for place in places[capacity:]] == [1, 2, 3]


async def test_unlimited_capacity(room: DrivenRoom) -> None:
    """Capacity 0 lets everybody in at once."""
    await room.configure(capacity=0)
    assert standings(await room.arrive(512)) == [OFFERED] * 512


@pytest.mark.parametrize("rate", [0.5, 1, 5, 7.5, 10, 50])
async def test_burst_is_exact(room: DrivenRoom, rate: float) -> None:
    """After a quiet time 0.2 s of admissions, at least one, are admitted at once."""
    await room.configure(capacity=0, admit_per_second=rate)
    assert standings(await room.arrive(burst(rate) + 2)) == [OFFERED] * burst(rate) + [WAITING] * 2


async def test_nobody_overtakes(room: DrivenRoom) -> None:
    """With somebody waiting an arrival queues, even where places are free."""
    await room.configure(capacity=1)
    await room.arrive(2)
    await room.configure(capacity=10)
    assert (await room.arrive_alone()).rank == 2


async def test_reload_keeps_the_place(room: DrivenRoom) -> None:
    """Entering again with a ticket gives the same serial and rank, and changes nothing but when it was heard."""
    await room.configure(capacity=1)
    _, first, second = await room.arrive(3)
    counts = await room.counts()
    await room.fast_forward(5)
    for _ in range(3):
        again = (await room.enter(ticket_of(second)))[0]
        assert (again.visitor, again.serial, again.rank) == (second.visitor, second.serial, 2)
    assert await room.counts() == counts
    assert await room.members("wait") == [first.visitor, second.visitor]
    seen = await room.scores("seen")
    assert seen[second.visitor] == again.now_us > seen[first.visitor]


async def test_same_ticket_twice_in_a_batch(room: DrivenRoom) -> None:
    """Two tabs in one batch get one place."""
    await room.configure(capacity=1)
    _, place = await room.arrive(2)
    again = await room.enter(ticket_of(place), ticket_of(place))
    assert [(found.serial, found.rank) for found in again] == [(place.serial, 1)] * 2


async def test_ticket_claims_an_offer(room: DrivenRoom) -> None:
    """The second contact with the ticket turns the offer into a session, the third changes nothing."""
    await room.configure(capacity=1, claim_seconds=10, session_seconds=100)
    offer = await room.arrive_alone()
    (claimed,) = await room.enter(ticket_of(offer))
    assert (claimed.standing, claimed.serial) == (ADMITTED, offer.serial)
    assert claimed.expires_us == claimed.now_us + 100_000_000
    assert await room.members("offered") == []
    (again,) = await room.enter(ticket_of(offer))
    assert again.expires_us == claimed.expires_us
    assert (await room.counts()).claimed == 1


@pytest.mark.parametrize("swept", [True, False])
async def test_abandoned_is_restored(room: DrivenRoom, swept: bool) -> None:
    """A visitor who was silent too long comes back to the old serial, before those who arrived later."""
    await room.configure(capacity=1, abandon_seconds=10)
    _, silent, patient = await room.arrive(3)
    await room.fast_forward(11)
    await room.status(ticket_of(patient))
    if swept:
        assert (await room.expire()).abandoned == 1
    (back,) = await room.enter(aged(ticket_of(silent), 11))
    assert (back.visitor, back.serial, back.rank) == (silent.visitor, silent.serial, 1)
    counts = await room.counts()
    assert (counts.restored, counts.abandoned) == ((1, 1) if swept else (0, 0))


@pytest.mark.parametrize("swept", [True, False])
async def test_no_show_is_restored(room: DrivenRoom, swept: bool) -> None:
    """A visitor who missed the offer comes back to the old serial; the offer is counted as a no-show."""
    await room.configure(capacity=1, claim_seconds=10)
    late, waiting = await room.arrive(2)
    await room.fast_forward(11)
    if swept:
        assert (await room.expire()).no_show == 1
    (back,) = await room.enter(aged(ticket_of(late), 11))
    assert (back.standing, back.serial, back.rank) == (WAITING, late.serial, 1)
    assert await room.members("wait") == [late.visitor, waiting.visitor]
    counts = await room.counts()
    assert (counts.no_show, counts.restored) == (1, 1)


async def test_restored_at_once_where_nobody_waits(room: DrivenRoom) -> None:
    """A no-show that finds an empty queue and a free place is offered it under the old serial."""
    await room.configure(capacity=1, claim_seconds=10)
    late = await room.arrive_alone()
    await room.fast_forward(11)
    (back,) = await room.enter(aged(ticket_of(late), 11))
    assert (back.standing, back.visitor, back.serial) == (OFFERED, late.visitor, late.serial)
    assert back.expires_us == back.now_us + 10_000_000


@pytest.mark.parametrize("swept", [True, False])
async def test_finished_goes_to_the_end(room: DrivenRoom, swept: bool) -> None:
    """The ticket of a turn that is used gives no old place: its holder is a new visitor at the end."""
    await room.configure(capacity=1, session_seconds=10, abandon_seconds=60)
    first, waiting = await room.arrive(2)
    await room.claim(first)
    await room.fast_forward(11)
    if swept:
        assert (await room.expire()).finished == 1
    (back,) = await room.enter(aged(ticket_of(first), 11))
    assert back.visitor != first.visitor
    assert (back.standing, back.rank) == (WAITING, 2)
    assert back.serial > waiting.serial
    assert await room.members("used") == [first.visitor]


async def test_leaver_goes_to_the_end(room: DrivenRoom) -> None:
    """A ticket whose holder said goodbye gives no old place."""
    await room.configure(capacity=1)
    _, leaver, other = await room.arrive(3)
    await room.leave(leaver)
    (back,) = await room.enter(ticket_of(leaver))
    assert back.visitor != leaver.visitor
    assert (back.rank, back.serial > other.serial) == (2, True)


async def test_expired_ticket_goes_to_the_end(room: DrivenRoom) -> None:
    """A ticket older than ticket_seconds is as good as none, one just within it holds."""
    await room.configure(capacity=1, abandon_seconds=10, ticket_seconds=100)
    inside, early, late = await room.arrive(3)
    await room.claim(inside)
    await room.fast_forward(99)
    await room.expire()
    (held,) = await room.enter(aged(ticket_of(early), 99))
    assert held.serial == early.serial
    await room.fast_forward(2)
    (gone,) = await room.enter(aged(ticket_of(late), 101))
    assert (gone.visitor != late.visitor, gone.rank) == (True, 2)


async def test_max_waiting(room: DrivenRoom) -> None:
    """At max_waiting arrivals and returning visitors are refused as full, and counted; those who wait stay."""
    await room.configure(capacity=1, max_waiting=2, abandon_seconds=10)
    _, silent, _ = await room.arrive(3)
    await room.fast_forward(11)
    await room.expire()
    places = await room.arrive(3)
    assert standings(places) == [WAITING, WAITING, Standing.FULL]
    assert standings(await room.enter(aged(ticket_of(silent), 11))) == [Standing.FULL]
    assert standings(await room.enter(ticket_of(places[0]))) == [WAITING]
    assert (await room.counts()).refused_full == 2
    assert await room.members("wait") == [place.visitor for place in places[:2]]


async def test_full_batch_stops_at_max_waiting(room: DrivenRoom) -> None:
    """A batch of 512 fills the queue to max_waiting exactly."""
    await room.configure(capacity=2, max_waiting=10)
    places = await room.arrive(512)
    assert standings(places) == [OFFERED] * 2 + [WAITING] * 10 + [Standing.FULL] * 500


async def test_paused_keeps_places(room: DrivenRoom) -> None:
    """A paused room queues arrivals, admits nobody, and lets those inside stay."""
    await room.configure(capacity=10)
    inside = await room.arrive_alone()
    await room.configure(capacity=10, state="paused")
    assert standings(await room.arrive(2)) == [WAITING] * 2
    assert standings(await room.enter(ticket_of(inside))) == [ADMITTED]
    assert standings(await room.pass_through(None)) == [Standing.MUST_WAIT]


async def test_closed_takes_nobody_new(room: DrivenRoom) -> None:
    """A closed room refuses and counts arrivals; a place that is held is still told."""
    await room.configure(capacity=1)
    inside, waiting = await room.arrive(2)
    await room.configure(capacity=1, state="closed")
    assert standings(await room.arrive(2)) == [Standing.CLOSED] * 2
    assert standings(await room.pass_through(None)) == [Standing.CLOSED]
    assert standings(await room.enter(ticket_of(inside), ticket_of(waiting))) == [ADMITTED, WAITING]
    counts = await room.counts()
    assert (counts.refused_closed, counts.entered) == (3, 2)


async def test_bypass_lets_everybody_pass(room: DrivenRoom) -> None:
    """A bypassed room with nobody waiting admits past capacity and rate."""
    await room.configure(capacity=1, admit_per_second=1, state="bypass")
    assert standings(await room.arrive(5)) == [OFFERED] * 5
    assert standings(await room.pass_through(*[None] * 5)) == [OFFERED] * 5


async def test_lowered_capacity_evicts_nobody(room: DrivenRoom) -> None:
    """Below its occupancy a room keeps everybody inside and admits nobody."""
    await room.configure(capacity=3)
    inside = await room.arrive(3)
    await room.configure(capacity=1)
    assert (await room.arrive_alone()).standing is WAITING
    assert await room.members("active") == [place.visitor for place in inside]


async def test_ended_session_frees_its_place(room: DrivenRoom) -> None:
    """A place whose time is over counts no more, swept or not."""
    await room.configure(capacity=1, claim_seconds=10)
    await room.arrive(1)
    await room.fast_forward(10)
    assert (await room.arrive_alone()).standing is OFFERED


async def test_serials_of_a_full_batch(room: DrivenRoom) -> None:
    """512 arrivals of one instant get 512 increasing serials from the time on, and their exact ranks."""
    await room.configure(capacity=1, state="paused")
    places = await room.arrive(512)
    now = places[0].now_us
    assert [place.serial for place in places] == list(range(now, now + 512))
    assert [place.rank for place in places] == list(range(1, 513))
    assert await room.members("wait") == [place.visitor for place in places]


async def test_serials_go_on_where_last_is_ahead(room: DrivenRoom) -> None:
    """Where serials given out are ahead of the clock, later arrivals get larger ones all the same."""
    await room.configure(state="paused")
    ahead = (await room.arrive_alone()).now_us + 3_600_000_000
    await room.store.configure(room.name, {}, expected=None, marks=Marks(last=ahead))
    assert [place.serial for place in await room.arrive(3)] == [ahead + 1, ahead + 2, ahead + 3]


async def test_new_serials_follow_restored_ones(room: DrivenRoom) -> None:
    """After a loss a ticket ahead of all that is known still comes before the arrivals of its batch."""
    await room.configure(state="paused")
    now = (await room.arrive_alone()).now_us
    ticket = Ticket(Visitor("old"), now + 3_600_000_000, now)
    fresh, back = await room.store.enter(room.name, [(Visitor("a"), None), (Visitor("b"), ticket)])
    assert (back.visitor, back.serial, back.rank) == ("old", ticket.serial, 2)
    assert (fresh.visitor, fresh.serial, fresh.rank) == ("a", ticket.serial + 1, 3)


async def test_mixed_batch(room: DrivenRoom) -> None:
    """A batch of 512 of every kind answers each in its place; tickets come before first contacts."""
    await room.configure(capacity=2, abandon_seconds=10, claim_seconds=60)
    inside, offered, waiting, silent, leaver = await room.arrive(5)
    await room.claim(inside)
    await room.leave(leaver)
    await room.fast_forward(11)
    await room.status(ticket_of(waiting))
    await room.expire()
    tickets: list[Ticket | None] = [ticket_of(place) for place in (inside, silent, offered, leaver, waiting, silent)]
    arrivals = [(Visitor(f"n{i}"), ticket) for i, ticket in enumerate([None, *tickets] + [None] * 505)]
    places = await room.store.enter(room.name, arrivals)
    assert standings(places) == [WAITING, ADMITTED, WAITING, ADMITTED, WAITING, WAITING, WAITING] + [WAITING] * 505
    assert places[2].serial == places[6].serial == silent.serial
    assert (places[5].rank, places[2].rank) == (1, 2)
    # The leaver and the first contacts are new, in the order of the batch.
    new = [places[0], places[4], *places[7:]]
    assert [place.visitor for place in new] == ["n0", "n4", *(f"n{i}" for i in range(7, 512))]
    assert [place.rank for place in new] == list(range(3, 510))


async def test_hold_after_a_loss(room: DrivenRoom) -> None:
    """A re-created room queues first contacts until its hold is over, so that nobody passes who was there before."""
    await room.recreate(Marks(), hold_seconds=20, capacity=5)
    assert standings(await room.arrive(2)) == [WAITING] * 2
    assert standings(await room.pass_through(None)) == [Standing.MUST_WAIT]
    await room.fast_forward(20)
    assert len(await room.admit()) == 2


async def test_marks_after_a_loss(room: DrivenRoom) -> None:
    """After a loss a ticket whose turn had come is used; one that still waited gets its serial, in order."""
    await room.configure(capacity=1)
    turned, second, third = await room.arrive(3)
    marks = (await room.read()).marks
    await room.lose()
    await room.recreate(marks, hold_seconds=20, capacity=1)
    # They come back in any order, and somebody new is quicker.
    new = await room.arrive_alone()
    back = await room.enter(ticket_of(third), ticket_of(turned), ticket_of(second))
    assert [place.serial for place in back[::2]] == [third.serial, second.serial]
    assert back[1].visitor != turned.visitor
    order = [second.visitor, third.visitor, new.visitor, back[1].visitor]
    assert await room.members("wait") == order
    assert new.serial > third.serial


async def test_later_ticket_outlives_the_marks(room: DrivenRoom) -> None:
    """A no-show heard again after the last admission before a loss keeps the place: their turn had not been used."""
    await room.configure(capacity=1, claim_seconds=10)
    late, *_ = await room.arrive(2)
    await room.fast_forward(11)
    (back,) = await room.enter(aged(ticket_of(late), 11))
    marks = (await room.read()).marks
    await room.lose()
    await room.recreate(marks, hold_seconds=20, capacity=1)
    assert (await room.enter(ticket_of(back)))[0].serial == late.serial


async def test_a_turn_that_had_not_come_survives_a_loss(room: DrivenRoom) -> None:
    """Whoever stood behind the last one admitted gets the place back by a ticket that is older than that admission."""
    await room.configure(capacity=1, claim_seconds=10)
    _, second, third = await room.arrive(3)
    await room.fast_forward(11)
    await room.expire()
    assert await room.admit() == (second.serial,)
    marks = (await room.read()).marks
    assert marks.turn_serial == second.serial < third.serial < marks.turn_us
    await room.lose()
    await room.recreate(marks, hold_seconds=20, capacity=1)
    back, over = await room.enter(ticket_of(third), ticket_of(second))
    assert (back.visitor, back.serial) == (third.visitor, third.serial)
    assert over.visitor != second.visitor


async def test_the_mark_of_the_last_turn_never_goes_back(room: DrivenRoom) -> None:
    """An older visitor who is offered a place once more leaves it where it was."""
    await room.configure(capacity=2, claim_seconds=10)
    first, second = await room.arrive(2)
    await room.fast_forward(11)
    (back,) = await room.enter(aged(ticket_of(first), 11))
    assert (back.standing, back.serial) == (OFFERED, first.serial)
    assert (await room.read()).marks.turn_serial == second.serial


async def test_raised_ticket_seconds_revives_no_ticket(room: DrivenRoom) -> None:
    """A ticket that had died by the old ticket_seconds stays dead under a longer one."""
    await room.configure(capacity=1, abandon_seconds=10, ticket_seconds=10)
    inside, waiting = await room.arrive(2)
    await room.fast_forward(11)
    await room.expire()
    await room.configure(capacity=1, abandon_seconds=10, ticket_seconds=3600)
    places = await room.enter(aged(ticket_of(inside), 11), aged(ticket_of(waiting), 11))
    assert {place.visitor for place in places}.isdisjoint({inside.visitor, waiting.visitor})


async def test_repeated_call_without_tickets(room: DrivenRoom) -> None:
    """The same call of first contacts, carried out twice, places each visitor once (I9)."""
    await room.configure(capacity=1)
    arrivals = [(Visitor("a"), None), (Visitor("b"), None), (Visitor("c"), None)]
    first = await room.store.enter(room.name, arrivals)
    again = await room.store.enter(room.name, arrivals)
    assert [(p.visitor, p.serial, p.rank) for p in again[1:]] == [(p.visitor, p.serial, p.rank) for p in first[1:]]
    counts = await room.counts()
    assert (counts.entered, counts.admitted) == (3, 1)
    await room.assert_legal()


async def test_state_fields_are_whole_numbers(room: DrivenRoom) -> None:
    """Whatever the scripts count or mark is written as a plain integer, also where serials need 16 digits."""
    await room.configure(capacity=1, admit_per_second=0.3)
    await room.arrive(3)
    assert {name: value for name, value in (await room.state()).items() if not value.isdecimal()} == {}
