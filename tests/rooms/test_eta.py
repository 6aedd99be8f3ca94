"""The eta: when there is one, that it is finite and ordered, and how it is judged."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waitroom.model import Flow, Reading
from waitroom.rooms.eta.estimate import Eta, Pace, pace_of, poll_after
from waitroom.rooms.eta.forecast import Course
from waitroom.settings.room import RoomSettings

NOW_US = 1_767_323_045_000_000
READING = Reading(now_us=NOW_US)


def reading(
    *, early: float = 0.0, stay: float = 0.0, gone: float = 0.0, waited: float = 0.0, hold_seconds: float = 0.0
) -> Reading:
    """A reading: `early` left before their end in `stay` visitor-seconds inside, `gone` without a turn in `waited`."""
    flow = Flow(ended=early, early=early, stay_us=stay * 1_000_000, gone=gone, wait_us=waited * 1_000_000)
    return replace(READING, flow=flow, hold_until_us=NOW_US + int(hold_seconds * 1_000_000))


def told(pace: Pace, rank: int) -> Eta:
    """An eta that must be there."""
    eta = pace.eta(rank)
    assert eta is not None
    return eta


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
READINGS = st.builds(
    reading,
    early=st.floats(-10, 1e9),
    stay=st.floats(0, 1e10),
    gone=st.floats(-10, 1e6),
    waited=st.just(0.0) | st.floats(1e-6, 1e10),
)
RANKS = st.integers(1, 10_000_001)


@pytest.mark.parametrize(
    ("capacity", "rate", "session", "expected"),
    [
        (100, 0.0, 500.0, 100 / (500 * (1 - math.exp(-1)) + 1)),
        (0, 5.0, 500.0, 5.0),
        (100, 0.1, 500.0, 0.1),
        (0, 0.0, 500.0, math.inf),
    ],
)
def test_without_history_the_limits_say_the_pace(capacity: int, rate: float, session: float, expected: float) -> None:
    """Before anybody was seen the pace is the rate, or what a room does in which most leave early, if that is less."""
    settings = RoomSettings(capacity=capacity, admit_per_second=rate, session_seconds=session)
    assert pace_of(reading(), settings).per_second == pytest.approx(expected)


def test_a_measured_pace_outweighs_the_limits() -> None:
    """Sessions that end early make the queue faster than capacity / session_seconds, and the pace shows it."""
    settings = RoomSettings(capacity=100, session_seconds=1000.0)
    # 60,000 visitor-seconds inside saw 6,000 leave: one in ten per second, ten seconds each, and a second to the claim.
    assert pace_of(reading(early=6000, stay=60_000), settings).per_second == pytest.approx(100 / 11, rel=0.01)


def test_a_filling_room_is_not_taken_for_a_slow_one() -> None:
    """While the room is half full its pace is that of a full one with the same visitors."""
    settings = RoomSettings(capacity=100, session_seconds=1000.0)
    half, full = reading(early=3000, stay=30_000), reading(early=6000, stay=60_000)
    assert pace_of(half, settings).per_second == pytest.approx(pace_of(full, settings).per_second, rel=0.01)


def test_free_places_go_at_the_rate() -> None:
    """Who finds a free place waits for the rate only, who does not waits for others to go as well."""
    settings = RoomSettings(capacity=100, admit_per_second=10.0, session_seconds=1000.0)
    # Twenty are free, and ten of them may have been taken since.
    pace = pace_of(replace(READING, occupancy=80, releases_us=(NOW_US + 900_000_000,) * 17), settings)
    assert told(pace, 10).seconds == pytest.approx(1.0, abs=0.1)
    assert told(pace, 10).high < 3
    assert told(pace, 20).seconds > 30


def test_what_was_free_a_second_ago_may_not_be_now() -> None:
    """Who waits in a room without a rate that looked empty at the last reading is not told that the turn has come."""
    settings = RoomSettings(capacity=100, session_seconds=100.0)
    first = told(pace_of(READING, settings), 1)
    assert first.seconds > 0.3
    assert first.high > 2


def test_nobody_waits_longer_than_the_sessions_last() -> None:
    """However few have gone so far, a fixed session ends, and with it the wait of the next in line."""
    settings = RoomSettings(capacity=3, session_seconds=100.0)
    ends = tuple(NOW_US + round((10 + 20 * step / 16) * 1_000_000) for step in range(17))
    pace = pace_of(replace(READING, occupancy=3, releases_us=ends, flow=Flow(stay_us=1e12)), settings)
    assert [told(pace, rank).seconds for rank in (1, 2, 3, 4)] == pytest.approx([17, 23, 30, 117], abs=3)


def test_sessions_that_end_together_are_told_to_the_second() -> None:
    """Everybody who waits for the end of one crowd's sessions is told when that is, and little else."""
    settings = RoomSettings(capacity=100, session_seconds=100.0)
    full = replace(READING, occupancy=100, releases_us=(NOW_US + 40_000_000,) * 17, flow=Flow(stay_us=1e12))
    pace = pace_of(full, settings)
    for rank in (1, 50, 90):
        eta = told(pace, rank)
        assert eta.seconds == pytest.approx(40, abs=1)
        assert 35 <= eta.low <= eta.high <= 45


def test_a_slow_room_is_seen_too() -> None:
    """A pace below what the session length says is measured as well: sliding sessions that go on and on."""
    settings = RoomSettings(capacity=100, session_seconds=100.0, sliding=True)
    usual, slow = (pace_of(reading(stay=stay), settings).per_second for stay in (0, 100_000))
    assert slow < usual / 1.5


def test_who_gives_up_makes_the_others_wait_less() -> None:
    """Where one in a thousand who wait goes each second, those far back are told a shorter wait."""
    settings = RoomSettings(capacity=0, admit_per_second=5.0)
    patient, impatient = pace_of(READING, settings), pace_of(reading(gone=1000, waited=1_000_000), settings)
    assert told(patient, 5000).seconds == pytest.approx(1000, rel=0.01)
    assert told(impatient, 5000).seconds == pytest.approx(1000 * math.log(2), rel=0.01)
    assert told(impatient, 5).seconds == pytest.approx(told(patient, 5).seconds, rel=0.01)


def test_no_shows_hold_their_places_for_less() -> None:
    """A room in which every third offer is not claimed takes in more than its sessions alone say."""
    settings = RoomSettings(capacity=100, session_seconds=1000.0, claim_seconds=10.0)
    seen = replace(READING, flow=Flow(ended=9000, no_show=3000, stay_us=1e12))
    assert (
        pace_of(seen, settings).per_second
        > 1.3 * pace_of(replace(seen, flow=replace(seen.flow, no_show=0)), settings).per_second
    )


def test_the_rate_is_a_ceiling() -> None:
    """However fast a burst was measured, nobody is promised more than the rate, but for some ahead who may go."""
    settings = RoomSettings(capacity=0, admit_per_second=2.0)
    pace = pace_of(READING, settings)
    assert pace.per_second == 2.0
    assert told(pace, 100).seconds == 50
    assert told(pace, 100).low >= 0.9 * 50 - 1.3


@pytest.mark.parametrize("state", ["paused", "closed"])
def test_nobody_can_say_while_nobody_is_admitted(state: str) -> None:
    """A paused or closed room has no eta, whatever was measured before."""
    settings = RoomSettings.model_validate({"state": state, "admit_per_second": 5.0})
    assert pace_of(reading(early=10, stay=100), settings).eta(1) is None


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
    """The more was seen of a room, the closer the bounds."""
    settings = RoomSettings(capacity=100, session_seconds=1000.0)
    etas = [
        told(pace_of(reading(early=seen / 100, stay=seen), settings), 1000) for seen in (100, 1000, 10_000, 100_000)
    ]
    widths = [(eta.high - eta.low) / eta.seconds for eta in etas]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.5 < 1 < widths[0]


@pytest.mark.parametrize(("rank", "share"), [(1, 0.8), (3, 0.8), (10, 0.85), (1000, 0.9)])
def test_the_bounds_hold(rank: int, share: float) -> None:
    """Of waits that are a sum of exponential gaps, the promised share falls between the bounds of a known pace."""
    drawn = random.Random(7)
    # A thousand inside of whom each leaves once in 10,000 seconds: one in ten seconds.
    course = Course(1000, math.inf, 604_800.0, 60.0, inside=1000, early=0.0001)
    eta = told(Pace(course, seen=1e6, guessed=0.0), rank)
    waits = [drawn.gammavariate(rank, 10.0) for _ in range(2000)]
    assert sum(eta.low <= wait <= eta.high for wait in waits) / len(waits) >= share


def test_far_ranks_are_told_alike() -> None:
    """Neighbours far back are told the same, which costs each of them little, and off by a thousandth at most."""
    pace = pace_of(READING, RoomSettings(capacity=0, admit_per_second=1.0))
    assert len({pace.eta(rank) for rank in range(500_000, 500_200)}) <= 2
    assert told(pace, 500_001).seconds == pytest.approx(500_001, rel=0.001)
    assert [told(pace, rank).seconds for rank in (1, 2, 3)] == [1, 2, 3]


@given(SETTINGS, READINGS, RANKS, st.booleans())
def test_whoever_polls_as_told_loses_nothing(settings: RoomSettings, seen: Reading, rank: int, known: bool) -> None:
    """A client that comes back when it is told to is in time for its claim and for its place."""
    wait = poll_after(pace_of(seen, settings).eta(rank) if known else None, settings)
    assert 0 < wait < min(settings.claim_seconds, settings.abandon_seconds)


def test_polls_grow_with_the_eta_and_are_bounded() -> None:
    """The next in line comes back after a second, the last one after half a minute at most, within a sixth each."""
    settings = RoomSettings(abandon_seconds=600.0)
    for low, expected in ((0.0, 1.0), (100.0, 10.0), (1e6, 30.0 / 1.15)):
        for _ in range(50):
            seconds = poll_after(Eta(low, low, low), settings)
            assert 0.85 * expected <= seconds <= min(1.15 * expected, settings.longest_poll_seconds)
    assert 22 <= poll_after(None, settings) <= 30


def test_the_next_in_line_polls_faster_where_sessions_are_short() -> None:
    """A place on offer is idle until its visitor asks, and a second of that is much of a short session."""
    settings = RoomSettings(session_seconds=5.0)
    for _ in range(50):
        assert 0.85 * 0.25 <= poll_after(Eta(0.0, 0.0, 1.0), settings) <= 1.15 * 0.25
        assert 0.85 * 2.0 <= poll_after(Eta(20.0, 20.0, 20.0), settings) <= 1.15 * 2.0


def test_polls_are_spread() -> None:
    """Clients that were answered in the same moment do not come back in the same moment."""
    told = [poll_after(None, RoomSettings()) for _ in range(200)]
    assert max(told) - min(told) > 0.15 * max(told)
