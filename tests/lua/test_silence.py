"""An outage is not silence: who is believed after one, and for how long, to the µs."""

from __future__ import annotations

from typing import Final

import pytest

from tests.lua.calls import (
    ABANDON,
    START,
    ask,
    come,
    configure,
    count,
)
from tests.lua.held import ROOM, SECOND, HeldScripts
from waitroom.store import keys


def wait_with_a_leader(held: HeldScripts, patience: float) -> None:
    """Two come, and the leader comes by."""
    configure(held, state="paused", abandon_seconds=patience, ticket_seconds=3600.0)
    come(held, "a", "b")
    held.run("admit", 1, 0)


def lead(held: HeldScripts, until: int) -> None:
    """The leader comes by often enough for all to be heard."""
    while held.now < until:
        held.now = min(held.now + 2 * SECOND, until)
        held.run("admit", 1, 0)


def silent(held: HeldScripts, by: str, *, after: int, patience: float) -> int:
    """For how many of two it is silence to have been last heard so many µs ago, or one more: as that script says."""
    held.redis.zadd(keys.room_key(ROOM, "seen"), {"a": held.now - after - 1, "b": held.now - after})
    if by == "expire":
        return int(held.run("expire", 1, 500)[3])
    configure(held, capacity=0, abandon_seconds=patience, ticket_seconds=3600.0)
    return 2 - len(held.run("admit", 1, 500)[5:])


#: abandon_seconds; how long a leader may stay away so that nobody is believed; how long they are believed. In seconds.
_BELIEFS: Final = [
    (6.0, 2.0, 6),
    (24.0, 2.0, 24),
    (30.0, 2.5, 30),
    (40.0, 40 / 12, 40),
    (60.0, 5.0, 60),
    (90.0, 5.0, 75),
]
by_each = pytest.mark.parametrize("by", ["expire", "admit"])
by_each_gap = pytest.mark.parametrize(("patience", "gap"), [(patience, gap) for patience, gap, _ in _BELIEFS])
by_each_belief = pytest.mark.parametrize(("patience", "gap", "believed"), _BELIEFS)


@by_each
@by_each_gap
def test_an_outage_is_not_silence(held: HeldScripts, by: str, patience: float, gap: float) -> None:
    """Without a leader for a twelfth of abandon_seconds nobody could be heard: everybody is believed."""
    for late, right in ((0, 1), (1, 0)):
        held.redis.flushall()
        held.now = START
        wait_with_a_leader(held, patience)
        held.now += int(gap * SECOND) + late
        assert silent(held, by, after=round(patience * SECOND), patience=patience) == right


@by_each
@by_each_belief
def test_after_an_outage_all_have_time_to_be_heard(
    held: HeldScripts, by: str, patience: float, gap: float, believed: int
) -> None:
    """For abandon_seconds, but no more than 75 s; then silence is what it was."""
    for passed, right in ((0, 0), (1, 0), (believed * SECOND - 1, 0), (believed * SECOND, 1)):
        held.redis.flushall()
        held.now = START
        wait_with_a_leader(held, patience)
        held.now += round(gap * SECOND) + 1
        resumed = held.now
        held.run(by, 1, 0)
        lead(held, resumed + passed)
        assert silent(held, by, after=round(patience * SECOND), patience=patience) == right


@by_each
def test_whose_ticket_is_dead_is_not_believed(held: HeldScripts, by: str) -> None:
    """An outage, or a night without a server, of which the tickets are dead: their places hold nobody up."""
    wait_with_a_leader(held, 20.0)
    held.now += 8 * 3600 * SECOND
    assert silent(held, by, after=3600 * SECOND, patience=20.0) == 1


@by_each
@pytest.mark.parametrize("back", [1, SECOND, 3000 * SECOND])
def test_a_clock_set_back_after_an_outage(held: HeldScripts, by: str, back: int) -> None:
    """Within the time in which all are believed it begins that anew; after it, it believes nobody."""
    for passed, since, right in ((19, 0, 0), (19, 19, 0), (19, 20, 1), (20, 0, 1)):
        held.redis.flushall()
        held.now = START
        wait_with_a_leader(held, 20.0)
        held.now += 600 * SECOND
        resumed = held.now
        held.run(by, 1, 0)
        lead(held, resumed + passed * SECOND)
        held.now -= back
        if since:
            held.run(by, 1, 0)
            lead(held, held.now + since * SECOND)
        assert silent(held, by, after=20 * SECOND, patience=20.0) == right, (passed, since)


def test_what_one_script_has_noted_the_other_knows(held: HeldScripts) -> None:
    """A room in which one of the two cannot run is led all the same: who is silent there does not stay for ever."""
    for by, other in (("expire", "admit"), ("admit", "expire")):
        held.redis.flushall()
        held.now = START
        wait_with_a_leader(held, 20.0)
        for _ in range(100):
            held.now += 2 * SECOND
            held.run(by, 1, 0)
        assert silent(held, other, after=20 * SECOND, patience=20.0) == 1


def test_after_an_outage_the_head_comes_in_first(held: HeldScripts) -> None:
    """However long the outage was, admissions go on in order, also before everybody has asked again."""
    wait_with_a_leader(held, 20.0)
    held.now += 3000 * SECOND
    ask(held, "b", serial=START + 1)
    configure(held, capacity=2, abandon_seconds=20.0, ticket_seconds=3600.0)
    assert held.run("admit", 1, 1)[5:] == [START]
    assert held.run("admit", 1, 1)[5:] == [START + 1]
    assert count(held, "abandoned") == count(held, "restored") == 0


def test_a_room_that_was_never_led_is_no_outage(held: HeldScripts) -> None:
    """Without a round before there is nothing to compare with: who went silent in it goes."""
    configure(held, state="paused")
    come(held, "a")
    held.now += ABANDON + 1
    assert held.run("expire", 1, 500)[3] == 1
    assert held.redis.hget(keys.room_key(ROOM, "state"), "resumed_us") == "0"


def test_a_stale_leader_is_no_round(held: HeldScripts) -> None:
    """Whoever is refused for an older term notes nothing."""
    configure(held, state="paused")
    held.run("admit", 5, 0)
    held.now += SECOND
    for script in ("admit", "expire"):
        assert held.run(script, 4, 500) == ["stale", 5]
    assert held.redis.hget(keys.room_key(ROOM, "state"), "led_us") == str(START)
