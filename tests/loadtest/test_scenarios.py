"""The scenarios fit the visitors that there are, and the README names them all."""

from __future__ import annotations

import re

from crowd.habits import HABITS
from loadtest.run import ROOT
from loadtest.scenarios import PEOPLE, SCENARIOS

FOLDER = ROOT / "loadtest"

#: The habits of those who come to a load test.
KINDS = {*HABITS} - {"prober", "intruder"}


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
