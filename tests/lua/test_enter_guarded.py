"""enter_guarded: places per address and network, ids that are made of what was proved, the priority lane."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from tests.lua.driven import DrivenRoom, aged, ticket_of
from waitroom.model import LANE_US, Arrival, Marks, Place, Standing, Visitor, arrived_us
from waitroom.store import scripts

WAITING, OFFERED, ADMITTED = Standing.WAITING, Standing.OFFERED, Standing.ADMITTED
LIMITED, USED, FULL, CLOSED = Standing.LIMITED, Standing.USED, Standing.FULL, Standing.CLOSED

#: Nobody is admitted, and the sources of places are level again after 100 s.
HELD: Final[dict[str, Any]] = {"state": "paused", "ticket_seconds": 100.0, "abandon_seconds": 90.0}


class Guarded:
    """A room whose visitors come by more than a ticket, and are numbered."""

    def __init__(self, room: DrivenRoom) -> None:
        self.room = room
        self._number = 0

    def arrival(self, name: str = "", **more: Any) -> Arrival:
        """An arrival under a name of its own, or under that one."""
        self._number += 1
        return Arrival(Visitor(name or f"g{self._number}"), **more)

    async def come(self, *arrivals: Arrival) -> list[Place]:
        """All of them in one call."""
        return await self.room.store.enter_guarded(self.room.name, arrivals)

    async def come_from(self, *addresses: str, network: str = "") -> list[Standing]:
        """Visitors of these addresses, one call each."""
        places = [await self.come(self.arrival(address=address, network=network)) for address in addresses]
        return [place.standing for (place,) in places]


@pytest.fixture
def guarded(room: DrivenRoom) -> Guarded:
    return Guarded(room)


# Places per address and network.


async def test_an_address_takes_its_places_and_no_more(guarded: Guarded) -> None:
    """So many at once; who is refused is counted as such, and told when the next may be had."""
    await guarded.room.configure(**HELD, places_per_address=3)
    assert await guarded.come_from("a", "a", "a") == [WAITING] * 3
    (refused,) = await guarded.come(guarded.arrival(address="a"))
    assert refused.standing is LIMITED
    # A third of ticket_seconds from the first of them, which was a moment ago.
    assert 0 < refused.expires_us - refused.now_us <= 100_000_000 / 3
    assert await guarded.come_from("b") == [WAITING]
    counts = await guarded.room.counts()
    assert (counts.entered, counts.refused_limited) == (4, 1)


async def test_places_come_back_one_by_one(guarded: Guarded) -> None:
    """Over ticket_seconds as many again, evenly; after all that time all of them at once."""
    await guarded.room.configure(**HELD, places_per_address=2)
    assert await guarded.come_from("a", "a", "a") == [WAITING, WAITING, LIMITED]
    await guarded.room.fast_forward(50)
    assert await guarded.come_from("a", "a") == [WAITING, LIMITED]
    await guarded.room.fast_forward(101)
    assert await guarded.come_from("a", "a", "a") == [WAITING, WAITING, LIMITED]


async def test_the_time_told_is_the_time(guarded: Guarded) -> None:
    """A place may be had at the moment that was told, and not before."""
    await guarded.room.configure(**HELD | {"ticket_seconds": 2.0, "abandon_seconds": 1.0}, places_per_address=1)
    await guarded.come_from("a")
    (refused,) = await guarded.come(guarded.arrival(address="a"))
    seconds = (refused.expires_us - refused.now_us) / 1_000_000
    await guarded.room.fast_forward(seconds - 1)
    assert await guarded.come_from("a") == [LIMITED]
    await guarded.room.fast_forward(1)
    assert await guarded.come_from("a") == [WAITING]


async def test_a_network_takes_its_places_over_its_addresses(guarded: Guarded) -> None:
    """What the network refuses costs the address nothing, and the other way round."""
    await guarded.room.configure(**HELD, places_per_address=2, places_per_network=3)
    assert await guarded.come_from("a", "a", "a", "b", "c", network="n") == [
        WAITING,
        WAITING,
        LIMITED,
        WAITING,
        LIMITED,
    ]
    assert await guarded.come_from("c", "c", network="m") == [WAITING, WAITING]


@pytest.mark.parametrize("limits", [{}, {"places_per_network": 1}])
async def test_what_is_not_limited_or_not_known_is_not_counted(guarded: Guarded, limits: dict[str, int]) -> None:
    """Without a limit, or where nobody knows who comes, nothing is kept."""
    await guarded.room.configure(**HELD, **limits)
    assert await guarded.come_from(*"aaaa") == [WAITING] * 4
    assert await guarded.room.scores("sources") == {}


async def test_a_place_that_is_held_costs_nothing(guarded: Guarded) -> None:
    """Whoever brings a ticket gets their place again, also when the address has no more."""
    await guarded.room.configure(**HELD, places_per_address=1)
    (place,) = await guarded.come(guarded.arrival(address="a"))
    for _ in range(3):
        (again,) = await guarded.come(guarded.arrival(address="a", ticket=ticket_of(place)))
        assert (again.standing, again.visitor, again.serial) == (WAITING, place.visitor, place.serial)
    assert (await guarded.room.counts()).entered == 1


async def test_a_ticket_that_is_over_takes_a_new_place(guarded: Guarded) -> None:
    """An old ticket is no way around the limit."""
    await guarded.room.configure(**HELD, places_per_address=1)
    (place,) = await guarded.come(guarded.arrival(address="a"))
    await guarded.room.leave(place)
    (again,) = await guarded.come(guarded.arrival(address="a", ticket=ticket_of(place)))
    assert again.standing is LIMITED


@pytest.mark.parametrize(("settings", "standing"), [({"max_waiting": 1}, FULL), ({"state": "closed"}, CLOSED)])
async def test_a_refusal_for_other_reasons_costs_no_place(
    guarded: Guarded, settings: dict[str, Any], standing: Standing
) -> None:
    """A full or closed room takes nothing from the address."""
    await guarded.room.configure(**HELD, places_per_address=1)
    await guarded.come(guarded.arrival())
    await guarded.room.configure(**HELD | settings, places_per_address=1)
    assert await guarded.come_from("a") == [standing]
    await guarded.room.configure(**HELD, places_per_address=1)
    assert await guarded.come_from("a") == [WAITING]


async def test_one_call_counts_like_many(guarded: Guarded) -> None:
    """A batch of one address gets as many places as its limit has."""
    await guarded.room.configure(**HELD, places_per_address=4)
    places = await guarded.come(*(guarded.arrival(address="a") for _ in range(6)))
    assert [place.standing for place in places] == [WAITING] * 4 + [LIMITED] * 2
    assert [place.rank for place in places[:4]] == [1, 2, 3, 4]


async def test_a_lower_limit_is_obeyed_within_its_own_time(guarded: Guarded) -> None:
    """What a higher limit let an address take does not lock it out for longer than the lower one would."""
    await guarded.room.configure(**HELD, places_per_address=100)
    await guarded.come_from(*"a" * 100)
    await guarded.room.configure(**HELD, places_per_address=1)
    (refused,) = await guarded.come(guarded.arrival(address="a"))
    assert refused.standing is LIMITED
    assert refused.expires_us - refused.now_us <= 100_000_000


async def test_what_no_limit_can_have_set_locks_nobody_out(guarded: Guarded) -> None:
    """After ticket_seconds was lowered, or the clock set back, an address begins anew instead of waiting for long."""
    await guarded.room.configure(**HELD, places_per_address=2)
    assert await guarded.come_from("a", "a", "a") == [WAITING, WAITING, LIMITED]
    short = HELD | {"ticket_seconds": 10.0, "abandon_seconds": 5.0}
    await guarded.room.configure(**short, places_per_address=2)
    assert await guarded.come_from("a", "a", "a") == [WAITING, WAITING, LIMITED]
    await guarded.room.fast_forward(5)
    assert await guarded.come_from("a", "a") == [WAITING, LIMITED]


async def test_sources_are_swept(guarded: Guarded) -> None:
    """When the places of an address are level again nothing is left of it; till then it is kept."""
    await guarded.room.configure(**HELD, places_per_address=2, places_per_network=4)
    await guarded.come_from("a", "b", "b", network="n")
    await guarded.room.expire()
    assert (await guarded.room.scores("sources")).keys() == {"a", "b", "n"}
    await guarded.room.fast_forward(51)
    await guarded.room.expire()
    assert (await guarded.room.scores("sources")).keys() == {"b", "n"}
    await guarded.room.fast_forward(50)
    assert (await guarded.room.expire()).swept >= 2
    assert await guarded.room.scores("sources") == {}


# Ids that are made of what was proved.


async def test_a_keyed_id_has_one_place(guarded: Guarded) -> None:
    """However often, with and without the ticket, the place is the same and is entered once."""
    await guarded.room.configure(**HELD)
    (first,) = await guarded.come(guarded.arrival("customer", keyed=True))
    await guarded.come(guarded.arrival())
    (second,) = await guarded.come(guarded.arrival("customer", keyed=True))
    (third,) = await guarded.come(guarded.arrival("customer", keyed=True, ticket=ticket_of(first)))
    assert {(place.standing, place.visitor, place.serial, place.rank) for place in (first, second, third)} == {
        (WAITING, "customer", first.serial, 1)
    }
    assert (await guarded.room.counts()).entered == 2


async def test_a_keyed_id_is_heard(guarded: Guarded) -> None:
    """To come again is to be heard, as by a status."""
    await guarded.room.configure(**HELD)
    await guarded.come(guarded.arrival("customer", keyed=True))
    await guarded.room.fast_forward(89)
    await guarded.come(guarded.arrival("customer", keyed=True))
    await guarded.room.fast_forward(5)
    await guarded.room.expire()
    assert await guarded.room.members("wait") == ["customer"]


async def test_twins_in_one_call_are_one(guarded: Guarded) -> None:
    """The same id several times in a batch, as two tabs bring it, gets one answer and one place."""
    await guarded.room.configure(**HELD, places_per_address=1)
    twins = [guarded.arrival("customer", keyed=True, address="a") for _ in range(3)]
    places = await guarded.come(guarded.arrival(), *twins, guarded.arrival())
    assert [(place.standing, place.rank) for place in places] == [(WAITING, 1), *[(WAITING, 2)] * 3, (WAITING, 3)]
    assert len({place.serial for place in places}) == 3
    assert (await guarded.room.counts()).entered == 3


async def test_a_keyed_id_inside_is_inside(guarded: Guarded) -> None:
    """An offer is claimed by coming again; a session goes on as it was."""
    await guarded.room.configure(capacity=2, claim_seconds=10, session_seconds=50)
    (offered,) = await guarded.come(guarded.arrival("customer", keyed=True))
    assert offered.standing is OFFERED
    (claimed,) = await guarded.come(guarded.arrival("customer", keyed=True))
    (later,) = await guarded.come(guarded.arrival("customer", keyed=True))
    assert (claimed.standing, later.standing) == (ADMITTED, ADMITTED)
    assert claimed.expires_us == later.expires_us == claimed.now_us + 50_000_000
    assert (await guarded.room.counts()).claimed == 1


@pytest.mark.parametrize("end", ["left waiting", "left inside", "finished", "finished, not swept"])
async def test_a_keyed_id_has_one_turn(guarded: Guarded, end: str) -> None:
    """Who had their turn or gave it up gets no other, until the mark of it is swept."""
    room = guarded.room
    settings: dict[str, Any] = {"session_seconds": 30.0, "claim_seconds": 20.0, "ticket_seconds": 100.0, "capacity": 1}
    await room.configure(**settings | {"state": "paused" if end == "left waiting" else "open"}, abandon_seconds=90.0)
    (place,) = await guarded.come(guarded.arrival("customer", keyed=True))
    if end.startswith("left"):
        await room.leave(place)
    else:
        await room.claim(place)
        await room.fast_forward(31)
        if end == "finished":
            await room.expire()
    (again,) = await guarded.come(guarded.arrival("customer", keyed=True))
    assert (again.standing, again.serial) == (USED, 0)
    (other,) = await guarded.come(guarded.arrival("other", keyed=True))
    assert other.standing in (WAITING, OFFERED)
    await room.fast_forward(101)
    await room.expire()
    (new,) = await guarded.come(guarded.arrival("customer", keyed=True))
    assert new.standing in (WAITING, OFFERED)


async def test_a_revoked_customer_stays_out_while_the_pass_would_live(guarded: Guarded) -> None:
    """A new place under the same id would be no use: the gate knows the id as withdrawn."""
    await guarded.room.configure(
        capacity=1, session_seconds=500.0, claim_seconds=20.0, ticket_seconds=100.0, abandon_seconds=90.0
    )
    (place,) = await guarded.come(guarded.arrival("customer", keyed=True))
    await guarded.room.store.leave(guarded.room.name, [place.visitor], with_pass=[place.visitor])
    await guarded.room.fast_forward(101)
    await guarded.room.expire()
    assert await guarded.room.scores("used") == {}
    (again,) = await guarded.come(guarded.arrival("customer", keyed=True))
    assert again.standing is USED


async def test_a_no_show_may_come_again(guarded: Guarded) -> None:
    """Who missed the offer has not had the turn: a place at the back, or with the ticket the old one."""
    await guarded.room.configure(capacity=1, claim_seconds=10, abandon_seconds=90, ticket_seconds=100)
    (missed,) = await guarded.come(guarded.arrival("customer", keyed=True))
    await guarded.room.fast_forward(11)
    (again,) = await guarded.come(guarded.arrival("customer", keyed=True))
    assert again.standing is OFFERED
    assert again.serial > missed.serial
    assert (await guarded.room.counts()).no_show == 1


async def test_a_hundred_calls_at_once_are_one_place(guarded: Guarded) -> None:
    """A customer who presses a hundred times."""
    await guarded.room.configure(**HELD)
    places = await asyncio.gather(*(guarded.come(guarded.arrival("customer", keyed=True)) for _ in range(100)))
    assert len({(place.visitor, place.serial, place.rank) for (place,) in places}) == 1
    assert (await guarded.room.counts()).entered == 1


# The priority lane.


async def test_the_lane_in_front(guarded: Guarded) -> None:
    """Priority arrivals stand before all others, in their own order, and are admitted so."""
    await guarded.room.configure(**HELD)
    one, two = await guarded.come(guarded.arrival("one"), guarded.arrival("two"))
    await guarded.come(guarded.arrival("first", priority=True))
    three, second = await guarded.come(guarded.arrival("three"), guarded.arrival("second", priority=True))
    assert await guarded.room.members("wait") == ["first", "second", "one", "two", "three"]
    assert (second.rank, three.rank) == (2, 5)
    assert second.serial + LANE_US == arrived_us(second.serial) > two.serial
    assert arrived_us(one.serial) == one.serial
    await guarded.room.configure(**HELD | {"state": "open"}, capacity=3)
    await guarded.room.admit()
    assert await guarded.room.members("wait") == ["two", "three"]


async def test_serials_of_both_lanes_are_drawn_from_one_row(guarded: Guarded) -> None:
    """No serial is given twice, and each is later than the one before in its own lane."""
    await guarded.room.configure(**HELD)
    places = await guarded.come(*(guarded.arrival(priority=number % 3 == 0) for number in range(30)))
    drawn = [arrived_us(place.serial) for place in places]
    assert len(set(drawn)) == 30
    lanes = (
        [place.serial for number, place in enumerate(places) if number % 3],
        [place.serial for number, place in enumerate(places) if number % 3 == 0],
    )
    assert all(lane == sorted(lane) for lane in lanes)
    assert max(lanes[1]) < min(lanes[0])


async def test_a_priority_ticket_gives_its_place_back(guarded: Guarded) -> None:
    """Also after the visitor was given up: in front, where it was."""
    await guarded.room.configure(**HELD)
    await guarded.come(guarded.arrival("one"))
    (early,) = await guarded.come(guarded.arrival("early", priority=True))
    await guarded.room.fast_forward(91)
    await guarded.room.expire()
    (other,) = await guarded.come(guarded.arrival("other", priority=True))
    (place,) = await guarded.room.status(aged(ticket_of(early), 91))
    assert (place.standing, place.rank) == (WAITING, 1)
    assert await guarded.room.members("wait") == ["early", other.visitor]


async def test_with_nobody_waiting_the_lane_makes_no_difference(guarded: Guarded) -> None:
    """Free places are offered to whoever comes."""
    await guarded.room.configure(capacity=2)
    places = await guarded.come(guarded.arrival(priority=True), guarded.arrival())
    assert [place.standing for place in places] == [OFFERED, OFFERED]


async def test_after_a_loss_a_priority_turn_stays_used(guarded: Guarded) -> None:
    """A priority ticket of before the last known admission has had its turn; one drawn later comes back."""
    await guarded.room.configure(**HELD)
    (early,) = await guarded.come(guarded.arrival("early", priority=True))
    (common,) = await guarded.come(guarded.arrival("common"))
    (late,) = await guarded.come(guarded.arrival("late", priority=True))
    await guarded.room.lose()
    marks = Marks(last=arrived_us(late.serial), turn_serial=common.serial, turn_us=late.now_us)
    await guarded.room.recreate(marks, hold_seconds=0, **HELD)
    found = await guarded.room.status(ticket_of(early), ticket_of(common), ticket_of(late))
    assert [place.standing for place in found] == [USED, USED, WAITING]
    (new,) = await guarded.come(guarded.arrival("new"))
    assert new.serial > arrived_us(late.serial)


async def test_after_a_loss_serials_go_on_above_restored_priority_places(guarded: Guarded) -> None:
    """A restored priority ticket says how far numbers were drawn, here by a clock that was an hour ahead."""
    await guarded.room.configure(**HELD)
    (late,) = await guarded.come(guarded.arrival(priority=True))
    ahead = late._replace(serial=late.serial + 3_600_000_000, visitor=Visitor("ahead"))
    await guarded.room.status(ticket_of(ahead))
    (new,) = await guarded.come(guarded.arrival())
    assert new.serial == arrived_us(ahead.serial) + 1


async def test_entering_with_a_priority_ticket_says_how_far_numbers_were_drawn(guarded: Guarded) -> None:
    """The same by `enter`; and where nobody waits its turn is as late as it was drawn."""
    await guarded.room.configure(capacity=2)
    (late,) = await guarded.come(guarded.arrival(priority=True))
    state = await guarded.room.state()
    assert int(state["turn_serial"]) == arrived_us(late.serial)
    ahead = late._replace(serial=late.serial + 3_600_000_000, visitor=Visitor("ahead"))
    await guarded.come(guarded.arrival(ticket=ticket_of(ahead)))
    (new,) = await guarded.come(guarded.arrival())
    assert new.serial == arrived_us(ahead.serial) + 1


def test_the_lane_is_the_same_in_scripts_and_model() -> None:
    """One number, spelled in Lua and in Python."""
    assert f"local lane_us = {LANE_US}\n" in scripts.source("shared/restorable")
