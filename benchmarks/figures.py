"""Several measurements of the same as one figure: the median, and how far they lie apart."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence


def median(measured: Iterable[float]) -> float:
    """The median, with as many digits as it is worth."""
    return significant(statistics.median(measured))


def spread(measured: Sequence[float]) -> list[float]:
    """The least and the most."""
    return [significant(min(measured)), significant(max(measured))]


def percentiles(title: str, measured: Sequence[float], **shares: int) -> dict[str, float]:
    """Below which so many percent lie, and the longest of all, each by the title with its name in it."""
    cuts = statistics.quantiles(measured, n=100, method="inclusive")
    found = {name: cuts[share - 1] for name, share in shares.items()} | {"longest": max(measured)}
    return {title.format(name): significant(value) for name, value in found.items()}


def ratios(ours: Iterable[float], theirs: Iterable[float]) -> list[float]:
    """How much of theirs ours is, round by round: both were measured one after the other in each round."""
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def significant(value: float, digits: int = 3) -> float:
    """A number with as many digits as a measurement is worth; whole where it is large."""
    if abs(value) >= 10 ** (digits - 1):
        return float(round(value))
    return float(f"{value:.{digits}g}")
