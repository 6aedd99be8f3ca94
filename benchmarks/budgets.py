"""What waitroom is to keep, beside what was measured: each budget with its first bar, its goal, and whether it is met.

`python -m benchmarks --budgets` reads the reports of the last run; it measures nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from benchmarks.figures import significant
from benchmarks.report import Row
from waitroom.rooms.batching import MOST_PER_CALL

Reports = Mapping[str, Mapping[str, Any]]

#: What the budgets of requests are measured at.
CONNECTIONS, WAITING, MANY = 256, 300_000, 1_000_000


#: A figure for a budget, and what stands beside it: its spread, or what it is of.
Measured = tuple[float, str]

Find = Callable[[Reports], Measured | None]


@dataclass(frozen=True)
class Budget:
    """One line: what is measured, the least it must be and what it should be, and where the figure is found."""

    what: str
    unit: str
    bar: float | None
    goal: float | None
    better: Literal["more", "less"]
    command: str
    find: Find

    def row(self, reports: Reports) -> Row:
        """The line of the table."""
        value, beside = self.find(reports) or (None, "")
        return {
            "what": self.what,
            "first_bar": self._shown(self.bar),
            "goal": self._shown(self.goal),
            "measured": "not measured" if value is None else f"{_number(value)} {self.unit}".strip(),
            "of": beside,
            "met": "?" if value is None else self._met(value),
            "command": self.command,
        }

    def _met(self, value: float) -> str:
        wanted = {name: each for name, each in (("goal", self.goal), ("bar", self.bar)) if each is not None}
        sign = 1 if self.better == "more" else -1
        return next((name for name, each in wanted.items() if sign * value >= sign * each), "NO")

    def _shown(self, wanted: float | None) -> str:
        sign = "≥" if self.better == "more" else "≤"
        return "" if wanted is None else f"{sign} {_number(wanted)} {self.unit}".strip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{significant(value):g}"


def table(reports: Reports) -> list[Row]:
    """Every budget, measured or not."""
    return [budget.row(reports) for budget in BUDGETS]


def _rows(reports: Reports, name: str, **wanted: object) -> list[Row]:
    """The rows of a report that have these values. A quick run's say nothing."""
    found = reports.get(name, {})
    rows: Sequence[Row] = [] if found.get("stamp", {}).get("quick") else found.get("rows", [])
    return [row for row in rows if all(row.get(field) == value for field, value in wanted.items())]


def _of(name: str, field: str, **wanted: object) -> Find:
    """A figure of the row of a report that has these values, and its spread."""

    def find(reports: Reports) -> Measured | None:
        for row in _rows(reports, name, **wanted):
            spread = row.get(f"{field}_spread")
            return row[field], f"{spread[0]} to {spread[1]}" if spread else ""
        return None

    return find


def _request(endpoint: str, field: str) -> Find:
    return _of("endpoints", field, endpoint=endpoint, connections=CONNECTIONS, waiting=WAITING)


def _longest_call(reports: Reports) -> Measured | None:
    """The most CPU time that a call of any script took with so many waiting, whichever benchmark saw it.

    Of calls as instances make them: `scripts` makes larger ones as well.
    """
    alone = [(row, row["script"]) for row in _rows(reports, "scripts", waiting=MANY) if row["batch"] <= MOST_PER_CALL]
    leading = [(row, row["call"]) for row in _rows(reports, "scheduler", part="calls")]
    found = [(row["longest_cpu_ms"], name) for row, name in alone + leading if row.get("longest_cpu_ms") is not None]
    return max(found, default=None)


def _of_crowds(field: str, worst: Callable[..., Any]) -> Find:
    """A figure of `fairness` over all its scenarios together, with the one that does worst beside it."""

    def find(reports: Reports) -> Measured | None:
        rows = [row for row in _rows(reports, "fairness") if row.get(field) is not None]
        alone = [row for row in rows if row["silent"] is not None]
        if not alone:
            return None
        least = worst(alone, key=lambda row: row[field])
        beside = f"worst: {significant(least[field]):g}, {least['scenario']}, {least['silent']:.0%} silent"
        together = next((row for row in rows if row["silent"] is None), least)
        return together[field], beside

    return find


def _capacity(figure: str) -> Find:
    """A figure of the load test `capacity`."""

    def find(reports: Reports) -> Measured | None:
        found = reports.get("capacity", {}).get("beside_the_replaced_system", {}).get("waitroom", {})
        return (found[figure], "") if figure in found else None

    return find


_ENDPOINTS: Final = ".venv/bin/python -m benchmarks.endpoints --connections 256 --waiting 300000"
_LOADTEST: Final = "make loadtest SCENARIO=capacity"
_FAIRNESS: Final = ".venv/bin/python -m benchmarks.fairness"
_MEMORY: Final = ".venv/bin/python -m benchmarks.memory"
_SCRIPTS: Final = ".venv/bin/python -m benchmarks.scripts"
_SCHEDULER: Final = ".venv/bin/python -m benchmarks.scheduler"
_CAPACITY: Final = "5,000 enter/s for 60 s onto 300,000 waiting"

_PER_WAITER: Final = _of("memory", "bytes", what="redis per waiter", waiting=MANY)
_ADMISSIONS: Final = _of("scheduler", "admissions_per_second", part="drain")

BUDGETS: Final = (
    Budget("enter, beside bare uvicorn", "x", 0.4, 0.55, "more", _ENDPOINTS, _request("enter", "ratio")),
    Budget("enter", "per second", 12_000, None, "more", _ENDPOINTS, _request("enter", "per_second")),
    Budget("status, beside bare uvicorn", "x", 0.4, 0.55, "more", _ENDPOINTS, _request("status", "ratio")),
    Budget(
        "gate with a good pass, beside bare uvicorn", "x", 0.6, 0.8, "more", _ENDPOINTS, _request("gate_pass", "ratio")
    ),
    Budget("Redis CPU per enter", "µs", 8, 4, "less", _ENDPOINTS, _request("enter", "redis_us")),
    Budget("Redis CPU per status", "µs", 9, 4, "less", _ENDPOINTS, _request("status", "redis_us")),
    Budget("Redis memory per waiter, 1,000,000 waiting", "B", 320, 200, "less", _MEMORY, _PER_WAITER),
    Budget("longest single script call, 1,000,000 waiting", "ms", 5, 2, "less", _SCRIPTS, _longest_call),
    Budget("admissions that the scheduler can sustain", "per second", 20_000, 100_000, "more", _SCHEDULER, _ADMISSIONS),
    Budget(f"{_CAPACITY}: good", "%", 100, None, "more", _LOADTEST, _capacity("success %")),
    Budget(f"{_CAPACITY}: p95", "ms", 50, None, "less", _LOADTEST, _capacity("p95 ms")),
    Budget(f"{_CAPACITY}: p99", "ms", 100, 30, "less", _LOADTEST, _capacity("p99 ms")),
    Budget("visitors admitted within [low, high]", "", 0.8, 0.9, "more", _FAIRNESS, _of_crowds("arrival_within", min)),
    Budget("median error of the eta", "", None, 0.1, "less", _FAIRNESS, _of_crowds("arrival_error_median", max)),
)
