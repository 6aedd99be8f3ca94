"""Medians and how far measurements lie apart."""

from __future__ import annotations

import pytest

from benchmarks.figures import figure, ratio, significant


def test_the_median_and_the_spread() -> None:
    found = figure([3.0, 1.0, 2.0])
    assert (found.median, found.least, found.most, found.spread) == (2.0, 1.0, 3.0, [1.0, 3.0])


def test_a_figure_of_nothing_is_none() -> None:
    with pytest.raises(ValueError, match="at least one measurement"):
        figure([])


def test_ratios_are_taken_round_by_round() -> None:
    """The machine was twice as slow in the second round, for both."""
    assert ratio([50.0, 25.0], [100.0, 50.0]) == figure([0.5, 0.5])


def test_rounds_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="longer"):
        ratio([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("value", "shown"), [(0.41357, 0.414), (12.345, 12.3), (123.45, 123.0), (27_347.4, 27_347.0), (0.0, 0.0)]
)
def test_digits_that_mean_nothing_are_dropped(value: float, shown: float) -> None:
    assert significant(value) == shown
