"""What must hold of the history of a campaign, whatever was struck: the load tests' checks, and those that know faults.

A check is sharp wherever it can be: it gives way only to what `excuses` names, or where a time is hidden by a fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from chaos.diary import HIDING, Diary
from chaos.excuses import Excuses, hold_seconds
from crowd.books import Books, conserved, reconciled
from crowd.history import EVENT, History, Operation
from crowd.invariants import OF_THE_ROOM, Check, Scene, answered, came_in, forgeries_refused, one_place
from crowd.rules import Rules
from crowd.turns import honest, returns
from crowd.watch import Look, looks_hold
from waitroom.settings.room import RoomSettings

#: Seconds after a fault within which a request that it held up may still be carried out: nginx gives one up after 5 s.
_LATE_SECONDS: Final = 6.0

#: Times that nginx may send one request, to one instance each.
_TRIES: Final = 6


@dataclass(frozen=True)
class Case:
    """A campaign to be judged: its history, what was done, the settings it began with, all looks, the books at last."""

    history: History
    diary: Diary
    room: RoomSettings
    looks: Sequence[Look] = ()
    books: Books | None = None

    @property
    def rules(self) -> Rules:
        """The widest that the room ever had: the looks know better, at each instant."""
        every = self.diary.settings
        return Rules(
            capacity=max(each.capacity for each in every),
            admit_per_second=max(each.admit_per_second for each in every),
            session_seconds=self.room.session_seconds,
            claim_seconds=self.room.claim_seconds,
            abandon_seconds=self.room.abandon_seconds,
        )


def judged(case: Case) -> list[Check]:
    """Every check of a campaign's history, looks and books."""
    rules, losses = case.rules, [(loss.began, loss.ended) for loss in case.diary.losses]
    scene = _scene(case)
    excuses = Excuses(case.diary, rules, case.room, scene.gap)
    visits = case.history.by_visitor()
    named = History([each for each in case.history.operations if each.identity])
    found = [
        answered(case.history, lambda at: excuses.answer(visits[at.visitor], at)),
        one_place(named, lambda at: excuses.turn_over(visits[at.visitor], at)),
        came_in(case.history),
        *(check(scene) for check in OF_THE_ROOM),
        forgeries_refused(case.history),
        _revoked(case),
        *looks_hold(case.looks, rules, losses=losses, hold_seconds=hold_seconds(case.room)),
    ]
    if case.books is not None:
        found.append(conserved(case.books))
        if not losses:  # a loss takes the books along
            # What may have been carried out unseen, or more than once.
            doubtful = [
                each
                for each in case.history.operations
                if each.outcome == "unknown" or _passed_by(each, case.diary, "instance", "nginx")
            ]
            gone = len(case.diary.revoked)
            found.append(reconciled(case.history, case.books, doubtful=doubtful, tries=_TRIES, sent_away=gone))
    return found


def _scene(case: Case) -> Scene:
    """The history as checks of the room take it: a visitor for each identity, and no hearsay of streams."""
    named: list[Operation] = []
    for visitor, operations in case.history.by_visitor().items():
        number, identity = 0, ""
        for each in operations:
            if each.identity and not each.attempt and each.identity != identity:
                number, identity = number + bool(identity), each.identity
            # What a stream tells does not say that the visitor was heard, which keeps the place.
            if each.call != EVENT:
                named.append(replace(each, visitor=f"{visitor}/{number}" if number else visitor))
    breaks = [at for loss in case.diary.losses for at in (loss.began, loss.ended)]
    scene = Scene.of(History(named, case.history.notes), case.rules, breaks)
    inside = [
        replace(each, inside_until=min(each.inside_until, case.diary.revoked.get(each.identity, (float("inf"),))[0]))
        for each in scene.admitted
    ]
    return replace(scene, admitted=inside, back=list(_back(scene, case)))


def _back(scene: Scene, case: Case) -> Iterator[tuple[str, float, float]]:
    """By whose requests, and between when, somebody may have come back to a place."""
    for each in returns(scene.history, scene.rules):
        yield each.visitor, each.invoked, _carried_out_by(each, case.diary)
    for each in scene.history.operations:
        end = each.completed or float("inf")
        lost = any(
            each.invoked <= loss.ended + hold_seconds(case.room) and loss.began <= end for loss in case.diary.losses
        )
        if lost or _passed_by(each, case.diary, *HIDING):
            yield each.visitor, each.invoked, _carried_out_by(each, case.diary)


def _carried_out_by(operation: Operation, diary: Diary) -> float:
    """When a request has been carried out at the latest: what was frozen may do it when it thaws."""
    end = operation.completed or operation.invoked
    calm = diary.calm_from(end)
    held_up = operation.outcome == "unknown" or calm > end or _passed_by(operation, diary, "instance")
    return calm + _LATE_SECONDS if held_up else end


def _passed_by(operation: Operation, diary: Diary, *lanes: str) -> bool:
    """Whether a fault of these lanes was there while it was under way."""
    return diary.struck(operation.invoked, operation.completed or float("inf"), lanes)


def _revoked(case: Case) -> Check:
    """Who was revoked has no place any more, under that identity."""
    faults = []
    for each in honest(case.history.operations):
        known = case.diary.revoked.get(each.identity)
        if known is None or not each.state or each.invoked <= known[1] or each.call == EVENT:
            continue
        if any(loss.ended > known[1] for loss in case.diary.losses):
            continue  # instances say again who was revoked, but a ticket may be quicker
        faults.append(f"{each.visitor}: {each.state} {each.invoked - known[1]:.2f} s after {each.identity} was revoked")
    return Check("who was revoked stays out", len(case.diary.revoked), faults)
