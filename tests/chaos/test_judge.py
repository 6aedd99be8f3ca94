"""What a campaign's judge lets pass because of a fault, and what it does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chaos.diary import Diary, Entry
from chaos.judge import Case, judged
from chaos.schedule import Fault
from crowd.history import Operation
from rig.operator import Settings
from tests.crowd.made import RULES, START, asked, comes_in, good, leaves, passes, serial, told, waits
from tests.crowd.test_invariants import ANSWERED, CAPACITY, EARNED, ONCE, ONE_PLACE, ORDER, RANK
from waitroom.settings.room import RoomSettings

REVOKED = "who was revoked stays out"
CAME_IN = "everybody who wants in gets in"

ROOM = RoomSettings(
    capacity=RULES.capacity,
    admit_per_second=RULES.admit_per_second,
    session_seconds=RULES.session_seconds,
    claim_seconds=RULES.claim_seconds,
    abandon_seconds=RULES.abandon_seconds,
)


def struck(kind: str, begin: float, end: float) -> Entry:
    """A fault, in seconds since the start."""
    return Entry(Fault(kind, begin, end - begin), START + begin, START + end)


def diary(*entries: Entry, states: tuple[tuple[float, str], ...] = (), **more: Any) -> Diary:
    """What was done: these faults, and the room put into these states at these times."""
    settings = [Settings(START + at, START + at + 0.1, 1, 1.0, state) for at, state in ((-1, "open"), *states)]
    return Diary(list(entries), settings, **more)


def failing(operations: list[Operation], done: Diary | None = None) -> set[str]:
    """The checks that a history fails, given what was done."""
    case = Case(told(*operations), done or diary(), ROOM)
    return {check.name for check in judged(case) if not check.holds}


def put_off(visitor: str, at: float, call: str = "status") -> Operation:
    """A 503 as it is documented."""
    return asked(visitor, call, at, outcome="unknown", status=503, problem="unavailable")


def turned_away(visitor: str, at: float, status: int = 410, call: str = "status") -> Operation:
    """An answer that a visitor gets at the end of a turn."""
    return asked(visitor, call, at, outcome="fail", status=status)


def waiting(*times: float) -> list[Operation]:
    """Visitor x, who came first of all, and was told to wait at these times."""
    return [waits("x", at, 1, came=-9.0) for at in times]


def test_a_good_history_passes() -> None:
    """With faults or without."""
    assert failing(good()) == set()
    assert failing(good(), diary(struck("frozen", 0, 9), struck("nginx reloaded", 2, 2))) == set()


def test_a_documented_503_passes_and_no_other() -> None:
    """Nor any other answer of that kind."""
    assert failing([*good(), put_off("b", 3.9)]) == set()
    for status in (500, 502, 503, 504, 404, 429):
        assert failing([*good(), turned_away("b", 3.9, status)]) == {ANSWERED}


def test_no_answer_passes_only_where_nginx_was_struck() -> None:
    """An instance that dies takes no answer along: nginx asks another."""
    silent = asked("b", "status", 3.9, outcome="unknown", status=0)
    assert failing([*good(), silent]) == {ANSWERED}
    assert failing([*good(), silent], diary(struck("instance killed", 3, 5))) == {ANSWERED}
    assert failing([*good(), silent], diary(struck("nginx worker killed", 3.905, 3.906))) == set()


def test_a_gate_turns_good_passes_away_only_where_an_instance_started_without_redis() -> None:
    """Either alone is no reason."""
    sent_back = turned_away("b", 5.5, 401, "gate")
    started, silent = struck("instance killed", 3, 5), struck("refused", 4, 5)
    assert failing([*good(), sent_back], diary(started, silent)) == set()
    for one in (started, silent):
        assert failing([*good(), sent_back], diary(one)) == {ANSWERED}


def test_a_turn_may_be_over_unseen_only_after_it_can_have_run_out() -> None:
    """A request whose answer was lost may have claimed it: the session is over ten seconds later, not before."""
    lost = [*waiting(0, 1), put_off("x", 2)]
    assert failing([*lost, turned_away("x", 12.5)]) == set()
    assert failing([*lost, turned_away("x", 11.0)]) == {ANSWERED}
    assert failing([*waiting(0, 1, 2), turned_away("x", 12.5)]) == {ANSWERED}


def test_another_place_is_given_only_when_the_turn_is_over() -> None:
    """The same holds for who enters again and is somebody new."""
    anew = waits("x", 12.5, 1, came=12.0, identity="id-y")
    in_the_end = comes_in("x", 13.5, identity="id-y")
    assert failing([*waiting(0, 1), put_off("x", 2), anew, in_the_end]) == set()
    assert failing([*waiting(0, 1, 2), anew, in_the_end]) == {ONE_PLACE}


def test_two_serials_or_two_owners_of_a_place_never_pass() -> None:
    """Whatever was struck."""
    done = diary(struck("emptied", 0, 9))
    other = waits("x", 3, 1, came=-8.0)
    assert ONE_PLACE in failing([*waiting(0, 1), other, comes_in("x", 4)], done)
    assert ONE_PLACE in failing(
        [*good(), waits("y", 3.6, 1, came=0.5, identity="id-y"), comes_in("y", 7, identity="id-y")]
    )


def test_who_wants_in_gets_in() -> None:
    """Still waiting, still put off, gone home: all the same. Leavers and ghosts want nothing."""
    for end in (waiting(2), [put_off("x", 2)], [leaves("x", 2)]):
        assert failing([*waiting(0, 1), *end]) == {CAME_IN}
    assert failing([replace(each, habit="vanisher") for each in waiting(0, 1)]) == set()


def test_a_revocation_ends_a_turn_from_then_on() -> None:
    """It is told so, the place is free for others, and never again has it."""
    done = diary(revoked={"id-x": (START + 2, START + 2.1)})
    assert failing([*waiting(0, 1), turned_away("x", 2.05)], done) == set()
    assert failing([*waiting(0, 1), turned_away("x", 1.5)], done) == {ANSWERED}
    assert failing([*waiting(0, 1), *waiting(3), comes_in("x", 3.5)], done) == {REVOKED}
    early = [comes_in("a", 1.0) if each == comes_in("a", 1.0) else each for each in good() if each != leaves("a", 3.0)]
    assert failing(early) == {CAPACITY}
    assert failing(early, diary(revoked={"id-a": (START + 3, START + 3.1)})) == set()


def test_a_closed_room_may_be_told_while_it_is_closed() -> None:
    """Until every instance has learned that it is open again."""
    closed = diary(states=((2, "closed"), (4, "open")))
    for at, fails in ((1.5, {ANSWERED}), (2.5, set()), (5, set()), (9, {ANSWERED})):
        assert failing([*good(), turned_away("c", at, 403, "enter")], closed) == fails
    hidden = diary(struck("refused", 3, 8.5), states=((2, "closed"), (4, "open")))
    assert failing([*good(), turned_away("c", 9, 403, "enter")], hidden) == set()


def test_a_loss_of_data_excuses_who_was_away_for_too_long() -> None:
    """Longer than instances let those be away whose turn may have come; and nobody else."""
    late = diary(struck("emptied", 10, 10.5))
    assert failing([*waiting(0, 1), turned_away("x", 11)], late) == set()
    assert failing([*waiting(0, 1, 2, 3, 4, 5), turned_away("x", 11)], late) == {ANSWERED}


def test_the_order_holds_on_both_sides_of_a_loss() -> None:
    """Who waited throughout was passed; a loss between two answers hides that, before and after it does not."""
    passed = [comes_in("y", 3.0, expires=START + 13.0), leaves("y", 3.1)]
    first = waiting(0.0, 0.9, 1.8, 2.7, 3.6, 4.5)
    behind = [waits("y", at, 2, came=-8.0) for at in (0.5, 2.5)]
    end = [comes_in("x", 6.0), leaves("x", 6.5)]
    assert failing([*first, *behind, *passed, *end]) == {ORDER}
    assert failing([*first, *behind, *passed, *end], diary(struck("emptied", 2.8, 3.2))) == set()
    assert failing([*first, *behind, *passed, *end], diary(struck("emptied", 8, 9))) == {ORDER}


def test_a_rank_may_grow_by_what_a_fault_held_up() -> None:
    """An older visitor's request that hung in a frozen instance may have put them back; a younger one's not."""
    mine = [waits("b", at, rank, came=0.5) for at, rank in ((1, 1), (2, 1), (3, 2))]
    mine += [comes_in("b", 4.5), passes("b", 5), leaves("b", 6)]
    old = [waits("x", 0.6, 1, came=-9.0, habit="vanisher", completed=START + 1.2)]
    assert failing([*mine, *old]) == {RANK}
    assert failing([*mine, *old], diary(struck("instance frozen", 0.5, 2.5))) == set()
    young = [replace(each, serial=serial(0.7)) for each in old]
    assert failing([*mine, *young], diary(struck("instance frozen", 0.5, 2.5))) == {RANK}


@pytest.mark.parametrize("kind", ["frozen", "instance killed", "emptied", "nginx reloaded"])
def test_some_things_nothing_excuses(kind: str) -> None:
    """A second session, a place after the goodbye, a gate that opens for who waits."""
    done = diary(struck(kind, 0, 20))
    assert ONCE in failing([*good(), comes_in("b", 5.5)], done)
    assert ONCE in failing([*good(), waits("b", 7, 1, came=0.5)], done)
    assert EARNED in failing([*good(), passes("c", 2.0)], done)
