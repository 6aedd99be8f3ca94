"""Medians and how far measurements lie apart."""

from __future__ import annotations

import pytest

from benchmarks.figures import median, percentiles, ratios, significant, spread


def test_the_median_the_spread_and_the_share_below() -> None:
    assert (median([3.0, 1.0, 2.0]), spread([3.0, 1.0, 2.0])) == (2.0, [1.0, 3.0])
    found = percentiles("{}_ms", [float(each) for each in range(101)], median=50, p99=99)
    assert found == {"median_ms": 50.0, "p99_ms": 99.0, "longest_ms": 100.0}


def test_ratios_are_taken_round_by_round() -> None:
    """The machine was twice as slow in the second round, for both. Rounds that do not match are refused."""
    assert ratios([50.0, 25.0], [100.0, 50.0]) == [0.5, 0.5]
    with pytest.raises(ValueError, match="longer"):
        ratios([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("value", "shown"), [(0.41357, 0.414), (12.345, 12.3), (123.45, 123.0), (27_347.4, 27_347.0), (0.0, 0.0)]
)
def test_digits_that_mean_nothing_are_dropped(value: float, shown: float) -> None:
    assert significant(value) == shown
