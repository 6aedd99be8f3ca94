"""What happened to every visitor of a run: checked when the run is over (loadtest.watch looks at the room itself)."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(eq=False)
class Visit:
    """One visitor's record. `ranks` are as told, in order; times are monotonic seconds."""

    serials: list[str] = field(default_factory=list)
    ranks: list[int] = field(default_factory=list)
    passes: set[str] = field(default_factory=set)
    admitted_at: float | None = None
    left: bool = False
    errors: list[str] = field(default_factory=list)


def check(visits: list[Visit]) -> list[str]:
    """What is wrong with the visits: nothing, if everybody kept one place, moved up only, and came in once."""
    faults = []
    for number, visit in enumerate(visits):
        who = f"visitor {number}"
        faults += [f"{who}: {error}" for error in visit.errors]
        if len(set(visit.serials)) > 1:
            faults.append(f"{who}: changed place, entered at {visit.serials}")
        if any(later > earlier for earlier, later in zip(visit.ranks, visit.ranks[1:], strict=False)):
            faults.append(f"{who}: rank grew: {visit.ranks}")
        if visit.admitted_at is None:
            faults.append(f"{who}: never admitted")
        if not visit.left:
            faults.append(f"{who}: never left")
    admitted_ids = [identity for visit in visits for identity in visit.passes]
    if len(set(admitted_ids)) != len(admitted_ids):
        faults.append("two visitors hold the same pass")
    return faults
