"""A crowd at a deployment of one's own: nothing is started, and the room's settings come from its operators' API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.run import ROOT
from loadtest.scenarios import SCENARIOS
from loadtest.stage import staged

pytestmark = pytest.mark.system


def test_a_crowd_comes_to_a_host(tmp_path: Path) -> None:
    """The verdict is good; it has the history and the books, and no looks into a Redis that it cannot reach."""
    settings = {**SCENARIOS["crowd"].settings, "capacity": 7}
    with staged(tmp_path / "stage", room="fair", settings=settings, instances=1, through_nginx=True) as stage:
        given = ["--host", stage.url, "--i-own-this-host", "--room", "fair", "--gate", stage.gate]
        given += ["--admin-url", stage.admin_url, "--seconds", "6", "--users", "30", "--out", str(tmp_path / "out")]
        done = subprocess.run(
            [sys.executable, "-m", "loadtest", "crowd", *given],
            env={**os.environ, "WAITROOM_ADMIN_KEY": stage.admin_key},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(next((tmp_path / "out").glob("*/report.json")).read_text(encoding="utf-8"))
    run = report["runs"][0]
    assert (run["instances"], run["cpu_us"]) == (0, {})
    names = {check["name"] for check in run["checks"]}
    assert "nobody is lost in the room's books" in names
    assert "order, limits and books at every look" not in names
    assert stage.admin_key not in done.stdout + done.stderr + json.dumps(report)
