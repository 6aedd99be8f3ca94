"""The table of failures in docs/failures.md: written by `make failures` from what the suite measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.faults.catalogue import FAULTS, Fault
from tests.faults.verdict import ROWS_VARIABLE

ROOT: Final = Path(__file__).parent.parent.parent
PAGE: Final = ROOT / "docs" / "failures.md"
BEGIN: Final = "<!-- measured: begin -->"
END: Final = "<!-- measured: end -->"

_HEAD: Final = (
    "| | fault | how it was brought about | until `enter` | until admission | lost | duplicates | past | test |",
    "|---|---|---|---|---|---|---|---|---|",
)


def table(rows: Mapping[str, Mapping[str, Any]], before: str = "") -> str:
    """The table, from the measured rows by fault; those that were not measured stay as they were before."""
    known = {line.split("|")[1].strip(): line for line in before.splitlines() if line.startswith("| F")}
    lines = (
        known[name] if name in known and name not in rows else _line(name, fault, rows.get(name))
        for name, fault in FAULTS.items()
    )
    return "\n".join((*_HEAD, *lines))


def _line(name: str, fault: Fault, row: Mapping[str, Any] | None) -> str:
    tests = "<br>".join(f"`{test}`" for test in fault.tests)
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
        command = [
            sys.executable,
            "-m",
            "pytest",
            "tests/faults",
            "--ignore",
            "tests/faults/test_table.py",
            *sys.argv[1:],
        ]
        code = subprocess.run(command, cwd=ROOT, env=environment).returncode
        rows = {row["fault"]: row for row in map(json.loads, path.read_text().splitlines())} if path.exists() else {}
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(written(page, table(rows, page)), encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)}, {len(rows)} rows measured")
    return code


if __name__ == "__main__":
    sys.exit(main())
