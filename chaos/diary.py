"""What was really done, and when: a schedule says when a fault should begin, a busy machine when it does."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from chaos.schedule import Fault
from rig.operator import Settings

#: Lanes that stand between a visitor's request and what becomes of it.
HIDING: Final = frozenset({"line", "redis", "instance"})


@dataclass
class Entry:
    """One fault as it was: times in seconds since the epoch, and what else is to be told."""

    fault: Fault
    began: float
    ended: float = float("inf")
    said: list[str] = field(default_factory=list)

    def overlaps(self, begin: float, end: float) -> bool:
        """Whether it was there at any time of that span."""
        return self.began <= end and begin <= self.ended


@dataclass
class Diary:
    """Everything that was done in a campaign: faults, and what an operator gave and revoked.

    `faults`: what did not go as it must, such as an exit code.
    """

    entries: list[Entry] = field(default_factory=list)
    settings: list[Settings] = field(default_factory=list)
    revoked: dict[str, tuple[float, float]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @contextmanager
    def noted(self, fault: Fault) -> Iterator[Entry]:
        """The entry of a fault that lasts as long as the block."""
        entry = Entry(fault, time.time())
        self.entries.append(entry)
        try:
            yield entry
        finally:
            entry.ended = time.time()

    @property
    def losses(self) -> list[Entry]:
        """When all data were lost."""
        return [entry for entry in self.entries if entry.fault.kind == "emptied"]

    def revoked_by(self, identity: str, at: float) -> bool:
        """Whether that visitor may have been revoked by then."""
        return identity in self.revoked and self.revoked[identity][0] <= at

    def calm_from(self, at: float) -> float:
        """The first time, from `at` on, at which no fault that hides anything is there."""
        for entry in sorted(self.entries, key=lambda each: each.began):
            if entry.fault.lane in HIDING and entry.overlaps(at, at):
                at = entry.ended
        return at

    def struck(self, begin: float, end: float, lanes: Collection[str]) -> bool:
        """Whether a fault of these lanes was there at any time of that span."""
        return any(entry.fault.lane in lanes and entry.overlaps(begin, end) for entry in self.entries)
