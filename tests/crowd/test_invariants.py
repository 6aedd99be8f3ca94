"""Every check holds on a good history, and fails on one that was doctored to break it, and on no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from crowd.history import Operation
from crowd.invariants import check_all
from crowd.rules import Rules
from tests.crowd.made import RULES, START, asked, comes_in, good, leaves, passes, serial, told, waits

Doctor = Callable[[list[Operation]], list[Operation]]

ANSWERED = "every request is answered well"
ONE_PLACE = "one turn, one place"
ONCE = "admitted at most once per turn"
ORDER = "admitted in serial order"
CAPACITY = "never more inside than capacity"
RATE = "rate kept in every window"
RANK = "rank never grows, but by returners"
EARNED = "no way in without an admission"
FORGED = "forged proofs are refused"


def failing(operations: list[Operation], rules: Rules = RULES) -> set[str]:
    """The names of the checks that a history fails."""
    return {check.name for check in check_all(told(*operations), rules) if not check.holds}


def test_a_good_history_passes() -> None:
    """Nothing is wrong with it, and each check had something to look at but the forgeries."""
    checks = list(check_all(told(*good()), RULES))
    assert [check.faults for check in checks] == [[]] * len(checks)
    assert {check.name for check in checks if not check.looked_at} == {FORGED}


def without(call: str, visitor: str) -> Doctor:
    """The history without what a visitor asked so."""
    return lambda those: [each for each in those if (each.call, each.visitor) != (call, visitor)]


def with_more(*more: Operation) -> Doctor:
    """The history with more in it."""
    return lambda those: [*those, *more]


def lost(those: list[Operation]) -> list[Operation]:
    """The last request was never answered."""
    return [*those[:-1], replace(those[-1], outcome="unknown", completed=None, status=0)]


def second_first(those: list[Operation]) -> list[Operation]:
    """The second comes in and leaves while the first waits on, in sight before and after."""
    kept = [each for each in those if each.visitor == "b" and each.call == "status" and each.invoked < START + 1]
    first = [waits("a", at, 1, came=0.0) for at in (0.0, 0.9, 1.8, 2.7)]
    return [*kept, *first, comes_in("b", 1.5), leaves("b", 2.0), comes_in("a", 3.5), leaves("a", 4.0)]


DOCTORED: dict[str, tuple[Doctor, set[str]]] = {
    "an answer that may not be": (with_more(asked("c", "enter", 9, outcome="fail", status=500)), {ANSWERED}),
    "no answer": (lost, {ANSWERED}),
    "another serial": (with_more(waits("b", 2.5, 1, came=0.6)), {ONE_PLACE}),
    "another identity": (with_more(waits("b", 2.5, 1, came=0.5, identity="id-x")), {ONE_PLACE}),
    "a place shared by two": (with_more(waits("c", 2.6, 1, came=0.5, identity="id-b")), {ONE_PLACE}),
    "a second session": (with_more(comes_in("b", 5.5)), {ONCE}),
    "a place after the goodbye": (with_more(waits("b", 7, 1, came=0.5)), {ONCE}),
    "overtaken": (second_first, {ORDER}),
    "overtaken by one who was let in at once": (
        with_more(comes_in("c", 3.2), leaves("c", 3.3)),
        {ORDER},
    ),
    "two inside at a time": (without("leave", "a"), {CAPACITY}),
    "a rank that grew": (with_more(waits("b", 1.7, 2, came=0.5)), {RANK}),
    "the gate opens for who waits": (with_more(passes("c", 2.0)), {EARNED}),
    "the gate opens after the goodbye": (with_more(passes("b", 8.5)), {EARNED}),
    "the gate opens after the session": (
        lambda those: [*without("leave", "b")(those), passes("b", 15)],
        {EARNED},
    ),
    "a forged ticket that counts": (
        with_more(asked("f", "status", 2, attempt="a flipped bit", brought="id-b", state="waiting", identity="id-b")),
        {FORGED},
    ),
    "a forged ticket that gives its place": (
        with_more(asked("f", "enter", 2, attempt="a spent ticket", brought="id-a", identity="id-a", state="waiting")),
        {FORGED},
    ),
    "a forged pass that opens the gate": (
        with_more(asked("f", "gate", 2, attempt="nobody's signature", brought="id-b", passed=True)),
        {FORGED},
    ),
}


@pytest.mark.parametrize("name", DOCTORED)
def test_a_doctored_history_fails(name: str) -> None:
    """It fails the checks that it was doctored to break, and no other."""
    doctor, broken = DOCTORED[name]
    assert failing(doctor(good())) == broken


def test_more_than_the_rate_allows_is_found_whatever_the_window() -> None:
    """Four who are let in within half a second, at one per second."""
    at_once = [waits(f"v{n}", n / 10, n + 1, came=n / 10) for n in range(4)]
    let_in = [comes_in(f"v{n}", 0.5 + n / 10) for n in range(4)]
    assert failing([*at_once, *let_in], replace(RULES, capacity=0)) == {RATE}
    assert failing([*at_once, *let_in], replace(RULES, capacity=0, admit_per_second=10)) == set()


def test_a_rank_may_grow_behind_who_comes_back() -> None:
    """One rank for each returner with an older serial; a younger one does not count."""
    other = replace(RULES, capacity=0)
    away = [waits("old", 0.0, 1, came=0.0), waits("old", 6.0, 1, came=0.0)]
    behind = [waits("b", at, rank, came=0.5) for at, rank in ((1.0, 2), (5.0, 1), (7.0, 2))]
    assert failing([*away, *behind], other) == set()
    assert failing([*away, *behind[:2], replace(behind[2], rank=3)], other) == {RANK}
    younger = [replace(each, serial=serial(0.9)) for each in away]
    assert failing([*younger, *behind], other) == {RANK}


def test_who_was_silent_for_long_may_be_passed_over() -> None:
    """The order holds among those who waited throughout only."""
    rules = replace(RULES, capacity=0, admit_per_second=0)
    sleeper = [waits("a", 0.0, 1, came=0.0), waits("a", 9.0, 1, came=0.0)]
    awake = [waits("b", 0.5, 2, came=0.5), waits("b", 2.0, 2, came=0.5), comes_in("b", 3.0), leaves("b", 4.0)]
    assert failing([*sleeper, *awake], rules) == set()
    in_sight = [waits("a", at, 1, came=0.0) for at in (2.0, 4.0, 6.0)]
    assert failing([*sleeper, *in_sight, *awake], rules) == {ORDER}


def test_an_own_place_for_a_forger_is_no_forgery() -> None:
    """Who enters with a spent ticket gets what anybody gets."""
    fresh = asked("f", "enter", 7, attempt="a spent ticket", brought="id-b", identity="id-f", state="waiting")
    refused = asked("f", "status", 8, attempt="a cut ticket", brought="id-b", status=401)
    assert failing([*good(), fresh, refused]) == set()


def test_a_clock_that_is_ahead_changes_nothing() -> None:
    """The room's times are an hour ahead of the generator's: the same verdict."""
    ahead = [
        replace(each, as_of=each.as_of and each.as_of + 3600, expires=each.expires and each.expires + 3600)
        for each in [*good(), passes("b", 5.5)]
    ]
    assert failing(ahead) == set()
    assert failing(without("leave", "a")(ahead)) == {CAPACITY}
