"""Command lines, tables and documents."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

import pytest

from benchmarks import report
from benchmarks.report import cell, page
from benchmarks.servers import BenchmarkError

ROWS = [
    {"endpoint": "enter", "ratio": 0.4, "ratio_spread": [0.38, 0.41]},
    {"endpoint": "[gate]", "ratio": 0.2, "ratio_spread": [0.2, 0.2]},
    {"endpoint": "public", "per_second": 12_345.6},
]


@dataclass(frozen=True)
class Plan:
    """What a benchmark may be told."""

    rounds: int = 5
    waiting: tuple[int, ...] = (1, 2)
    only: tuple[str, ...] = ("enter", "status")


QUICK = Plan(rounds=1)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (True, "yes"),
        (False, "no"),
        (12_345, "12,345"),
        (12_345.6, "12,346"),
        (0.41234, "0.412"),
        ("a", "a"),
    ],
)
def test_cells(value: object, shown: str) -> None:
    assert cell(value) == shown


def test_a_report_shows_every_row_as_it_is_and_a_spread_beside_its_figure() -> None:
    """Two tables: the fields change before the last row."""
    stamp = {"python": "CPython 3.13", "libraries": {"redis": "8.0"}}
    assert [" ".join(part.split()) for part in page("endpoints", ROWS, stamp)] == [
        "## endpoints",
        "python CPython 3.13; redis 8.0",
        "| endpoint | ratio | |----------|-------------------| | enter | 0.4 (0.38 - 0.41) | | [gate] | 0.2 |",
        "| endpoint | per second | |----------|------------| | public | 12,346 |",
    ]


@pytest.mark.parametrize(
    ("told", "plan"),
    [
        ([], Plan()),
        (["--quick"], QUICK),
        (["--quick", "--waiting", "1000"], Plan(1, (1_000,))),
        (["--rounds", "2", "--only", "enter"], Plan(rounds=2, only=("enter",))),
    ],
)
def test_a_benchmark_measures_what_it_is_told_and_prints_its_document(
    told: list[str], plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(given: Plan) -> list[report.Row]:
        assert given == plan
        return [{"a": 1}]

    monkeypatch.setattr(sys, "argv", ["it", "--json", *told])
    report.run("it", measure, Plan(), QUICK, description=None)
    document = json.loads(capsys.readouterr().out)
    assert (document["name"], document["rows"]) == ("it", [{"a": 1}])
    assert document["stamp"]["quick"] is ("--quick" in told)
    assert {"machine", "cores", "kernel", "python", "libraries", "redis", "nginx", "wrk"} <= document["stamp"].keys()


def test_a_benchmark_that_cannot_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(_: Plan) -> list[report.Row]:
        raise BenchmarkError("this benchmark needs wrk")

    monkeypatch.setattr(sys, "argv", ["it"])
    with pytest.raises(SystemExit, match="it: this benchmark needs wrk"):
        report.run("it", measure, Plan(), QUICK, description=None)
