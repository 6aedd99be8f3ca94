"""The schedule is a pure function of the seed, and says what it promises."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.schedule import (
    LANES,
    LAST_QUIET_SECONDS,
    ODDS,
    SHORTEST_SECONDS,
    WARM_UP_SECONDS,
    draw,
    told,
)
from loadtest.run import ROOT
from rig.faults import KINDS


@settings(deadline=None)  # how long it takes says nothing on a busy machine
@given(st.integers(min_value=0, max_value=2**63), st.floats(min_value=SHORTEST_SECONDS, max_value=600))
def test_a_schedule(seed: int, seconds: float) -> None:
    """The same each time; quiet at both ends, in order, each as long as its kind has it; a lane has one at a time."""
    faults = draw(seed, seconds)
    draw(seed + 1, seconds)
    assert draw(seed, seconds) == faults == sorted(faults, key=lambda fault: fault.at)
    assert told(draw(seed, seconds)) == told(faults)
    for fault in faults:
        odds = ODDS[fault.kind]
        assert fault.at >= WARM_UP_SECONDS
        assert fault.until <= seconds - LAST_QUIET_SECONDS + 1e-6
        assert odds.lasts[0] - 0.01 <= fault.lasts <= odds.lasts[1]
        assert bool(fault.target) == odds.at_instance
        assert odds.value is None or odds.value[0] - 0.01 <= fault.value <= odds.value[1]
    for one, other in combinations(faults, 2):
        assert one.lane != other.lane or one.until <= other.at or other.until <= one.at


def test_every_kind_is_drawn_and_a_loss_of_data_rarely() -> None:
    """Over 300 seeds of two minutes each; faults of several lanes overlap in many of them."""
    schedules = [draw(seed, 120) for seed in range(300)]
    drawn = Counter(fault.kind for faults in schedules for fault in faults)
    assert drawn.keys() == ODDS.keys()
    assert min(drawn, key=lambda kind: drawn[kind]) == "emptied"
    pairs = [combinations(faults, 2) for faults in schedules]
    overlaps = (any(one.at < other.until and other.at < one.until for one, other in those) for those in pairs)
    assert sum(overlaps) > 200


def test_there_are_quiet_spells() -> None:
    """In a long run there are several spells of five seconds without a fault, so that recovery is seen."""
    for seed in range(50):
        quiet, until = 0, 0.0
        for fault in draw(seed, 300):
            quiet += fault.at - until >= 5
            until = max(until, fault.until)
        assert quiet >= 3, seed


def test_what_is_asked_for() -> None:
    """Of some kinds alone nothing else is drawn; other kinds, and a run without faults, are refused."""
    only = ("emptied", "instance killed")
    assert {fault.kind for seed in range(20) for fault in draw(seed, 60, only)} == set(only)
    with pytest.raises(ValueError, match="no kind of fault 'flood': choose from refused, "):
        draw(1, 60, ("flood",))
    with pytest.raises(ValueError, match="at least 25 seconds, not 24"):
        draw(1, 24)


def test_every_kind_can_be_done_and_is_explained() -> None:
    """Each is in the catalogue, every lane is struck, and the README says what each does."""
    assert ODDS.keys() <= KINDS.keys()
    assert {kind.lane for kind in KINDS.values()} == set(LANES)
    readme = (ROOT / "chaos" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| ([a-z ]+) \|", readme, re.MULTILINE)) - {"fault"} == set(ODDS)
