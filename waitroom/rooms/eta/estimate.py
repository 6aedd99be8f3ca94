"""The expected time until admission, with a low and a high bound, and how far to trust it.

What decides how a room goes on is estimated from what was seen of it (kept in Redis by `admit`, so that all instances
say the same), and the room is played forward: see `forecast`. How many of those inside leave early per second is the
number that did over the time that all spent inside, which for stays without memory is the likeliest value (Epstein and
Sobel, "Life testing", Journal of the American Statistical Association 48, 1953). Before any was seen, the session
length stands in for it. The bounds are two more forecasts, of a faster and of a slower room, the further apart the less
has been seen, and the ranks of some more and some fewer ahead, as many as chance makes out of that number.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from typing import Final

from waitroom.model import Reading
from waitroom.rooms.eta.forecast import Course, Forecast
from waitroom.settings.room import RoomSettings

#: Seconds of a full room that the session length weighs as much as.
PRIOR_SECONDS: Final = 5.0

#: Offers made and claimed that are taken for granted before any was seen.
_PRIOR_OFFERS: Final = 10.0

#: Standard deviations between the estimate and its bounds: nine visitors in ten fall between.
_SPREAD: Final = 1.65

#: How wrong the pace itself may be, as a share, however long it was observed.
_DRIFT: Final = 0.10

#: How many times faster than they may stay visitors leave, as long as none has been seen to leave.
_GUESS: Final = 3.0

#: Seconds that pass between an admission and a client's hearing of it in the best case: one tick and one poll.
_FLOOR_SECONDS: Final = 1.0

#: Seconds of admissions that the rate lets come in one burst, and a tick.
_BURST_SECONDS: Final = 0.3

#: How old a reading is before the next, in seconds: what was free then may have been taken since.
_AGE_SECONDS: Final = 1.0

#: Seconds between two polls at least, but never more than this share of a session: an offered place is idle until its
#: visitor asks, and in a room of short sessions a second would be a good part of one.
SHORTEST_POLL_SECONDS: Final = 1.0
_POLL_SHARE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Eta:
    """Seconds until admission: expected, and between which bounds."""

    seconds: float
    low: float
    high: float


class Pace:
    """How fast a room takes visitors in.

    `per_second` is the pace in the long run: infinite without limits, 0 when it is not known.
    """

    def __init__(
        self, course: Course | None, *, seen: float = 0.0, seen_gone: float = 0.0, guessed: float = 1.0
    ) -> None:
        """The evidence behind the course: how many were seen to leave, inside and in the queue.

        `guessed` is the share of it that rests on the session length.
        """
        self._course = course
        #: A count of things that come by chance is off by its root.
        self._doubt, self._doubt_gone = 1 + _SPREAD / math.sqrt(1 + seen), 1 + _SPREAD / math.sqrt(1 + seen_gone)
        self._guessed = guessed
        self._forecasts: tuple[Forecast, Forecast, Forecast] | None = None
        self._told: dict[int, Eta] = {}
        unlimited = course is not None and course.capacity == course.ceiling == math.inf
        self.per_second = 0.0 if course is None else math.inf if unlimited else course.steady

    def eta(self, rank: int) -> Eta | None:
        """When the visitor at `rank` will be admitted, or None when it is not known."""
        if self._course is None:
            return None
        if self.per_second == math.inf:
            return Eta(0.0, 0.0, _FLOOR_SECONDS)
        # Far ranks are told the eta of one of few, a thousandth off at most, and the work is done once a second.
        step = 1 << max(rank.bit_length() - 10, 0)
        rank = (rank + step // 2) // step * step
        told = self._told.get(rank)
        if told is None:
            told = self._told[rank] = self._work_out(self._course, rank)
        return told

    def _work_out(self, course: Course, rank: int) -> Eta:
        if self._forecasts is None:
            self._forecasts = self._play(course)
        slow, expected, fast = self._forecasts
        # The number of visitors that go by chance is off by its root: free places, the rate, and sessions that last to
        # their end leave nothing to chance.
        behind = 0.0 if course.steady == course.ceiling else max(rank - course.free, 0.0)
        spread = _SPREAD * math.sqrt(behind * (1 - course.staying * (1 - course.no_show)))
        seconds = expected.seconds(rank)
        low = fast.seconds((rank - spread) * (1 - _DRIFT)) - _BURST_SECONDS - _AGE_SECONDS
        high = slow.seconds(rank + spread) * (1 + _DRIFT / 2) + _FLOOR_SECONDS
        low, high = min(max(low, 0.0), seconds), max(high, seconds)
        # To the tenth of a second, as it is told to many.
        return Eta(round(seconds, 1), round(low, 1), round(high, 1))

    def _play(self, course: Course) -> tuple[Forecast, Forecast, Forecast]:
        """A slower room than expected, the expected one, and a faster one."""
        # As long as no visitor has been seen to leave, all may stay to the end, or go several times as fast.
        staying, leaving = 1 - self._guessed, 1 + self._guessed * _GUESS
        slow = replace(course, early=course.early * staying / self._doubt, gone=course.gone / self._doubt_gone)
        fast = replace(course, early=course.early * leaving * self._doubt, gone=course.gone * self._doubt_gone)
        return Forecast(slow), Forecast(course), Forecast(fast)


def pace_of(reading: Reading, settings: RoomSettings) -> Pace:
    """The pace of a room as it is now. 0 while no visitor is admitted by order or after a loss of data."""
    if settings.state in ("paused", "closed") or reading.now_us < reading.hold_until_us:
        return Pace(None)
    ceiling = settings.admit_per_second or math.inf
    if settings.state == "bypass":
        return Pace(Course(math.inf, math.inf, settings.session_seconds, settings.claim_seconds))
    waited, gone = reading.flow.wait_us / 1_000_000, max(reading.flow.gone, 0.0)
    turns = max(reading.flow.ended, 0.0) + reading.occupancy
    course = Course(
        settings.capacity or math.inf,
        ceiling,
        settings.session_seconds,
        settings.claim_seconds,
        gone=gone / waited if waited > 0 else 0.0,
        most_gone=gone / (gone + turns + _PRIOR_OFFERS),
    )
    if settings.capacity == 0:
        return Pace(course, seen_gone=gone)
    # The longest session counts for as much as PRIOR_SECONDS of a full room. From what one visitor inside does per
    # second follows what a full room will do, also while it is still filling.
    prior = settings.capacity * PRIOR_SECONDS
    missed = max(reading.flow.no_show, 0.0)
    stayed = max(reading.flow.stay_us / 1_000_000 - missed * settings.claim_seconds, 0.0) + prior
    # A sliding session has no end that is known: it ends when its visitor is away for long enough.
    ended = max(reading.flow.ended - reading.flow.no_show if settings.sliding else reading.flow.early, 0.0)
    # What was free at the reading may have been taken since, as fast as the rate allows.
    taken = min(max(settings.capacity - reading.occupancy, 0.0), ceiling * _AGE_SECONDS)
    return Pace(
        replace(
            course,
            inside=reading.occupancy,
            offered=min(reading.offered, reading.occupancy),
            taken=taken,
            ends=() if settings.sliding else tuple((end - reading.now_us) / 1_000_000 for end in reading.releases_us),
            early=(ended + prior / settings.session_seconds) / stayed,
            no_show=missed / (max(reading.flow.ended, missed) + _PRIOR_OFFERS),
            lag=_shortest_poll(settings),
        ),
        seen=ended,
        seen_gone=gone,
        guessed=prior / stayed,
    )


def poll_after(eta: Eta | None, settings: RoomSettings) -> float:
    """Seconds a client should stay away: a tenth of its low bound within the room's limits, spread by a sixth."""
    spread = random.uniform(0.85, 1.15)  # noqa: S311 - spreads load, no secret # nosec B311
    longest = settings.longest_poll_seconds / 1.15
    calm = longest if eta is None else min(longest, max(eta.low / 10, _shortest_poll(settings)))
    return calm * spread


def _shortest_poll(settings: RoomSettings) -> float:
    return min(SHORTEST_POLL_SECONDS, settings.session_seconds * _POLL_SHARE)
