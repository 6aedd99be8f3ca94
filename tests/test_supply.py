"""What comes from elsewhere: each package has a reason, no floor is below a known hole, the audit says the truth."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import hatch_build
from hatch_build import canonical
from supply import audit

ROOT: Final = Path(__file__).parent.parent
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: Final[dict[str, list[str]]] = PROJECT["project"]["optional-dependencies"]
DECLARED: Final = {"What runs": PROJECT["project"]["dependencies"]} | {
    f"Extra `{name}`": requirements for name, requirements in EXTRAS.items()
}

#: Versions below which a hole is known that matters here (T38).
FLOORS: Final = {"redis": "4.5.5", "starlette": "0.49.1", "pyjwt": "2.13", "jinja2": "3.1.6"}


def tables() -> dict[str, list[list[str]]]:
    """The rows of docs/dependencies.md by heading."""
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    sections = dict(section.split("\n", 1) for section in text.split("\n## ")[1:])
    rows = {heading: re.findall(r"^\| `(.+?)` \| (.+?) \| (.+?) \|$", body, re.M) for heading, body in sections.items()}
    return {heading: [list(row) for row in found] for heading, found in rows.items()}


def floor(requirement: Requirement) -> Version | None:
    """The oldest version that a requirement allows."""
    found = [Version(one.version) for one in requirement.specifier if one.operator == ">="]
    return found[0] if found else None


def test_each_package_has_a_reason_and_a_floor() -> None:
    """Every dependency of every extra is in the table, once, with what for and why; and nothing else is."""
    assert tables().keys() == DECLARED.keys()
    for heading, rows in tables().items():
        declared = sorted({Requirement(text).name for text in DECLARED[heading]})
        assert sorted(name for name, *_ in rows) == declared, heading
    for requirement in map(Requirement, chain.from_iterable(DECLARED.values())):
        assert floor(requirement) or requirement.name == "waitroom", requirement


def test_the_floors_that_the_table_names_are_the_declared_ones() -> None:
    """The reason begins with the floor that pyproject.toml has."""
    for heading, rows in tables().items():
        floors = {one.name: floor(one) for one in map(Requirement, DECLARED[heading])}
        for name, _, why in rows:
            told = re.match(r"([0-9][0-9.]*):", why)
            assert (told is None) == (floors[name] is None or why == "as above"), (name, why)
            assert told is None or Version(told[1]) == floors[name], (name, why)


@pytest.mark.parametrize("name", FLOORS)
def test_no_floor_is_below_a_known_hole(name: str) -> None:
    """Whatever else is installed, what the range lets in does not have it."""
    (requirement,) = (one for one in map(Requirement, DECLARED["What runs"]) if canonical(one.name) == name)
    declared = floor(requirement)
    assert declared is not None
    assert declared >= Version(FLOORS[name])


def test_what_was_tested_is_what_is_allowed() -> None:
    """constraints.txt has a version of each package, and the range lets it in."""
    tested = hatch_build.tested_versions(ROOT / "constraints.txt")
    for requirement in map(Requirement, chain.from_iterable(DECLARED.values())):
        if requirement.name != "waitroom":
            assert requirement.specifier.contains(tested[canonical(requirement.name)]), requirement


@pytest.mark.long
def test_our_code_is_clean() -> None:
    """bandit finds nothing that no comment explains."""
    assert audit.own_faults() == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([{"name": "a", "version": "1", "vulns": [{"id": "X-1", "fix_versions": ["2"]}]}], "a 1: X-1, mended in 2"),
        ([{"name": "a", "version": "1", "vulns": [{"id": "X-1", "fix_versions": []}]}], "no version yet"),
        ([{"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "x"}], "could not look at 1 of 2"),
        ([], "could not look at 0 of 0"),
    ],
)
def test_the_audit_fails_where_it_should(found: list[dict[str, Any]], said: str) -> None:
    """A known hole is told; and what could not be looked at is not taken for sound."""
    (fault,) = audit.judged(found)
    assert said in fault


def test_the_audit_passes_where_all_was_looked_at() -> None:
    """Nothing known of any package."""
    assert audit.judged([{"name": "a", "version": "1", "vulns": []}]) == []
