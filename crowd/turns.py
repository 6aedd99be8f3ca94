"""A history seen from the room: who waited when, who came in when, how far its clock is from ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from crowd.history import EVENT, History, Operation
from crowd.rules import MILLISECOND, Rules

#: The serial of who was let in at once and never told one: later than whoever waited before.
LATEST: Final = 2**53


@dataclass(frozen=True)
class ClockGap:
    """By how many seconds the room's clock is ahead of the generator's: somewhere from `least` to `most`."""

    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Wait:
    """A visitor waited from one time to another without a break, on the room's clock."""

    visitor: str
    serial: int
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Admission:
    """A visitor was admitted: not before `after`, by `by` at the latest, on the room's clock.

    `inside_from` and `inside_until` bound when they certainly were inside, on the generator's clock.
    """

    visitor: str
    identity: str
    serial: int
    after: float
    by: float
    inside_from: float
    inside_until: float


def honest(operations: Iterable[Operation]) -> Iterator[Operation]:
    """Those that are a visitor's own, with an answer that they may get."""
    return (each for each in operations if each.outcome == "ok" and not each.attempt)


def clock_gap(history: History) -> ClockGap:
    """What the answers' own times say about the clocks; none at all if no answer has one."""
    answers = (each for each in history.operations if each.call != EVENT)  # an event is of some time before
    told = [each for each in answers if each.as_of and each.completed is not None]
    if not told:
        return ClockGap(0.0, 0.0)
    least = max(each.as_of - each.completed for each in told if each.completed is not None)
    most = min(each.as_of + MILLISECOND - each.invoked for each in told)
    # A clock that was set while the run went on makes both ends pass each other.
    return ClockGap(min(least, most), max(least, most))


def waits(history: History, rules: Rules, breaks: Sequence[float] = ()) -> list[Wait]:
    """Every unbroken wait that was seen twice or more; `breaks` are times that none goes on over."""
    found: list[Wait] = []
    for visitor, operations in history.by_visitor().items():
        told = sorted((each for each in honest(operations) if each.state == "waiting"), key=lambda each: each.as_of)
        stretches = (each for each in _unbroken(told, rules.returns_after_seconds, breaks) if len(each) > 1)
        found += (Wait(visitor, each[0].serial, each[0].as_of, each[-1].as_of) for each in stretches)
    return found


def _unbroken(told: Sequence[Operation], silence: float, breaks: Sequence[float]) -> Iterator[list[Operation]]:
    stretch: list[Operation] = []
    for each in told:
        before = stretch[-1] if stretch else each
        broken = each.as_of - before.as_of >= silence or each.serial != before.serial
        if broken or any(before.as_of <= at <= each.as_of for at in breaks):
            yield stretch
            stretch = []
        stretch.append(each)
    yield stretch


def admissions(history: History, rules: Rules, gap: ClockGap) -> list[Admission]:
    """Every visitor's first admission, with what is known of its time."""
    found = []
    for visitor, operations in history.by_visitor().items():
        own = list(honest(operations))
        inside = [each for each in own if each.state == "admitted"]
        if not inside:
            continue
        first = min(inside, key=lambda each: each.completed or 0.0)
        before = [each for each in own if each.state == "waiting" and each.invoked <= first.invoked]
        left = min((each.invoked for each in operations if each.call == "leave"), default=float("inf"))
        admission = Admission(
            visitor,
            first.identity,
            serial=before[-1].serial if before else LATEST,
            after=max((each.as_of for each in before), default=first.invoked + gap.least),
            by=first.expires - (rules.claim_seconds if first.offer else rules.session_seconds),
            inside_from=first.completed or 0.0,
            inside_until=min(left, max(each.expires for each in inside) - gap.most),
        )
        found.append(admission)
    return found


def returns(history: History, rules: Rules) -> list[Operation]:
    """Answers, or what may have been one, by which a visitor may have come back to a place that was lost."""
    found = []
    for operations in history.by_visitor().values():
        asked = [each for each in operations if each.call in ("enter", "status", "events") and not each.attempt]
        for before, after in pairwise(asked):
            silent = (after.completed or float("inf")) - before.invoked
            if silent >= rules.returns_after_seconds or before.outcome == "unknown" or after.outcome == "unknown":
                found.append(after)
    return found
