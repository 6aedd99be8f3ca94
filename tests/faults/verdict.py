"""What must be true of every run, whatever the fault was, and the figures that the table of failures shows."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from crowd.history import History, Operation
from crowd.invariants import CHECKS, Scene, answered
from crowd.turns import honest
from crowd.watch import beyond_rate
from tests.faults.crowd import Guest, past_the_gate
from tests.faults.scene import Run
from tests.faults.scrape import FASTER, fired

#: Where the rows of the table go, one JSON document per line; nowhere if it is not set.
ROWS_VARIABLE: Final = "WAITROOM_FAILURES_ROWS"


#: Seconds after the loss of a leader within which the longest time without an admission is looked for.
_SUCCESSION_SECONDS: Final = 3.0


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

    def yielded(self) -> Row:
        """The same, written down where it was asked for."""
        path = os.environ.get(ROWS_VARIABLE)
        if path:
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(self)) + "\n")
        print(f"\n{self}")
        return self


def row(run: Run, fault: str, how: str, *, lost_at: float | None = None) -> Row:
    """The figures of a run; with `lost_at`, when the leader was lost, service is waited for from then on.

    A moment without an admission says nothing of a leader: what counts then is the longest of the seconds after it.
    """
    watch = run.stage.watch
    at = run.lifted if lost_at is None else run.lifted + lost_at - run.lifted_monotonic
    if lost_at is None:
        admission = watch.resumed_after(run.lifted_monotonic)
    else:
        admission = watch.longest_gap(lost_at, lost_at + _SUCCESSION_SECONDS)
    history = History(run.journal.operations)
    return Row(
        fault,
        how,
        round(run.journal.good("enter", since=at), 2),
        round(admission, 2),
        run.told_to_wait,
        sum(lost(guest, history) for guest in run.guests if guest.habit == "guest"),
        duplicates(history),
        len(past_the_gate(run.journal.operations)),
    ).yielded()


def lost(guest: Guest, history: History) -> bool:
    """Whether a visitor did not keep the place: another serial, or never let in."""
    own = list(honest(history.by_visitor().get(guest.name, [])))
    return not (guest.inside and guest.left) or len({each.serial for each in own if each.serial}) > 1


def duplicates(history: History) -> int:
    """Serials and identities that more than one visitor has."""
    owners: Counter[object] = Counter()
    for operations in history.by_visitor().values():
        own = list(honest(operations))
        owners.update({each.identity for each in own if each.identity})
        owners.update({each.serial for each in own if each.serial})
    return sum(number > 1 for number in owners.values())


def faults_of(run: Run, *, excused: Collection[str] = (), loss: bool = False) -> list[str]:
    """What is wrong with a run: nothing. `excused` names checks that do not hold for this fault, as documented.

    With `loss` Redis has lost data: everybody returns, with the serial of old, so that ranks grow behind them, and who
    is inside may have to ask for the status before the gate opens again.
    """
    if loss:
        excused = (*excused, "rank never grows, but by returners")
    history, rules, watch = History(run.journal.operations), run.stage.rules, run.stage.watch
    scene = Scene.of(history, rules)
    found = [f"{each.visitor}: {each.call}: {each.status} {each.error}" for each in failed(history)]
    for check in (make(scene) for make in CHECKS if make is not answered):
        if check.name not in excused:
            found += check.faults
    found += watch.faults
    for looks in between_steps_back(watch.on_its_clock):
        found += beyond_rate(looks, rules.admit_per_second)
    if watch.most_inside > rules.capacity:
        found.append(f"{watch.most_inside} were inside, capacity is {rules.capacity}")
    found += [f"{log.name} has a traceback" for log in run.stage.folder.glob("*.log") if "Traceback" in log.read_text()]
    found += past_the_gate(run.journal.operations)
    found += [f"{guest.name} lost the place" for guest in run.guests if guest.habit == "guest" and lost(guest, history)]
    if not loss:
        found += turned_away(history)
    if watch.looks < 20:
        found.append(f"the watch looked {watch.looks} times only")
    return found


def judged(
    run: Run,
    fault: str,
    how: str,
    *,
    alerts: Collection[str] = (),
    excused: Collection[str] = (),
    loss: bool = False,
    lost_at: float | None = None,
    faster: float = FASTER,
) -> Row:
    """The row of a run of which everything holds that must, and in which those alerts fired."""
    made = row(run, fault, how, lost_at=lost_at)
    wrong = faults_of(run, excused=excused, loss=loss)
    if wrong:
        (run.stage.folder / "history.txt").write_text("\n".join(map(str, run.journal.operations)))
    assert not wrong, "\n".join(wrong)
    assert (made.lost, made.duplicates, made.past_the_gate) == (0, 0, 0), made
    assert max(made.enter_seconds, made.admission_seconds) < float("inf"), made
    heard = fired(run.stage.scraper, alerts, run.stage.folder, faster=faster)
    assert heard == list(alerts), f"of {alerts} only {heard} fired"
    return made


def between_steps_back(looks: Sequence[tuple[float, int]]) -> Iterator[list[tuple[float, int]]]:
    """The looks in stretches in which the clock did not go back."""
    stretch: list[tuple[float, int]] = []
    for look in looks:
        if stretch and look[0] < stretch[-1][0]:
            yield stretch
            stretch = []
        stretch.append(look)
    yield stretch


def failed(history: History) -> list[Operation]:
    """Answers that nobody may get."""
    return [each for each in history.operations if each.outcome == "fail"]


def turned_away(history: History) -> list[str]:
    """Who held a pass, inside, and was not let through."""
    found = []
    for visitor, operations in history.by_visitor().items():
        inside = False
        for each in honest(operations):
            if each.call == "gate" and each.status == 401 and inside:
                found.append(f"{visitor}: turned away at the gate with a good pass")
            inside = each.state == "admitted" or (inside and each.call != "leave")
    return found
