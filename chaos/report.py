"""The report of a campaign: text for whoever watches, and one JSON document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from chaos.schedule import Fault
from chaos.sights import Sight
from crowd.invariants import Check
from loadtest.figures import Endpoint
from loadtest.report import check_table, endpoint_table

#: Faults of a check that the document has.
_KEPT: Final = 50


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How a campaign is run, and run again; of these kinds of faults `only`, if any are named."""

    seed: int
    seconds: float
    engine: str
    users: int
    only: Sequence[str] = ()

    @property
    def replay(self) -> str:
        """The command that runs it."""
        kinds = " --only" + "".join(f" '{kind}'" for kind in self.only) if self.only else ""
        options = f"--engine {self.engine} --users {self.users}{kinds}"
        return f'make chaos SEED={self.seed} MINUTES={self.seconds / 60:g} ARGS="{options}"'


@dataclass(frozen=True, kw_only=True)
class Campaign(Wanted):
    """One campaign: what was done, what was seen, what is wrong."""

    schedule: Sequence[Fault]
    sights: Sequence[Sight]
    endpoints: Sequence[Endpoint]
    checks: Sequence[Check]

    @property
    def holds(self) -> bool:
        """Whether all checks hold."""
        return all(check.holds for check in self.checks)

    def document(self) -> dict[str, Any]:
        """All of it; of faults the first of each check."""
        kept = [{"faults": each.faults[:_KEPT], "number_of_faults": len(each.faults)} for each in self.checks]
        checks = [asdict(one) | {"holds": one.holds} | more for one, more in zip(self.checks, kept, strict=True)]
        verdict = "pass" if self.holds else "fail"
        return {**asdict(self), "replay": self.replay, "verdict": verdict, "checks": checks}


def write(campaign: Campaign, stamp: dict[str, Any], folder: Path) -> None:
    """Put report.txt and report.json into a folder."""
    document = {**campaign.document(), "stamp": stamp}
    (folder / "report.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    with (folder / "report.txt").open("w", encoding="utf-8") as file:
        show(campaign, Console(file=file, width=140))


def show(campaign: Campaign, console: Console) -> None:
    """Print the report."""
    console.print(_sights(campaign.sights))
    console.print(endpoint_table(campaign.endpoints))
    console.print(check_table(campaign.checks))
    word, style = ("PASS", "bold green") if campaign.holds else ("FAIL", "bold red")
    console.print(f"Verdict: {word}", style=style)
    console.print(f"seed {campaign.seed}; again: {campaign.replay}", highlight=False, soft_wrap=True)


def _sights(sights: Sequence[Sight]) -> Table:
    title = "each fault, and what visitors saw: seconds; enter and admission from its end (* others were still there)"
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in ("began", "lasted", "fault", "answers meanwhile", "worst ms", "enter", "admission"):
        table.add_column(column, justify="left" if column in ("fault", "answers meanwhile") else "right")
    for each in sights:
        fault = each.fault + (f" ({each.said})" if each.said else "")
        answers = ", ".join(f"{number} {kind}" for kind, number in each.answers.items())
        back = ("never" if at is None else f"{at:.2f}" for at in (each.enter, each.admission))
        marked = [each_back + ("" if each.alone else "*") for each_back in back]
        table.add_row(f"{each.began:.1f}", f"{each.lasted:.1f}", fault, answers, f"{each.worst_ms:.0f}", *marked)
    return table
