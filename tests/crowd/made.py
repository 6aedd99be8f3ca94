"""Histories made up line by line: what visitors of a small room were told, for the checks to judge."""

from __future__ import annotations

from typing import Any

from crowd.history import History, Operation
from crowd.rules import Rules

#: The start of the made-up run, in seconds; both clocks agree.
START = 1_800_000_000.0

RULES = Rules(capacity=1, admit_per_second=1.0, session_seconds=10.0, claim_seconds=3.0, abandon_seconds=4.0)


def serial(at: float) -> int:
    """The serial of who arrives so many seconds after the start."""
    return int((START + at) * 1_000_000)


def asked(visitor: str, call: str, at: float, **said: Any) -> Operation:
    """A request that was sent so many seconds after the start, and answered 10 ms later unless `said` has it."""
    sent = START + at
    told: dict[str, Any] = {"habit": "patient", "completed": sent + 0.01, "outcome": "ok", "status": 200}
    return Operation(visitor=visitor, call=call, invoked=sent, **{**told, **said})


def waits(visitor: str, at: float, rank: int, *, came: float, **said: Any) -> Operation:
    """Told to wait, at that rank; `came` is when the visitor arrived."""
    known: dict[str, Any] = {"identity": f"id-{visitor}", "serial": serial(came), "as_of": START + at + 0.005}
    return asked(visitor, "status", at, state="waiting", rank=rank, **{**known, **said})


def comes_in(visitor: str, at: float, **said: Any) -> Operation:
    """Told to come in: the offer is claimed by this very look."""
    expires = round(START + at + 0.005 + RULES.session_seconds, 3)
    known: dict[str, Any] = {"identity": f"id-{visitor}", "expires": expires}
    return asked(visitor, "status", at, state="admitted", **{**known, **said})


def passes(visitor: str, at: float, **said: Any) -> Operation:
    """Let through by the gate."""
    return asked(visitor, "gate", at, **{"passed": True, "status": 204, "brought": f"id-{visitor}", **said})


def leaves(visitor: str, at: float, **said: Any) -> Operation:
    """Said goodbye."""
    return asked(visitor, "leave", at, **{"status": 204, "brought": f"id-{visitor}", **said})


def told(*operations: Operation) -> History:
    """The history of these operations."""
    return History(sorted(operations, key=lambda operation: operation.invoked))


def good() -> list[Operation]:
    """Two visitors, one place: the first comes in and leaves, then the second."""
    return [
        waits("a", 0.0, 1, came=0.0),
        waits("b", 0.5, 2, came=0.5),
        comes_in("a", 1.0),
        waits("b", 1.5, 1, came=0.5),
        passes("a", 2.0),
        leaves("a", 3.0),
        waits("b", 3.5, 1, came=0.5),
        comes_in("b", 4.5),
        passes("b", 5.0),
        leaves("b", 6.0),
    ]
