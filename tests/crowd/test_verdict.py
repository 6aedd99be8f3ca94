"""What the verdict on a crowd finds: one that finds nothing in a bad history proves nothing of a good one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crowd.history import Operation
from crowd.rules import Rules
from crowd.verdict import faults, no_tracebacks, unknown
from tests.crowd.made import RULES, START, asked, comes_in, good, leaves, told, waits
from tests.crowd.test_looks import look

LOOKS = [look(number, admitted=0, waiting=0, inside=0) for number in range(20)]


def found(*operations: Operation, **how: Any) -> list[str]:
    """What the verdict finds, by the name of each check."""
    return [fault.partition(":")[0] for fault in faults(told(*operations), RULES, LOOKS, **how)]


def test_a_good_crowd() -> None:
    """Nothing is wrong, but that too few looks were taken."""
    assert found(*good()) == []
    assert faults(told(*good()), RULES, LOOKS[1:]) == ["the room was watched: too few looks"]


@pytest.mark.parametrize(
    ("more", "finds"),
    [
        ([waits("c", 7, 1, came=7)], ["everybody who wants in gets in", "everybody leaves in the end"]),
        ([comes_in("c", 7)], ["everybody leaves in the end"]),
        ([comes_in("c", 7), asked("c", "gate", 8, status=401), leaves("c", 9)], ["a good pass opens the gate"]),
        ([asked("b", "gate", 5.5, status=401)], ["a good pass opens the gate"]),
        ([asked("b", "gate", 7, status=401)], []),
        ([waits("c", 7, 1, came=7), leaves("c", 8, habit="leaver")], []),
        ([asked("c", "enter", 7, outcome="fail", status=500, habit="prober")], ["every request is answered well"]),
    ],
)
def test_a_visit_that_did_not_go_well(more: list[Operation], finds: list[str]) -> None:
    """Never in, never out, turned away with a good pass, told what nobody may be told; who gives up is no fault."""
    assert found(*good(), *more) == finds


def test_no_answer_is_borne_by_who_bears_it() -> None:
    """A bad one is not."""
    none = asked("a", "status", 0.5, outcome="unknown", completed=None, status=0)
    assert found(*good(), none) == ["every request is answered well"]
    assert found(*good(), none, borne=unknown) == []
    assert found(*good(), replace(none, outcome="fail"), borne=unknown) == ["every request is answered well"]


def test_what_is_excused() -> None:
    """By name; a loss of data excuses ranks that grow."""
    grown = waits("b", 2, 2, came=0.5)
    name = "rank never grows, but by returners"
    assert found(*good(), grown) == [name]
    assert found(*good(), grown, excused=[name]) == []
    assert found(*good(), grown, losses=[(START, START + 1)]) == []


def test_the_looks_count() -> None:
    """What the watch saw is part of the verdict."""
    over = replace(LOOKS[-1], both=("v1",))
    assert faults(told(*good()), RULES, [*LOOKS, over]) == ["nobody waits and is inside, at every look: ('v1',)"]
    assert faults(told(*good()), Rules(), LOOKS) == []


def test_a_traceback_in_a_log_is_a_fault(tmp_path: Path) -> None:
    """Once for each instance."""
    logs = [tmp_path / "waitroom-1.log", tmp_path / "waitroom-2.log"]
    for log in logs:
        log.write_text("INFO: all is well\n")
    assert no_tracebacks(tmp_path).holds
    logs[0].write_text("...\nTraceback (most recent call last):\n  x\n")
    assert len(no_tracebacks(tmp_path).faults) == 1
