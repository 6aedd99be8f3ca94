"""How event streams came back after all had broken at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from crowd.history import History
from crowd.invariants import Check

#: The room spreads reconnections over at least so many seconds, and nobody comes later.
_SPREAD_SECONDS: Final = 30
_LATEST_SECONDS: Final = _SPREAD_SECONDS + 5

#: Most of the streams that may come back in one second: three times an even spread.
_AT_ONCE_SHARE: Final = 3 / _SPREAD_SECONDS


@dataclass(frozen=True)
class Reconnection:
    """How many streams broke, how many were opened again, after how long the last, and most in one second."""

    broken: int
    opened: int
    last_seconds: float
    most_in_a_second: int


def reconnection(history: History) -> Reconnection | None:
    """What happened after the streams broke; None if they did not."""
    drops = {note["visitor"]: float(note["at"]) for note in history.notes if note["about"] == "drop"}
    if not drops:
        return None
    after: dict[str, float] = {}
    gone = set()
    for each in history.operations:
        at = drops.get(each.visitor)
        if at is None or each.invoked < at or each.visitor in after:
            continue
        if each.call == "events" and each.outcome == "ok":
            after[each.visitor] = (each.completed or each.invoked) - at
        elif each.state == "admitted" or each.call == "leave":
            gone.add(each.visitor)  # whose turn came meanwhile needs no stream
    wanted = len(drops.keys() - (gone - after.keys()))
    per_second = Counter(int(seconds) for seconds in after.values())
    return Reconnection(wanted, len(after), max(after.values(), default=0.0), max(per_second.values(), default=0))


def came_back(found: Reconnection) -> list[Check]:
    """Whether everybody who still waited came back, in time, and spread out."""
    faults = []
    if found.opened < found.broken:
        faults.append(f"{found.broken - found.opened} of {found.broken} streams were not opened again")
    if found.last_seconds > _LATEST_SECONDS:
        faults.append(f"the last stream came back after {found.last_seconds:.1f} s")
    crowded = []
    if found.most_in_a_second > max(_AT_ONCE_SHARE * found.broken, 10):
        crowded.append(f"{found.most_in_a_second} of {found.broken} came back in one second")
    return [
        Check("broken streams come back", found.broken, faults),
        Check("reconnections are spread", found.opened, crowded),
    ]
