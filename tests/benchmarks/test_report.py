"""Tables and documents."""

from __future__ import annotations

import io
import json
import sys

import pytest
from rich.console import Console

from benchmarks import report
from benchmarks.report import Options, Report, cell, columns_of, with_spread
from benchmarks.servers import BenchmarkError

ROWS = [
    {"endpoint": "enter", "ratio": 0.4, "ratio_spread": [0.38, 0.41]},
    {"endpoint": "[gate]", "per_second": 12_345.6},
]


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


def test_a_spread_stands_beside_its_figure() -> None:
    assert columns_of(ROWS) == ["endpoint", "ratio", "per_second"]
    assert with_spread(ROWS[0], "ratio") == "0.4 (0.38 - 0.41)"
    assert with_spread({"ratio": 0.4, "ratio_spread": [0.4, 0.4]}, "ratio") == "0.4"


def test_a_table_shows_every_row_as_it_is() -> None:
    output = io.StringIO()
    stamp = {"python": "CPython 3.13", "libraries": {"redis": "8.0"}}
    report.show(Report("endpoints", ROWS, stamp), Console(file=output, width=report.WIDTH))
    for text in ("0.4 (0.38 - 0.41)", "[gate]", "12,346", "python CPython 3.13", "redis 8.0"):
        assert text in output.getvalue()


def test_a_benchmark_prints_its_document(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["it", "--json", "--quick"])
    seen = list[Options]()

    def measure(options: Options) -> list[report.Row]:
        seen.append(options)
        return [{"a": 1}]

    report.run("it", measure, description=None)
    document = json.loads(capsys.readouterr().out)
    assert (document["name"], document["rows"]) == ("it", [{"a": 1}])
    assert document["stamp"]["quick"] is True
    assert {"machine", "cores", "kernel", "python", "libraries", "redis", "nginx", "wrk"} <= document["stamp"].keys()
    assert seen[0].quick


def test_a_benchmark_that_cannot_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(_: Options) -> list[report.Row]:
        raise BenchmarkError("this benchmark needs wrk")

    monkeypatch.setattr(sys, "argv", ["it"])
    with pytest.raises(SystemExit, match="it: this benchmark needs wrk"):
        report.run("it", measure, description=None)
