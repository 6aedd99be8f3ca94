"""The folder of a run: a JSON document per benchmark, plots, and a page that shows it all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import budgets, plots
from benchmarks.report import Row, alike, columns_of, stamp_line, with_spread

_PAGE: Final = "README.md"


def keep(folder: Path, document: Mapping[str, Any]) -> None:
    """Write one report."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=1, ensure_ascii=False)
    (folder / f"{document['name']}.json").write_text(text + "\n", encoding="utf-8")


def kept(folder: Path) -> dict[str, dict[str, Any]]:
    """Every report in the folder, by name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


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
