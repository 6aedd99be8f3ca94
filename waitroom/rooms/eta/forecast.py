"""A room played forward: how many waiting visitors will have had their turn by when.

A fluid model, as queueing theory uses for rooms that are full: visitors are a quantity that flows. Each place inside
empties when its visitor leaves early (a constant share per second), when the session ends (those running now at the
times that are known, later ones `session_seconds` after their admission), or when an offer is not claimed. It is filled
again at once, within the rate. Waiting visitors go, too: a constant share per second gives up, so a visitor far back
moves faster than the admissions alone would move them (Palm's model of impatient customers, Erlang-A, and for telling
waits from it: Ibrahim and Whitt, "Real-time delay estimation in overloaded multiserver queues with abandonments",
Management Science 55, 2009).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

#: A step is at most this share of the time played so far, and of the mean time that a place is taken for.
_STEP: Final = 0.1
_STEP_OF_STAY: Final = 0.12

#: Seconds of the first step at most.
_FIRST_STEP: Final = 0.2

#: So many sessions or so many mean stays are played, whichever are shorter. From then on the flow is steady.
_SESSIONS: Final = 8
_STAYS: Final = 8

#: Sessions end together where a sixteenth of them does so within this share of a session. A jump takes so many seconds.
_TOGETHER: Final = 0.01
_JUMP: Final = 0.2


@dataclass(frozen=True, slots=True)
class Course:
    """What decides how a room goes on. Times in seconds, from now.

    `capacity` may be infinite, and so may `ceiling`, the most admissions per second, but not both. `offered` of the
    `inside` places have not been claimed yet. `ends` are evenly spaced ends of the places inside, first to last, empty
    where they are not known. `taken` more places were offered since that was seen. `early` is the share of visitors
    inside that leave before their end each second, `no_show` that of the offers that are never claimed, `gone` that of
    those waiting who go each second, until `most_gone` of all have: the impatient go soon, and others never. `lag`
    passes before a claim.
    """

    capacity: float
    ceiling: float
    session_seconds: float
    claim_seconds: float
    inside: float = 0.0
    offered: float = 0.0
    taken: float = 0.0
    ends: tuple[float, ...] = ()
    early: float = 0.0
    no_show: float = 0.0
    gone: float = 0.0
    most_gone: float = 1.0
    lag: float = 0.0

    @property
    def longest_patience(self) -> float:
        """Seconds after which no visitor goes any more."""
        if self.gone <= 0:
            return 0.0
        return -math.log1p(-self.most_gone) / self.gone if self.most_gone < 1 else math.inf

    def crowding(self, time: float) -> float:
        """How many stood in line at the start for each that is left by then."""
        return math.exp(min(self.gone * min(time, self.longest_patience), 700))

    @property
    def free(self) -> float:
        """Places inside that are free."""
        return max(self.capacity - self.inside - self.taken, 0.0)

    @property
    def staying(self) -> float:
        """The share of sessions that last to their end."""
        return math.exp(-self.early * self.session_seconds)

    @property
    def mean_stay(self) -> float:
        """Seconds for which a place is taken, on average."""
        # The mean of an exponential that is cut off at the end of the session.
        session = (1 - self.staying) / self.early if self.early > 0 else self.session_seconds
        return (1 - self.no_show) * (self.lag + session) + self.no_show * self.claim_seconds

    @property
    def steady(self) -> float:
        """Admissions per second in the long run."""
        return min(self.ceiling, self.capacity / self.mean_stay)


class Forecast:
    """When the visitor at which rank has the turn, if a room goes on as its course says."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._times = [0.0]
        #: By each of the times: ranks that have had their turn, and admissions, with the offers that are held now.
        self._ranks = [0.0]
        self._admitted = [course.offered + course.taken]
        self._inside = course.inside + course.taken
        self._longest_step = _STEP_OF_STAY * course.mean_stay
        #: Where places have no end, no visitor waits for one: only the ceiling counts, from the start.
        self._until = 0.0
        self._jumps: list[float] = []
        if course.capacity < math.inf:
            self._until = min(_SESSIONS * (course.session_seconds + course.lag), _STAYS * course.mean_stay)
            self._jumps = self._jumps_until(self._until)

    def seconds(self, rank: float) -> float:
        """Seconds until the turn of the visitor at that rank."""
        ranks, times = self._ranks, self._times
        if rank <= 0:
            return 0.0
        while rank > ranks[-1] and times[-1] < self._until:
            self._play_on()
        if rank > ranks[-1]:
            return self._beyond(rank)
        after = bisect_left(ranks, rank)
        share = (rank - ranks[after - 1]) / (ranks[after] - ranks[after - 1])
        return times[after - 1] + (times[after] - times[after - 1]) * share

    def _beyond(self, rank: float) -> float:
        """The flow is steady, and ever fewer visitors wait: rank = integral of steady * exp(gone * t)."""
        course, start = self._course, self._times[-1]
        more = (rank - self._ranks[-1]) / (course.steady * course.crowding(start))
        shrinking = course.longest_patience - start
        if course.gone <= 0 or shrinking <= 0:
            return start + more
        # Until the impatient have gone the ranks pass faster and faster, from then on evenly.
        passed = math.expm1(min(course.gone * shrinking, 700)) / course.gone
        if more <= passed:
            return start + math.log1p(course.gone * more) / course.gone
        return course.longest_patience + (more - passed) / math.exp(course.gone * shrinking)

    def _play_on(self) -> None:
        """One step, for a question about ranks further back. Not a generator: that would keep this object alive."""
        course, start = self._course, self._times[-1]
        now = start + min(max(start * _STEP, _FIRST_STEP), self._longest_step)
        while self._jumps and self._jumps[-1] <= now:
            now = max(self._jumps.pop(), start + _JUMP / 2)
        inside = max(self._inside - self._emptied(self._inside, start, now), 0.0)
        more = min(course.ceiling * (now - start), max(course.capacity - inside, 0.0))
        self._inside = inside + more
        self._times.append(now)
        self._admitted.append(self._admitted[-1] + more)
        self._ranks.append(self._ranks[-1] + more * course.crowding((start + now) / 2))

    def _emptied(self, inside: float, start: float, end: float) -> float:
        """Places that become free between two times, of so many that are taken at the first."""
        course, admitted_by = self._course, self._admitted_by
        running = self._running_ended(end) - self._running_ended(start)
        running *= math.exp(-course.early * (start + end) / 2)
        session, claim = course.session_seconds + course.lag, course.claim_seconds
        later = course.staying * (admitted_by(end - session) - admitted_by(start - session))
        unclaimed = admitted_by(end - claim) - admitted_by(start - claim)
        # A visitor that never claims does not leave early.
        held = course.no_show * (self._admitted[-1] - admitted_by(start - claim))
        early = max(inside - held, 0.0) * -math.expm1(-course.early * (end - start))
        return early + running + (1 - course.no_show) * later + course.no_show * unclaimed

    def _admitted_by(self, time: float) -> float:
        times, admitted = self._times, self._admitted
        if time < 0:
            return 0.0
        after = bisect_left(times, time)
        if after == 0 or after == len(times):
            return admitted[min(after, len(times) - 1)]
        share = (time - times[after - 1]) / (times[after] - times[after - 1])
        return admitted[after - 1] + (admitted[after] - admitted[after - 1]) * share

    def _jumps_until(self, until: float) -> list[float]:
        """Before and after each time at which many sessions end at once, so that no step smears it. The last first."""
        course, found = self._course, set[float]()
        turn = course.session_seconds + course.lag
        for first, second in pairwise(course.ends):
            if second - first < turn * _TOGETHER:
                found |= {first - _JUMP, second}
        if course.offered + course.taken > course.capacity / 16:
            found |= {-_JUMP, 0.0}
        later = {time + turn * number for time in found for number in range(1, _SESSIONS + 1)}
        return sorted((time for time in found | later if _JUMP < time < until), reverse=True)

    def _running_ended(self, time: float) -> float:
        """How many of the sessions that run now would have ended by then.

        Offers are among the ends. Most are claimed within seconds, so they are the last ones within `claim_seconds`.
        """
        course, ended = self._course, self._places_ended(time)
        before = max(self._places_ended(course.claim_seconds) - course.offered, 0.0)
        return max(min(ended, before), ended - course.offered)

    def _places_ended(self, time: float) -> float:
        ends = self._course.ends
        if not ends or time < ends[0]:
            return 0.0
        if time >= ends[-1]:
            return self._course.inside
        after = bisect_left(ends, time)
        before = max(after - 1, 0)
        width = ends[after] - ends[before]
        share = (time - ends[before]) / width if width > 0 else 0.0
        return (before + share) / (len(ends) - 1) * self._course.inside
