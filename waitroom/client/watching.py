"""Watching the room between two questions in person: the document is the same for everybody, so that caches answer.

The visitor's own rank follows from it, and that the turn has come. It neither keeps the place nor claims an offer.
"""

from __future__ import annotations

import asyncio
import math
import time
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

from waitroom.client.connection import Connection
from waitroom.client.documents import Room
from waitroom.client.errors import BadAnswer, ServerUnavailable
from waitroom.client.pauses import spread
from waitroom.client.places import Waiting
from waitroom.errors import RoomUnknown

#: Seconds between two questions in person that it takes for watching in between to be worth it.
LEAST_WORTH_SECONDS: Final = 5.0

#: Seconds before the turn may come at the earliest from which one asks in person.
CLOSE_SECONDS: Final = 5.0

#: Seconds by which a document is fetched earlier than it must be at most, so that not all come at once.
EARLY_SECONDS: Final = 0.5

#: Seconds between two documents at least. The very first comes within them.
PAUSE_SECONDS: Final = 1.0

#: Visitors that ask in person in the same second at most, when the turn of many has come or all places are lost.
COMERS_PER_SECOND: Final = 1000.0

Report = Callable[[Waiting], Awaitable[None]]


class Watch:
    """Watches the room for one place, as it was last told in person.

    `hurried`: it has been asked for because a document said that it had been passed. Where that was not so, the next
    watch is `patient`: it believes the like no sooner than polling would have asked.
    """

    def __init__(self, connection: Connection, place: Waiting, report: Report, *, patient: bool = False) -> None:
        self.hurried = False
        self._connection = connection
        self._place = place
        self._report = report
        self._shown = place.rank
        #: What the ladder is wrong by for this visitor, from the first document on.
        self._drift: float | None = None
        #: How far the server's clock is ahead of this process's `time.monotonic()`.
        self._ahead = place.as_of.timestamp() - place.heard if place.as_of else -math.inf
        close = math.inf if place.eta_low_seconds is None else place.eta_low_seconds - CLOSE_SECONDS
        self._soonest = place.heard + (place.poll_after_seconds if patient else 0.0)
        #: The latest document's moment, and how many since were no younger.
        self._newest, self._stuck = -math.inf, 0
        self._seconds = min((place.latest_poll_seconds or 0.0) * spread(0.9, 1.0), close)

    @property
    def is_worth_it(self) -> bool:
        """Whether the server tells what it takes, and would have to be asked in person much more often otherwise."""
        told = self._place.serial is not None and self._place.as_of is not None
        return told and self._seconds > max(self._place.poll_after_seconds, LEAST_WORTH_SECONDS)

    async def until_due(self) -> bool:
        """Watch until it is time to ask in person. False where that fails, and polling is to go on."""
        pause = spread(0.0, PAUSE_SECONDS)
        while self._left() > 0:
            await asyncio.sleep(min(pause, self._left()))
            if self._left() <= 0:
                break
            try:
                room = await self._connection.room(self._place.room)
            except (ServerUnavailable, BadAnswer, RoomUnknown):
                return False
            at = room.as_of.timestamp()
            self._ahead = max(self._ahead, at - time.monotonic())
            if self._place.as_of is None or room.as_of > self._place.as_of:
                if self._is_past(room):
                    self.hurried = True
                    pause = max(spread(0.0, self._spread()), self._soonest - time.monotonic())
                    await asyncio.sleep(min(pause, self._left()))
                    break
                await self._report(self._brought_up_to_date(room, at))
            pause = max(self._pause(room.refresh_after_seconds, at), PAUSE_SECONDS)
        return True

    def _pause(self, refresh_after: float, at: float) -> float:
        """Seconds until the next document. They grow while none is younger: Redis or a clock has stopped."""
        self._stuck = 0 if at > self._newest else self._stuck + 1
        self._newest = max(self._newest, at)
        if self._stuck:
            return min(refresh_after * 2.0**self._stuck, max(refresh_after, self._place.poll_after_seconds))
        age = time.monotonic() + self._ahead - at
        return refresh_after - spread(0.0, EARLY_SECONDS) - age

    def _left(self) -> float:
        return max(self._place.heard + self._seconds - time.monotonic(), 0.0)

    def _is_past(self, room: Room) -> bool:
        """Whether the turn has come or the place is gone: the queue begins behind it, ends before it, or was lost."""
        lost = room.lost_at is not None and self._place.as_of is not None and room.lost_at >= self._place.as_of
        return lost or not room.ladder or not room.ladder[0][1] <= (self._place.serial or 0) <= room.ladder[-1][1]

    def _spread(self) -> float:
        """Seconds over which visitors spread that the queue passed or lost at once: a poll's at most."""
        at_most = max(self._place.poll_after_seconds - LEAST_WORTH_SECONDS, 0.0)
        return min(self._shown / COMERS_PER_SECOND, at_most)

    @property
    def _share(self) -> float:
        """How much of the way is still to go."""
        return self._shown / self._place.rank

    def _brought_up_to_date(self, room: Room, at: float) -> Waiting:
        """The place with the rank that never grows, and with the eta that shrinks with it."""
        self._shown = min(self._shown, self._rank(room, at))
        eta, low, high = self._etas(room)
        return replace(
            self._place,
            rank=self._shown,
            room_waiting=max(room.waiting, self._shown),
            room_state=room.state,
            message=room.message,
            as_of=room.as_of,
            eta_seconds=eta,
            eta_low_seconds=low,
            eta_high_seconds=high,
        )

    def _rank(self, room: Room, at: float) -> int:
        """The rank on the ladder, corrected by what it was wrong at the last look, within what the ladder knows."""
        low, found, high = on_ladder(room.ladder, self._place.serial or 0)
        if self._drift is None:
            per_second = (room.admitted_per_second or 0.0) if room.state == "open" else 0.0
            since = at - (self._place.as_of.timestamp() if self._place.as_of else at)
            self._drift = self._place.rank - found - per_second * since
        return round(min(max(found + self._drift, low), high))

    def _etas(self, room: Room) -> tuple[float | None, float | None, float | None]:
        # Where it was not known at the last look: as much of the way as of the tail's.
        known = self._place.eta_seconds is not None
        told: Waiting | Room = self._place if known else room
        share = self._share if known else self._shown / (room.waiting + 1)
        held = room.state in ("paused", "closed")

        def scaled(seconds: float | None) -> float | None:
            return None if held or seconds is None else seconds * share

        return scaled(told.eta_seconds), scaled(told.eta_low_seconds), scaled(told.eta_high_seconds)


def on_ladder(ladder: Sequence[tuple[int, int]], serial: int) -> tuple[float, float, float]:
    """The rank of a serial: at least, probably, at most. It is as far along as it is between the points around it."""
    after = bisect_right(ladder, serial, key=lambda point: point[1])
    low, start = ladder[max(after - 1, 0)]
    if after in (0, len(ladder)) or start == serial:
        return low, low, low
    high, end = ladder[after]
    return low, low + (high - low) * (serial - start) / (end - start), high
