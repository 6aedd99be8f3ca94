"""The scenario `crowd` for real: Locust, nginx, two instances, Valkey; and what the verdict says of its history."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from crowd.history import History
from crowd.invariants import check_all
from crowd.rules import Rules
from loadtest.run import ROOT
from loadtest.scenarios import PEOPLE

pytestmark = [pytest.mark.system, pytest.mark.timeout(170)]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A run of the command, and its folder."""
    out = tmp_path_factory.mktemp("loadtest")
    command = [sys.executable, "-m", "loadtest", "crowd", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=160, check=False)
    folders = list(out.iterdir())
    assert len(folders) == 1, done.stderr
    return done, folders[0]


def test_the_verdict_on_a_crowd_is_good(ran: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """Exit code 0; every check held, and each had something to hold against: all habits were there."""
    done, folder = ran
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Verdict: PASS" in done.stdout
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    checks = report["runs"][0]["checks"]
    assert [check["name"] for check in checks if not check["holds"] or not check["looked_at"]] == []
    history = History.read(folder / "2-instances")
    assert {operation.habit for operation in history.operations} == set(PEOPLE)
    assert all((folder / f"report.{form}").stat().st_size for form in ("txt", "json", "html"))


def test_the_verdict_on_its_doctored_history_is_not(
    ran: tuple[subprocess.CompletedProcess[str], Path], tmp_path: Path
) -> None:
    """One visitor's rank is made to grow, a second session is made up, a forgery is let through: all are found."""
    _, folder = ran
    rules = Rules(
        **{
            name: json.loads((folder / "2-instances" / "plan.json").read_text())["settings"][name]
            for name in ("capacity", "admit_per_second", "session_seconds", "claim_seconds", "abandon_seconds")
        }
    )
    lines = (folder / "2-instances" / "history-0.jsonl").read_bytes().splitlines(keepends=True)
    target = tmp_path / "history-0.jsonl"
    target.write_bytes(b"".join(lines))
    assert [check.name for check in check_all(History.read(tmp_path), rules) if not check.holds] == []
    target.write_bytes(b"".join(doctored(lines)))
    failed = {check.name for check in check_all(History.read(tmp_path), rules) if not check.holds}
    assert {
        "admitted at most once per turn",
        "rank never grows, but by returners",
        "forged proofs are refused",
    } <= failed


def doctored(lines: list[bytes]) -> list[bytes]:
    """The lines of a history with three lies in them, each told once."""
    asked: dict[int, dict[str, Any]] = {}
    sessions: set[str] = set()
    lies: set[str] = set()
    found = []
    for line in lines:
        said = orjson.loads(line)
        if said["type"] == "invoke":
            asked[said["n"]] = said
        elif said["type"] == "ok":
            lie = _lie(asked[said["n"]], said, sessions)
            if lie and lie not in lies:
                lies.add(lie)
                line = orjson.dumps(said, option=orjson.OPT_APPEND_NEWLINE)
        found.append(line)
    assert len(lies) == 3, lies
    return found


def _lie(invoked: dict[str, Any], said: dict[str, Any], sessions: set[str]) -> str:
    """Change one answer, and say how; nothing where it does not lend itself to a lie."""
    if "attempt" in invoked and invoked["call"] == "status":
        said |= {"status": 200, "state": "waiting", "identity": invoked["brought"]}
        return "forgery"
    if "attempt" not in invoked and said.get("state") == "admitted" and not said.get("offer"):
        if said["identity"] in sessions:
            said["expires"] += 1
            return "session"
        sessions.add(said["identity"])
    if "attempt" not in invoked and invoked["call"] == "status" and said.get("rank"):
        said["rank"] += 1000
        return "rank"
    return ""
