"""The list of faults is whole, what it names exists, and docs/explanation/failures.md shows it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from chaos.schedule import ODDS
from rig.faults import KINDS
from tests.faults.scrape import ALERTS
from tests.faults.table import FAULTS, PAGE, ROOT, shown_by, table, written

NUMBERS: Final = [f"F{number}" for number in range(1, 37)]

ROW: Final[dict[str, Any]] = {
    "fault": "F2",
    "how": "frozen",
    "enter_seconds": 0.5,
    "admission_seconds": 1.25,
    "told_to_wait": 3,
    "lost": 0,
    "duplicates": 0,
    "past_the_gate": 0,
}


@cache
def names_in(path: Path) -> frozenset[str]:
    """The names of a file's tests."""
    found = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return frozenset(node.name for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_fault_is_listed() -> None:
    """F1 to F36, in order."""
    assert list(FAULTS) == NUMBERS


@pytest.mark.parametrize("name", NUMBERS)
def test_its_tests_exist(name: str) -> None:
    """Each fault has tests that are there; without a run of this suite it says why."""
    tests = shown_by(name)
    assert tests
    for test in tests:
        path, _, function = test.partition("::")
        assert function in names_in(ROOT / path), test
    assert bool(FAULTS[name].why) != any(test.startswith("tests/faults/") for test in tests)


@pytest.mark.parametrize("name", NUMBERS)
def test_the_page_has_its_row(name: str) -> None:
    """With its tests, and figures where this suite has a run of it: nobody lost, nobody twice, nobody past the gate."""
    (line,) = (line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {name} |"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[-1] == "<br>".join(f"`{test}`" for test in shown_by(name))
    assert cells[5:8] == (["", "", ""] if FAULTS[name].why else ["0", "0", "0"])


def test_every_fault_of_the_catalogue_is_brought_about() -> None:
    """By a test here, or by a campaign."""
    here = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert [name for name in KINDS if name not in ODDS and f'"{name}"' not in here] == []


def test_the_page_names_every_alert() -> None:
    """An operator who is woken by one finds it there."""
    page = PAGE.read_text(encoding="utf-8")
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    assert [rule["alert"] for rule in group["rules"] if rule["alert"] not in page] == []


def test_the_table_is_written_between_its_marks() -> None:
    """What stands around it stays; writing it again changes nothing."""
    page = PAGE.read_text(encoding="utf-8")
    made = written(page, table({"F2": ROW}))
    assert "| F2 | Redis freezes | frozen | 0.50 s | 1.25 s | 0 | 0 | 0 |" in made
    assert written(made, table({"F2": ROW})) == made
    assert written(made, "x") == written(page, "x")
    assert table({}, made) == table({"F2": ROW})
