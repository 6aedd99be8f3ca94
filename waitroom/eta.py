"""The expected time until admission, with a low and a high bound, and how far to trust it.

The estimate is rank / pace. The pace is the room's own: admissions under demand over time under demand, both fading
with a time constant of a minute (kept in Redis by `admit`, so that all instances say the same), mixed with what the
room's limits allow, which counts for as much as PRIOR_SECONDS of observation. The bounds come from the spread of a
sum of `rank` exponential gaps (a gamma distribution) and from how little has been observed so far.
"""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass
from typing import Final

from waitroom.model import Reading
from waitroom.settings import RoomSettings

#: Seconds of observation that the room's limits weigh as much as.
PRIOR_SECONDS: Final = 5.0

#: Standard deviations between the estimate and its bounds: nine visitors in ten fall between.
_SPREAD: Final = 1.65

#: How wrong the pace itself may be, as a share, however long it was observed.
_DRIFT: Final = 0.10

#: Seconds that pass between an admission and a client's hearing of it in the best case: one tick and one poll.
_FLOOR_SECONDS: Final = 1.0

#: Seconds between two polls at least.
SHORTEST_POLL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Eta:
    """Seconds until admission: expected, and between which bounds."""

    seconds: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Pace:
    """Admissions per second to expect of a room, and how many seconds of observation stand behind it.

    `ceiling` is what the room's rate allows at most; infinite without a rate.
    """

    per_second: float
    observed_seconds: float
    ceiling: float = math.inf

    def eta(self, rank: int) -> Eta | None:
        """When the visitor at `rank` will be admitted, or None when nobody can say."""
        if self.per_second <= 0:
            return None
        expected = rank / self.per_second
        # sqrt(rank) for chance in the gaps, the rest for not knowing the pace.
        doubt = _SPREAD / math.sqrt(rank) + _DRIFT + 1 / math.sqrt(1 + self.observed_seconds)
        # The rate is a promise that admissions do not come faster than this, less the burst of one tick.
        soonest = max(rank / self.ceiling - 0.3, 0.0) if math.isfinite(self.ceiling) else 0.0
        low = max(expected / (1 + doubt), soonest)
        high = expected * (1 + doubt) + _FLOOR_SECONDS
        return Eta(max(expected, low), low, high)


def pace_of(reading: Reading, settings: RoomSettings) -> Pace:
    """The pace of a room as it is now; 0 while nobody is admitted by order or after a loss of data."""
    if settings.state in ("paused", "closed") or reading.now_us < reading.hold_until_us:
        return Pace(0.0, 0.0)
    ceiling = settings.admit_per_second or math.inf
    prior = min(ceiling, settings.capacity / settings.session_seconds if settings.capacity else math.inf)
    observed = reading.pace_us / 1_000_000
    if math.isinf(prior):
        # Without limits the scheduler empties the queue within a tick or two.
        return Pace(10_000.0, observed)
    measured = (reading.pace_admitted + prior * PRIOR_SECONDS) / (observed + PRIOR_SECONDS)
    return Pace(min(measured, ceiling), observed, ceiling)


def poll_after(eta: Eta | None, settings: RoomSettings) -> float:
    """Seconds a client should stay away: a tenth of its eta within the room's bounds, spread by a sixth."""
    longest = settings.longest_poll_seconds
    calm = longest if eta is None else min(longest, eta.low / 10)
    return max(SHORTEST_POLL_SECONDS, calm) * random.uniform(0.85, 1.15)  # noqa: S311 - spreads load, no secret


@dataclass(frozen=True, slots=True)
class Verdict:
    """How good one estimate was: `error_seconds` > 0 when admission came later than said."""

    error_seconds: float
    within: bool


class Audit:
    """Compares what newcomers were told with when they were admitted.

    Once a second the last serial given out and the eta at the tail are noted; when that serial, or a later one, is
    admitted, the note has its verdict. One audit serves one room, on the leader.
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
