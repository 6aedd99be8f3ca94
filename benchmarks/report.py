"""What a benchmark is told on its command line, and what it tells: tables, or one JSON document."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, TypeVar

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.servers import BenchmarkError
from rig.machine import Missing, allow_many_files
from rig.process import Ended
from rig.stamp import stamp
from waitroom.errors import WaitroomError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Plan = TypeVar("Plan", bound="DataclassInstance")

#: What was measured of one thing. Cells are texts, numbers, lists (a spread) or None.
Row = dict[str, Any]

#: Columns of a table that goes into a file or a pipe: no table is cut off there.
WIDTH: Final = 1_000


def run(
    name: str, measure: Callable[[Plan], Sequence[Row]], full: Plan, quick: Plan, *, description: str | None
) -> None:
    """A benchmark as a program: read the command line, measure, print. What its plan has are options."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    parser.add_argument("--quick", action="store_true", help="a run of under 20 s that shows that it works")
    for option, value in vars(full).items():
        many = value if isinstance(value, tuple) else (value,)
        if not isinstance(value, bool):
            parser.add_argument(
                f"--{option.replace('_', '-')}",
                type=type(many[0]),
                nargs="+" if many is value else None,
                choices=many if many is value and isinstance(many[0], str) and many[0] else None,
                metavar=option.upper(),
                help=f"default {', '.join(map(str, many))}",
            )
    given = vars(parser.parse_args())
    as_json, is_quick = given.pop("json"), given.pop("quick")
    told = {option: value for option, value in given.items() if value is not None}
    chosen = {option: tuple(value) if isinstance(value, list) else value for option, value in told.items()}
    allow_many_files()
    try:
        rows = measure(replace(quick if is_quick else full, **chosen))
        report: dict[str, Any] = {"name": name, "stamp": stamp(quick=is_quick), "rows": list(rows)}
    except (BenchmarkError, Missing, Ended, WaitroomError) as error:
        sys.exit(f"{name}: {error}")
    if as_json:
        print(json.dumps(report))
    else:
        show(**report)


def say(text: str) -> None:
    """Progress, for whoever watches."""
    print(text, file=sys.stderr, flush=True)


def show(name: str, rows: Sequence[Row], stamp: Mapping[str, Any] | None = None) -> None:
    """Print a report, as wide as the terminal is."""
    print(*page(name, rows, stamp, width=None if sys.stdout.isatty() else WIDTH), sep="\n\n")


def page(
    name: str, rows: Sequence[Row], stamp: Mapping[str, Any] | None = None, *, width: int | None = WIDTH
) -> list[str]:
    """A report as Markdown: a heading, the stamp in a line, and the rows, a new table wherever their fields change."""
    stamp = stamp or {}
    known = [f"{key} {value}" for key, value in stamp.items() if key != "libraries"]
    line = "; ".join([*known, ", ".join(f"{key} {value}" for key, value in stamp.get("libraries", {}).items())])
    parts = (list(part) for _, part in groupby(rows, key=lambda row: list(row)))
    return [f"## {name}", *([line] if stamp else []), *(_table(part, width) for part in parts)]


def _table(rows: Sequence[Row], width: int | None) -> str:
    """A column for each field that any row has; a field NAME_spread stands in brackets beside NAME."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = [name for name in names if not (name.endswith("_spread") and name.removesuffix("_spread") in names)]
    drawn = Table(box=box.MARKDOWN)
    for column in columns:
        numbers = any(isinstance(row.get(column), int | float | list) for row in rows)
        drawn.add_column(column.replace("_", " "), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(escape(with_spread(row, column)) for column in columns))
    said = io.StringIO()
    Console(file=said, width=width, color_system=None).print(drawn)
    return "\n".join(line for line in said.getvalue().splitlines() if line.strip())


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
