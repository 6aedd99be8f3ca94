"""What happened to a room between two readings: a table, without Redis."""

from __future__ import annotations

from dataclasses import replace

import pytest

from waitroom.model import Marks, Origin, Reading
from waitroom.rooms.recovery import Happened, happened

#: A room as it was last read: made at 100, decided on at 200, deleted and made anew once before, at 50.
BEFORE = Reading(
    now_us=1000, version=3, marks=Marks(900, 800, 850, 3), origin=Origin(made_us=100, set_us=200, passes_after_us=50)
)

#: What this instance knows by itself, beyond that reading.
KNOWN = Marks(910, 810, 860, 3)


def now(*, version: int = 3, marks: Marks = KNOWN, **origin: int | bool) -> Reading:
    """A later reading that differs from the one before in this."""
    changed = replace(BEFORE.origin, **origin)  # type: ignore[arg-type]  # of Origin's fields only
    return replace(BEFORE, now_us=2000, version=version, marks=marks, origin=changed)


@pytest.mark.parametrize(
    ("reading", "what"),
    [
        pytest.param(now(), Happened.NOTHING, id="nothing is new"),
        pytest.param(now(marks=Marks(990, 900, 950, 3)), Happened.NOTHING, id="visitors came and went in"),
        pytest.param(now(version=4, set_us=300), Happened.NOTHING, id="an operator decided"),
        pytest.param(now(marks=Marks(909, 810, 860, 3)), Happened.MOMENTS_LOST, id="a serial was given out unseen"),
        pytest.param(now(marks=Marks(910, 809, 860, 3)), Happened.MOMENTS_LOST, id="an admission is gone"),
        pytest.param(now(lost_us=1500), Happened.TOLD, id="another instance found a loss"),
        pytest.param(now(lost_us=1500, marks=Marks()), Happened.MOMENTS_LOST, id="... and this one knows more"),
        pytest.param(now(version=2, set_us=150), Happened.CHANGE_LOST, id="a decision is gone, the data are not"),
        pytest.param(
            now(version=1003, set_us=150, made_us=1400, made_version=1003, lost_us=1400),
            Happened.GIVEN_LESS,
            id="another instance gave back an older decision",
        ),
        pytest.param(
            now(version=1004, set_us=150, made_us=1400, made_version=1003, lost_us=1400),
            Happened.TOLD,
            id="... on which an operator has decided since",
        ),
        pytest.param(
            now(version=1003, made_us=1400, made_version=1003, lost_us=1400),
            Happened.TOLD,
            id="another instance gave back the same decision",
        ),
        pytest.param(
            now(version=1, made_us=1400, sown=True, set_us=1400, marks=Marks()),
            Happened.SOWN,
            id="a new instance's file",
        ),
        pytest.param(
            now(version=2, made_us=1400, sown=True, set_us=1450, marks=Marks()),
            Happened.DECIDED,
            id="a new instance's file, and then an operator",
        ),
        pytest.param(
            now(version=1, made_us=1400, set_us=1400, marks=Marks()), Happened.DECIDED, id="an operator's room"
        ),
        pytest.param(
            now(version=1, made_us=1400, passes_after_us=1400, marks=Marks()),
            Happened.MADE_ANEW,
            id="deleted, made anew",
        ),
        pytest.param(
            now(made_us=40, passes_after_us=40, marks=Marks()), Happened.MADE_ANEW, id="... by an earlier clock"
        ),
        pytest.param(
            now(version=1003, made_us=1400, passes_after_us=40, made_version=1003, lost_us=1400),
            Happened.TOLD,
            id="an older successor was given back after a loss",
        ),
        pytest.param(
            now(version=1003, made_us=1400, passes_after_us=1300, made_version=1003, lost_us=1400),
            Happened.MADE_ANEW,
            id="a younger successor was given back after a loss",
        ),
        pytest.param(
            now(version=1, made_us=1400, passes_after_us=0, set_us=150, marks=Marks()),
            Happened.DECIDED,
            id="a room without a date is no successor",
        ),
    ],
)
def test_what_happened(reading: Reading, what: Happened) -> None:
    """Each kind of loss is told from the two readings and what the instance knows by itself."""
    assert happened(BEFORE, reading, KNOWN) is what


def test_every_kind_is_in_the_table() -> None:
    """Nothing that may have happened is left out above."""
    table = test_what_happened.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert {case.values[1] for case in table} == set(Happened)
