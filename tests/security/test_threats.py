"""docs/explanation/security.md: every threat has its row, and every test that a row names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent.parent
PAGE: Final = (ROOT / "docs" / "explanation" / "security.md").read_text(encoding="utf-8")

THREATS: Final = tuple(f"T{number}" for number in range(1, 52))

#: The rows of the table of threats: number, attack, decision, what shows it.
ROWS: Final = re.findall(r"^\| (T\d+) \| (.+?) \| (.+?) \| (.*?) \|$", PAGE, re.MULTILINE)

#: A test as a row names it: the file below tests/, and one or several functions in it.
NAMED: Final = re.compile(r"`([a-z_/]+\.py)::([a-z0-9_]+)`")


@cache
def functions(path: Path) -> frozenset[str]:
    """The test functions of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, kinds) and node.name.startswith("test_"))


def test_every_threat_has_one_row() -> None:
    """T1 to T51, in order, each once."""
    assert tuple(number for number, *_ in ROWS) == THREATS


@pytest.mark.parametrize("number", THREATS)
def test_a_row_decides_and_names_tests_that_exist(number: str) -> None:
    """What is done about it, and what shows it; where nothing does, the row says why that is no test."""
    ((attack, decision, shown),) = ([*rest] for found, *rest in ROWS if found == number)
    assert len(attack) > 10
    assert len(decision) > 30
    named = NAMED.findall(shown)
    assert named or "no test:" in shown, shown
    assert shown.count("`") == 2 * len(named), "something in the row is not written as a test"
    for file, function in named:
        assert function in functions(ROOT / "tests" / file), f"{file}::{function}"


def test_the_names_are_looked_at() -> None:
    """A name that is not there would be found."""
    assert "test_nothing" not in functions(Path(__file__))
    assert "test_the_names_are_looked_at" in functions(Path(__file__))
    assert NAMED.findall("`web/test_gate.py::test_x`, `test_y`") == [("web/test_gate.py", "test_x")]
