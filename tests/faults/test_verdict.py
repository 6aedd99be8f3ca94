"""The figure of a lost leader is able to fail: a check that finds nothing in a bad run proves nothing of a good one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from crowd.history import History
from crowd.rules import Rules
from crowd.watch import Watch
from tests.crowd.test_looks import START, look
from tests.faults.scene import Run
from tests.faults.verdict import row


@pytest.mark.parametrize(("seconds", "figure"), [(1.5, 1.5), (6.0, 6.0), (9.0, 7.2)])
def test_a_late_succession_is_beyond_its_bound(seconds: float, figure: float) -> None:
    """The looks go on for a second longer than another may take to lead."""
    watch = Watch("shop")
    ends = [seconds + step for step in range(10)]
    watch.looks += [look(at, admitted=number, waiting=9, inside=1) for number, at in enumerate([-1.0, 0.0, *ends])]
    stage: Any = SimpleNamespace(watch=watch, history=History(), rules=Rules(), lost_at=START)
    assert row(Run(stage), "F0", "lost", succeeded_within=6.2).admission_seconds == pytest.approx(figure)
