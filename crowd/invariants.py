"""What must hold of every history, whatever the visitors did: each check returns what it looked at and what is wrong.

A check says nothing that it is not sure of: where a time is known only roughly, the reading that is kind to the room
counts. What is found is a fault of the room (or of its clock), never of the network between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from crowd.history import History, Operation
from crowd.rules import LATENESS_SECONDS, MILLISECOND, Rules
from crowd.turns import Admission, ClockGap, admissions, clock_gap, honest, returns, waits
from crowd.windows import Enclosing, most_at_once, worst_window

#: Seconds for which a gate may still let somebody pass who has left: "within about a second", and the way there.
_REVOKED_AFTER_SECONDS: Final = 2.0

#: Seconds by which the times of a pass may be misjudged: rounding, and the answer's way.
_SLACK_SECONDS: Final = 0.25

#: Habits of visitors who want in and do not give up, and of those who do not go without a goodbye.
WANTING: Final = frozenset({"patient", "reloader", "sleeper", "impatient", "watcher"})
PARTING: Final = frozenset({"patient", "leaver"})

#: Answers to a proof that proves nothing.
_REFUSALS: Final = frozenset({400, 401, 403, 410, 429, 503})


@dataclass(frozen=True)
class Check:
    """One invariant: its name in reports, how many things it was held against, and what is wrong."""

    name: str
    looked_at: int
    faults: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


@dataclass(frozen=True)
class Scene:
    """A history with what several checks want to know of it.

    `back`: by whose requests, and between when, somebody may have come back to a place; `breaks`: when places may have
    been lost, all at once.
    """

    history: History
    rules: Rules
    gap: ClockGap
    admitted: list[Admission]
    back: list[tuple[str, float, float]]
    breaks: Sequence[float] = ()

    @classmethod
    def of(cls, history: History, rules: Rules, breaks: Sequence[float] = ()) -> Scene:
        """The scene of a history."""
        gap = clock_gap(history)
        back = [(each.visitor, each.invoked, each.completed or float("inf")) for each in returns(history, rules)]
        return cls(history, rules, gap, admissions(history, rules, gap), back, breaks)


def _never(_: Operation) -> bool:
    return False


def answered(history: History, excused: Callable[[Operation], bool] = _never) -> Check:
    """Every request gets an answer that this visitor may get, or one that is excused."""
    faults = [each.told() for each in history.operations if each.outcome != "ok" and not excused(each)]
    return Check("every request is answered well", len(history.operations), faults)


def one_place(history: History, over: Callable[[Operation], bool] = _never) -> Check:
    """A turn has one identity and one serial, and no two turns share them.

    `over`: whether a visitor's turn may have been over when this answer gave them another place.
    """
    faults, owners, looked = [], dict[str, str](), 0
    for visitor, operations in history.by_visitor().items():
        own = sorted(honest(operations), key=lambda each: each.completed or 0.0)
        identity = next((each.identity for each in own if each.identity), "")
        serials: dict[str, set[int]] = {identity: set()}
        for each in own:
            if each.identity not in ("", identity):
                identity = each.identity
                faults += [] if over(each) else [f"became another visitor: {each.told()}"]
            serials.setdefault(identity, set()).update({each.serial} - {0})
        looked += len(serials.keys() - {""})
        faults += [f"{visitor}: {name} changed place: {sorted(had)}" for name, had in serials.items() if len(had) > 1]
        marks = {*serials, *(str(serial) for had in serials.values() for serial in had)} - {""}
        shared = [mark for mark in marks if owners.setdefault(mark, visitor) != visitor]
        faults += [f"{visitor} and {owners[mark]} have the same place {mark}" for mark in shared]
    return Check("one turn, one place", looked, faults)


def admitted_once(scene: Scene) -> Check:
    """A turn has one session, and what is over stays over."""
    faults, looked = [], 0
    for visitor, operations in scene.history.by_visitor().items():
        own = list(honest(operations))
        sessions = {each.expires for each in own if each.state == "admitted" and not each.offer}
        looked += bool(sessions)
        if len(sessions) > 1 and not scene.rules.sliding:
            faults.append(f"{visitor}: admitted {len(sessions)} times, until {sorted(sessions)}")
        over = min((each.completed or 0.0 for each in own if each.call == "leave"), default=float("inf"))
        again = [each for each in own if each.state and each.invoked > over]
        faults += [f"{visitor}: {each.state} again after it had left" for each in again]
    return Check("admitted at most once per turn", looked, faults)


def in_order(scene: Scene) -> Check:
    """Nobody is admitted while somebody with a smaller serial waits throughout."""
    waiting = sorted(waits(scene.history, scene.rules, scene.breaks), key=lambda wait: wait.serial)
    enclosing = Enclosing(wait.since for wait in waiting)
    faults, at = [], 0
    for admission in sorted(scene.admitted, key=lambda each: each.serial):
        while at < len(waiting) and waiting[at].serial < admission.serial:
            enclosing.add(waiting[at].visitor, waiting[at].since, waiting[at].until)
            at += 1
        passed = enclosing.find(admission.after - MILLISECOND, admission.by + MILLISECOND)
        if passed is not None and admission.by >= admission.after:
            faults.append(f"{admission.visitor} was admitted by {admission.by:.3f}, but {passed} came before and waits")
    return Check("admitted in serial order", len(scene.admitted), faults)


def within_capacity(scene: Scene) -> Check:
    """Never more inside than may be."""
    most, at = most_at_once((each.inside_from, each.inside_until) for each in scene.admitted)
    faults = []
    if 0 < scene.rules.capacity < most:
        faults.append(f"{most} were inside at {at:.3f}, capacity is {scene.rules.capacity}")
    return Check("never more inside than capacity", len(scene.admitted), faults)


def within_rate(scene: Scene) -> Check:
    """In any w seconds at most 1 + (0.2 + w) * rate are admitted."""
    rate, faults = scene.rules.admit_per_second, []
    if rate and scene.admitted:
        known = [(each.after, max(each.after, each.by)) for each in scene.admitted]
        surplus, begin, end = worst_window(known, rate)
        if surplus > 1 + (LATENESS_SECONDS + 2 * MILLISECOND) * rate:
            number, length = surplus + rate * (end - begin), end - begin
            faults.append(f"{number:.0f} were admitted in {length:.3f} s from {begin:.3f}, at {rate:g} per second")
    return Check("rate kept in every window", len(scene.admitted) if rate else 0, faults)


def rank_never_grows(scene: Scene) -> Check:
    """Nobody falls back, except behind returning visitors with older serials, one rank each."""
    serials = {each.visitor: each.serial for each in scene.history.operations if each.serial}
    faults, looked = [], 0
    for visitor, operations in scene.history.by_visitor().items():
        told = [each for each in honest(operations) if each.state == "waiting"]
        # Answers of one millisecond came in an order that nobody knows: the kind one is meant.
        told.sort(key=lambda each: (each.as_of, -each.rank))
        looked += len(told)
        for before, after in pairwise(told):
            if after.rank <= before.rank:
                continue
            older = {
                other
                for other, begin, end in scene.back
                if serials.get(other, 0) < after.serial
                and begin <= (after.completed or begin)
                and before.invoked <= end
            }
            if after.rank - before.rank > len(older - {visitor}):
                faults.append(f"{visitor}: rank {before.rank} grew to {after.rank} at {after.as_of:.3f}")
    return Check("rank never grows, but by returners", looked, faults)


def earned(scene: Scene) -> Check:
    """The gate opens for those only who were admitted, and not after they have left or their session is over."""
    faults, looked = [], 0
    for visitor, operations in scene.history.by_visitor().items():
        own = list(honest(operations))
        left = min((each.completed or 0.0 for each in own if each.call == "leave"), default=float("inf"))
        for each in own:
            if not each.passed:
                continue
            looked += 1
            before = [other for other in own if other.state == "admitted" and other.invoked <= each.invoked]
            until = max((other.expires for other in before), default=0.0) - scene.gap.least + _SLACK_SECONDS
            if not before:
                faults.append(f"{visitor}: the gate opened without an admission")
            elif each.invoked > left + _REVOKED_AFTER_SECONDS:
                faults.append(f"{visitor}: the gate opened {each.invoked - left:.1f} s after it had left")
            elif each.invoked > until and not scene.rules.sliding:
                faults.append(f"{visitor}: the gate opened {each.invoked - until:.1f} s after the session was over")
    return Check("no way in without an admission", looked, faults)


def forgeries_refused(history: History) -> Check:
    """Whoever brings a forged, spent or strange proof gets nothing for it, at most a place of their own."""
    tried = [each for each in history.operations if each.attempt and each.completed is not None]
    faults = [
        f"{each.visitor}: {each.call} with {each.attempt}: {each.status} {each.state}".rstrip()
        for each in tried
        if each.status
        and each.status not in _REFUSALS
        # A fresh place is what anybody gets.
        and not (each.call in ("enter", "gate") and each.identity not in ("", each.brought))
    ]
    return Check("forged proofs are refused", len(tried), faults)


def welcome(history: History) -> Check:
    """A visitor who holds a pass, inside, is let through."""
    faults, looked = [], 0
    for visitor, operations in history.by_visitor().items():
        inside = False
        for each in honest(operations):
            looked += inside and each.call == "gate"
            if each.call == "gate" and each.status == 401 and inside:
                faults.append(f"{visitor}: turned away at the gate with a good pass")
            inside = each.state == "admitted" or (inside and each.call != "leave")
    return Check("a good pass opens the gate", looked, faults)


def came_in(history: History) -> Check:
    """Every visitor who wanted in came in, but for turns that ended otherwise: `answered` has judged those."""
    faults, looked = [], 0
    for visitor, operations in history.by_visitor().items():
        if operations[-1].habit not in WANTING:
            continue
        looked += 1
        if not any(each.state == "admitted" or each.outcome == "fail" for each in operations if not each.attempt):
            faults.append(f"{visitor} ({operations[-1].habit}) never came in; last: {operations[-1].told()}")
    return Check("everybody who wants in gets in", looked, faults)


def went_out(history: History) -> Check:
    """Every visitor whose habit that is said goodbye in the end, and was heard."""
    faults, looked = [], 0
    for visitor, operations in history.by_visitor().items():
        if operations[-1].habit in PARTING:
            looked += 1
            if not any(each.call == "leave" and each.outcome == "ok" for each in operations):
                faults.append(f"{visitor} ({operations[-1].habit}) never left; last: {operations[-1].told()}")
    return Check("everybody leaves in the end", looked, faults)


#: Those that know the room's settings, in the order of a report.
OF_THE_ROOM: Final[Sequence[Callable[[Scene], Check]]] = (
    admitted_once,
    in_order,
    within_capacity,
    within_rate,
    rank_never_grows,
    earned,
)


def check_all(history: History, rules: Rules, excused: Callable[[Operation], bool] = _never) -> list[Check]:
    """Every check of a history in which no turn is followed by another under the same name."""
    scene = Scene.of(history, rules)
    found = [answered(history, excused), one_place(history), *(check(scene) for check in OF_THE_ROOM)]
    return [*found, forgeries_refused(history)]
