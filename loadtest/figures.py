"""Figures of a history: how many per second, how long they took, how many were good, per endpoint."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from crowd.history import EVENT, History, Operation
from crowd.invariants import Check

#: Milliseconds after its time from which an arrival counts as late.
LATE_MS = 10.0


@dataclass(frozen=True)
class Endpoint:
    """The figures of one call, times in milliseconds."""

    name: str
    requests: int
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    worst_ms: float
    success: float


@dataclass(frozen=True)
class Arrivals:
    """How the schedule of an open model was kept; `from_due` counts from when each request should have been sent."""

    offered: int
    sent: int
    late: int
    latest_ms: float
    from_due: Endpoint

    @property
    def sent_share(self) -> float:
        """How much of the schedule was sent."""
        return self.sent / self.offered if self.offered else 1.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How good the answers have to be. `success` is the least share of good ones; None sets a figure free.

    `offered_share`: how much of the arrivals on schedule had to be sent.
    """

    success: float = 1.0
    p95_ms: float | None = None
    p99_ms: float | None = None
    offered_share: float | None = None


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that so much of the ordered ones does not exceed; 0 of none."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else 0.0


def per_endpoint(history: History) -> list[Endpoint]:
    """The figures of each call, the most frequent first, and of all together last."""
    seconds = duration(history)
    calls: dict[str, list[Operation]] = {}
    for operation in history.operations:
        if operation.call != EVENT:
            calls.setdefault(operation.call, []).append(operation)
    found = [endpoint(name, each, seconds) for name, each in calls.items()]
    found.sort(key=lambda each: -each.requests)
    asked = [each for operations in calls.values() for each in operations]
    return [*found, endpoint("all", asked, seconds)] if len(found) > 1 else found


def duration(history: History) -> float:
    """Seconds from the first request to the last answer."""
    ends = [each.completed or each.invoked for each in history.operations]
    return max(ends) - history.operations[0].invoked if ends else 0.0


def endpoint(name: str, operations: Sequence[Operation], seconds: float, *, from_due: bool = False) -> Endpoint:
    """The figures of these operations over so many seconds; unanswered ones count as failures without a time."""
    answered = [each for each in operations if each.completed is not None]
    took = sorted(each.from_due_ms if from_due else each.took_ms for each in answered)
    return Endpoint(
        name,
        len(operations),
        len(answered) / seconds if seconds else 0.0,
        percentile(took, 0.50),
        percentile(took, 0.95),
        percentile(took, 0.99),
        took[-1] if took else 0.0,
        sum(each.outcome == "ok" for each in operations) / len(operations) if operations else 1.0,
    )


def arrivals(history: History, offered: int) -> Arrivals | None:
    """How the schedule was kept; None where nobody came by schedule."""
    scheduled = [each for each in history.operations if each.due is not None]
    if not scheduled:
        return None
    late = sorted((each.invoked - each.due) * 1000 for each in scheduled if each.due is not None)
    figures = endpoint("enter, from when it was due", scheduled, duration(history), from_due=True)
    return Arrivals(offered, len(scheduled), sum(each > LATE_MS for each in late), late[-1], figures)


def within(limits: Limits, endpoints: Iterable[Endpoint], kept: Arrivals | None) -> list[Check]:
    """Whether the answers were good and quick enough."""
    all_calls = list(endpoints)[-1:]
    checks = []
    for whole in [kept.from_due] if kept is not None else all_calls:
        checks.append(
            _bound(
                f"success of at least {limits.success:.2%}",
                whole.requests,
                limits.success - whole.success,
                f"{whole.success:.4%}",
            )
        )
        for name, most, found in (("p95", limits.p95_ms, whole.p95_ms), ("p99", limits.p99_ms, whole.p99_ms)):
            if most is not None:
                checks.append(_bound(f"{name} below {most:g} ms", whole.requests, found - most, f"{found:.1f} ms"))
    if limits.offered_share is not None and kept is not None:
        over = limits.offered_share - kept.sent_share
        checks.append(_bound("the schedule was sent", kept.offered, over, f"{kept.sent} of {kept.offered} arrivals"))
    return checks


def _bound(name: str, looked_at: int, over: float, said: str) -> Check:
    return Check(name, looked_at, [said] if over > 0 else [])
