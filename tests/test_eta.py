"""The eta: when there is one, that it is finite and ordered, and how it is judged."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waitroom.eta import Audit, Eta, Pace, pace_of, poll_after
from waitroom.model import Counts, Marks, Reading
from waitroom.settings import RoomSettings

NOW_US = 1_767_323_045_000_000
READING = Reading(
    now_us=NOW_US,
    waiting=0,
    occupancy=0,
    offered=0,
    version=1,
    schema="1",
    settings={},
    counts=Counts(),
    marks=Marks(),
    hold_until_us=0,
    pace_admitted=0.0,
    pace_us=0.0,
)


def reading(*, ended: float = 0.0, stay: float = 0.0, seconds: float = 0.0, hold_seconds: float = 0.0) -> Reading:
    """A reading after `ended` places became free in `stay` visitor-seconds inside and `seconds` of demand."""
    return replace(
        READING,
        pace_ended=ended,
        pace_stay_us=stay * 1_000_000,
        pace_us=seconds * 1_000_000,
        hold_until_us=NOW_US + int(hold_seconds * 1_000_000),
    )


SETTINGS = st.builds(
    RoomSettings,
    capacity=st.integers(0, 10_000_000),
    admit_per_second=st.just(0.0) | st.floats(0.001, 1_000_000),
    session_seconds=st.floats(0.1, 604_800),
    claim_seconds=st.floats(0.1, 3600),
    abandon_seconds=st.floats(0.1, 86_400),
    ticket_seconds=st.just(604_800.0),
    state=st.sampled_from(["open", "bypass"]),
)
READINGS = st.builds(reading, ended=st.floats(0, 1e9), stay=st.floats(0, 1e10), seconds=st.floats(0, 60))
RANKS = st.integers(1, 10_000_001)


@pytest.mark.parametrize(
    ("capacity", "rate", "session", "expected"),
    [
        (100, 0.0, 50.0, 2.0),
        (0, 5.0, 50.0, 5.0),
        (100, 1.0, 50.0, 1.0),
        (100, 5.0, 50.0, 2.0),
        (0, 0.0, 50.0, math.inf),
    ],
)
def test_without_history_the_limits_say_the_pace(capacity: int, rate: float, session: float, expected: float) -> None:
    """Before anybody was admitted the pace is what capacity and rate allow, the lower of both."""
    settings = RoomSettings(capacity=capacity, admit_per_second=rate, session_seconds=session)
    assert pace_of(reading(), settings).per_second == pytest.approx(expected)


def test_a_measured_pace_outweighs_the_limits() -> None:
    """Sessions that end early make the queue faster than capacity / session_seconds, and the pace shows it."""
    settings = RoomSettings(capacity=100, session_seconds=100.0)
    # 6,000 visitor-seconds inside saw 600 go: one in ten per second, where the session length says one in a hundred.
    assert pace_of(reading(ended=600, stay=6000), settings).per_second == pytest.approx(100 * 605 / 6500)


def test_a_filling_room_is_not_taken_for_a_slow_one() -> None:
    """While the room is half full its pace is that of a full one with the same visitors."""
    settings = RoomSettings(capacity=100, session_seconds=20.0)
    half, full = reading(ended=30, stay=600, seconds=20), reading(ended=60, stay=1200, seconds=20)
    assert pace_of(half, settings).per_second == pytest.approx(pace_of(full, settings).per_second) == 5.0


def test_free_places_go_at_the_rate() -> None:
    """Who finds a free place waits for the rate only, who does not waits for others to go as well."""
    settings = RoomSettings(capacity=100, admit_per_second=10.0, session_seconds=100.0)
    pace = pace_of(replace(READING, occupancy=80), settings)
    nearer, further = pace.eta(20), pace.eta(21)
    assert nearer is not None
    assert further is not None
    assert nearer.seconds == pytest.approx(2.0)
    assert further.seconds == pytest.approx(3.0)


def test_nobody_waits_longer_than_the_sessions_last() -> None:
    """However few have gone so far, a fixed session ends, and with it the wait of the next in line."""
    settings = RoomSettings(capacity=3, session_seconds=100.0)
    ends = tuple(NOW_US + seconds * 1_000_000 for seconds in (10, 20, 30))
    pace = pace_of(replace(READING, occupancy=3, releases_us=ends, pace_stay_us=1e12), settings)
    etas = [pace.eta(rank) for rank in (1, 2, 3, 4)]
    assert [eta.seconds for eta in etas if eta] == pytest.approx([10, 20, 30, 110])
    assert all(eta.high <= eta.seconds + 1 for eta in etas if eta)


def test_a_slow_room_is_seen_too() -> None:
    """A pace below what the session length says is measured as well: sliding sessions that go on and on."""
    settings = RoomSettings(capacity=100, session_seconds=100.0, sliding=True)
    assert pace_of(reading(ended=0, stay=6000), settings).per_second == pytest.approx(100 * 5 / 6500)


def test_the_rate_is_a_ceiling() -> None:
    """However fast a burst was measured, nobody is promised more than the rate."""
    settings = RoomSettings(capacity=0, admit_per_second=2.0)
    pace = pace_of(reading(seconds=1), settings)
    assert pace.per_second == 2.0
    eta = pace.eta(100)
    assert eta is not None
    assert eta.low >= 100 / 2.0 - 0.3


@pytest.mark.parametrize("state", ["paused", "closed"])
def test_nobody_can_say_while_nobody_is_admitted(state: str) -> None:
    """A paused or closed room has no eta, whatever was measured before."""
    settings = RoomSettings.model_validate({"state": state, "admit_per_second": 5.0})
    assert pace_of(reading(seconds=10), settings).eta(1) is None


def test_nobody_can_say_while_the_room_holds() -> None:
    """After a loss of data there is no eta until the room admits again."""
    assert pace_of(reading(hold_seconds=10), RoomSettings()).eta(1) is None
    assert pace_of(reading(hold_seconds=0), RoomSettings()).eta(1) is not None


@given(SETTINGS, READINGS, RANKS)
def test_an_eta_is_finite_and_between_its_bounds(settings: RoomSettings, seen: Reading, rank: int) -> None:
    """0 <= low <= eta <= high, all finite, for every room, history and rank."""
    eta = pace_of(seen, settings).eta(rank)
    assert eta is not None
    assert all(math.isfinite(value) for value in (eta.low, eta.seconds, eta.high))
    assert 0 <= eta.low <= eta.seconds <= eta.high


@given(SETTINGS, READINGS, RANKS)
def test_the_eta_grows_with_the_rank(settings: RoomSettings, seen: Reading, rank: int) -> None:
    """Who stands further back is never told to expect an earlier turn."""
    pace = pace_of(seen, settings)
    nearer, further = pace.eta(rank), pace.eta(rank + 1)
    assert nearer is not None
    assert further is not None
    assert nearer.seconds <= further.seconds


def test_observation_narrows_the_bounds() -> None:
    """The longer a pace was observed, the closer the bounds."""
    fresh, seasoned = Pace(10.0, 0.0).eta(1000), Pace(10.0, 60.0).eta(1000)
    assert fresh is not None
    assert seasoned is not None
    assert fresh.seconds == seasoned.seconds == 100.0
    assert fresh.low < seasoned.low < 100.0 < seasoned.high < fresh.high


@pytest.mark.parametrize(("rank", "share"), [(1, 0.8), (3, 0.8), (10, 0.85), (1000, 0.9)])
def test_the_bounds_hold(rank: int, share: float) -> None:
    """Of waits that are a sum of exponential gaps, the promised share falls between the bounds of a known pace."""
    drawn = random.Random(7)
    eta = Pace(0.1, 60.0).eta(rank)
    assert eta is not None
    waits = [drawn.gammavariate(rank, 10.0) for _ in range(2000)]
    assert sum(eta.low <= wait <= eta.high for wait in waits) / len(waits) >= share


@given(SETTINGS, READINGS, RANKS, st.booleans())
def test_whoever_polls_as_told_loses_nothing(settings: RoomSettings, seen: Reading, rank: int, known: bool) -> None:
    """A client that comes back when it is told to is in time for its claim and for its place."""
    wait = poll_after(pace_of(seen, settings).eta(rank) if known else None, settings)
    assert 0 < wait < min(settings.claim_seconds, settings.abandon_seconds)


def test_polls_grow_with_the_eta_and_are_bounded() -> None:
    """The next in line comes back after a second, the last one after half a minute, each give or take a sixth."""
    settings = RoomSettings(abandon_seconds=600.0)
    for low, expected in ((0.0, 1.0), (100.0, 10.0), (1e6, 30.0)):
        for _ in range(50):
            assert 0.85 * expected <= poll_after(Eta(low, low, low), settings) <= 1.15 * expected
    assert 25.5 <= poll_after(None, settings) <= 34.5


def test_polls_are_spread() -> None:
    """Clients that were answered in the same moment do not come back in the same moment."""
    told = [poll_after(None, RoomSettings()) for _ in range(200)]
    assert max(told) - min(told) > 0.15 * max(told)


# The audit.

ETA = Eta(10.0, 8.0, 13.0)


@pytest.mark.parametrize(
    ("took", "error", "within"),
    [(10.0, 0.0, True), (8.0, -2.0, True), (13.0, 3.0, True), (7.9, -2.1, False), (13.1, 3.1, False)],
)
def test_an_estimate_gets_its_verdict(took: float, error: float, within: bool) -> None:
    """The verdict is how much later than told the turn came, and whether the bounds held."""
    audit = Audit()
    audit.note(100, NOW_US, ETA)
    (verdict,) = audit.judge(100, NOW_US + round(took * 1_000_000))
    assert verdict.error_seconds == pytest.approx(error)
    assert verdict.within is within


def test_a_verdict_falls_once_and_in_order() -> None:
    """An admission settles all notes up to its serial, each once; later ones stay open."""
    audit = Audit()
    for serial in (100, 200, 300):
        audit.note(serial, NOW_US, ETA)
    assert audit.judge(99, NOW_US) == []
    assert len(audit.judge(250, NOW_US)) == 2
    assert audit.judge(250, NOW_US) == []
    assert len(audit.judge(300, NOW_US)) == 1


def test_nothing_new_is_not_noted_twice() -> None:
    """Without an arrival since the last note, and without an eta, there is nothing to note."""
    audit = Audit()
    audit.note(100, NOW_US, ETA)
    audit.note(100, NOW_US + 1, ETA)
    audit.note(200, NOW_US + 2, None)
    assert len(audit.judge(1000, NOW_US)) == 1


def test_an_audit_is_bounded() -> None:
    """A queue that never moves does not fill the memory: the oldest notes go."""
    audit = Audit()
    for serial in range(1, Audit.LONGEST + 11):
        audit.note(serial, NOW_US, ETA)
    assert audit.judge(10, NOW_US) == []
    assert len(audit.judge(10**9, NOW_US)) == Audit.LONGEST
