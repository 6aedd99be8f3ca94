"""What all commands have in common: how they are called, and how they fail."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from typer.main import get_command

from rig.instance import COMMAND, Instance
from tests.cli.command import KEYS, run, sentences
from tests.test_supply import EXTRAS
from waitroom import __version__, extras
from waitroom.cli.main import app


def test_version(tmp_path: Path) -> None:
    """--version prints name and version, and ends well, under both names of the program."""
    for command in (COMMAND, (str(Path(sys.executable).parent / "waitroom"),)):
        done = subprocess.run((*command, "--version"), capture_output=True, text=True, timeout=30, check=True)
        assert (done.stdout, done.stderr) == (f"waitroom {__version__}\n", "")


def test_an_expected_failure_is_no_traceback(tmp_path: Path) -> None:
    """As a process, too, a wrong setting is one line on stderr and exit code 2."""
    command = (*COMMAND, "serve", "--port", "70000")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"waitroom: port: .*70000\n", done.stderr)


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        (
            "sys.modules['starlette'] = sys.modules['typer'] = None",
            "needs packages that are not installed (starlette, typer): pip install 'waitroom[server]'",
        ),
        (
            "sys.platform = 'win32'",
            "needs Linux or macOS: on Windows install the client alone, waitroom[client]",
        ),
    ],
    ids=["packages", "Windows"],
)
def test_where_no_server_runs_the_command_says_so(lacking: str, said: str) -> None:
    """One sentence and exit code 2, before anything of the server is imported."""
    program = f"import sys; {lacking}; from waitroom.__main__ import main; main()"
    command = [sys.executable, "-c", program, "serve"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"waitroom: the waitroom command {said}\n")


def test_the_packages_that_are_looked_for_are_those_of_the_server() -> None:
    """Each package that the extra brings everywhere is looked for under the name by which it is imported."""
    needed = [one for text in EXTRAS["server"] if (one := Requirement(text)).marker is None]
    modules = {"prometheus-client": "prometheus_client", "pyjwt": "jwt"}
    wanted = {modules.get(one.name, one.name) for one in needed} | {name for one in needed for name in one.extras}
    assert set(extras.SERVER) == wanted
    assert extras.server_fault("it") is None


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("frobnicate",),
        ("serve", "--nothing"),
        ("serve", "--port", "many"),
        ("room", "set", "shop"),
        ("room", "show"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_understood_is_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Commands and options that do not exist end with exit code 2."""
    done = run(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr


def test_help_names_every_command(tmp_path: Path) -> None:
    """--help ends well and lists what can be done."""
    done = run("--help", folder=tmp_path)
    assert done.returncode == 0
    assert {"serve", "demo", "check", "room"} <= set(done.stdout.split())


def test_commands_on_a_waitroom_are_told_alike_on_which() -> None:
    """Each takes the same three options, after its own name and arguments."""
    commands = get_command(app).commands  # type: ignore[attr-defined]
    acting = [commands["serve"], commands["check"], *commands["room"].commands.values()]
    assert len(acting) == 9
    for command in acting:
        assert [option.opts for option in command.params][-3:] == [["--config"], ["--redis-url"], ["--data-dir"]]


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("room", "list")], ids=" ".join)
@pytest.mark.parametrize("url", ["nonsense", "http://u:secret-word@127.0.0.1", "redis://127.0.0.1:port"])
def test_a_url_that_is_none(tmp_path: Path, command: tuple[str, ...], url: str) -> None:
    """A Redis URL that cannot be one is a fault of the settings, told without the password in it."""
    done = run(*command, "--redis-url", url, folder=tmp_path, **KEYS)
    said = sentences(done, code=2)
    assert any("redis_url" in line for line in said)
    assert "secret-word" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "options", [("--visitors", "-5"), ("--capacity", "0"), ("--seconds", "0"), ("--seconds", "-1")]
)
def test_a_demo_of_nothing_is_refused(options: tuple[str, str], tmp_path: Path) -> None:
    """The option is named."""
    done = run("demo", *options, folder=tmp_path)
    assert done.returncode == 2
    assert options[0] in done.stderr


def test_a_misspelt_variable_is_named_before_another_server_is_asked(served: Instance) -> None:
    """A command that would act on the embedded server says that something else may have been meant."""
    options = ("--data-dir", str(served.data))
    for command in (("room", "list"), ("check",)):
        done = run(*command, *options, folder=served.data.parent, WAITROOM_REDIS_URI="redis://elsewhere")
        assert done.stderr.startswith("waitroom: WAITROOM_REDIS_URI: no such setting; WAITROOM_REDIS_URL may be meant")
        assert "elsewhere" not in done.stderr


def test_no_server_to_talk_to(tmp_path: Path) -> None:
    """room commands without a URL and without a running server say what to give; out of reach is exit code 1."""
    (said,) = sentences(run("room", "list", folder=tmp_path), code=2)
    assert "--redis-url" in said
    (said,) = sentences(run("room", "list", "--redis-url", "redis://127.0.0.1:1", folder=tmp_path), code=1)
    assert "Redis" in said
