"""What is told of each fault: the answers while it was there, and the way back."""

from __future__ import annotations

from dataclasses import replace

from chaos.diary import Diary
from chaos.sights import recovered, sights
from tests.chaos.test_judge import diary, put_off, struck
from tests.crowd.made import START, asked, good, told
from tests.crowd.test_looks import START as LOOKS_FROM
from tests.crowd.test_looks import good as good_looks


def seen(done: Diary) -> list[str]:
    """Each fault's answers and recovery, in a line."""
    history = told(
        *good(), put_off("b", 2.5), asked("c", "enter", 4.0), asked("c", "enter", 5.0, outcome="fail", status=500)
    )
    looks = [replace(each, seen=each.seen - LOOKS_FROM + START) for each in good_looks()]
    found = sights(history, looks, done, START)
    faults = recovered(found, seconds=60).faults
    return [
        *(
            f"{each.fault}: {each.answers}, enter {each.enter and round(each.enter, 2)}, "
            f"admission {each.admission and round(each.admission, 2)}, alone {each.alone}"
            for each in found
        ),
        *faults,
    ]


def test_answers_and_recovery_are_told() -> None:
    """By what was under way while it was there; another fault that is there at its end is said."""
    assert seen(diary(struck("frozen", 1.8, 2.7))) == [
        "frozen: {'good': 1, '503': 1}, enter 1.31, admission None, alone True",
        "nobody was admitted after frozen, which was over at 2.7 s",
    ]
    assert seen(diary(struck("frozen", 0.8, 1.2), struck("nginx reloaded", 1.1, 1.4))) == [
        "frozen: {'good': 1}, enter 2.81, admission 0.8, alone False",
        "nginx reloaded: {}, enter 2.61, admission 0.6, alone True",
    ]


def test_what_never_comes_about_is_a_fault() -> None:
    """An answer that is no good is no recovery; at the very end nobody may come any more."""
    late = seen(diary(struck("refused", 4.5, 4.8)))
    assert late[1:] == [
        "nobody entered after refused, which was over at 4.8 s",
        "nobody was admitted after refused, which was over at 4.8 s",
    ]
    at_the_end = sights(told(*good()), [], diary(struck("refused", 58, 61)), START)
    assert recovered(at_the_end, seconds=60).holds
