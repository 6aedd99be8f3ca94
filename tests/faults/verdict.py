"""What must be true of every run, whatever the fault was, and the figures that the table of failures shows."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from crowd.invariants import came_in, forgeries_refused, one_place, went_out
from crowd.verdict import faults, no_tracebacks, unknown
from crowd.watch import resumed_after
from tests.faults.scene import Run
from tests.faults.scrape import FASTER, fired

#: Where the rows of the table go, one JSON document per line; nowhere if it is not set.
ROWS_VARIABLE: Final = "WAITROOM_FAILURES_ROWS"


@dataclass(frozen=True)
class Row:
    """A line of the table; seconds until service count from when the fault was lifted (of a leader: was lost)."""

    fault: str
    how: str
    enter_seconds: float
    admission_seconds: float
    told_to_wait: int
    lost: int
    duplicates: int
    past_the_gate: int


def row(run: Run, fault: str, how: str, *, succeeded_within: float | None = None) -> Row:
    """The figures of a run, written down where that was asked for.

    A moment without an admission says nothing of a leader. Where one was lost the longest time without an admission
    counts, of the seconds `succeeded_within` which another has to lead, and one more.
    """
    at = run.lifted if succeeded_within is None else run.stage.lost_at
    if succeeded_within is None:
        admission = resumed_after(run.stage.watch.looks, at)
    else:
        admission = run.stage.watch.longest_gap(at, at + succeeded_within + 1)
    made = Row(
        fault,
        how,
        round(run.history.good("enter", since=at), 2),
        round(admission, 2),
        run.told_to_wait,
        len(came_in(run.history).faults + went_out(run.history).faults),
        len(one_place(run.history).faults),
        len(forgeries_refused(run.history).faults),
    )
    if path := os.environ.get(ROWS_VARIABLE):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(made)) + "\n")
    print(f"\n{made}")
    return made


def judged(
    run: Run,
    fault: str,
    how: str,
    *,
    alerts: Collection[str] = (),
    excused: Collection[str] = (),
    loss: bool = False,
    succeeded_within: float | None = None,
    faster: float = FASTER,
) -> Row:
    """The row of a run of which everything holds that must, and in which those alerts fired.

    `excused` names checks that do not hold for this fault, as documented. With `loss` Redis has lost data.
    """
    made = row(run, fault, how, succeeded_within=succeeded_within)
    losses = [(run.began, run.lifted)] if loss else []
    wrong = faults(run.history, run.stage.rules, run.stage.watch.looks, borne=unknown, losses=losses, excused=excused)
    wrong += no_tracebacks(run.stage.folder).faults
    if wrong:
        (run.stage.folder / "history.txt").write_text("\n".join(map(str, run.history.operations)))
    assert not wrong, "\n".join(wrong)
    assert (made.lost, made.duplicates, made.past_the_gate) == (0, 0, 0), made
    assert max(made.enter_seconds, made.admission_seconds) < float("inf"), made
    assert succeeded_within is None or made.admission_seconds < succeeded_within, made
    heard = fired(run.stage.scraper, alerts, run.stage.folder, faster=faster)
    assert heard == list(alerts), f"of {alerts} only {heard} fired"
    return made
