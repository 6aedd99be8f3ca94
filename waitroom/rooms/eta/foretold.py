"""How good estimates were, told when their visitors are admitted."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from waitroom.rooms.eta.estimate import Eta


@dataclass(frozen=True, slots=True)
class Verdict:
    """How good one estimate was: `error_seconds` > 0 when admission came later than said."""

    error_seconds: float
    within: bool


class Foretold:
    """Compares what newcomers to a room were told with when they were admitted.

    Once a second the last serial given out and the eta at the tail are noted. When that serial, or a later one, is
    admitted, the note has its verdict.
    """

    #: Notes kept at most: an hour of them.
    LONGEST: Final = 3600

    def __init__(self) -> None:
        self._notes: deque[tuple[int, int, Eta]] = deque(maxlen=self.LONGEST)

    def note(self, serial: int, now_us: int, eta: Eta | None) -> None:
        """Remember what a visitor with that serial, arriving now, is told."""
        if eta is not None and (not self._notes or serial > self._notes[-1][0]):
            self._notes.append((serial, now_us, eta))

    def judge(self, admitted_serial: int, now_us: int) -> list[Verdict]:
        """The verdicts on all notes up to the serial that was just admitted."""
        verdicts = []
        while self._notes and self._notes[0][0] <= admitted_serial:
            _, noted_us, eta = self._notes.popleft()
            took = (now_us - noted_us) / 1_000_000
            verdicts.append(Verdict(took - eta.seconds, eta.low <= took <= eta.high))
        return verdicts
