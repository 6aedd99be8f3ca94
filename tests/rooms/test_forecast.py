"""The room played forward, held against rooms that are simulated visitor by visitor."""

from __future__ import annotations

import gc
import heapq
import math
import random
import statistics
import weakref
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waitroom.rooms.eta.forecast import Course, Forecast

FULL = Course(capacity=100, ceiling=math.inf, session_seconds=300.0, claim_seconds=60.0, inside=100, lag=1.0)


def simulated(course: Course, ranks: list[int], *, seed: int, ends: list[float]) -> list[float]:
    """When the visitors at these ranks have their turn, in one room of chance whose places inside end then."""
    chance = random.Random(seed)

    def departure(start: float, end: float) -> float:
        early = chance.expovariate(course.early) if course.early else math.inf
        return min(start + early, end)

    def offered(at: float) -> float:
        if chance.random() < course.no_show:
            return at + course.claim_seconds
        return departure(at + course.lag, at + course.lag + course.session_seconds)

    places = [departure(0.0, end) for end in ends]
    places += [offered(0.0) for _ in range(int(course.capacity) - len(places))]
    heapq.heapify(places)
    patience = [chance.expovariate(course.gone) if course.gone else math.inf for _ in range(max(ranks))]
    turns, last = [0.0] * max(ranks), 0.0
    now = places[0]
    for place in range(max(ranks)):
        now = max(places[0], last + 1 / course.ceiling)
        turns[place] = now
        if patience[place] > now:
            heapq.heapreplace(places, offered(now))
            last = now
    return [turns[rank - 1] for rank in ranks]


@pytest.mark.parametrize(
    ("what", "course", "ends"),
    [
        ("all stay to the end, which is spread", FULL, [3.0 * number for number in range(1, 101)]),
        ("all stay to the end, which is one", FULL, [150.0] * 100),
        ("many leave early", replace(FULL, early=0.01), [300.0] * 100),
        ("some leave early", replace(FULL, early=0.002), [3.0 * number for number in range(1, 101)]),
        ("some never claim", replace(FULL, early=0.01, no_show=0.3), [300.0] * 100),
        ("those who wait give up", replace(FULL, early=0.01, gone=0.002), [300.0] * 100),
        ("the rate is the limit", replace(FULL, early=0.02, ceiling=1.5), [300.0] * 100),
    ],
)
def test_the_forecast_is_the_mean_of_many_rooms(what: str, course: Course, ends: list[float]) -> None:
    """For near and far ranks the forecast is within a twentieth, or three seconds, of what happens on average."""
    ranks = [1, 10, 50, 100, 150, 300, 600]
    known = tuple(ends[round(step * 99 / 16)] for step in range(17))
    forecast = Forecast(replace(course, ends=known))
    rooms = [simulated(course, ranks, seed=seed, ends=ends) for seed in range(40)]
    for rank, turns in zip(ranks, zip(*rooms, strict=True), strict=True):
        mean = statistics.fmean(turns)
        assert forecast.seconds(rank) == pytest.approx(mean, rel=0.05, abs=3.0), (what, rank)


def test_sessions_that_end_together_are_not_smeared() -> None:
    """Who waits for a hundred sessions that end at one moment is told that moment, first and last of them."""
    forecast = Forecast(replace(FULL, ends=(100.0,) * 17))
    assert forecast.seconds(1) == pytest.approx(100, abs=0.5)
    assert forecast.seconds(99) == pytest.approx(100, abs=0.5)
    assert forecast.seconds(101) == pytest.approx(401, abs=1.0)
    assert forecast.seconds(199) == pytest.approx(401, abs=1.0)


def test_offers_are_taken_for_sessions_to_come() -> None:
    """Of the ends within `claim_seconds` the last ones are those of offers, which will be claimed and last."""
    ends = (*(2.0,) * 9, *(59.0,) * 8)
    forecast = Forecast(replace(FULL, ends=ends, offered=47.0))
    assert forecast.seconds(50) < 5
    assert forecast.seconds(60) > 250


def test_places_taken_since_are_not_free() -> None:
    """Who found a room empty that is full by now waits for a session to end."""
    empty = replace(FULL, inside=0, taken=100)
    assert Forecast(empty).seconds(1) == pytest.approx(301, abs=1)
    assert Forecast(replace(empty, taken=0)).seconds(1) < 1


def test_without_a_capacity_the_rate_alone_counts() -> None:
    """At 5/s the hundredth waits 20 s, or less where those ahead give up."""
    rate = replace(FULL, capacity=math.inf, ceiling=5.0)
    assert Forecast(rate).seconds(100) == pytest.approx(20)
    assert Forecast(replace(rate, gone=0.01)).seconds(100) == pytest.approx(math.log1p(0.01 * 20) / 0.01)


def test_not_everybody_gives_up_in_the_end() -> None:
    """Where a tenth of a crowd is impatient, the wait of the last shrinks by a tenth, however long it is."""
    rate = replace(FULL, capacity=math.inf, ceiling=5.0, gone=0.01, most_gone=0.1)
    assert Forecast(rate).seconds(50_000) == pytest.approx(9_000, rel=0.001)
    full = replace(FULL, early=0.01, gone=0.01, most_gone=0.1, ends=(300.0,) * 17)
    patient = replace(full, gone=0.0)
    assert Forecast(full).seconds(50_000) == pytest.approx(0.9 * Forecast(patient).seconds(50_000), rel=0.001)


def test_a_forecast_that_nobody_needs_any_more_is_gone() -> None:
    """An instance makes six a second: one that only the garbage collector finds stays for hours, and so do they all."""
    gc.collect()
    gc.disable()
    try:
        for rank in (0.5, 20_000, 1e7):
            forecast = Forecast(replace(FULL, early=0.01))
            assert forecast.seconds(rank) > 0
            gone = weakref.ref(forecast)
            del forecast
            assert gone() is None
    finally:
        gc.enable()


COURSES = st.builds(
    Course,
    capacity=st.just(math.inf) | st.integers(1, 10_000_000).map(float),
    ceiling=st.floats(0.001, 1e6),
    session_seconds=st.floats(0.1, 604_800),
    claim_seconds=st.floats(0.1, 3600),
    inside=st.floats(0, 1e7),
    offered=st.just(0.0),
    taken=st.floats(0, 1000),
    ends=st.lists(st.floats(0, 604_800), min_size=17, max_size=17).map(lambda ends: tuple(sorted(ends))) | st.just(()),
    early=st.just(0.0) | st.floats(1e-12, 1e6),
    no_show=st.floats(0, 0.99),
    gone=st.just(0.0) | st.floats(1e-12, 10),
    most_gone=st.just(1.0) | st.floats(0, 1),
    lag=st.floats(0, 1),
)


@given(COURSES, st.lists(st.floats(0.5, 2e7), min_size=2, max_size=2).map(sorted))
def test_a_forecast_is_finite_and_grows_with_the_rank(course: Course, ranks: list[float]) -> None:
    """Whatever is put in, nobody is told infinity, nor an earlier turn than somebody ahead."""
    forecast = Forecast(course)
    nearer, further = map(forecast.seconds, ranks)
    assert 0 <= nearer <= further * (1 + 1e-9) < math.inf
