"""Several measurements of the same as one figure: the median, and how far they lie apart."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """The median of several measurements, the least and the most."""

    median: float
    least: float
    most: float

    @property
    def spread(self) -> list[float]:
        """The least and the most, rounded as the median is."""
        return [significant(self.least), significant(self.most)]


def figure(measured: Iterable[float]) -> Figure:
    """A figure of at least one measurement."""
    values = list(measured)
    if not values:
        raise ValueError("a figure needs at least one measurement, got none")
    return Figure(statistics.median(values), min(values), max(values))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """How much of theirs ours is, round by round: both were measured one after the other in each round."""
    return figure(mine / other for mine, other in zip(ours, theirs, strict=True))


def significant(value: float, digits: int = 3) -> float:
    """A number with as many digits as a measurement is worth; whole where it is large."""
    if abs(value) >= 10 ** (digits - 1):
        return float(round(value))
    return float(f"{value:.{digits}g}")
