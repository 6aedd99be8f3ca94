"""The folder of a run: all reports in one JSON document, plots, and a page that shows it all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import budgets, plots
from benchmarks.report import page


def keep(folder: Path, document: Mapping[str, Any]) -> None:
    """Put one report among the others, a line each, in the place of an older one."""
    folder.mkdir(parents=True, exist_ok=True)
    reports = kept(folder) | {document["name"]: document}
    lines = [f"{json.dumps(name)}: {json.dumps(reports[name], ensure_ascii=False)}" for name in sorted(reports)]
    (folder / "reports.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def kept(folder: Path) -> dict[str, dict[str, Any]]:
    """Every report in the folder, by name."""
    path = folder / "reports.json"
    found: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def write_page(folder: Path, reports: Mapping[str, Mapping[str, Any]]) -> Path:
    """Draw the plots and write the page: the budgets, then each report with its plots and flame graphs."""
    drawn = [path.name for path in plots.draw(reports, folder)]
    parts = ["# What was measured", *page("Budgets", budgets.table(reports))]
    for name, report in reports.items():
        if report.get("rows"):
            parts += page(name, report["rows"], report.get("stamp"))
            parts += [f"![{file}]({file})" for file in drawn if file.startswith(name)]
        if name == "profile":
            flames = sorted(path.name for path in folder.glob("profile-*.svg"))
            parts += ["Flame graphs: " + ", ".join(f"[{file}]({file})" for file in flames)]
    written = folder / "README.md"
    written.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return written
