"""What admit learns for the eta, to the digit: how fast it fades, and how long a pause counts. The clock is held."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.lua.held import ROOM, SECOND, HeldScripts
from waitroom.settings.room import RoomSettings, fields_of
from waitroom.store import keys

#: Seconds that one round counts for at most, and the time constant of what is learned under demand.
LONGEST, DEMAND = 5, 60


def configure(held: HeldScripts, **settings: Any) -> None:
    """Make the room or change it."""
    fields = fields_of(RoomSettings(**{"claim_seconds": 1000.0, "abandon_seconds": 3600.0} | settings))
    given = [part for pair in fields.items() for part in pair]
    assert held.run("configure", "*", 0, 0, 0, 0, 0, *given)[0] == "ok"


def pace(held: HeldScripts, name: str) -> float:
    """One of the figures."""
    return float(held.redis.hget(keys.room_key(ROOM, "state"), f"pace_{name}") or 0)


@pytest.mark.parametrize(("session", "memory"), [(30.0, 60), (100.0, 100), (2000.0, 600)])
def test_figures_fade(held: HeldScripts, session: float, memory: int) -> None:
    """Each figure keeps e^(-t / its time constant) of what it was; a minute counts as five seconds."""
    configure(held, capacity=1, session_seconds=session)
    held.run("enter", *(part for name in "abc" for part in (name, "", 0, 0)))
    held.run("admit", 1, 500)
    configure(held, capacity=2, session_seconds=session)
    held.run("admit", 1, 500)
    assert [pace(held, name) for name in ("admitted", "us", "stay_us", "wait_us")] == [1, 0, 0, 0]
    # Two inside, one in the queue.
    admitted, demand, stay, wait = 1.0, 0.0, 0.0, 0.0
    for seconds, counted in ((4, 4), (5, 5), (60, LONGEST)):
        held.now += seconds * SECOND
        held.run("admit", 1, 500)
        kept, learned = math.exp(-counted / DEMAND), math.exp(-counted / memory)
        admitted, demand = admitted * kept, demand * kept + counted * SECOND
        stay, wait = stay * learned + 2 * counted * SECOND, wait * learned + counted * SECOND
        assert pace(held, "admitted") == pytest.approx(admitted)
        assert pace(held, "us") == pytest.approx(demand)
        assert pace(held, "stay_us") == pytest.approx(stay)
        assert pace(held, "wait_us") == pytest.approx(wait)


def test_half_a_room_fades_half_as_fast(held: HeldScripts) -> None:
    """Of sessions the room forgets as much as it is in use."""
    configure(held, capacity=4, session_seconds=100)
    held.run("enter", "a", "", 0, 0, "b", "", 0, 0)
    held.run("admit", 1, 500)
    for stay in (8 * SECOND, 8 * SECOND * (1 + math.exp(-4 * 0.5 / 100))):
        held.now += 4 * SECOND
        held.run("admit", 1, 500)
        assert pace(held, "stay_us") == pytest.approx(stay)


def test_a_clock_that_was_set_back_counts_for_nothing(held: HeldScripts) -> None:
    """A round that comes before the last one learns nothing, and the next one goes on from there."""
    configure(held, capacity=1)
    held.run("enter", "a", "", 0, 0, "b", "", 0, 0)
    held.run("admit", 1, 500)
    held.now -= 3600 * SECOND
    held.run("admit", 1, 500)
    assert (pace(held, "us"), pace(held, "stay_us"), pace(held, "wait_us")) == (0, 0, 0)
    held.now += 2 * SECOND
    held.run("admit", 1, 500)
    assert (pace(held, "us"), pace(held, "wait_us")) == (2 * SECOND, 2 * SECOND)


@pytest.mark.parametrize("state", ["paused", "closed", "open", "bypass"])
def test_demand_is_where_somebody_may_be_admitted(held: HeldScripts, state: str) -> None:
    """Neither a paused nor a closed room has demand, nor one on hold, however many wait."""
    configure(held, capacity=1)
    held.run("enter", "a", "", 0, 0, "b", "", 0, 0)
    configure(held, capacity=1, state=state)
    held.run("admit", 1, 0)
    held.now += SECOND
    held.run("admit", 1, 0)
    assert pace(held, "us") == (SECOND if state in ("open", "bypass") else 0)
    held.redis.hset(keys.room_key(ROOM, "state"), "hold_until_us", held.now + SECOND + 1)
    before = pace(held, "us")
    held.now += SECOND
    held.run("admit", 1, 0)
    assert pace(held, "us") == before


def test_no_shows_are_counted_once(held: HeldScripts) -> None:
    """Each round counts the no-shows since the last one, and they fade like all that is known of sessions."""
    configure(held, capacity=1, claim_seconds=1, session_seconds=100)
    expected = 0.0
    for number in range(3):
        held.run("enter", f"v{number}", "", 0, 0)
        held.run("admit", 1, 500)
        held.now += SECOND
        held.run("expire", 1, 500)
        held.run("admit", 1, 500)
        expected += 1
        # Nobody was inside when the round came, so nothing has faded.
        assert pace(held, "no_show") == pytest.approx(expected)
        assert pace(held, "ended") == pytest.approx(expected)
        assert pace(held, "early") == pytest.approx(0)


def test_a_room_without_a_limit_forgets_at_full_speed(held: HeldScripts) -> None:
    """Where capacity is unlimited there is no share in use, also when nobody is inside."""
    configure(held, capacity=0, session_seconds=100)
    held.run("enter", "a", "", 0, 0)
    held.run("admit", 1, 500)
    held.now += 4 * SECOND
    held.run("leave", "a", "ticket")
    held.run("admit", 1, 500)
    stay = 0.5 * 4 * SECOND
    assert pace(held, "stay_us") == pytest.approx(stay)
    held.now += 4 * SECOND
    held.run("admit", 1, 500)
    assert pace(held, "stay_us") == pytest.approx(stay * math.exp(-4 / 100))


def test_a_room_that_is_more_than_full(held: HeldScripts) -> None:
    """After capacity was lowered the room forgets as fast as a full one, no faster."""
    configure(held, capacity=2, session_seconds=100)
    held.run("enter", "a", "", 0, 0, "b", "", 0, 0)
    configure(held, capacity=1, session_seconds=100)
    held.run("admit", 1, 500)
    for stay in (8 * SECOND, 8 * SECOND * (1 + math.exp(-4 / 100))):
        held.now += 4 * SECOND
        held.run("admit", 1, 500)
        assert pace(held, "stay_us") == pytest.approx(stay)


def test_an_empty_queue_teaches_and_forgets_nothing(held: HeldScripts) -> None:
    """What is known of those who wait stands while nobody does."""
    configure(held, capacity=1, session_seconds=100)
    held.run("enter", "a", "", 0, 0, "b", "", 0, 0)
    held.run("admit", 1, 500)
    held.now += 4 * SECOND
    held.run("admit", 1, 500)
    held.run("leave", "b", "ticket")
    held.run("admit", 1, 500)
    assert (pace(held, "wait_us"), pace(held, "gone")) == (4 * SECOND, 1)
    for _ in range(2):
        held.now += 4 * SECOND
        held.run("admit", 1, 500)
        assert (pace(held, "wait_us"), pace(held, "gone")) == (4 * SECOND, 1)


def test_sessions_that_last_are_told_from_those_that_end_early(held: HeldScripts) -> None:
    """Round by round, whichever came before: who stayed to the end is no early leaver."""
    configure(held, capacity=1, session_seconds=5)
    for number in range(1, 4):
        held.run("enter", f"v{number}", "", 0, 0)
        held.run("extend", f"v{number}", held.now + 1000 * SECOND, "offer")
        held.run("admit", 1, 500)
        held.now += 5 * SECOND
        assert held.run("expire", 1, 500)[5] == 1
        held.run("admit", 1, 500)
        # Nobody was inside when the round came, so nothing has faded.
        assert (pace(held, "ended"), pace(held, "early")) == (number, 0)


def test_who_comes_and_goes_between_two_rounds_has_ended(held: HeldScripts) -> None:
    """No round saw them inside, and their place was taken and became free all the same."""
    configure(held, capacity=5, session_seconds=100)
    held.run("admit", 1, 500)
    for number in range(1, 3):
        held.run("enter", f"v{number}", "", 0, 0)
        held.run("leave", f"v{number}", "ticket")
        held.run("admit", 1, 500)
        assert (pace(held, "ended"), pace(held, "early")) == (number, number)


@pytest.mark.parametrize("early", [0, 1])
def test_demand_begins_with_the_end_of_the_hold(held: HeldScripts, early: int) -> None:
    """At that very µs, when the first may be admitted again."""
    configure(held, capacity=1)
    held.run("enter", "a", "", 0, 0, "b", "", 0, 0)
    held.run("admit", 1, 500)
    held.now += SECOND
    held.redis.hset(keys.room_key(ROOM, "state"), "hold_until_us", held.now + early)
    held.run("admit", 1, 500)
    assert pace(held, "us") == (0 if early else SECOND)


def test_who_comes_after_an_empty_queue_has_not_waited_for_all_of_the_step(held: HeldScripts) -> None:
    """The last round has left nobody in the queue: demand may have begun at any time since, and counts for a moment."""
    configure(held, capacity=1, state="paused")
    held.run("enter", "a", "", 0, 0)
    configure(held, capacity=1)
    held.run("admit", 1, 500)
    held.run("enter", "b", "", 0, 0)
    held.now += 4 * SECOND
    held.run("admit", 1, 500)
    assert pace(held, "us") == SECOND // 5
