"""Bounds that have to hold in every window of time, checked without looking at every window."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence


def most_at_once(intervals: Iterable[tuple[float, float]]) -> tuple[int, float]:
    """How many of the intervals overlap at most, and since when; an end comes before a beginning at the same time."""
    steps = sorted(step for begin, end in intervals if end > begin for step in ((begin, 1), (end, -1)))
    inside = most = 0
    at = 0.0
    for when, step in steps:
        inside += step
        if inside > most:
            most, at = inside, when
    return most, at


def worst_window(intervals: Sequence[tuple[float, float]], rate: float) -> tuple[float, float, float]:
    """The window in which most events lie beyond `rate` times its length: that surplus, its begin and its end.

    Each event happened at some time in its interval, so that it surely lies in the windows that hold the whole of it.
    """
    begins = sorted({begin for begin, _ in intervals})
    best = _Suffixes([rate * begin for begin in begins])
    worst = (float("-inf"), 0.0, 0.0)
    for begin, end in sorted(intervals, key=lambda interval: interval[1]):
        best.add(bisect_left(begins, begin))
        surplus, place = best.most()
        if surplus - rate * end > worst[0]:
            worst = (surplus - rate * end, begins[place], end)
    return worst


class Enclosing:
    """Intervals, each with a name, in which the one is found that encloses a given one."""

    def __init__(self, begins: Iterable[float]) -> None:
        self._begins = sorted(set(begins))
        self._ends = [(float("-inf"), "")] * (len(self._begins) + 1)

    def add(self, name: str, begin: float, end: float) -> None:
        """Add one; its begin is among those that were given at first."""
        at = bisect_left(self._begins, begin) + 1
        while at < len(self._ends):
            self._ends[at] = max(self._ends[at], (end, name))
            at += at & -at

    def find(self, begin: float, end: float) -> str | None:
        """The name of one that begins at `begin` or before and ends at `end` or after."""
        at, best = bisect_right(self._begins, begin), (float("-inf"), "")
        while at > 0:
            best = max(best, self._ends[at])
            at -= at & -at
        return best[1] if best[0] >= end else None


class _Suffixes:
    """Numbers to which one can be added for a place and all before it; knows the greatest of those added to."""

    def __init__(self, numbers: Sequence[float]) -> None:
        self._numbers = numbers
        self._size = 1 << max(len(numbers) - 1, 0).bit_length()
        self._sums = [0] * (2 * self._size)
        self._best = [(float("-inf"), -1)] * (2 * self._size)

    def add(self, place: int) -> None:
        """Add one to that place and all before it."""
        node = place + self._size
        self._sums[node] += 1
        self._best[node] = (self._numbers[place] + self._sums[node], place)
        while node > 1:
            node //= 2
            left, right = 2 * node, 2 * node + 1
            self._sums[node] = self._sums[left] + self._sums[right]
            number, where = self._best[left]
            self._best[node] = max((number + self._sums[right], where), self._best[right])

    def most(self) -> tuple[float, int]:
        """The greatest number and its place."""
        return self._best[1]
