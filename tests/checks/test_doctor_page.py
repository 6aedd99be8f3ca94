"""docs/how-to/doctor.md says what the command has: its options, its findings, its exit codes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from typer.main import get_command

import waitroom.checks.site as package
from tests.deploy.project import ROOT, faults_of_command
from waitroom.cli.main import app

PAGE = (ROOT / "docs" / "how-to" / "doctor.md").read_text(encoding="utf-8")
SOURCES = "".join(path.read_text() for path in sorted(Path(str(package.__path__[0])).glob("*.py")))


def test_every_command_of_the_page_can_be_typed() -> None:
    """No unknown option, no argument too few."""
    commands = re.findall(r"^waitroom (doctor .+?)(?: \|\| true)?$", PAGE, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        assert faults_of_command(shlex.split(command)) == [], command


def test_every_option_is_there() -> None:
    """The page's table has each option of the command but the two that its first commands show, and no other."""
    options = {name for each in get_command(app).commands["doctor"].params for name in each.opts if name[:2] == "--"}  # type: ignore[attr-defined]
    table = PAGE.split("More options:")[1].split("\n## ")[0]
    assert set(re.findall(r"(--[a-z][a-z-]+)", table)) | {"--path", "--admin-key-file"} == options


def test_every_finding_has_its_row() -> None:
    """The table of findings names each that the command can tell, and no other."""
    table = PAGE.split("\n## Findings\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)
    told = set(re.findall(r'(?:Finding\(|\*\()\s*"([a-z-]+)", "(?:ok|fail|unknown|warn)"', SOURCES))
    assert sorted(rows) == sorted(told)
