"""The scenarios fit the visitors that there are, and the README names them all."""

from __future__ import annotations

import re
from pathlib import Path

from loadtest.run import ROOT
from loadtest.scenarios import PEOPLE, SCENARIOS

FOLDER = ROOT / "loadtest"

#: The kinds of visitors by their files. (Not by importing them: Locust changes the whole process that imports it.)
KINDS = {path.stem for path in (FOLDER / "visitors").glob("*.py")} - {"__init__", "visitor", "jar"}


def habit(path: Path) -> str:
    """What the kind in that file is called."""
    found = re.search(r'^    habit = "([a-z]+)"$', path.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None, path
    return found[1]


def test_a_kind_is_called_as_its_file_is() -> None:
    """So that a name in a history leads to the code."""
    for kind in KINDS:
        assert habit(FOLDER / "visitors" / f"{kind}.py") == kind


def test_every_scenario_has_visitors_that_there_are() -> None:
    """And all kinds are used by some."""
    used = {kind for scenario in SCENARIOS.values() for kind in scenario.habits}
    assert used == KINDS
    assert set(PEOPLE) <= KINDS


def test_the_readme_names_them_all() -> None:
    """Every scenario and every kind of visitor stands in a table of loadtest/README.md, and no other."""
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `([a-z]+)` \|", readme, re.MULTILINE)
    assert sorted(named) == sorted([*SCENARIOS, *KINDS])
