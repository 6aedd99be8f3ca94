"""The systemd units: judged by systemd itself, and against what `waitroom serve` does."""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from rig import machine
from tests.deploy import project, units
from waitroom.serve import workers
from waitroom.settings import sources
from waitroom.settings.server import ServerSettings

SYSTEMD: Final = project.DEPLOY / "systemd"
NAMES: Final = ("waitroom.service", "waitroom@.service")

#: systemd's own measure of what a service could do, 0 to 100 (its table shows a tenth); a plain service has 96.
_MOST_EXPOSED: Final = 20


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What systemd-analyze says."""
    program = machine.program("systemd-analyze", package="systemd")
    return subprocess.run([program, *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("name", NAMES)
def test_systemd_accepts_the_units(name: str, tmp_path: Path) -> None:
    """Every setting is known and well formed; the program, which is not installed here, is a stand-in."""
    text = (SYSTEMD / name).read_text(encoding="utf-8")
    unit = tmp_path / name.replace("@", "@8001")
    unit.write_text(text.replace("/opt/waitroom/bin/waitroom", sys.executable))
    done = analyze("verify", str(unit))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("name", NAMES)
def test_a_service_can_do_little(name: str, tmp_path: Path) -> None:
    """systemd's own review of the sandbox."""
    unit = tmp_path / name.replace("@", "@8001")
    shutil.copy(SYSTEMD / name, unit)
    done = analyze("security", "--offline=yes", f"--threshold={_MOST_EXPOSED}", str(unit))
    assert done.returncode == 0, done.stdout[-300:]


@pytest.mark.parametrize("name", NAMES)
def test_the_command_exists(name: str) -> None:
    """Command and options are those of the command line; variables are settings."""
    unit = units.Unit(SYSTEMD / name)
    program, *words = shlex.split(unit.one("ExecStart").replace("%i", "8001"))
    assert program == "/opt/waitroom/bin/waitroom"
    assert project.faults_of_command(words) == []
    assert unit.environment().keys() <= project.variables()


@pytest.mark.parametrize("name", NAMES)
def test_the_secrets_come_from_files_that_the_installer_makes(name: str) -> None:
    """Neither key nor password stands in a unit, whose text everybody may read."""
    unit = units.Unit(SYSTEMD / name)
    installer = (SYSTEMD / "install.sh").read_text(encoding="utf-8")
    (credential,) = unit.all("LoadCredential")
    identifier, _, path = credential.partition(":")
    assert unit.environment()["WAITROOM_REDIS_PASSWORD_FILE"] == f"%d/{identifier}"
    for file in (path, unit.one("EnvironmentFile"), shlex.split(unit.one("ExecStart"))[3]):
        assert file.startswith("/etc/waitroom/")
        assert f'"$config/{Path(file).name}"' in installer
    assert not unit.environment().keys() & {"WAITROOM_ADMIN_KEY", "WAITROOM_SIGNING_KEYS", "WAITROOM_REDIS_URL"}


@pytest.mark.parametrize("name", NAMES)
def test_stopping_leaves_time_for_draining(name: str) -> None:
    """The manager waits for longer than an instance drains and answers what is in flight."""
    unit = units.Unit(SYSTEMD / name)
    drain = float(unit.environment()["WAITROOM_DRAIN_SECONDS"])
    assert units.in_seconds(unit.one("TimeoutStopSec")) >= drain + workers.GRACE_SECONDS + 5
    assert unit.one("KillMode") == "mixed"


@pytest.mark.parametrize("name", NAMES)
def test_the_data_folder_is_the_services_own(name: str) -> None:
    """What `serve` writes to is what systemd makes for it."""
    unit = units.Unit(SYSTEMD / name)
    assert unit.environment()["WAITROOM_DATA_DIR"] == f"%S/{unit.one('StateDirectory')}"


def test_a_wrong_setting_is_not_tried_again(tmp_path: Path) -> None:
    """`serve` ends with the code that the units do not start anew after, and says what is wrong."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WAITROOM_")}
    command = [sys.executable, "-m", "waitroom", "serve", "--data-dir", str(tmp_path)]
    done = subprocess.run(
        command, env={**environment, "WAITROOM_PRODUCTION": "true"}, capture_output=True, text=True, cwd=tmp_path
    )
    assert "signing_keys: missing" in done.stderr
    for name in NAMES:
        assert units.Unit(SYSTEMD / name).one("RestartPreventExitStatus") == str(done.returncode)
        assert units.Unit(SYSTEMD / name).one("Restart") == "always"


def test_one_instance_and_several_differ_in_port_and_folder_only() -> None:
    """What is changed in one file must be changed in the other."""
    one, several = ((SYSTEMD / name).read_text(encoding="utf-8").splitlines() for name in NAMES)
    changed = [line for line in difflib.ndiff(one, several) if line[0] in "+-" and not line[2:].startswith("#")]
    assert {line[2:].partition("=")[0] for line in changed} == {
        "Description",
        "ExecStart",
        "Environment",
        "StateDirectory",
    }
    assert all(re.search(r"%i|port", line) for line in changed if line[0] == "+")


def test_the_settings_file_is_sound() -> None:
    """The seed of /etc/waitroom/waitroom.toml is accepted as the units would have it read."""
    unit = units.Unit(SYSTEMD / "waitroom.service")
    keys = {"WAITROOM_ADMIN_KEY": "a" * 20 + "0123456789-ABCDEF", "WAITROOM_SIGNING_KEYS": "k1:" + "0123456789ab" * 4}
    given = {name: value for name, value in unit.environment().items() if name != "WAITROOM_REDIS_PASSWORD_FILE"}
    loaded = sources.load(SYSTEMD / "waitroom.toml", environment={**given, **keys})
    assert loaded.production
    assert loaded.port == ServerSettings().port
    assert loaded.secure
    assert json.loads(loaded.model_dump_json())["rooms"]
