"""What newcomers were told, held against when they were admitted."""

from __future__ import annotations

import pytest

from waitroom.rooms.eta.estimate import Eta
from waitroom.rooms.eta.foretold import Foretold

NOW_US = 1_767_323_045_000_000

ETA = Eta(10.0, 8.0, 13.0)


@pytest.mark.parametrize(
    ("took", "error", "within"),
    [(10.0, 0.0, True), (8.0, -2.0, True), (13.0, 3.0, True), (7.9, -2.1, False), (13.1, 3.1, False)],
)
def test_an_estimate_gets_its_verdict(took: float, error: float, within: bool) -> None:
    """The verdict is how much later than told the turn came, and whether the bounds held."""
    notes = Foretold()
    notes.note(100, NOW_US, ETA)
    (verdict,) = notes.judge(100, NOW_US + round(took * 1_000_000))
    assert verdict.error_seconds == pytest.approx(error)
    assert verdict.within is within


def test_a_verdict_falls_once_and_in_order() -> None:
    """An admission settles all notes up to its serial, each once; later ones stay open."""
    notes = Foretold()
    for serial in (100, 200, 300):
        notes.note(serial, NOW_US, ETA)
    assert notes.judge(99, NOW_US) == []
    assert len(notes.judge(250, NOW_US)) == 2
    assert notes.judge(250, NOW_US) == []
    assert len(notes.judge(300, NOW_US)) == 1


def test_nothing_new_is_not_noted_twice() -> None:
    """Without an arrival since the last note, and without an eta, there is nothing to note."""
    notes = Foretold()
    notes.note(100, NOW_US, ETA)
    notes.note(100, NOW_US + 1, ETA)
    notes.note(200, NOW_US + 2, None)
    assert len(notes.judge(1000, NOW_US)) == 1


def test_notes_are_bounded() -> None:
    """A queue that never moves does not fill the memory: the oldest notes go."""
    notes = Foretold()
    for serial in range(1, Foretold.LONGEST + 11):
        notes.note(serial, NOW_US, ETA)
    assert notes.judge(10, NOW_US) == []
    assert len(notes.judge(10**9, NOW_US)) == Foretold.LONGEST
