"""One verdict on what a crowd went through: of its history and of all looks at its room, nothing may be wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from crowd.history import History
from crowd.invariants import CHECKS, WANTING, Check, Scene, answered, came_in, welcome, went_out
from crowd.rules import Rules
from crowd.turns import honest
from crowd.watch import Look, Losses, looks_hold

#: What does not hold where the last moments of a Redis were lost. Visitors who came in them are back at the old place
#: when they ask, but others may have gone first. A claim that was lost is made again, for a session of its own.
OVERTAKEN: Final = ("admitted in serial order", "admitted at most once per turn")

#: What does not hold where data were lost. All return with the serials of old, so that ranks grow behind them. Visitors
#: inside may have to ask for the status before the gate opens again.
LOST: Final = ("rank never grows, but by returners", "a good pass opens the gate")

#: Looks that a watch has to have taken to be worth something.
_FEWEST_LOOKS: Final = 20


def faults(
    history: History,
    rules: Rules,
    looks: Sequence[Look],
    *,
    bearing: bool = False,
    losses: Losses = (),
    excused: Collection[str] = (),
) -> list[str]:
    """What is wrong: nothing, of a crowd in which every visit came to its end.

    `bearing`: whether visitors put up with no answer, and with a documented 503. `losses`: when data were lost.
    `excused`: names of checks that do not hold, as documented.
    """
    scene = Scene.of(history, rules)
    heard = [each for each in history.operations if each.outcome != "unknown"] if bearing else history.operations
    checks = [make(scene) for make in (*CHECKS, came_in, went_out, welcome) if make is not answered]
    checks += [answered(replace(scene, history=History(heard))), *looks_hold(looks, rules, losses=losses)]
    checks.append(Check("the room was watched", len(looks), ["too few looks"] if len(looks) < _FEWEST_LOOKS else []))
    excused = (*excused, *(LOST if losses else ()))
    return [f"{check.name}: {fault}" for check in checks if check.name not in excused for fault in check.faults]


def lost(history: History) -> list[str]:
    """The visitors who did not keep their place: another serial, never let in, or never out again."""
    return [
        visitor
        for visitor, operations in history.by_visitor().items()
        if operations[-1].habit in WANTING
        and not (
            any(each.state == "admitted" for each in honest(operations))
            and any(each.call == "leave" for each in honest(operations))
            and len({each.serial for each in honest(operations) if each.serial}) < 2
        )
    ]


def duplicates(history: History) -> int:
    """Serials, and identities, that more than one visitor has."""
    owners: Counter[int | str] = Counter()
    for operations in history.by_visitor().values():
        own = list(honest(operations))
        owners.update({each.identity for each in own if each.identity})
        owners.update({each.serial for each in own if each.serial})
    return sum(number > 1 for number in owners.values())
