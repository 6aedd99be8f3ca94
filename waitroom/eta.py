"""The expected time until admission, with a low and a high bound, and how far to trust it.

Free places are taken at the room's rate. Behind them a visitor waits for as many others to go: capacity times the share
of those inside who go per second (kept in Redis by `admit`, fading with a time constant of a minute, so that all
instances say the same), mixed with what the session length says. Nobody waits longer than until the sessions that run
now have ended. The bounds come from the spread of a sum of exponential gaps (a gamma distribution) and from
how little has been observed so far.
"""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass
from typing import Final

from waitroom.model import Reading
from waitroom.settings import RoomSettings

#: Seconds of a full room that the session length weighs as much as.
PRIOR_SECONDS: Final = 5.0

#: Standard deviations between the estimate and its bounds: nine visitors in ten fall between.
_SPREAD: Final = 1.65

#: How wrong the pace itself may be, as a share, however long it was observed.
_DRIFT: Final = 0.10

#: Seconds that pass between an admission and a client's hearing of it in the best case: one tick and one poll.
_FLOOR_SECONDS: Final = 1.0

#: Seconds of admissions that the rate lets come in one burst, and a tick.
_BURST_SECONDS: Final = 0.3

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
    """How fast a room takes visitors in.

    `free` places are taken at `ceiling` per second, the room's rate; the visitors behind them need others to go,
    `per_second` of them. `observed_seconds` stand behind that figure. `releases` are evenly spaced ends, in seconds
    from now, of the `inside` places that are taken: by then, at the latest, they are free (`offered` of them may
    still become sessions of `session_seconds`). `guessed` is the share of the pace that rests on the session length
    instead of observation: visitors may leave much earlier than they must.
    """

    per_second: float
    observed_seconds: float
    ceiling: float = math.inf
    free: float = 0.0
    inside: int = 0
    offered: int = 0
    releases: tuple[float, ...] = ()
    session_seconds: float = 0.0
    guessed: float = 0.0

    def eta(self, rank: int) -> Eta | None:
        """When the visitor at `rank` will be admitted, or None when nobody can say."""
        if self.per_second <= 0:
            return None
        behind = rank - self.free
        at_rate = min(rank, max(self.free, 0.0)) / self.ceiling
        if behind <= 0:
            return Eta(at_rate, max(at_rate - _BURST_SECONDS, 0.0), at_rate * (1 + _DRIFT) + _FLOOR_SECONDS)
        # Chance in the gaps, and not knowing the pace.
        doubt = 1 + _DRIFT + 1 / math.sqrt(1 + self.observed_seconds)
        mean, latest = behind / self.per_second, self._latest(behind)
        expected = at_rate + min(mean, latest)
        low = at_rate + mean * _gamma_quantile(behind, -_SPREAD) / (doubt * (1 + 2 * self.guessed))
        high = at_rate + min(mean * _gamma_quantile(behind, _SPREAD) * doubt, latest) + _FLOOR_SECONDS
        soonest = rank / self.ceiling - _BURST_SECONDS
        return Eta(max(expected, soonest), min(max(low, soonest), expected), max(high, soonest + _FLOOR_SECONDS))

    def _latest(self, behind: float) -> float:
        """Seconds until so many of those inside have gone, even if nobody goes early."""
        if not self.releases:
            return math.inf
        # Offers end first, but are sessions by then.
        turns, place = divmod(math.ceil(behind) - 1 + self.offered, self.inside)
        step = place / max(self.inside - 1, 1) * (len(self.releases) - 1)
        before, share = int(step), step - int(step)
        after = min(before + 1, len(self.releases) - 1)
        ends = self.releases[before] + (self.releases[after] - self.releases[before]) * share
        return max(ends, 0.0) + turns * self.session_seconds


def _gamma_quantile(shape: float, deviations: float) -> float:
    """A quantile of a sum of `shape` exponential gaps, as a share of its mean (Wilson and Hilferty, 1931)."""
    return max(1 - 1 / (9 * shape) + deviations / (3 * math.sqrt(shape)), 0.0) ** 3


def pace_of(reading: Reading, settings: RoomSettings) -> Pace:
    """The pace of a room as it is now; 0 while nobody is admitted by order or after a loss of data."""
    if settings.state in ("paused", "closed") or reading.now_us < reading.hold_until_us:
        return Pace(0.0, 0.0)
    ceiling = settings.admit_per_second or math.inf
    observed = reading.pace_us / 1_000_000
    if settings.capacity == 0 or settings.state == "bypass":
        return Pace(ceiling, observed, ceiling, free=math.inf)
    # The longest session counts for as much as PRIOR_SECONDS of a full room. From what one visitor inside does per
    # second follows what a full room will do, also while it is still filling.
    prior = settings.capacity * PRIOR_SECONDS
    ended = reading.pace_ended + prior / settings.session_seconds
    stayed = reading.pace_stay_us / 1_000_000 + prior
    per_visitor = ended / stayed
    return Pace(
        min(settings.capacity * per_visitor, ceiling),
        observed,
        ceiling,
        free=settings.capacity - reading.occupancy,
        inside=reading.occupancy,
        offered=reading.offered,
        # A sliding session may end much later than it says now.
        releases=() if settings.sliding else tuple((end - reading.now_us) / 1_000_000 for end in reading.releases_us),
        session_seconds=settings.session_seconds,
        guessed=prior / stayed,
    )


def poll_after(eta: Eta | None, settings: RoomSettings) -> float:
    """Seconds a client should stay away: a tenth of its eta within the room's bounds, spread by a sixth."""
    longest = settings.longest_poll_seconds
    calm = longest if eta is None else min(longest, max(eta.low / 10, SHORTEST_POLL_SECONDS))
    return calm * random.uniform(0.85, 1.15)  # noqa: S311 - spreads load, no secret


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
