"""Figures of histories that are small enough to count by hand."""

from __future__ import annotations

import pytest

from crowd.history import EVENT, Operation
from loadtest.figures import Limits, arrivals, per_endpoint, percentile, within
from tests.crowd.made import START, asked, told


def enters(*took_ms: float, late_ms: float = 0.0) -> list[Operation]:
    """One enter a second, each sent late by so much, answered after so long."""
    found = []
    for at, ms in enumerate(took_ms):
        sent = START + at + late_ms / 1000
        found.append(asked("v", "enter", at + late_ms / 1000, due=START + at, completed=sent + ms / 1000))
    return found


def test_percentiles() -> None:
    """The value that so much of them does not exceed."""
    hundred = [float(n) for n in range(1, 101)]
    assert [percentile(hundred, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert percentile([], 0.5) == 0


def test_endpoints() -> None:
    """Each call, and all together; what a stream tells is no request."""
    lost = asked("v", "leave", 3, outcome="unknown", completed=None)
    tale = asked("v", EVENT, 2.5)
    enter, leave, whole = per_endpoint(told(*enters(10, 20, 1000), lost, tale))
    assert (enter.name, enter.requests, enter.success) == ("enter", 3, 1.0)
    assert enter.p50_ms == pytest.approx(20)
    assert enter.worst_ms == pytest.approx(1000)
    assert enter.per_second == pytest.approx(1.0)
    assert (leave.requests, leave.success, leave.per_second) == (1, 0.0, 0.0)
    assert (whole.name, whole.requests, whole.success) == ("all", 4, 0.75)


def test_a_late_arrival_waits_from_when_it_was_due() -> None:
    """Its latency counts from there, whatever kept the generator."""
    kept = arrivals(told(*enters(10, 10, 10, 10, late_ms=200)), 5)
    assert kept is not None
    assert (kept.offered, kept.sent, kept.late, kept.sent_share) == (5, 4, 4, 0.8)
    assert kept.latest_ms == pytest.approx(200, abs=0.01)
    assert kept.from_due.p50_ms == pytest.approx(210, abs=0.01)
    assert arrivals(told(asked("v", "enter", 0)), 0) is None


def test_limits() -> None:
    """Each is held by itself, against the schedule where there is one."""
    history = told(*enters(*[10] * 95, *[60] * 5, late_ms=0), asked("v", "enter", 100, outcome="fail", due=START + 100))
    endpoints, kept = per_endpoint(history), arrivals(history, 101)

    def wrong(limits: Limits) -> list[str]:
        return [check.name for check in within(limits, endpoints, kept) if not check.holds]

    assert wrong(Limits(success=0.99, p95_ms=61, p99_ms=61, offered_share=1.0)) == []
    assert wrong(Limits(success=1.0)) == ["success of at least 100.00%"]
    assert wrong(Limits(success=0.99, p99_ms=59)) == ["p99 below 59 ms"]
    assert wrong(Limits(success=0.99, p95_ms=9)) == ["p95 below 9 ms"]
    short = arrivals(history, 102)
    assert [c.name for c in within(Limits(success=0.9, offered_share=1.0), endpoints, short) if not c.holds] == [
        "the schedule was sent"
    ]
