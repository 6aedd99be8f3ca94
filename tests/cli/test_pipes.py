"""Commands in a pipe: whole cells, JSON, any locale, a reader that goes away. The commands are found, not listed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import typer

from rig.instance import Instance
from tests.cli.command import KEYS, room, run
from waitroom.cli.main import app

LONG: Final = "spring-festival-2027-day-one-of-the-second-weekend"
MESSAGE: Final = "Nous ouvrons à dix heures \u2013 \u4f60\u597d"

#: Commands that print no data, but run until they are told to end, or change and say nothing.
SILENT: Final = {("serve",), ("demo",), ("room", "delete")}


def commands(group: Any, above: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every command by its words."""
    found: dict[tuple[str, ...], Any] = {}
    for name, command in group.commands.items():
        words = (*above, name)
        found |= commands(command, words) if hasattr(command, "commands") else {words: command}
    return found


COMMANDS: Final = commands(typer.main.get_command(app))


@pytest.fixture(scope="module")
def long_room(served: Instance) -> Instance:
    """A room with a long name and a message that ASCII has no characters for."""
    assert room(served, "set", LONG, "capacity=50", f"message={MESSAGE}").returncode == 0
    return served


@pytest.mark.parametrize("words", [words for words in COMMANDS if words not in SILENT], ids=" ".join)
def test_each_command_that_prints_data_has_json(words: tuple[str, ...]) -> None:
    """A new one is looked at too."""
    assert "--json" in {option for parameter in COMMANDS[words].params for option in parameter.opts}


@pytest.mark.parametrize("columns", ["200", "80", "1"])
def test_cells_are_whole_where_no_terminal_is(long_room: Instance, columns: str) -> None:
    """`waitroom room list | grep NAME` finds each name, in one line with its message."""
    for arguments in (("list",), ("show", LONG)):
        done = run(
            *("room", *arguments, "--data-dir", str(long_room.data)), folder=long_room.data.parent, COLUMNS=columns
        )
        assert done.returncode == 0
        assert [line for line in done.stdout.splitlines() if LONG in line]
        assert [line for line in done.stdout.splitlines() if MESSAGE in line]


def test_rooms_as_json(long_room: Instance) -> None:
    """What one command says of a room, another says alike."""
    for arguments in (("show", LONG), ("set", LONG, "capacity=60"), ("pause", LONG), ("resume", LONG)):
        document = json.loads(room(long_room, *arguments, "--json").stdout)
        assert (document["name"], document["settings"]["message"]) == (LONG, MESSAGE)
    listed = json.loads(room(long_room, "list", "--json").stdout)
    assert document in listed
    assert {"waiting", "inside", "version", "counts"} <= document.keys()


def test_check_and_invite_as_json(long_room: Instance, tmp_path: Path) -> None:
    """The findings, and an address whose parts need not be cut out of it."""
    done = run("check", "--json", "--data-dir", str(long_room.data), folder=tmp_path)
    assert {"name", "verdict", "detail", "remedy"} <= json.loads(done.stdout)[0].keys()
    keys = {"WAITROOM_ENQUEUE_KEYS": KEYS["WAITROOM_SIGNING_KEYS"], "WAITROOM_PUBLIC_URL": "https://shop.example"}
    document = json.loads(run("invite", "shop", "Zoë", "--json", folder=tmp_path, **keys).stdout)
    assert document["url"] == f"https://shop.example/wait/shop?enqueue={document['token']}"
    assert document["customer"] == "Zoë"


def piped(served: Instance, *arguments: str, pipe: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, in a pipe of a shell that tells the command's own exit code."""
    line = f'"$0" -m waitroom "$@" {pipe}; exit ${{PIPESTATUS[0]}}'
    return subprocess.run(
        ["bash", "-c", line, sys.executable, *arguments, "--data-dir", str(served.data)],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], **more},
        encoding="utf-8",
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    "locale",
    [{"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "ascii", "TERM": "dumb"}],
)
def test_any_locale(long_room: Instance, locale: dict[str, str]) -> None:
    """What it has no character for is shown as a number, and no traceback."""
    done = piped(long_room, "room", "list", **locale)
    assert (done.returncode, done.stderr) == (0, "")
    assert LONG in done.stdout
    assert "Nous ouvrons" in done.stdout


def test_a_reader_that_goes_away(long_room: Instance) -> None:
    """As `head` does. No traceback, and the code says that not all was written."""
    done = piped(long_room, "room", "list", pipe="| true")
    assert done.returncode in (0, 1)
    assert done.stderr == ""
