"""What came of a run, in the form in which reports print it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from crowd.history import EVENT, History
from crowd.invariants import Check
from loadtest.figures import Arrivals, Endpoint, percentile


@dataclass(frozen=True)
class Generator:
    """How busy the processes that made the load were: the busiest one's share of a core, and CPU µs per request."""

    processes: int
    busiest: float
    us_per_request: float


@dataclass(frozen=True)
class Second:
    """One second of a run: answers, and their latency in milliseconds."""

    at: int
    answers: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One run on so many instances. `cpu_us` is CPU time per request, by process."""

    scenario: str
    about: str
    instances: int
    endpoints: Sequence[Endpoint]
    arrivals: Arrivals | None
    cpu_us: Mapping[str, float]
    generator: Generator
    checks: Sequence[Check]
    seconds: Sequence[Second]
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether all checks hold."""
        return all(check.holds for check in self.checks)

    @property
    def whole(self) -> Endpoint:
        """The figures of all requests together; of a schedule from when each was due."""
        return self.arrivals.from_due if self.arrivals is not None else self.endpoints[-1]

    def document(self) -> dict[str, Any]:
        """The outcome as others read it; of faults the first twenty of each check."""
        found = asdict(self)
        for check, said in zip(self.checks, found["checks"], strict=True):
            said |= {"holds": check.holds, "number_of_faults": len(check.faults), "faults": check.faults[:20]}
        return found | {"verdict": "pass" if self.holds else "fail"}


def generator(history: History) -> Generator:
    """How busy the load's own processes were while visitors were there."""
    taken: dict[int, list[tuple[float, float]]] = {}
    for note in history.notes:
        if note["about"] == "generator" and note["users"]:
            taken.setdefault(note["worker"], []).append((note["cpu"], note["wall"]))
    shares = [sum(cpu for cpu, _ in each) / sum(wall for _, wall in each) for each in taken.values()]
    cpu = sum(cpu for each in taken.values() for cpu, _ in each)
    requests = len(history.operations)
    return Generator(len(taken), max(shares, default=0.0), cpu / requests * 1_000_000 if requests else 0.0)


def by_second(history: History) -> list[Second]:
    """The run second by second, by when the answers came."""
    took: dict[int, list[float]] = {}
    first = int(history.operations[0].invoked) if history.operations else 0
    for each in history.operations:
        if each.completed is not None and each.call != EVENT:
            took.setdefault(int(each.completed) - first, []).append(each.from_due_ms)
    found = []
    for at in sorted(took):
        ordered = sorted(took[at])
        found.append(Second(at, len(ordered), percentile(ordered, 0.5), percentile(ordered, 0.99)))
    return found
