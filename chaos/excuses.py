"""What a visitor may be told because of a fault, and because of nothing else.

An excuse is given only where what is documented leads to it: a turn that ran out unseen, a revocation, a closed room,
a loss of data. "The room was under stress" is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from chaos.diary import Diary
from crowd.history import Operation
from crowd.rules import Rules
from crowd.turns import ClockGap
from waitroom.settings.room import RoomSettings

#: Seconds by which times on two clocks may be misjudged.
_SLACK_SECONDS: Final = 0.5

#: Seconds after which every instance that reaches Redis knows of other settings: readings are a second apart.
_LEARNT_SECONDS: Final = 3.0

#: Seconds that a visitor waits for an answer.
_LONGEST_SECONDS: Final = 20.0

#: Seconds that an instance may serve without having read the rooms, from when it was struck or Redis was.
_START_SECONDS: Final = 5.0

#: What an instance adds to the time that visitors may stay away, before it takes their turn for used after a loss.
_MARGIN_SECONDS: Final = 5.0
_JITTER: Final = 1.3


@dataclass(frozen=True)
class Excuses:
    """What excuses there are in a campaign; `room` are its settings, of which those that bound times never change."""

    diary: Diary
    rules: Rules
    room: RoomSettings
    gap: ClockGap

    def turn_over(self, visits: Sequence[Operation], at: Operation) -> bool:
        """Whether the turn of a visitor, whose operations these are, may have been over when they were told so."""
        told = at.completed or at.invoked
        own = [each for each in visits if each is not at and not each.attempt and each.invoked <= told]
        if any(each.call == "leave" and each is not at for each in own):
            return True
        known = [each for each in own if each.outcome == "ok" and each.state and (each.completed or 0) <= told]
        if not known:
            return at.call == "leave"  # nothing to say goodbye to
        if any(self.diary.revoked_by(each.identity, told) for each in known):
            return True
        inside = [each for each in known if each.state == "admitted"]
        if inside:
            return self._session_over(inside, told)
        return self._unseen_turn(known, own, told) or self._spent(known, told)

    def _session_over(self, inside: Sequence[Operation], told: float) -> bool:
        until = max(each.expires for each in inside) - self.gap.most
        # An offer that nobody has claimed when the data are lost is void.
        void = all(each.offer for each in inside) and any(
            loss.began <= told and inside[-1].invoked <= loss.ended for loss in self.diary.losses
        )
        return told >= until - _SLACK_SECONDS or void

    def _unseen_turn(self, known: Sequence[Operation], own: Sequence[Operation], told: float) -> bool:
        """The turn may have begun by a request whose answer was lost, and have run to its end."""
        last = max(each.invoked for each in known)
        lost = [each.invoked for each in own if each.outcome == "unknown" and (each.completed or told) >= last]
        return bool(lost) and told - min(lost) >= self.rules.session_seconds - _SLACK_SECONDS

    def _spent(self, known: Sequence[Operation], told: float) -> bool:
        """Data were lost while the visitor was away for longer than they were told, or could not be heard."""
        heard = max(each.as_of for each in known)
        return any(loss.began <= told and heard <= loss.ended - self.unaware_seconds for loss in self.diary.losses)

    @property
    def unaware_seconds(self) -> float:
        """For how long somebody whose turn came may not know it: after a loss their ticket is good."""
        return max(self.room.latest_poll_seconds + _MARGIN_SECONDS, hold_seconds(self.room))

    def closed(self, operation: Operation) -> bool:
        """Whether the room may have been closed for this request, as far as every instance knew."""
        settings = self.diary.settings
        for one, other in pairwise(settings):
            known = self.diary.calm_from(other.done) + _LEARNT_SECONDS
            if one.state == "closed" and one.asked <= (operation.completed or operation.invoked) <= known:
                return True
        return False

    def answer(self, visits: Sequence[Operation], at: Operation) -> bool:
        """Whether a visitor may get this answer, or none."""
        if at.status == 0:
            # Only nginx stands between visitors and an answer: whoever is behind it may go. A visitor may hang up on a
            # stream that is being opened.
            hung_up = at.completed is None and at.call == "events"
            return hung_up or self.diary.struck(at.invoked, at.completed or at.invoked + _LONGEST_SECONDS, ("nginx",))
        if at.outcome == "unknown":
            return True  # a 503 that says what is wrong, and when to come again
        if at.status == 403:
            identities = {each.identity for each in visits if each.identity}
            revoked = any(self.diary.revoked_by(each, at.completed or at.invoked) for each in identities)
            return self.closed(at) or (at.call == "gate" and revoked)
        if at.status == 401 and at.call == "gate" and self._unread(at):
            return True
        return at.status in (401, 410) and self.turn_over(visits, at)

    def _unread(self, at: Operation) -> bool:
        """An instance that started without Redis knows no room yet, so its gate lets nobody go on, passes or not."""
        begin, end = at.invoked - _START_SECONDS, at.completed or float("inf")
        return self.diary.struck(begin, end, ("instance",)) and self.diary.struck(begin, end, ("line", "redis"))


def hold_seconds(room: RoomSettings) -> float:
    """For how long nobody is admitted after a loss of data, so that visitors come back into their old order."""
    return room.longest_poll_seconds * _JITTER + _MARGIN_SECONDS
