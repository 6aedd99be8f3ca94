"""The table of failures in docs/explanation/failures.md: written by `make failures` from what the suite measured.

Every failure has its number. The tests of this suite say at the beginning of their docstrings which one they show.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.faults.verdict import ROWS_VARIABLE

ROOT: Final = Path(__file__).parent.parent.parent
PAGE: Final = ROOT / "docs" / "explanation" / "failures.md"
BEGIN: Final = "<!-- measured: begin -->"
END: Final = "<!-- measured: end -->"

_HEAD: Final = (
    "| | fault | how it was brought about | until `enter` | until admission | lost | duplicates | past | test |",
    "|---|---|---|---|---|---|---|---|---|",
)


@dataclass(frozen=True)
class Fault:
    """A fault in a few words, the tests of other suites that show it, and why this one has no run of it, if so."""

    words: str
    elsewhere: tuple[str, ...] = ()
    why: str = ""


FAULTS: Final[dict[str, Fault]] = {
    "F1": Fault("a reply of Redis is lost"),
    "F2": Fault("Redis freezes"),
    "F3": Fault("Redis is killed and restarted"),
    "F4": Fault("Redis comes back empty"),
    "F5": Fault(
        "a failover loses the last moments",
        ("tests/system/test_sentinel.py::test_a_failover_costs_nobody_the_place",),
    ),
    "F6": Fault("Redis takes no writes"),
    "F7": Fault("Redis forgets the scripts"),
    "F8": Fault("Redis is busy with a script"),
    "F9": Fault("Redis is out of memory"),
    "F10": Fault("Redis evicts"),
    "F11": Fault("the disk of Redis is full"),
    "F12": Fault("the append-only file is cut"),
    "F13": Fault("a room's keys are corrupt"),
    "F14": Fault("the leader is killed"),
    "F15": Fault("the leader stands still"),
    "F16": Fault("several lead at once"),
    "F17": Fault("the clock of Redis jumps"),
    "F18": Fault("an instance's clock is wrong"),
    "F19": Fault("clients go away"),
    "F20": Fault("too many ask at once"),
    "F21": Fault("replies of Redis are cut or reset"),
    "F22": Fault("Redis is slow"),
    "F23": Fault(
        "the news of event streams is cut off",
        ("tests/web/test_events.py::test_an_outage_ends_no_stream",),
        "there is no subscription to lose: streams are fed by one look a second",
    ),
    "F24": Fault("no further connection"),
    "F25": Fault(
        "an instance with event streams is told to stop",
        ("tests/system/test_streams.py::test_streams_end_when_the_instance_stops",),
        "a crowd of its own: a thousand streams",
    ),
    "F26": Fault(
        "a rolling restart under load",
        ("tests/system/test_rolling.py::test_a_rolling_restart_costs_nobody_anything",),
        "a crowd of its own, behind nginx: 300 visitors, no error at all",
    ),
    "F27": Fault(
        "an instance hangs",
        ("tests/system/test_rolling.py::test_visitors_are_answered_while_an_instance_is_frozen",),
        "a crowd of its own, behind nginx: 200 visitors, no error at all",
    ),
    "F28": Fault(
        "all instances are dead",
        ("tests/deploy/test_nginx.py::test_without_any_instance_nobody_passes_and_calls_get_503",),
    ),
    "F29": Fault(
        "nginx is reloaded",
        ("tests/deploy/test_nginx_streams.py::test_a_reload_ends_no_stream",),
        "nginx holds nothing of the queue",
    ),
    "F30": Fault(
        "a client does not read its stream",
        ("tests/web/test_events.py::test_who_does_not_read_is_dropped_and_holds_nobody_up",),
        "it concerns that client alone",
    ),
    "F31": Fault(
        "clients that never finish a request",
        (
            "tests/deploy/test_nginx.py::test_a_client_that_does_not_go_on_is_let_go_of",
            "tests/web/bad_inputs/test_http.py::test_a_body_that_never_comes_holds_nobody_else_up",
        ),
        "it concerns those clients alone",
    ),
    "F32": Fault(
        "all streams reconnect at once",
        ("tests/system/test_streams.py::test_streams_of_a_killed_instance_come_back_spread",),
        "a crowd of its own: a thousand streams",
    ),
    "F33": Fault("signing keys are rotated"),
    "F34": Fault("operators change a live room"),
    "F35": Fault("a partition"),
    "F36": Fault("an instance is out of memory"),
}


def shown_by(name: str) -> list[str]:
    """The tests that show it, those of this suite first."""
    begins = re.compile(rf'def (test_\w+)\([^)]*\) -> None:\n    """{name}: ')
    here = [
        f"tests/faults/{path.name}::{test}"
        for path in sorted(Path(__file__).parent.glob("test_*.py"))
        for test in begins.findall(path.read_text(encoding="utf-8"))
    ]
    return [*here, *FAULTS[name].elsewhere]


def table(rows: Mapping[str, Mapping[str, Any]], before: str = "") -> str:
    """The table, from the measured rows by fault; those that were not measured stay as they were before."""
    known = {line.split("|")[1].strip(): line for line in before.splitlines() if line.startswith("| F")}
    lines = (
        known[name] if name in known and name not in rows else _line(name, fault, rows.get(name))
        for name, fault in FAULTS.items()
    )
    return "\n".join((*_HEAD, *lines))


def _line(name: str, fault: Fault, row: Mapping[str, Any] | None) -> str:
    tests = "<br>".join(f"`{test}`" for test in shown_by(name))
    if row is None:
        return f"| {name} | {fault.words} | {fault.why} | | | | | | {tests} |"
    figures = (
        f"{row['enter_seconds']:.2f} s",
        f"{row['admission_seconds']:.2f} s",
        *(str(row[number]) for number in ("lost", "duplicates", "past_the_gate")),
    )
    return f"| {name} | {fault.words} | {row['how']} | {' | '.join(figures)} | {tests} |"


def written(page: str, made: str) -> str:
    """The page with that table between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{made}\n{END}{after}"


def main() -> int:
    """Run the suite with its long faults, one after the other, and write the table; the exit code of pytest."""
    with tempfile.TemporaryDirectory(prefix="wr-") as folder:
        path = Path(folder) / "rows"
        environment = {**os.environ, "WAITROOM_FAULTS": "long", ROWS_VARIABLE: str(path)}
        command = [sys.executable, "-m", "pytest", "tests/faults", "--ignore", "tests/faults/test_table.py"]
        code = subprocess.run([*command, *sys.argv[1:]], cwd=ROOT, env=environment).returncode
        rows = {row["fault"]: row for row in map(json.loads, path.read_text().splitlines())} if path.exists() else {}
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(written(page, table(rows, page)), encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)}, {len(rows)} rows measured")
    return code


if __name__ == "__main__":
    sys.exit(main())
