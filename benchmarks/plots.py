"""Plots of reports as SVG, for those who would rather see than read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pygal
from pygal.style import Style

from benchmarks.budgets import CONNECTIONS, WAITING
from benchmarks.report import Row

# pygal leaves an import hook of an old kind behind, at which every later import warns; none of its plug-ins is used.
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != pygal.__name__]

_COLOURS: Final = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#17becf")

Chart = Any


def draw(reports: Mapping[str, Mapping[str, Any]], folder: Path) -> list[Path]:
    """Write every plot for which there are figures; the files, in order."""
    written = []
    for name, (of, chart) in _PLOTS.items():
        rows = reports.get(of, {}).get("rows", [])
        drawn = chart(rows) if rows else None
        if drawn is not None:
            path = folder / f"{name}.svg"
            path.write_bytes(drawn.render())
            written.append(path)
    return written


def _ratios(rows: Sequence[Row]) -> Chart:
    waiting, chosen = _nearest(rows, "waiting", WAITING)
    chart = _line(f"Requests per second, bare uvicorn = 1 ({waiting:,} waiting)", "connections")
    return _series(chart, chosen, "endpoint", "connections", "ratio")


def _by_waiting(rows: Sequence[Row]) -> Chart:
    connections, chosen = _nearest(rows, "connections", CONNECTIONS)
    chart = _line(f"CPU µs of the server per request ({connections:,} connections)", "waiting")
    direct = [row for row in chosen if not row["endpoint"].startswith("nginx")]
    return _series(chart, direct, "endpoint", "waiting", "server_us")


def _processor_time(rows: Sequence[Row]) -> Chart:
    connections, chosen = _nearest(rows, "connections", CONNECTIONS)
    waiting, chosen = _nearest(chosen, "waiting", WAITING)
    chart = _bars(f"CPU µs per request ({connections:,} connections, {waiting:,} waiting)", stacked=True)
    chart.x_labels = ["bare uvicorn", *(row["endpoint"] for row in chosen)]
    chart.add("server", [chosen[0]["bare_us"], *(row["server_us"] for row in chosen)])
    for name in ("redis", "nginx", "origin"):
        chart.add(name, [0, *(row[f"{name}_us"] for row in chosen)])
    return chart


def _script_batches(rows: Sequence[Row]) -> Chart:
    waiting, chosen = _nearest(_with_batches(rows), "waiting", 1_000_000_000)
    chart = _line(f"µs in the script per visitor ({waiting:,} waiting)", "visitors per call", logarithmic=True)
    return _series(chart, chosen, "script", "batch", "script_us")


def _script_lengths(rows: Sequence[Row]) -> Chart:
    batch, chosen = _nearest(_with_batches(rows), "batch", 64)
    chart = _line(f"µs in the script per visitor ({batch} visitors per call)", "waiting")
    return _series(chart, chosen, "script", "waiting", "script_us")


def _with_batches(rows: Sequence[Row]) -> list[Row]:
    """Those of the scripts that take visitors."""
    scripts = {row["script"] for row in rows if row["batch"] > 1}
    return [row for row in rows if row["script"] in scripts]


def _webservers(rows: Sequence[Row]) -> Chart:
    chart = _bars("Requests per second by web server", x_label_rotation=30)
    return _series(chart, rows, "asked", "server", "per_second")


def _profile(rows: Sequence[Row]) -> Chart:
    return _series(_bars("Where the CPU time of a request goes, µs", stacked=True), rows, "part", "asked", "us")


def _fairness(rows: Sequence[Row]) -> Chart:
    chart = _bars("Share of visitors admitted within the bounds that they were told", x_label_rotation=30)
    chart.x_labels = [
        row["scenario"] if row["silent"] is None else f"{row['scenario']}, {row['silent']:.0%} silent" for row in rows
    ]
    for when, name in (("arrival", "at arrival"), ("look", "at each look")):
        chart.add(name, [row.get(f"{when}_within") for row in rows])
    return chart


#: File, the benchmark whose rows are drawn, and how.
_PLOTS: Final[dict[str, tuple[str, Callable[[Sequence[Row]], Chart]]]] = {
    "endpoints-ratio": ("endpoints", _ratios),
    "endpoints-waiting": ("endpoints", _by_waiting),
    "endpoints-cpu": ("endpoints", _processor_time),
    "scripts-batch": ("scripts", _script_batches),
    "scripts-length": ("scripts", _script_lengths),
    "webservers": ("webservers", _webservers),
    "profile": ("profile", _profile),
    "fairness": ("fairness", _fairness),
}


def _nearest(rows: Sequence[Row], field: str, wanted: int) -> tuple[int, list[Row]]:
    """The value of the field that is nearest to the one wanted, and the rows that have it."""
    near = min((int(row[field]) for row in rows), key=lambda value: abs(value - wanted))
    return near, [row for row in rows if row[field] == near]


def _series(chart: Chart, rows: Sequence[Row], name: str, along: str, field: str) -> Chart:
    """A line, or bars, for each `name`, over the values of `along` as they come, numbers in order."""
    steps = list(dict.fromkeys(row[along] for row in rows))
    if not isinstance(steps[0], str):
        steps.sort()
    chart.x_labels = [step if isinstance(step, str) else f"{step:,}" for step in steps]
    for each in dict.fromkeys(row[name] for row in rows):
        values = {row[along]: row[field] for row in rows if row[name] == each}
        chart.add(each, [values.get(step) for step in steps])
    return chart


def _line(title: str, below: str, *, logarithmic: bool = False) -> Chart:
    return pygal.Line(
        title=title, x_title=below, logarithmic=logarithmic, include_x_axis=not logarithmic, **_look(), dots_size=3
    )


def _bars(title: str, *, stacked: bool = False, x_label_rotation: int = 0) -> Chart:
    kind = pygal.StackedBar if stacked else pygal.Bar
    return kind(title=title, x_label_rotation=x_label_rotation, **_look())


def _look() -> dict[str, Any]:
    """No scripts, and nothing to load from elsewhere."""
    style = Style(colors=_COLOURS, background="white", plot_background="white", font_family="sans-serif")
    return {"js": [], "style": style, "width": 900, "height": 480, "legend_at_bottom": True}
