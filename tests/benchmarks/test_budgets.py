"""Budgets beside what was measured."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import budgets

#: What meets every goal exactly.
PERFECT: dict[str, Any] = {
    "endpoints": {
        "rows": [
            {"endpoint": "enter", "ratio": 0.55, "ratio_spread": [0.5, 0.6], "per_second": 12_000, "redis_us": 4.0},
            {"endpoint": "status", "ratio": 0.55, "redis_us": 4.0},
            {"endpoint": "gate_pass", "ratio": 0.80},
        ]
    },
    "memory": {"rows": [{"what": "redis per waiter", "waiting": 1_000_000, "bytes": 200}]},
    "scripts": {"rows": [{"script": "status", "waiting": 1_000_000, "batch": 128, "longest_cpu_ms": 2.0}]},
    "scheduler": {
        "rows": [
            {"part": "drain", "admissions_per_second": 100_000},
            {"part": "calls", "call": "admit", "longest_cpu_ms": 1.0},
        ]
    },
    "capacity": {"beside_the_replaced_system": {"waitroom": {"success %": 100, "p95 ms": 50, "p99 ms": 30}}},
    "fairness": {"rows": [{"scenario": "s", "silent": 0.3, "arrival_within": 0.9, "arrival_error_median": 0.1}]},
}
for _row in PERFECT["endpoints"]["rows"]:
    _row |= {"connections": 256, "waiting": 300_000}


def _met(reports: dict[str, Any]) -> dict[str, str]:
    return {row["what"]: row["met"] for row in budgets.table(reports)}


def test_goals_that_are_just_met() -> None:
    met = _met(PERFECT)
    assert set(met.values()) == {"goal", "bar"}
    assert {what for what, reached in met.items() if reached == "bar"} == {
        "enter",  # these three have no goal
        "5,000 enter/s for 60 s onto 300,000 waiting: good",
        "5,000 enter/s for 60 s onto 300,000 waiting: p95",
    }


def test_what_was_not_measured_is_not_met() -> None:
    rows = budgets.table({})
    assert {row["met"] for row in rows} == {"?"}
    assert {row["measured"] for row in rows} == {"not measured"}
    assert all(row["command"] for row in rows)


@pytest.mark.parametrize(
    ("endpoint", "field", "value", "what", "met"),
    [
        ("enter", "ratio", 0.54, "enter, beside bare uvicorn", "bar"),
        ("enter", "ratio", 0.40, "enter, beside bare uvicorn", "bar"),
        ("enter", "ratio", 0.399, "enter, beside bare uvicorn", "NO"),
        ("enter", "per_second", 11_999, "enter", "NO"),
        ("enter", "redis_us", 8.0, "Redis CPU per enter", "bar"),
        ("enter", "redis_us", 8.1, "Redis CPU per enter", "NO"),
        ("status", "redis_us", 8.1, "Redis CPU per status", "bar"),
        ("gate_pass", "ratio", 0.59, "gate with a good pass, beside bare uvicorn", "NO"),
    ],
)
def test_the_bar_and_the_goal_of_requests(endpoint: str, field: str, value: float, what: str, met: str) -> None:
    rows = [row | ({field: value} if row["endpoint"] == endpoint else {}) for row in PERFECT["endpoints"]["rows"]]
    assert _met(PERFECT | {"endpoints": {"rows": rows}})[what] == met


def test_only_what_was_measured_as_the_budget_says_counts() -> None:
    rows = [row | {"connections": 64} for row in PERFECT["endpoints"]["rows"]]
    assert _met(PERFECT | {"endpoints": {"rows": rows}})["enter"] == "?"


def test_the_longest_call_is_that_of_any_script() -> None:
    slow = {"rows": [{"part": "calls", "call": "expire: silent", "longest_cpu_ms": 5.1}]}
    row = next(row for row in budgets.table(PERFECT | {"scheduler": slow}) if row["what"].startswith("longest"))
    assert (row["measured"], row["of"], row["met"]) == ("5.1 ms", "expire: silent", "NO")


def test_the_eta_is_judged_over_all_scenarios_and_the_worst_stands_beside() -> None:
    bad = {"scenario": "bad", "silent": 0.0, "arrival_within": 0.7}
    together = {"scenario": "all of these", "silent": None, "arrival_within": 0.85, "arrival_error_median": 0.08}
    rows = [*PERFECT["fairness"]["rows"], bad, together]
    found = {row["what"]: row for row in budgets.table(PERFECT | {"fairness": {"rows": rows}})}
    assert found["visitors admitted within [low, high]"]["met"] == "bar"
    assert found["visitors admitted within [low, high]"]["of"] == "worst: 0.7, bad, 0% silent"
    assert found["median error of the eta"]["met"] == "goal"


def test_the_spread_stands_beside_a_ratio() -> None:
    assert budgets.table(PERFECT)[0] == {
        "what": "enter, beside bare uvicorn",
        "first_bar": "≥ 0.4 x",
        "goal": "≥ 0.55 x",
        "measured": "0.55 x",
        "of": "0.5 to 0.6",
        "met": "goal",
        "command": ".venv/bin/python -m benchmarks.endpoints --connections 256 --waiting 300000",
    }
