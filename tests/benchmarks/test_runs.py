"""Benchmarks run, briefly: that they do, and what they leave behind. Their figures mean nothing here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import scripts as measured
from benchmarks.__main__ import BENCHMARKS
from benchmarks.report import Row
from benchmarks.servers import ROOT
from rig import machine

pytestmark = [pytest.mark.system, pytest.mark.timeout(700)]


@pytest.fixture(autouse=True)
def _wrk() -> None:
    machine.program("wrk")


def _python(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _rows(name: str, *options: str) -> list[Row]:
    rows: list[Row] = json.loads(_python("-m", f"benchmarks.{name}", "--quick", "--json", *options))["rows"]
    return rows


def test_endpoints() -> None:
    """Every kind of answer is the right one, to distinct visitors, with an account of who took the time."""
    rows = {row["endpoint"]: row for row in _rows("endpoints", "--waiting", "2000", "--seconds", "1")}
    assert len(rows) == 7
    assert {name: row["bad"] for name, row in rows.items()} == dict.fromkeys(rows, 0)
    assert all(row["per_second"] > 0 and row["ratio"] > 0 for row in rows.values())
    assert rows["enter"]["redis_us"] > rows["gate_pass"]["redis_us"]
    assert rows["nginx_admitted"]["nginx_us"] > 0 < rows["nginx_admitted"]["origin_us"]


def test_flood() -> None:
    """A queue that is full refuses every arrival, and nobody who waits notices."""
    full, *refused, afterwards, inside = _rows("flood", "--seconds", "1", "--arrivals", "10000")
    assert [row["waiting"] for row in (full, *refused, afterwards)] == [2000] * (len(refused) + 2)
    assert afterwards["arrivals"] >= 10_000
    assert {row["bad"] for row in refused} == {0}
    assert {row["redis_keys"] for row in (full, *refused, afterwards)} == {full["redis_keys"]}
    assert inside["looks"] > 0
    assert inside["disturbed"] == 0


def test_a_run_leaves_a_folder_behind(tmp_path: Path) -> None:
    """The report of the scripts, its plots, and a page with the budgets; the other benchmarks are left out."""
    folder = tmp_path / "results"
    said = _python("-m", "benchmarks", "--quick", "--only", "scripts", "--folder", str(folder))
    report = json.loads((folder / "reports.json").read_text())["scripts"]
    scripts = {row["script"] for row in report["rows"]}
    assert scripts == {
        *("enter", "enter, restored", "status", "leave", "look", "extend", "admit", "expire"),
        *("read", "lease", "configure"),
    }
    assert {row["batch"] for row in report["rows"]} == set(measured.QUICK.batches)
    assert all(row["calls"] > 0 and row["script_us"] > 0 for row in report["rows"])
    assert {path.name for path in folder.iterdir()} == {
        *("README.md", "reports.json", "scripts-batch.svg", "scripts-length.svg"),
    }
    assert "not measured" in said
    assert "enter, restored" in (folder / "README.md").read_text()


def test_every_benchmark_is_known() -> None:
    """A module that runs is one of those that `make bench` runs."""
    running = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "\n    report.run(" in path.read_text()}
    assert running == set(BENCHMARKS)
