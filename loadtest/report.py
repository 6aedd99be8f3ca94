"""The report of a scenario: text for whoever watches, one JSON document, and a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from crowd.invariants import Check
from loadtest.figures import LATE_MS, Endpoint
from loadtest.machine import TOLERATED
from loadtest.model import FULLNESS, extrapolated
from loadtest.outcome import Outcome
from loadtest.page import page

#: What the system that waitroom replaces reached in the scenario `capacity`, as its operators reported it.
REPLACED: Final[Mapping[str, float]] = {
    "TPS": 4320,
    "success %": 96.49,
    "p95 ms": 419,
    "p99 ms": 651,
    "dropped %": 2.3,
}

#: Faults of one check that the text shows.
_SHOWN: Final = 5


def document(outcomes: Sequence[Outcome], stamp: Mapping[str, Any]) -> dict[str, Any]:
    """Everything as one document."""
    found: dict[str, Any] = {
        "name": outcomes[0].scenario,
        "verdict": "pass" if all(outcome.holds for outcome in outcomes) else "fail",
        "stamp": dict(stamp),
        "runs": [outcome.document() for outcome in outcomes],
    }
    if _is_comparable(outcomes[0]):
        found["beside_the_replaced_system"] = {"replaced": dict(REPLACED), "waitroom": beside(outcomes[0])}
    if len(outcomes) > 1:
        found["extrapolated"] = [asdict(step) for step in extrapolated(outcomes)]
    return found


def write(outcomes: Sequence[Outcome], stamp: Mapping[str, Any], folder: Path) -> None:
    """Put report.txt, report.json and report.html into a folder."""
    whole = document(outcomes, stamp)
    (folder / "report.json").write_text(json.dumps(whole, indent=1), encoding="utf-8")
    (folder / "report.html").write_text(page(whole), encoding="utf-8")
    with (folder / "report.txt").open("w", encoding="utf-8") as file:
        show(outcomes, stamp, Console(file=file, width=120))


def show(outcomes: Sequence[Outcome], stamp: Mapping[str, Any], console: Console) -> None:
    """Print the report."""
    for outcome in outcomes:
        _show_run(outcome, console)
    if _is_comparable(outcomes[0]):
        _show_beside(outcomes[0], console)
    if len(outcomes) > 1:
        _show_model(outcomes, console)
    told = ", ".join(f"{name}: {value}" for name, value in stamp.items() if not isinstance(value, dict))
    console.print(told, style="dim", highlight=False)
    good = all(outcome.holds for outcome in outcomes)
    console.print(f"Verdict: {'PASS' if good else 'FAIL'}", style="bold green" if good else "bold red")


def _is_comparable(outcome: Outcome) -> bool:
    """Whether it was the run that is known of the replaced system."""
    return outcome.scenario == "capacity" and "changed" not in outcome.more


def beside(outcome: Outcome) -> dict[str, float]:
    """The figures by which the replaced system is known."""
    kept = outcome.arrivals
    return {
        "TPS": round(outcome.whole.per_second, 1),
        "success %": round(outcome.whole.success * 100, 3),
        "p95 ms": round(outcome.whole.p95_ms, 1),
        "p99 ms": round(outcome.whole.p99_ms, 1),
        "dropped %": round((1 - kept.sent_share) * 100, 3) if kept is not None else 0.0,
    }


def _show_run(outcome: Outcome, console: Console) -> None:
    on = f"{outcome.instances} instance{'s' if outcome.instances != 1 else ''}" if outcome.instances else "a host"
    console.print(f"\n{outcome.scenario} on {on}: {outcome.about}", style="bold", highlight=False)
    endpoints = list(outcome.endpoints)
    if outcome.arrivals is not None:
        endpoints.append(outcome.arrivals.from_due)
    console.print(endpoint_table(endpoints))
    for line in lines(outcome):
        console.print(line, highlight=False)
    console.print(check_table(outcome.checks))


def lines(outcome: Outcome) -> list[str]:
    """What is said beside the tables: the schedule, the CPU time, the generator, the streams."""
    said = []
    kept = outcome.arrivals
    if kept is not None:
        said.append(
            f"schedule: {kept.sent:,} of {kept.offered:,} arrivals sent, {kept.late:,} of them more than {LATE_MS:g} ms"
            f" late, the latest {kept.latest_ms:.1f} ms; none is left out of the figures"
        )
    if outcome.cpu_us:
        each = ", ".join(f"{name} {us:.1f}" for name, us in outcome.cpu_us.items())
        said.append(f"CPU µs per request: {each} (redis with the watch's own looks)")
    made = outcome.generator
    said.append(
        f"load generator: {made.processes} process{'es' if made.processes != 1 else ''}, {made.us_per_request:.0f} µs "
        f"per request, the busiest took {made.busiest:.0%} of a core"
        + (": it may have been the bottleneck" if made.busiest > 0.85 else "")
    )
    said += _circumstances(outcome)
    back = outcome.more.get("reconnection")
    if back is not None:
        said.append(
            f"streams: {back['broken']} broke at once and were wanted again, {back['opened']} came back, the last after"
            f" {back['last_seconds']:.1f} s, {back['most_in_a_second']} in one second at most"
        )
    said += [
        f"{each['name']}: from {each['early']:,.1f} early to {each['late']:,.1f} late in the run"
        for each in outcome.more.get("growth", ())
    ]
    return said


def _circumstances(outcome: Outcome) -> list[str]:
    """Who else was on the machine, and how large the batches were."""
    said = []
    if "visitors_per_call" in outcome.more:
        said.append(f"visitors per call of the script enter: {outcome.more['visitors_per_call']:.1f}")
    if "call_costs" in outcome.more:
        costs = ", ".join(f"{size} {us:.1f}" for size, us in outcome.more["call_costs"])
        said.append(f"Redis CPU µs per visitor, by visitors in a call: {costs}")
    if "others_share" in outcome.more:
        others, stolen = outcome.more["others_share"], outcome.more["stolen_share"]
        doubt = ": the figures are doubtful, run it again" if max(others, stolen) > TOLERATED else ""
        said.append(f"of the machine, other processes took {others:.1%}, other guests of its host {stolen:.1%}{doubt}")
    return said


def endpoint_table(endpoints: Sequence[Endpoint]) -> Table:
    """The figures of each call."""
    table = Table(header_style="bold")
    table.add_column("endpoint")
    for column in ("requests", "TPS", "p50 ms", "p95 ms", "p99 ms", "worst ms", "success"):
        table.add_column(column, justify="right")
    for each in endpoints:
        times = (f"{each.per_second:,.1f}", f"{each.p50_ms:.1f}", f"{each.p95_ms:.1f}", f"{each.p99_ms:.1f}")
        table.add_row(each.name, f"{each.requests:,}", *times, f"{each.worst_ms:.1f}", f"{each.success:.3%}")
    return table


def check_table(checks: Sequence[Check]) -> Table:
    """Each check, what it was held against, and the first that is wrong."""
    table = Table(header_style="bold")
    for column in ("", "check", "held against", "faults"):
        table.add_column(column, justify="right" if column == "held against" else "left", overflow="fold")
    for check in checks:
        shown = check.faults[:_SHOWN] + (
            [f"and {len(check.faults) - _SHOWN} more"] if len(check.faults) > _SHOWN else []
        )
        table.add_row(_word(check), check.name, f"{check.looked_at:,}", "\n".join(shown))
    return table


def _word(check: Check) -> str:
    if not check.holds:
        return "FAIL"
    return "ok" if check.looked_at else "-"  # nothing was there to be wrong


def _show_beside(outcome: Outcome, console: Console) -> None:
    table = Table(title="beside the system that waitroom replaces", title_justify="left", header_style="bold")
    for column in ("", *REPLACED):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("replaced", *(f"{value:,g}" for value in REPLACED.values()))
    table.add_row("waitroom", *(f"{value:,g}" for value in beside(outcome).values()))
    console.print(table)


def _show_model(outcomes: Sequence[Outcome], console: Console) -> None:
    title = f"extrapolated, not measured: each instance on a core of its own, cores {FULLNESS:.0%} full"
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in ("instances", "enter per second", "nginx cores", "visitors per call", "what holds it back"):
        table.add_column(column, justify="left" if "what" in column else "right")
    for step in extrapolated(outcomes):
        table.add_row(
            str(step.instances),
            f"{step.per_second:,.0f}",
            f"{step.nginx_cores:.1f}",
            f"{step.batch:.1f}",
            step.bottleneck,
        )
    console.print(table)
