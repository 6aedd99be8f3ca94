"""One verdict on what a crowd went through: of its history and of all looks at its room, nothing may be wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

from crowd.history import History, Operation
from crowd.invariants import Check, came_in, check_all, welcome, went_out
from crowd.rules import Rules
from crowd.watch import Look, Losses, looks_hold

#: What does not hold where the last moments of a Redis were lost. Visitors who came in them are back at the old place
#: when they ask, but others may have gone first. A claim that was lost is made again, for a session of its own.
OVERTAKEN: Final = ("admitted in serial order", "admitted at most once per turn")

#: What does not hold where data were lost. All return with the serials of old, so that ranks grow behind them. Visitors
#: inside may have to ask for the status before the gate opens again.
LOST: Final = ("rank never grows, but by returners", "a good pass opens the gate")

#: Looks that a watch has to have taken to be worth something.
_FEWEST_LOOKS: Final = 20


def told_to_wait(operation: Operation) -> bool:
    """Whether an instance said by a documented 503 that it cannot serve just then."""
    return operation.outcome == "unknown" and operation.status == 503


def unknown(operation: Operation) -> bool:
    """The same, or no answer came."""
    return operation.outcome == "unknown"


def faults(
    history: History,
    rules: Rules,
    looks: Sequence[Look],
    *,
    borne: Callable[[Operation], bool] = lambda _: False,
    losses: Losses = (),
    excused: Collection[str] = (),
) -> list[str]:
    """What is wrong: nothing, of a crowd in which every visit came to its end.

    `borne`: what visitors put up with although it is no good answer. `losses`: when data were lost. `excused`: names of
    checks that do not hold, as documented.
    """
    checks = check_all(history, rules, borne)
    checks += [came_in(history), went_out(history), welcome(history), *looks_hold(looks, rules, losses=losses)]
    checks.append(Check("the room was watched", len(looks), ["too few looks"] if len(looks) < _FEWEST_LOOKS else []))
    excused = (*excused, *(LOST if losses else ()))
    return [f"{check.name}: {fault}" for check in checks if check.name not in excused for fault in check.faults]


def no_tracebacks(folder: Path) -> Check:
    """No instance whose log is in this folder ran into an error that it does not know."""
    said = [log.read_text(encoding="utf-8", errors="replace") for log in folder.glob("waitroom-*.log")]
    found = [(text, text.find("Traceback")) for text in said]
    faults = [text[max(at - 300, 0) : at + 1500] for text, at in found if at >= 0]
    return Check("no instance met an error that it does not know", len(said), faults)
