"""What an instance remembers of a room, in case Redis loses it.

Redis holds the truth. An instance could rebuild all else from there, but not this. So it keeps the marks that tell
used turns, the sessions that it has seen, and the revocations, and `recovery` gives them back after a loss.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Final

from waitroom.model import Admission, Marks, Pass, Place, Reading, Standing, Visitor, arrived_us

#: Sessions that are remembered: about 20 MB at most.
_SESSIONS: Final = 100_000


class Memory:
    """Marks, sessions and revocations of one room. `revoked` are visitors by when (µs), the oldest first."""

    def __init__(self, reading: Reading) -> None:
        self.marks = reading.marks
        self.revoked: OrderedDict[Visitor, int] = OrderedDict(reading.revoked)
        #: Until when (µs) each visitor is inside, as far as this instance has seen, the last seen last.
        self._sessions: OrderedDict[Visitor, int] = OrderedDict()

    def learn(self, reading: Reading) -> None:
        """Add what a newer reading tells, and forget revocations that no pass outlives any more."""
        self.marks = self.marks.merged(reading.marks)
        self.revoked.update(reading.revoked)
        over = reading.now_us - reading.longest_session_seconds * 1_000_000
        while self.revoked and next(iter(self.revoked.values())) < over:
            self.revoked.popitem(last=False)

    def begin_anew(self, reading: Reading) -> None:
        """Forget all: an operator deleted the room and made another, which the reading is of."""
        self.marks = reading.marks
        self.revoked = OrderedDict(reading.revoked)
        self._sessions.clear()

    def note_arrivals(self, places: Sequence[Place]) -> None:
        """Remember the serials given out, and the turns that came at once."""
        turn = max((arrived_us(place.serial) for place in places if place.standing is Standing.OFFERED), default=None)
        last = max(arrived_us(place.serial) for place in places)
        self.marks = self.marks.merged(Marks(last) if turn is None else Marks(last, turn, places[0].now_us))

    def note_admission(self, admission: Admission) -> None:
        """Remember the turns that have come."""
        if admission.serials:
            self.marks = self.marks.merged(Marks(0, max(admission.serials), admission.now_us))

    def note_session(self, visitor: Visitor, expires_us: int, *, old_us: int) -> None:
        """Remember that a visitor is inside. Sessions that ended before `old_us` may be forgotten."""
        self._sessions[visitor] = expires_us
        self._sessions.move_to_end(visitor)
        # No more sessions get old than are noted.
        for _ in range(2):
            if len(self._sessions) > _SESSIONS or next(iter(self._sessions.values()), old_us) < old_us:
                self._sessions.popitem(last=False)

    def note_goodbyes(self, visitors: Sequence[Visitor], now_us: int, *, with_pass: Collection[Visitor]) -> None:
        """Remember that these left. The passes of visitors that were inside, or may hold one, are revoked."""
        for visitor in visitors:
            if self._sessions.pop(visitor, None) is not None or visitor in with_pass:
                # The next reading says so too. Here it holds from now on.
                self.revoked[visitor] = now_us
                self.revoked.move_to_end(visitor)

    def inside(self, now_us: int) -> list[Pass]:
        """The sessions that last, as passes."""
        return [
            Pass(visitor, us / 1_000_000)
            for visitor, us in self._sessions.items()
            if us > now_us and visitor not in self.revoked
        ]

    def over(self, now_us: int) -> list[Visitor]:
        """The visitors with sessions that have ended."""
        return [visitor for visitor, us in self._sessions.items() if us <= now_us]
