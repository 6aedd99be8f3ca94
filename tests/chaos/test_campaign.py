"""Short campaigns for real: the command, everything that it starts, and a verdict that is good."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.schedule import Fault, draw
from crowd.history import History
from loadtest.run import ROOT
from rig.servers import program

pytestmark = [pytest.mark.system, pytest.mark.timeout(170)]

#: Redis is killed, busy and refused; the leader and others are killed, frozen and restarted; replies are lost and slow;
#: nginx is reloaded and loses its workers; operators change capacity and rate, and revoke somebody.
SEED = 3115
SECONDS = 26


def run(seed: int, engine: str, out: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The command to its end, and its folder."""
    program(engine)
    command = [sys.executable, "-m", "chaos", "--seed", str(seed), "--minutes", str(SECONDS / 60)]
    command += ["--engine", engine, "--users", "50", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=160, check=False)
    folders = list(out.iterdir())
    assert len(folders) == 1, done.stdout + done.stderr
    return done, folders[0]


def test_a_campaign_holds_and_says_how_to_run_it_again(tmp_path: Path) -> None:
    """Exit code 0; the schedule of its seed, all of it done; every check that can be held against something was."""
    done, folder = run(SEED, "valkey", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.strip().splitlines()
    again = f"seed {SEED}; again: make chaos SEED={SEED} "
    assert said[0].startswith(again)
    assert said[-1].startswith(again)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["verdict"] == "pass"
    assert [Fault(**fault) for fault in report["schedule"]] == draw(SEED, SECONDS)
    assert len(report["sights"]) == len(report["schedule"])
    idle = {check["name"] for check in report["checks"] if not check["looked_at"]}
    assert idle <= {"who was revoked stays out"}
    came = {each.habit for each in History.read(folder).operations}
    assert came >= {"patient", "reloader", "sleeper", "forger", "watcher"}
    assert (folder / "report.txt").stat().st_size


def test_a_campaign_of_a_new_seed_holds(tmp_path: Path) -> None:
    """Another each time; what fails can be run again by what it prints."""
    seed = random.SystemRandom().randrange(1_000_000)
    done, _ = run(seed, "redis", tmp_path)
    assert done.returncode == 0, f"seed {seed}\n{done.stdout}{done.stderr}"


def test_a_campaign_that_is_too_short_is_refused(tmp_path: Path) -> None:
    """Exit code 2, and why; nothing is started."""
    command = [sys.executable, "-m", "chaos", "--seed", "7", "--minutes", "0.1", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "a campaign takes at least 25 seconds, not 6" in done.stderr
    assert not list(tmp_path.iterdir())
