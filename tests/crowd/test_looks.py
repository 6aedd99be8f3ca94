"""Each check of looks holds on good ones, and fails on those that were doctored to break it, no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from crowd.rules import Rules
from crowd.watch import Look, Watch, looks_hold, resumed_after

BOTH = "nobody waits and is inside, at every look"
BOOKS = "nobody is lost in the books, at every look"
COUNTS = "counts only grow"
CAPACITY = "occupancy never grows past the capacity of the instant"
RATE = "the rate of the instant in every window"
ORDER = "nobody is admitted before the head of the queue"
SHUT = "nobody is admitted while the room is shut, or held"
SOON = "nobody is admitted soon after a loss"
HELD = "no room is held without a loss"

#: Seconds on both clocks at the first look.
START = 1000.0

#: The widest that the room ever has.
RULES = Rules(capacity=2, admit_per_second=1.0)


def look(at: float, *, admitted: int, waiting: int, inside: int, gone: int = 0, **more: Any) -> Look:
    """A room of two, at one per second; visitor number n has serial n, and number `admitted` came in last."""
    count = dict.fromkeys(("restored", "finished", "no_show", "abandoned"), 0)
    count |= {"entered": waiting + inside + gone, "admitted": admitted, "claimed": admitted, "left": gone}
    count |= {"last": waiting + admitted, "turn_serial": admitted, "term": 1}
    count |= more.pop("counts", {})
    told: dict[str, Any] = {
        "at": START + at,
        "seen": START + at,
        "version": 1,
        "capacity": 2,
        "admit_per_second": 1.0,
        "open": True,
        "first": admitted + 1 if waiting else 0,
        "passed": {},
        "waiting": waiting,
        "held": inside,
        "inside": inside,
        "both": (),
        "counts": count,
        "hold_until": 0.0,
        "admitted_at": START + at - 0.01,
        "made_at": START - 1,
    }
    return Look(**{**told, **more})


def good() -> list[Look]:
    """Three come; two are admitted one after another; one leaves, and the third comes in."""
    return [
        look(0, admitted=1, waiting=2, inside=1),
        look(1, admitted=2, waiting=1, inside=2),
        look(1.5, admitted=2, waiting=1, inside=1, gone=1, admitted_at=START + 0.99),
        look(2, admitted=3, waiting=0, inside=2, gone=1),
    ]


def failing(looks: list[Look], losses: tuple[tuple[float, float], ...] = ()) -> set[str]:
    """The checks that these looks fail."""
    return {check.name for check in looks_hold(looks, RULES, losses=losses, hold_seconds=5) if not check.holds}


def with_last(change: Callable[[Look], Look]) -> list[Look]:
    """Good looks, the last of them doctored."""
    return [*good()[:-1], change(good()[-1])]


def counted(each: Look, **counts: int) -> Look:
    """The look with other counts."""
    return replace(each, counts={**each.counts, **counts})


def test_good_looks_pass() -> None:
    """And every check looked at something."""
    found = looks_hold(good(), RULES, hold_seconds=5)
    assert [check.faults for check in found] == [[]] * len(found)
    assert all(check.looked_at for check in found)


DOCTORED: dict[str, tuple[list[Look], set[str]]] = {
    "waiting and inside": (with_last(lambda each: replace(each, both=("v3",))), {BOTH}),
    "nowhere": (with_last(lambda each: counted(each, entered=4)), {BOOKS}),
    "a count that fell": (with_last(lambda each: counted(each, claimed=1)), {COUNTS}),
    "three in a room of two": (
        with_last(lambda each: counted(replace(each, inside=3, held=3), entered=4)),
        {CAPACITY},
    ),
    "three at once": (with_last(lambda each: counted(each, admitted=6)), {RATE}),
    "past the head": (
        with_last(
            lambda each: replace(
                each, first=3, passed={"v3": 3}, waiting=1, held=1, counts={**each.counts, "turn_serial": 4}
            )
        ),
        {ORDER},
    ),
    "while paused": ([replace(each, open=False) for each in good()], {SHUT}),
    "a hold for nothing": (with_last(lambda each: replace(each, hold_until=START + 1)), {HELD}),
}


@pytest.mark.parametrize("name", DOCTORED)
def test_doctored_looks_fail(name: str) -> None:
    """The check that they were doctored to break, and no other."""
    looks, broken = DOCTORED[name]
    assert failing(looks) == broken


def test_as_many_may_be_passed_as_came_back() -> None:
    """Who came back between two looks may have been away when the turn went past; everybody else may not be passed."""
    before = look(2, admitted=2, waiting=3, inside=2)
    for passed, returned, broken in ((1, 1, set()), (2, 1, {ORDER}), (2, 2, set()), (1, 0, {ORDER})):
        after = look(4, admitted=3, waiting=2, inside=2, gone=1)
        overtaken = {f"v{number}": number for number in range(3, 3 + passed)}
        last = counted(replace(after, passed=overtaken), turn_serial=5, restored=returned)
        gone = counted(last, abandoned=returned)
        assert failing([before, gone]) & {ORDER} == broken


def test_a_lower_capacity_evicts_nobody() -> None:
    """Two may stay in a room of one, but no third may come, nor a second once there was one."""
    lowered = [replace(each, capacity=1, version=2) for each in good()]
    assert failing([good()[1], replace(lowered[1], at=START + 1.2, admitted_at=START)]) == set()
    assert failing([lowered[2], lowered[3]]) == {CAPACITY}


def test_no_loss_makes_room_for_more_than_there_ever_was() -> None:
    """Also at a look that no other can be held against."""
    three = look(0, admitted=3, waiting=0, inside=3)
    assert CAPACITY in failing([three], ((START - 1, START + 1),))


def test_of_two_changes_between_two_looks_the_highest_capacity_counts() -> None:
    """Nobody saw what the room had meanwhile."""
    first = replace(good()[2], capacity=1)
    assert failing([first, replace(good()[3], capacity=1, version=3)]) == set()
    assert failing([first, replace(good()[3], capacity=1, version=2)]) == {CAPACITY}


def test_over_a_loss_counts_begin_anew() -> None:
    """While the room is held nobody is admitted; what instances add about turns before is no admission."""
    begun: dict[str, Any] = {"made_at": START + 3, "admitted_at": START + 1}
    emptied = look(3, admitted=0, waiting=2, inside=0, hold_until=START + 8, **begun)
    emptied = counted(emptied, entered=0, restored=2, turn_serial=9)
    loss = ((START + 2.1, START + 2.9),)
    assert failing([*good(), emptied], loss) == set()
    assert failing([*good(), emptied]) == {COUNTS, HELD}
    during = replace(emptied, at=START + 4, admitted_at=START + 3.5)
    assert failing([*good(), emptied, during], loss) == {SHUT, SOON}
    unheld = [replace(each, hold_until=0) for each in (emptied, during)]
    assert failing([*good(), *unheld], loss) == {SOON}
    assert failing([*good(), *(replace(each, made_at=START - 2) for each in unheld)], loss) == set()


def test_the_next_admission_is_found() -> None:
    """Also over a loss, which sets the count back; infinitely late where there is none."""
    emptied = look(3, admitted=0, waiting=2, inside=0)
    later = look(4, admitted=1, waiting=1, inside=1)
    assert resumed_after(good(), START + 1.2) == pytest.approx(0.8)
    assert resumed_after([*good(), emptied, later], START + 2.5) == pytest.approx(1.5)
    assert resumed_after(good(), START + 2) == float("inf")


def test_the_longest_time_without_an_admission_is_found() -> None:
    """From the first look to the last admission, or within a span, whose ends count."""
    watch = Watch("shop")
    watch.looks += [
        look(at, admitted=admitted, waiting=3, inside=1) for at, admitted in ((0, 0), (5, 1), (6, 2), (9, 2))
    ]
    assert watch.longest_gap() == 5
    assert watch.longest_gap(START + 4, START + 9) == 3
    assert watch.longest_gap(START + 5.5, START + 6.5) == 0.5


def test_a_clock_that_goes_back_begins_anew() -> None:
    """The rate is counted in stretches of its own."""
    looks = [look(at, admitted=number, waiting=9, inside=1) for number, at in enumerate((0, 9, 2, 3))]
    assert failing(looks) & {RATE} == set()
    assert failing([*looks, replace(looks[-1], at=START + 3.1, counts={**looks[-1].counts, "admitted": 6})]) >= {RATE}


def test_the_widest_rate_holds_over_changes() -> None:
    """Settings that change at every look hide no burst."""
    looks = [look(number / 10, admitted=number, waiting=9, inside=1, version=number + 1) for number in range(6)]
    assert failing(looks) & {RATE} == {RATE}
