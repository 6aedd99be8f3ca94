"""The folder of a run: all reports in one JSON document, plots, and a page that shows it all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import budgets, plots
from benchmarks.report import Row, alike, columns_of, stamp_line, with_spread

_PAGE: Final = "README.md"
_REPORTS: Final = "reports.json"


def keep(folder: Path, document: Mapping[str, Any]) -> None:
    """Put one report among the others, a line each, in the place of an older one."""
    folder.mkdir(parents=True, exist_ok=True)
    reports = kept(folder) | {document["name"]: document}
    lines = [f"{json.dumps(name)}: {json.dumps(reports[name], ensure_ascii=False)}" for name in sorted(reports)]
    (folder / _REPORTS).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def kept(folder: Path) -> dict[str, dict[str, Any]]:
    """Every report in the folder, by name."""
    path = folder / _REPORTS
    found: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def write_page(folder: Path, reports: Mapping[str, Mapping[str, Any]]) -> Path:
    """Draw the plots and write the page: the budgets, then each report with its plots and flame graphs."""
    drawn = [path.name for path in plots.draw(reports, folder)]
    flames = sorted(path.name for path in folder.glob("profile-*.svg"))
    parts = ["# What was measured", "## Budgets", markdown(budgets.table(reports))]
    for name, report in reports.items():
        if not report.get("rows"):
            continue
        parts += [f"## {name}", stamp_line(report.get("stamp", {})), *map(markdown, alike(report["rows"]))]
        parts += [f"![{file}]({file})" for file in drawn if file.startswith(name)]
        if name == "profile":
            parts += ["Flame graphs: " + ", ".join(f"[{file}]({file})" for file in flames)]
    page = folder / _PAGE
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return page


def markdown(rows: Sequence[Row]) -> str:
    """Rows as a table of a page."""
    columns = columns_of(rows)
    lines = ["| " + " | ".join(column.replace("_", " ") for column in columns) + " |", "|---" * len(columns) + "|"]
    for row in rows:
        cells = (with_spread(row, column).replace("|", "\\|") for column in columns)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
