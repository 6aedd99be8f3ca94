"""What a crowd asks for, what one request took, and how old a rank was: the arithmetic of the model."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from benchmarks.million import Crowd, Shown, Taken
from rig.accounting import Bill
from waitroom.client import Waiting

PLACE = Waiting(
    "shop", 1, 1, None, None, None, poll_after_seconds=1, entered_at=datetime.now(UTC), room_state="open",
    message="", proof="a-ticket",
)  # fmt: skip


def test_rates_follow_the_crowd() -> None:
    """Ten times as many ask ten times as often; who may be silent for longer looks in person more rarely."""
    small, large, calm = Crowd(100_000), Crowd(1_000_000), Crowd(1_000_000, abandon_seconds=300)
    assert large.documents == pytest.approx(10 * small.documents)
    assert large.looks == pytest.approx(10 * small.looks)
    assert calm.looks < large.looks < large.documents == calm.documents


def test_a_request_does_not_pay_for_what_is_taken_at_rest() -> None:
    """CPU µs are of the time beyond that."""
    rest = Taken(10, Bill({"nginx": 1.0}))
    busy = Taken(20, Bill({"nginx": 6.0}), documents=400_000)
    assert busy.cores("nginx") == pytest.approx(0.3)
    assert busy.us("nginx", rest=rest) == pytest.approx(10)


def test_a_rank_gets_older_until_the_next_is_shown() -> None:
    """From the age at which it came to the age at which it was replaced; the last one does not count yet."""
    shown = Shown([(100.0, 99.0), (103.0, 101.5), (104.0, 103.5)])
    ages = list(shown.ages())
    assert (min(ages), max(ages)) == (1.0, 4.0)
    assert len(ages) == 31 + 1 + 11 + 1


def test_what_a_client_shows_is_noted() -> None:
    """With the time that the rank is of; a place that does not say that is not."""
    shown = Shown()
    for place in (PLACE, replace(PLACE, as_of=datetime(2026, 1, 2, tzinfo=UTC))):
        asyncio.run(shown.note(place))
    assert [as_of for _, as_of in shown.seen] == [datetime(2026, 1, 2, tzinfo=UTC).timestamp()]
