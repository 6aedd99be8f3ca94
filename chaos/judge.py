"""What must hold of the history of a campaign, whatever was struck: the load tests' checks, and those that know faults.

A check is sharp wherever it can be: it gives way only to what `excuses` names, or where a time is hidden by a fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from chaos.diary import HIDING, Diary
from chaos.excuses import Excuses, hold_seconds
from crowd import invariants
from crowd.books import Books, conserved, reconciled
from crowd.history import EVENT, History, Operation
from crowd.invariants import Check, Scene
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
    scene = _scene(case)
    scene = replace(scene, back=list(_back(scene, case)))
    excuses = Excuses(case.diary, case.rules, case.room, scene.gap)
    losses = [(loss.began, loss.ended) for loss in case.diary.losses()]
    found = [
        _answered(case, excuses),
        _kept(case, excuses),
        invariants.came_in(Scene.of(case.history, case.rules)),
        invariants.admitted_once(scene),
        invariants.in_order(scene),
        invariants.within_capacity(scene),
        invariants.within_rate(scene),
        invariants.rank_never_grows(scene),
        invariants.earned(scene),
        invariants.forgeries_refused(scene),
        _revoked(case),
        *looks_hold(case.looks, case.rules, losses=losses, hold_seconds=hold_seconds(case.room)),
    ]
    if case.books is not None:
        found.append(conserved(case.books))
        if not case.diary.losses():  # a loss takes the books along
            doubtful = [each for each in case.history.operations if _is_doubtful(each, case.diary)]
            gone = len(case.diary.revoked)
            found.append(reconciled(case.history, case.books, doubtful=doubtful, tries=_TRIES, sent_away=gone))
    return found


def _scene(case: Case) -> Scene:
    """The history as the load tests' checks take it: a visitor for each identity, and no hearsay of streams."""
    named: list[Operation] = []
    for visitor, operations in case.history.by_visitor().items():
        number, identity = 0, ""
        for each in operations:
            if each.identity and not each.attempt and each.identity != identity:
                number, identity = number + bool(identity), each.identity
            # What a stream tells does not say that the visitor was heard, which keeps the place.
            if each.call != EVENT:
                named.append(replace(each, visitor=f"{visitor}/{number}" if number else visitor))
    breaks = [at for loss in case.diary.losses() for at in (loss.began, loss.ended)]
    scene = Scene.of(History(named, case.history.notes), case.rules, breaks)
    inside = [
        replace(each, inside_until=min(each.inside_until, case.diary.revoked.get(each.identity, (float("inf"),))[0]))
        for each in scene.admitted
    ]
    return replace(scene, admitted=inside)


def _answered(case: Case, excuses: Excuses) -> Check:
    """Every answer is one that this visitor may get, or a documented 503, or explained by what was done."""
    faults = [
        each.told()
        for visits in case.history.by_visitor().values()
        for each in visits
        if each.outcome != "ok" and not excuses.answer(visits, each)
    ]
    return Check("every answer is good, a documented 503, or explained", len(case.history.operations), faults)


def _kept(case: Case, excuses: Excuses) -> Check:
    """Whoever has a place has it again each time, until the turn is over; and nobody else ever has it."""
    faults: list[str] = []
    owners: dict[str, str] = {}
    looked = 0
    for visitor, visits in case.history.by_visitor().items():
        own = sorted((each for each in honest(visits) if each.identity), key=lambda each: each.completed or 0.0)
        looked += len(own)
        faults += [
            f"{visitor} ({after.habit}): {after.call} at {after.invoked:.3f}: another place before the turn was over"
            for before, after in pairwise(own)
            if after.identity != before.identity and not excuses.turn_over(visits, after)
        ]
        serials: dict[str, set[int]] = {}
        for each in own:
            serials.setdefault(each.identity, set()).update({each.serial} - {0})
        faults += [f"{visitor}: {identity} has serials {said}" for identity, said in serials.items() if len(said) > 1]
        marks = (*serials, *(str(serial) for said in serials.values() for serial in said))
        faults += [
            f"{visitor} and {owners[mark]}: both {mark}"
            for mark in marks
            if owners.setdefault(mark, visitor) != visitor
        ]
    return Check("a place is kept until its turn is over", looked, faults)


def _back(scene: Scene, case: Case) -> Iterator[tuple[str, float, float]]:
    """By whose requests, and between when, somebody may have come back to a place."""
    for each in returns(scene.history, scene.rules):
        yield each.visitor, each.invoked, _carried_out_by(each, case.diary)
    for each in scene.history.operations:
        end = each.completed or float("inf")
        lost = any(
            each.invoked <= loss.ended + hold_seconds(case.room) and loss.began <= end for loss in case.diary.losses()
        )
        if lost or case.diary.struck(each.invoked, end, tuple(HIDING)):
            yield each.visitor, each.invoked, _carried_out_by(each, case.diary)


def _carried_out_by(operation: Operation, diary: Diary) -> float:
    """When a request has been carried out at the latest: what was frozen may do it when it thaws."""
    end = operation.completed or operation.invoked
    calm = diary.calm_from(end)
    return calm + _LATE_SECONDS if operation.outcome == "unknown" or calm > end or _held_up(operation, diary) else end


def _held_up(operation: Operation, diary: Diary) -> bool:
    return diary.struck(operation.invoked, operation.completed or float("inf"), ("instance",))


def _revoked(case: Case) -> Check:
    """Who was revoked has no place any more, under that identity."""
    faults = []
    for each in honest(case.history.operations):
        known = case.diary.revoked.get(each.identity)
        if known is None or not each.state or each.invoked <= known[1] or each.call == EVENT:
            continue
        if any(loss.ended > known[1] for loss in case.diary.losses()):
            continue  # instances say again who was revoked, but a ticket may be quicker
        faults.append(f"{each.visitor}: {each.state} {each.invoked - known[1]:.2f} s after {each.identity} was revoked")
    return Check("who was revoked stays out", len(case.diary.revoked), faults)


def _is_doubtful(operation: Operation, diary: Diary) -> bool:
    """Whether it may have been carried out unseen, or more than once."""
    lanes = ("instance", "nginx")
    return operation.outcome == "unknown" or diary.struck(operation.invoked, operation.completed or float("inf"), lanes)


def said_of_logs(logs: Sequence[str]) -> Check:
    """No instance ran into an error that it does not know."""
    faults = [
        text[max(at - 300, 0) : at + 1500]
        for text in logs
        for at in [text.find("Traceback (most recent call last)")]
        if at >= 0
    ]
    return Check("no instance met an error that it does not know", len(logs), faults)
