"""What visitors saw of each fault: the answers while it was there, and how soon the room was itself again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from chaos.diary import Diary
from crowd.history import EVENT, History
from crowd.invariants import Check
from crowd.watch import Look, resumed_after

#: Seconds before the end of arrivals after which nobody may come to show that one can enter.
_ARRIVALS_SECONDS = 5.0


@dataclass(frozen=True)
class Sight:
    """One fault as visitors saw it. Times are in seconds, `began` and `lasted` since the beginning of the run.

    `answers` while it was there, by kind; `worst_ms` of them. `enter` and `admission`: how long after its end somebody
    first entered, and was first admitted; None if nobody was. `alone`: no other fault was there then.
    """

    fault: str
    began: float
    lasted: float
    answers: dict[str, int]
    worst_ms: float
    enter: float | None
    admission: float | None
    alone: bool
    said: str


def sights(history: History, looks: Sequence[Look], diary: Diary, began: float) -> list[Sight]:
    """Each fault in the order in which they began."""
    found = []
    for entry in sorted(diary.entries, key=lambda each: each.began):
        during = [
            each
            for each in history.operations
            if each.call != EVENT and entry.overlaps(each.invoked, each.completed or float("inf"))
        ]
        words = ("good" if each.outcome == "ok" else str(each.status or "none") for each in during)
        sight = Sight(
            fault=f"{entry.fault.kind} {entry.fault.target}".rstrip(),
            began=entry.began - began,
            lasted=entry.ended - entry.began,
            answers=dict(Counter(words).most_common()),
            worst_ms=max((each.took_ms for each in during if each.completed is not None), default=0.0),
            enter=_known(history.good("enter", since=entry.ended)),
            admission=_known(resumed_after(looks, entry.ended)),
            alone=not any(other is not entry and other.overlaps(entry.ended, entry.ended) for other in diary.entries),
            said=", ".join(entry.said),
        )
        found.append(sight)
    return found


def _known(seconds: float) -> float | None:
    return seconds if seconds < float("inf") else None


def recovered(found: Sequence[Sight], seconds: float) -> Check:
    """After each fault somebody enters and is admitted again; how soon is told, and judged by nobody."""
    faults = []
    for each in found:
        over = each.began + each.lasted
        if each.enter is None and over < seconds - _ARRIVALS_SECONDS:
            faults.append(f"nobody entered after {each.fault}, which was over at {over:.1f} s")
        if each.admission is None and over < seconds:
            faults.append(f"nobody was admitted after {each.fault}, which was over at {over:.1f} s")
    return Check("the room recovers from every fault", len(found), faults)
