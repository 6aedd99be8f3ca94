"""What a benchmark is told on its command line, and what it tells: a table, or one JSON document."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.servers import BenchmarkError
from rig.machine import Missing, allow_many_files
from rig.process import Ended
from rig.stamp import stamp
from waitroom.errors import WaitroomError

Row = dict[str, Any]

#: Columns of a table that goes into a file or a pipe: no table is cut off there.
WIDTH: Final = 400


@dataclass(frozen=True)
class Options:
    """What every benchmark can be told; `given` is the whole command line."""

    quick: bool = False
    as_json: bool = False
    given: argparse.Namespace = field(default_factory=argparse.Namespace)


@dataclass(frozen=True)
class Report:
    """What came of a benchmark. Cells of a row are texts, numbers, lists (a spread) or None."""

    name: str
    rows: Sequence[Row]
    stamp: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The report as others read it."""
        return {"name": self.name, "stamp": dict(self.stamp), "rows": list(self.rows)}


def run(
    name: str,
    measure: Callable[[Options], Sequence[Row]],
    *,
    description: str | None,
    extend: Callable[[argparse.ArgumentParser], None] | None = None,
) -> None:
    """A benchmark's whole `main`: read the command line, measure, print. `extend` adds options of its own."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    parser.add_argument("--quick", action="store_true", help="a run of under 20 s that shows that it works")
    if extend is not None:
        extend(parser)
    given = parser.parse_args()
    options = Options(given.quick, given.json, given)
    allow_many_files()
    try:
        rows = measure(options)
        report = Report(name, rows, stamp(quick=options.quick))
    except (BenchmarkError, Missing, Ended, WaitroomError) as error:
        sys.exit(f"{name}: {error}")
    if options.as_json:
        print(json.dumps(report.document()))
    else:
        show(report, Console(width=None if sys.stdout.isatty() else WIDTH))


def say(text: str) -> None:
    """Progress, for whoever watches."""
    print(text, file=sys.stderr, flush=True)


def show(report: Report, console: Console) -> None:
    """The report as tables, with its stamp in a line below."""
    for number, rows in enumerate(alike(report.rows)):
        console.print(table(Report("" if number else report.name, rows)))
    if report.stamp:
        console.print(stamp_line(report.stamp), style="dim", highlight=False)


def table(report: Report) -> Table:
    """A column for each field that any row has; a field NAME_spread stands in brackets beside NAME."""
    shown = Table(
        title=report.name or None, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    columns = columns_of(report.rows)
    for column in columns:
        numbers = any(isinstance(row.get(column), int | float | list) for row in report.rows)
        shown.add_column(column.replace("_", " "), justify="right" if numbers else "left", overflow="fold")
    for row in report.rows:
        shown.add_row(*(escape(with_spread(row, column)) for column in columns))
    return shown


def alike(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows, parted where their fields change: each part is a table of its own."""
    return [list(part) for _, part in groupby(rows, key=lambda row: list(row))]


def columns_of(rows: Sequence[Row]) -> list[str]:
    """The fields that any row has; NAME_spread stands beside NAME, not in a column of its own."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if not (name.endswith("_spread") and name.removesuffix("_spread") in names)]


def with_spread(row: Row, column: str) -> str:
    """A cell, and in brackets the spread where there is one that says something."""
    spread = row.get(f"{column}_spread")
    return cell(row.get(column)) + (f" ({cell(spread)})" if spread and spread[0] != spread[-1] else "")


def cell(value: Any) -> str:
    """One value as a table shows it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " - ".join(map(cell, value))
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def stamp_line(known: Mapping[str, Any]) -> str:
    """The stamp in one line."""
    flat = {name: value for name, value in known.items() if not isinstance(value, Mapping)}
    libraries = ", ".join(f"{name} {number}" for name, number in known.get("libraries", {}).items())
    return "; ".join([*(f"{name} {value}" for name, value in flat.items()), libraries])
