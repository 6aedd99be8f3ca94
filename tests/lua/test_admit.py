"""admit: who is let in, in which order, and never more than the limits allow."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from tests.lua.driven import DrivenRoom, aged, most_within, ticket_of
from waitroom.errors import RoomUnknown, TermStale
from waitroom.model import Place, Standing
from waitroom.store import keys


async def queue(room: DrivenRoom, number: int, **settings: Any) -> list[Place]:
    """Configure the room and fill its queue while nobody is let in."""
    await room.configure(**settings | {"state": "paused"})
    places = [place for start in range(0, number, 512) for place in await room.arrive(min(512, number - start))]
    await room.configure(**settings)
    return places


async def test_unknown_room(room: DrivenRoom) -> None:
    """A room that nobody configured is left alone."""
    with pytest.raises(RoomUnknown):
        await room.admit()
    assert await room.redis.keys() == []


@pytest.mark.parametrize("capacity", [1, 2, 7])
async def test_capacity_is_exact(room: DrivenRoom, capacity: int) -> None:
    """The head of the queue is let in up to capacity, in serial order, and nobody more however often one asks."""
    places = await queue(room, 10, capacity=capacity)
    admission = await room.store.admit(room.name, term=1)
    assert list(admission.serials) == [place.serial for place in places[:capacity]]
    assert (admission.waiting, admission.occupancy, admission.more) == (10 - capacity, capacity, False)
    for _ in range(3):
        assert await room.admit() == ()


async def test_offers_live_for_claim_seconds(room: DrivenRoom) -> None:
    """Who is let in holds an offer, out of the queue and out of `seen`."""
    (place,) = await queue(room, 1, capacity=1, claim_seconds=7)
    admission = await room.store.admit(room.name, term=1)
    until = admission.now_us + 7_000_000
    assert await room.scores("active") == await room.scores("offered") == {place.visitor: until}
    assert await room.members("wait") == await room.members("seen") == []


async def test_freed_places_go_to_the_head(room: DrivenRoom) -> None:
    """Each place that is left, finished or not claimed goes to the next in line."""
    places = await queue(room, 4, capacity=1, claim_seconds=10, session_seconds=10)
    admitted = [*await room.admit()]
    await room.leave(places[0])
    admitted += await room.admit()
    await room.fast_forward(10)
    admitted += await room.admit()
    await room.claim(places[2])
    await room.fast_forward(10)
    await room.expire()
    admitted += await room.admit()
    assert admitted == [place.serial for place in places]


async def test_fifo_through_many_calls(room: DrivenRoom) -> None:
    """A queue of 1,200 is let in in exact serial order by calls of any size (I5)."""
    places = await queue(room, 1_200, capacity=0)
    admitted: list[int] = []
    for most in (1, 2, 7, 100, 500, 500, 500):
        admitted += await room.admit(most)
    assert admitted == [place.serial for place in places]


async def test_restored_visitor_goes_before_later_ones(room: DrivenRoom) -> None:
    """One who comes back to an old serial is let in before everybody with a larger one."""
    places = await queue(room, 3, capacity=1, abandon_seconds=10)
    await room.fast_forward(11)
    await room.status(ticket_of(places[1]), ticket_of(places[2]))
    await room.expire()
    await room.status(aged(ticket_of(places[0]), 11))
    assert await room.admit() == (places[0].serial,)


@pytest.mark.parametrize("most", [500, 1_000, 100_000])
async def test_at_most_500_per_call(room: DrivenRoom, most: int) -> None:
    """One call moves 500 at most, whatever it is asked for, and says that there is more (I11)."""
    await queue(room, 700, capacity=0)
    admission = await room.store.admit(room.name, term=1, most=most)
    assert (len(admission.serials), admission.more) == (500, True)
    admission = await room.store.admit(room.name, term=1, most=most)
    assert (len(admission.serials), admission.more) == (200, False)


async def test_more_is_said_only_where_more_may_come(room: DrivenRoom) -> None:
    """A call of 500 that fills the capacity says that there is no more."""
    await queue(room, 700, capacity=500)
    admission = await room.store.admit(room.name, term=1, most=500)
    assert (len(admission.serials), admission.more) == (500, False)


@pytest.mark.parametrize("most", [0, -1])
async def test_nothing_asked(room: DrivenRoom, most: int) -> None:
    """Asked for nobody, a call admits nobody."""
    await queue(room, 1, capacity=1)
    assert await room.admit(most) == ()


async def test_silent_head_is_passed_over(room: DrivenRoom) -> None:
    """Nobody who has gone silent gets an offer; they are counted as abandoned and their ticket holds."""
    places = await queue(room, 5, capacity=2, abandon_seconds=10)
    await room.fast_forward(11)
    await room.status(ticket_of(places[3]))
    first = await room.store.admit(room.name, term=1)
    assert (first.serials, first.waiting, first.more) == ((), 3, True)
    second = await room.store.admit(room.name, term=1)
    assert (second.serials, second.more) == ((places[3].serial,), True)
    assert await room.admit() == ()
    assert (await room.counts()).abandoned == 4
    (back,) = await room.status(aged(ticket_of(places[0]), 11))
    assert (back.standing, back.rank) == (Standing.WAITING, 1)


@pytest.mark.parametrize("state", ["paused", "closed"])
async def test_held_states(room: DrivenRoom, state: str) -> None:
    """A paused or closed room lets nobody in and keeps the places."""
    places = await queue(room, 3, capacity=10)
    await room.configure(capacity=10, state=state)
    assert await room.admit() == ()
    assert await room.members("wait") == [place.visitor for place in places]


async def test_bypass(room: DrivenRoom) -> None:
    """A bypassed room lets everybody in, past capacity and rate."""
    await queue(room, 20, capacity=1, admit_per_second=1)
    await room.configure(capacity=1, admit_per_second=1, state="bypass")
    assert len(await room.admit()) == 20


async def test_lowered_capacity(room: DrivenRoom) -> None:
    """Lowering the capacity evicts nobody, and admits nobody until occupancy is below it (I3)."""
    places = await queue(room, 6, capacity=3)
    assert len(await room.admit()) == 3
    await room.configure(capacity=2)
    assert len(await room.members("active")) == 3
    await room.leave(places[0])
    assert await room.admit() == ()
    await room.leave(places[1])
    assert await room.admit() == (places[3].serial,)


async def rate_run(room: DrivenRoom, *, steps: list[float]) -> list[float]:
    """The time of each admission, in seconds of room time, over a run of calls that are `steps` seconds apart."""
    travelled, times = 0.0, []
    for step in [0.0, *steps]:
        await room.fast_forward(step)
        travelled += step
        admission = await room.store.admit(room.name, term=1)
        times += [admission.now_us / 1_000_000 + travelled] * len(admission.serials)
    return times


@pytest.mark.parametrize("rate", [0.3, 1, 2.5, 7, 33.3, 100])
async def test_rate_in_every_window(room: DrivenRoom, rate: float) -> None:
    """Admissions in any window of w seconds are at most 1 + (0.2 + w) * rate (I4)."""
    await queue(room, 1_500, capacity=0, admit_per_second=rate, abandon_seconds=80_000, ticket_seconds=80_000)
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    steps = [chance.choice([0.0, 0.01, 0.1, 0.35, 1.0, 3.0]) / max(rate / 10, 0.2) for _ in range(120)]
    times = await rate_run(room, steps=steps)
    assert len(times) > 10
    for i, start in enumerate(times):
        for j in range(i, len(times)):
            # A microsecond of rounding in the times themselves.
            assert j - i + 1 <= most_within(rate, times[j] - start + 1e-6)


@pytest.mark.parametrize("rate", [0.3, 1, 5, 7, 9, 33.3, 1_000])
async def test_rate_is_used_up(room: DrivenRoom, rate: float) -> None:
    """A busy room that is served each 0.1 s lets in what its rate allows, less a tenth at most."""
    seconds = max(3.0, 8 / rate)
    await queue(room, math.ceil(rate * seconds * 1.2) + 10, capacity=0, admit_per_second=rate)
    times = await rate_run(room, steps=[0.1] * round(seconds / 0.1))
    assert len(times) >= math.floor(0.9 * rate * seconds)


async def test_rate_of_one_per_second(room: DrivenRoom) -> None:
    """At 1/s one is due each second, none comes before it is due, and one late by 0.2 s at most delays no other."""
    await queue(room, 9, capacity=0, admit_per_second=1)
    due, travelled = 0.0, 0.0
    for step in (0.0, 0.5, 0.4, 0.2, 0.5, 0.4, 0.2, 0.3, 0.6, 10.0, 0.9):
        await room.fast_forward(step)
        travelled += step
        admission = await room.store.admit(room.name, term=1)
        # By the room's own time, which goes on between two steps as long as the machine takes.
        now = admission.now_us / 1_000_000 + travelled
        assert len(admission.serials) == (now >= due), (now, due)
        if admission.serials:
            due = (due if now - due <= 0.2 else now) + 1


async def test_raised_rate_counts_at_once(room: DrivenRoom) -> None:
    """After raising a very low rate nobody waits out the pause that the old one asked for."""
    await queue(room, 3, capacity=0, admit_per_second=0.001)
    assert len(await room.admit()) == 1
    await room.configure(capacity=0, admit_per_second=100)
    await room.fast_forward(1)
    assert len(await room.admit()) == 2


async def test_rate_after_the_clock_was_set_back(room: DrivenRoom) -> None:
    """A Redis clock that was set back by an hour does not stop a room with a rate for that hour (I17)."""
    places = await queue(room, 3, capacity=0, admit_per_second=1)
    assert len(await room.admit()) == 1
    await room.fast_forward(-3600)
    await room.status(*map(ticket_of, places[1:]))
    await room.fast_forward(2)
    assert len(await room.admit()) == 1


async def test_rate_is_shared_with_enter(room: DrivenRoom) -> None:
    """Admissions at first contact and by the leader draw on one allowance."""
    await room.configure(capacity=0, admit_per_second=0.05)
    first, second = await room.arrive(2)
    assert (first.standing, second.standing) == (Standing.OFFERED, Standing.WAITING)
    assert await room.admit() == ()
    await room.fast_forward(20)
    assert await room.admit() == (second.serial,)
    assert (await room.arrive_alone()).standing is Standing.WAITING


async def test_hold(room: DrivenRoom) -> None:
    """Until its hold is over a re-created room lets nobody in."""
    await queue(room, 2, capacity=10)
    marks = (await room.read()).marks
    await room.lose()
    await room.recreate(marks, hold_seconds=20, capacity=10)
    places = await room.arrive(2)
    await room.fast_forward(19)
    assert await room.admit() == ()
    await room.fast_forward(1)
    assert await room.admit() == (places[0].serial, places[1].serial)


async def test_stale_term(room: DrivenRoom) -> None:
    """Once a newer leader has acted, an older one changes nothing; the newer goes on (I16)."""
    await queue(room, 3, capacity=0)
    assert len((await room.store.admit(room.name, term=5, most=1)).serials) == 1
    before = await room.state()
    with pytest.raises(TermStale):
        await room.store.admit(room.name, term=4)
    with pytest.raises(TermStale):
        await room.store.expire(room.name, term=4)
    assert await room.state() == before
    assert len((await room.store.admit(room.name, term=5, most=1)).serials) == 1
    assert len((await room.store.admit(room.name, term=6, most=1)).serials) == 1


async def test_leaders_without_a_lock(room: DrivenRoom) -> None:
    """Two schedulers of the same term that take turns keep capacity and order (I15)."""
    places = await queue(room, 20, capacity=5)
    admitted: list[int] = []
    for _ in range(4):
        admitted += await room.admit(3)
        admitted += await room.admit(3)
    assert admitted == [place.serial for place in places[:5]]


async def test_marks_of_turns(room: DrivenRoom) -> None:
    """The highest serial ever admitted and the time of the last admission are kept for after a loss."""
    places = await queue(room, 3, capacity=2)
    admission = await room.store.admit(room.name, term=1)
    marks = (await room.read()).marks
    assert (marks.turn_serial, marks.turn_us) == (places[1].serial, admission.now_us)


async def test_pace_counts_demand_only(room: DrivenRoom) -> None:
    """The pace counts admissions and time while somebody waits, and neither in an idle nor in a paused room."""
    await room.configure(capacity=1, claim_seconds=1)
    await room.admit()
    await room.fast_forward(3)
    await room.admit()
    assert (await room.read()).flow.demand_us == 0
    await room.arrive(3)
    await room.admit()
    await room.fast_forward(2)
    assert len(await room.admit()) == 1
    reading = await room.read()
    assert reading.flow.admitted == pytest.approx(1)
    assert reading.flow.demand_us == pytest.approx(2_000_000, rel=0.1)
    await room.configure(capacity=1, claim_seconds=1, state="paused")
    await room.fast_forward(4)
    await room.admit()
    assert (await room.read()).flow.demand_us == reading.flow.demand_us


async def test_pace_tells_the_ways_out_apart(room: DrivenRoom) -> None:
    """Places that ended are counted once each: given back early, never claimed, or kept to the end."""
    settings = {"capacity": 4, "session_seconds": 100, "claim_seconds": 10, "abandon_seconds": 300}
    await room.configure(**settings)
    places = await room.arrive(6)
    await room.admit()
    await room.claim(*places[:3])
    await room.fast_forward(4)
    await room.leave(places[0])
    await room.admit()
    await room.fast_forward(4)
    await room.leave(places[4])
    await room.fast_forward(4)
    await room.expire()
    await room.admit()
    reading = await room.read()
    assert reading.flow.ended == pytest.approx(3, rel=0.1)
    assert reading.flow.early == pytest.approx(2, rel=0.1)
    assert reading.flow.no_show == pytest.approx(1, rel=0.1)
    await room.fast_forward(100)
    await room.expire()
    await room.admit()
    reading = await room.read()
    assert reading.flow.ended - reading.flow.early - reading.flow.no_show == pytest.approx(2, rel=0.1)


async def test_pace_counts_who_gives_up(room: DrivenRoom) -> None:
    """Who goes from the queue without a turn is counted, silent or with a goodbye, and no more once back."""
    places = await queue(room, 10, capacity=1, abandon_seconds=8, session_seconds=300)
    await room.admit()
    await room.fast_forward(4)
    await room.leave(places[9])
    await room.status(*map(ticket_of, places[1:6]))
    await room.admit()
    await room.fast_forward(4.5)
    await room.expire()
    await room.admit()
    reading = await room.read()
    assert reading.flow.gone == pytest.approx(4, rel=0.05)
    assert reading.flow.wait_us == pytest.approx(8 * 4.5e6 + 5 * 4e6, rel=0.2)
    await room.status(*(aged(ticket_of(place), 8.5) for place in places[6:9]))
    await room.admit()
    assert (await room.read()).flow.gone == pytest.approx(1, abs=0.1)


async def test_pace_remembers_while_nobody_comes(room: DrivenRoom) -> None:
    """What was learned of sessions is still known after hours in which the room was empty."""
    await room.configure(capacity=2, session_seconds=100)
    first, second = await room.arrive(2)
    await room.admit()
    for place in (first, second):
        await room.fast_forward(4)
        await room.leave(place)
        await room.admit()
    before = await room.read()
    assert before.flow.early == pytest.approx(2, rel=0.1)
    for _ in range(20):
        await room.fast_forward(300)
        await room.expire()
        await room.admit()
    after = await room.read()
    assert (after.flow.early, after.flow.stay_us) == pytest.approx((before.flow.early, before.flow.stay_us))


async def test_pace_of_a_room_that_knew_less(room: DrivenRoom) -> None:
    """A room whose state is of an older version goes on from its counts as they are: none of them is news."""
    await queue(room, 5, capacity=1)
    await room.admit()
    await room.redis.hset(keys.room_key(room.name, "state"), mapping={"finished": 9000, "no_show": 500, "left": -9500})
    await room.redis.hdel(
        keys.room_key(room.name, "state"), "pace_last_finished", "pace_last_no_show", "pace_last_gone"
    )
    await room.admit()
    reading = await room.read()
    assert reading.flow.ended == reading.flow.early == reading.flow.no_show == reading.flow.gone == 0


async def test_demand_begins_when_somebody_waits(room: DrivenRoom) -> None:
    """Where nobody waited a while ago, that while is no time in which people waited for their turn."""
    await room.configure(capacity=1)
    await room.admit()
    await room.fast_forward(3)
    await room.arrive(2)
    await room.admit()
    assert (await room.read()).flow.demand_us <= 200_000


async def test_more_at_any_size_of_call(room: DrivenRoom) -> None:
    """A call that stopped at its own bound says that there is more; one that the limits stopped does not."""
    await queue(room, 10, capacity=7)
    sizes = [await room.store.admit(room.name, term=1, most=3) for _ in range(3)]
    assert [(len(admission.serials), admission.more) for admission in sizes] == [(3, True), (3, True), (1, False)]


async def test_one_silent_far_back_changes_nothing(room: DrivenRoom) -> None:
    """Somebody silent at the end of the queue keeps nobody at its head from their turn, and stays there."""
    places = await queue(room, 4, capacity=2, abandon_seconds=10)
    await room.fast_forward(11)
    await room.status(*map(ticket_of, places[:3]))
    assert await room.admit() == (places[0].serial, places[1].serial)
    assert await room.members("wait") == [places[2].visitor, places[3].visitor]
    assert await room.members("seen") == [places[3].visitor, places[2].visitor]


async def test_admitted_is_counted(room: DrivenRoom) -> None:
    """Every admission is counted once."""
    await queue(room, 10, capacity=4)
    await room.admit()
    await room.admit()
    counts = await room.counts()
    assert (counts.entered, counts.admitted, counts.claimed) == (10, 4, 0)
