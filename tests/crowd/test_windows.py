"""What is said of every window is what a look at every window finds."""

from __future__ import annotations

import random

import pytest

from crowd.windows import Enclosing, most_at_once, worst_window

Interval = tuple[float, float]


def some(dice: random.Random) -> list[Interval]:
    """A few intervals on whole seconds."""
    begins = [float(dice.randint(0, 20)) for _ in range(dice.randint(1, 12))]
    return [(begin, begin + dice.randint(0, 4)) for begin in begins]


@pytest.mark.parametrize("seed", range(60))
def test_the_worst_window_is_the_worst_of_all(seed: int) -> None:
    """Beside a look at each window that begins with an interval and ends with one."""
    dice = random.Random(seed)
    intervals, rate = some(dice), dice.choice([0.3, 1.0, 2.5])
    windows = [(x, y) for x, _ in intervals for _, y in intervals if x <= y]
    held = {(x, y): sum(x <= begin and end <= y for begin, end in intervals) for x, y in windows}
    surplus, begin, end = worst_window(intervals, rate)
    assert surplus == pytest.approx(max(number - rate * (y - x) for (x, y), number in held.items() if number))
    assert surplus == pytest.approx(held[begin, end] - rate * (end - begin))


@pytest.mark.parametrize("seed", range(60))
def test_an_enclosing_interval_is_found_if_there_is_one(seed: int) -> None:
    """Beside a look at each."""
    dice = random.Random(seed)
    intervals, (begin, end) = some(dice), some(dice)[0]
    enclosing = Enclosing(each for each, _ in intervals)
    for place, each in enumerate(intervals):
        enclosing.add(str(place), *each)
    found = enclosing.find(begin, end)
    there = {str(place) for place, (since, until) in enumerate(intervals) if since <= begin and until >= end}
    assert found in there if there else found is None


def test_the_most_at_once() -> None:
    """Who goes as another comes is not there with them; who is there for no time is not there."""
    assert most_at_once([(0, 2), (1, 3), (2, 4), (1.5, 1.5)]) == (2, 1)
    assert most_at_once([]) == (0, 0.0)
