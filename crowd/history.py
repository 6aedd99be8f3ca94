"""What every visitor of a run asked and was told: recorded as JSON lines, read back as operations.

Each request that matters is two lines of its process's file, which share the number `n`:

    {"n": 7, "type": "invoke", "at": 1767319445.678, "visitor": "0-12.3", "habit": "patient", "call": "enter"}
    {"n": 7, "type": "ok", "at": 1767319445.681, "status": 202, "state": "waiting", "serial": 1767319445679123, ...}

`ok` is an answer that this visitor may get, `fail` one that they should not, `unknown` none at all: it may have been
carried out or not. A request whose end was never written is unknown too, and so is, in a crowd that bears outages, one
that was put off: a 503 that says what is wrong and when to come again. A visitor's name stands for one turn of one
client. Times are seconds since the epoch on the load generator's clock, `as_of` and `expires` on that of Redis.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, Self

import orjson

Outcome = Literal["ok", "fail", "unknown"]

#: Lines that are kept in memory before they are written.
_LINES_AT_ONCE: Final = 500

#: What a line that is neither the beginning nor the end of a request is about.
NOTE: Final = "note"

_OFFSET: Final = time.time() - time.perf_counter()


def clock() -> float:
    """Seconds since the epoch, on a clock that never goes back."""
    return time.perf_counter() + _OFFSET


#: The call of what was told on an event stream, unasked.
EVENT: Final = "event"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One request and its answer.

    `due`: when it should have been sent, where arrivals follow a schedule; `attempt`: what the visitor was up to, where
    it was no honest request; `brought`: the identity in the proof that came with it; `passed`: the gate opened;
    `problem`: the last part of a problem document's type.
    """

    visitor: str
    habit: str
    call: str
    invoked: float
    due: float | None = None
    attempt: str = ""
    brought: str = ""
    completed: float | None = None
    outcome: Outcome = "unknown"
    status: int = 0
    state: str = ""
    passed: bool = False
    identity: str = ""
    serial: int = 0
    rank: int = 0
    as_of: float = 0.0
    expires: float = 0.0
    offer: bool = False
    error: str = ""
    problem: str = ""

    @property
    def took_ms(self) -> float:
        """From sending to the answer; infinite without one."""
        return (self.completed - self.invoked) * 1000 if self.completed is not None else float("inf")

    @property
    def from_due_ms(self) -> float:
        """From when it should have been sent to the answer, as who comes at that time sees it."""
        began = self.invoked if self.due is None else min(self.due, self.invoked)
        return (self.completed - began) * 1000 if self.completed is not None else float("inf")

    def told(self) -> str:
        """The same in a line, for a message."""
        when = f"answered after {self.took_ms:.0f} ms" if self.completed else "never answered"
        said = f"{self.visitor} ({self.habit}): {self.call}: {self.status or 'no answer'} {self.error}".rstrip()
        return f"{said}; sent at {self.invoked:.3f}, {when}"


@dataclass(frozen=True)
class History:
    """All operations of a run by the time they were sent, and the notes of the processes that made them."""

    operations: list[Operation] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The history that the processes left in a folder. Raises ValueError for a line that is none."""
        operations: list[Operation] = []
        notes: list[dict[str, Any]] = []
        for path in sorted(folder.glob("history-*.jsonl")):
            operations += _paired(_lines(path), notes)
        operations.sort(key=lambda operation: operation.invoked)
        return cls(operations, notes)

    @property
    def statuses(self) -> Counter[int]:
        """The answers, counted; 0 is none."""
        return Counter(each.status for each in self.operations)

    def by_visitor(self) -> dict[str, list[Operation]]:
        """Each visitor's operations, in the order in which they were sent."""
        visitors: dict[str, list[Operation]] = {}
        for operation in self.operations:
            visitors.setdefault(operation.visitor, []).append(operation)
        return visitors

    def good(self, call: str, *, since: float) -> float:
        """Seconds from then until the first good answer to such a call that was sent later; infinite without one."""
        answered = (
            each.completed - since
            for each in self.operations
            if each.call == call and each.outcome == "ok" and each.completed is not None and each.invoked >= since
        )
        return min(answered, default=float("inf"))


class Recorder:
    """Writes one process's part of a history."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("wb", buffering=0)
        self._lines: list[bytes] = []
        self._number = 0

    def invoke(self, at: float, **said: Any) -> int:
        """Note that a request is about to be sent; returns its number."""
        self._number += 1
        self._write({"n": self._number, "type": "invoke", "at": at, **said})
        return self._number

    def complete(self, number: int, outcome: Outcome, at: float, said: Mapping[str, Any]) -> None:
        """Note how that request ended."""
        self._write({"n": number, "type": outcome, "at": at, **said})

    def note(self, **said: Any) -> None:
        """Note something about this process."""
        self._write({"type": NOTE, **said})

    def flush(self) -> None:
        """Write what is kept in memory."""
        lines, self._lines = self._lines, []
        if lines:
            self._file.write(b"".join(lines))

    def close(self) -> None:
        """Write the rest."""
        self.flush()
        self._file.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        self._lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        if len(self._lines) >= _LINES_AT_ONCE:
            self.flush()


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as error:
                if not line.endswith(b"\n"):
                    return  # its process was killed while it wrote
                raise ValueError(f"{path.name}, line {number}: {error}") from None


def _paired(lines: Iterable[dict[str, Any]], notes: list[dict[str, Any]]) -> list[Operation]:
    begun: dict[int, dict[str, Any]] = {}
    operations = []
    for line in lines:
        kind = line.pop("type")
        if kind == NOTE:
            notes.append(line)
        elif kind == "invoke":
            line["invoked"] = line.pop("at")
            begun[line.pop("n")] = line
        else:
            line["completed"] = line.pop("at")
            operations.append(Operation(outcome=kind, **begun.pop(line.pop("n")), **line))
    return operations + [Operation(**line) for line in begun.values()]
