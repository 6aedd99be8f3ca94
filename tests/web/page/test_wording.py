"""Numbers and times in words."""

from __future__ import annotations

import pytest

from waitroom.web.page.wording import Wording

WORDS = Wording()


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (None, None, "not known yet"),
        (10.0, None, "not known yet"),
        (0, 0, "less than a minute"),
        (5, 60, "less than a minute"),
        (5, 61, "up to 2 minutes"),
        (60, 61, "between 1 and 2 minutes"),
        (241, 350, "between 4 and 6 minutes"),
        (350, 241, "between 4 and 6 minutes"),
        (240, 240, "about 4 minutes"),
        (-5, 100, "up to 2 minutes"),
        (1200, 1260, "between 20 and 25 minutes"),
        (3300, 4801, "between 55 and 85 minutes"),
        (1000, 10800, "up to 3 hours"),
        (10801, 17000, "between 3 and 5 hours"),
        (86400, 172800, "between 1 and 2 days"),
    ],
)
def test_an_expected_wait_is_a_range(low: float | None, high: float | None, words: str) -> None:
    """A range is rounded outwards to what a person would say."""
    assert WORDS.eta(low, high) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.1, "1 second"),
        (59.9, "59 seconds"),
        (60, "1 minute"),
        (90, "1 minute 30 seconds"),
        (3600, "1 hour"),
        (3601, "1 hour"),
        (5400, "1 hour 30 minutes"),
        (129600, "1 day 12 hours"),
        (604800, "7 days"),
    ],
)
def test_a_duration_is_never_more_than_promised(seconds: float, words: str) -> None:
    """A duration is told in its two largest units, rounded down."""
    assert WORDS.duration(seconds) == words
