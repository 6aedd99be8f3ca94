"""What only grows is found; what goes up and down, or is there from the start, is not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from crowd.history import History
from loadtest.probe import Probe, growths
from tests.crowd.made import START, asked, told

MIB = 1024 * 1024
NOTHING = History([])


def failing(history: History = NOTHING, **series: Sequence[float]) -> list[str]:
    """The checks that fail, for series named by what they are of and their unit."""
    probe = Probe({name.replace("_", ": "): list(values) for name, values in series.items()})
    return [growth.check().name for growth in growths(probe, history) if not growth.check().holds]


def test_what_grows_is_found() -> None:
    """By a sixth and more, and by more than says nothing."""
    rising = [(100 + n) * MIB for n in range(100)]
    assert failing(one_bytes=rising) == ["no growth of one: bytes"]
    assert failing(one_bytes=[value / 100 for value in rising]) == []
    assert failing(one_descriptors=[100.0 + n for n in range(100)]) == ["no growth of one: descriptors"]
    assert failing(redis_keys=[9.0] * 50 + [12.0] * 50) == ["no growth of redis: keys"]


def test_what_does_not_is_not() -> None:
    """A start that is steep, waves, and a few looks."""
    assert failing(one_bytes=[min(n, 10) * 50.0 * MIB for n in range(100)]) == []
    assert failing(one_bytes=[(200 + 100 * (n % 7)) * MIB for n in range(98)]) == []
    assert failing(one_bytes=[1.0, 1000 * MIB]) == []


@pytest.mark.parametrize(("slower_ms", "failed"), [(5, []), (100, ["no growth of answers: p95 ms"])])
def test_answers_that_get_slower(slower_ms: float, failed: list[str]) -> None:
    """From 10 ms at first to ever more."""
    late = [asked("v", "status", n, completed=START + n + (10 + slower_ms * n / 100) / 1000) for n in range(100)]
    assert failing(told(*late)) == failed


async def test_a_probe_ends_with_its_block() -> None:
    """Nothing is left running."""
    from loadtest.probe import probing
    from loadtest.stage import Stage

    before = asyncio.all_tasks()
    with probing(Stage("http://127.0.0.1:1", "shop", "/")) as probe:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert probe.series == {}
    assert asyncio.all_tasks() == before
