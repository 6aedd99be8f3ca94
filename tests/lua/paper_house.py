"""The rest of the room on paper: what leaders and operators do with it, and what can be read of it; and the lease."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from unittest.mock import ANY

from tests.lua.held import SECOND
from tests.lua.paper import PaperPlaces
from waitroom.model import Marks
from waitroom.settings.room import RoomSettings, fields_of

#: Visitors that one call moves at most.
MOST: Final = 500

#: Settings without which there is no room.
NEEDED: Final = {
    *("capacity", "admit_per_second", "session_seconds", "sliding", "claim_seconds", "abandon_seconds"),
    *("ticket_seconds", "max_waiting", "state"),
}

#: Settings with which each of these is a whole.
_FITTING: Final = {"abandon_seconds": 7.0, "ticket_seconds": 100.0}


def texts_of(changes: dict[str, Any]) -> dict[str, str]:
    """Settings, and what may be noted with them, as Redis keeps them."""
    chosen = {name: value for name, value in changes.items() if name in RoomSettings.model_fields}
    texts = fields_of(RoomSettings(**_FITTING | chosen))
    return {name: texts.get(name, str(value)) for name, value in changes.items()}


class PaperRoom(PaperPlaces):
    """One room. Each method returns the reply that is right."""

    def admit(self, now: int, *, term: int, most: int, moved: int) -> list[Any]:
        """The leader's admissions, for which so many went out of the queue."""
        if term < self.term:
            return ["stale", self.term]
        silent_before = self.lead(now, by=term)
        must, may = self.allowance(now)
        asked = max(min(most, MOST, len(self.sets["wait"])), 0)
        assert min(must, asked) <= moved <= min(may, asked), "I3, I4, I17: admissions"
        self._note_refusal(now, wanting=asked, may=may, admitted=moved)
        serials = []
        for visitor, serial in self.order("wait")[:moved]:
            silent = self.sets["seen"][visitor] < silent_before
            self._unqueue(visitor)
            if silent:
                self.counts["abandoned"] += 1
            else:
                self._offer(visitor, serial, now)
                serials.append(serial)
        return ["ok", now, len(self.sets["wait"]), self.occupancy(now), ANY, *serials]

    def led_until(self) -> float:
        """Until when a leader has to come by again so that all are heard; µs."""
        return self.led_at + min(max(self.us("abandon_seconds") / 12, 2 * SECOND), 5 * SECOND)

    def believed_for(self) -> int:
        """How long nobody is taken for silent who may not have been heard; µs."""
        return min(self.us("abandon_seconds"), 75 * SECOND)

    def lead(self, now: int, *, by: int) -> int:
        """A leader comes by. Before when somebody must have been heard last to be silent.

        `by` is the term. What is left of the time in which all are believed does not depend on how the clock goes.
        """
        self.term = by
        left = self.resumed_at + self.believed_for() - max(now, self.led_at)
        if self.led_at and now > self.led_until():
            self.resumed_at, left = now, self.believed_for()
        elif now < self.led_at:
            self.resumed_at = now if left > 0 else 0
        self.led_at = now
        return now - self.us("ticket_seconds" if left > 0 else "abandon_seconds")

    def more(self, now: int, *, silent: bool, full_call: bool) -> int | None:
        """Whether another call of the leader could admit at once; None where the rate leaves that open."""
        must, may = self.allowance(now)
        if not self.sets["wait"] or not (silent or full_call) or not may:
            return 0
        return 1 if must else None

    def expire(self, now: int, *, term: int, most: int) -> list[Any]:
        """The leader's sweep."""
        if term < self.term:
            return ["stale", self.term]
        silent_before = self.lead(now, by=term)
        budget = min(most, MOST)

        def due(name: str, before: int) -> list[str]:
            nonlocal budget
            found = [visitor for visitor, score in self.order(name) if score < before][: max(budget, 0)]
            budget -= len(found)
            return found

        ways = Counter(self._retire(visitor, now) for visitor in due("active", now + 1))
        silent = due("seen", silent_before)
        for visitor in silent:
            self._unqueue(visitor)
        self.counts["abandoned"] += len(silent)
        used = due("used", now - self.us("ticket_seconds"))
        revoked = due("revoked", now - round(self.longest * SECOND))
        level = due("sources", now)
        for name, swept in (("used", used), ("revoked", revoked), ("sources", level)):
            for visitor in swept:
                del self.sets[name][visitor]
        more = int(budget <= 0)
        return ["ok", now, more, len(silent), ways["no_show"], ways["finished"], len(used) + len(revoked) + len(level)]

    def configure(self, now: int, expected: int | str, marks: Marks, hold: int, changes: dict[str, Any]) -> list[Any]:
        """A change by version, or marks that were remembered, or a room made (again)."""
        made = self.version == 0
        if expected not in ("*", self.version):
            return ["conflict", self.version]
        if made and not changes.keys() >= NEEDED:
            return ["missing"]
        turn = Marks(0, marks.turn_serial, marks.turn_us)
        raised = (self.marks.merged(Marks(marks.last)), self.spent.merged(turn), self.marks.merged(turn))
        news = made or raised != (self.marks, self.spent, self.marks)
        self.marks, self.spent = raised[0].merged(raised[2]), raised[1]
        if news and hold:
            self.hold_until, self.lost_at = max(self.hold_until, now + hold), now
        if changes:
            self._change(now, changes, made=made)
            self.version = max(self.version, marks.version) + 1 + (1000 if made and hold else 0)
            if hold:
                self.made_version = self.version
            else:
                self.set_at = max(now, self.set_at + 1)
        return ["ok", self.version]

    def _change(self, now: int, changes: dict[str, Any], *, made: bool) -> None:
        new = self.settings | changes
        if made:
            self.tickets_after, self.longest, self.made_at, self.made_version, self.set_at = 0, 0, now, 0, 0
        self.tickets_after = max(self.tickets_after, changes.get("tickets_after_us", 0))
        if not made and new["ticket_seconds"] > self.settings["ticket_seconds"]:
            self.tickets_after = max(self.tickets_after, now - self.us("ticket_seconds"))
        if self.settings and new["admit_per_second"] != self.settings["admit_per_second"]:
            self.unsettle()
        given = (changes.get("session_seconds", 0), changes.get("claim_seconds", 0))
        self.longest = max(self.longest, *given)
        self.settings = new

    def config(self) -> dict[str, str]:
        """The settings and what is noted beside them, as texts."""
        if not self.version:
            return {}
        noted: dict[str, str] = {
            "version": str(self.version),
            "schema": "1",
            "made_us": str(self.made_at),
            **({"made_version": str(self.made_version)} if self.made_version else {}),
            **({"set_us": str(self.set_at)} if self.set_at else {}),
            "tickets_after_us": str(self.tickets_after),
            "longest_session_seconds": f"{self.longest:.6f}",
        }
        return texts_of(self.settings) | noted

    def look(self, now: int, visitors: Sequence[str]) -> list[Any]:
        """Where visitors stand, for who only watches."""
        return ["ok", now, *(part for visitor in visitors for part in self._looked(now, visitor))]

    def _looked(self, now: int, visitor: str) -> tuple[str, int]:
        if visitor in self.sets["wait"]:
            return "waiting", self.rank(visitor)
        expiry = self.sets["active"].get(visitor, 0)
        if expiry <= now:
            return "unknown", 0
        return "offered" if visitor in self.sets["offered"] else "admitted", expiry

    def read(self, now: int, since: int) -> list[Any]:
        """The whole of the room; what is listed of its sets see `lists`."""
        revoked = [part for visitor, when in self.order("revoked") if when >= since for part in (visitor, str(when))]
        sizes = (len(self.sets["wait"]), self.occupancy(now), len(self.sets["offered"]))
        return ["ok", now, *sizes, ANY, ANY, revoked, ANY, ANY]

    def lists(self, now: int) -> tuple[list[int], list[tuple[int, int]]]:
        """Every expiry to come, and every rank with its serial."""
        expiries = [expiry for _, expiry in self.order("active") if expiry > now]
        return expiries, [(rank, serial) for rank, (_, serial) in enumerate(self.order("wait"), 1)]

    def lost(self) -> PaperRoom:
        """The room after a loss of all data: there is none."""
        return PaperRoom()


@dataclass
class PaperLease:
    """Who may lead until when."""

    owner: str = ""
    until: int = 0
    ttl: int = 0
    term: int = 0

    def hold(self, now: int, owner: str, ttl: int, above: int) -> list[Any]:
        """Acquire or renew; above a term that was seen acting."""
        alive = now < self.until <= now + self.ttl
        if alive and owner != self.owner:
            return ["held", self.term]
        renewed = alive and self.term >= above
        if not renewed:
            self.term = max(self.term + 1, above + 1, now // 1000)
        self.owner, self.until, self.ttl = owner, now + ttl, ttl
        return ["renewed" if renewed else "acquired", self.term]

    def stored(self) -> dict[str, str]:
        """As Redis holds it."""
        if not self.owner:
            return {}
        return {"owner": self.owner, "until_us": str(self.until), "term": str(self.term), "ttl_us": str(self.ttl)}

    def resign(self, owner: str) -> list[Any]:
        """Give it back, if it is the owner's."""
        if owner == self.owner:
            self.until = 0
        return ["resigned", self.term]
