"""The places of a room on paper: what the visitors' scripts must do, said once more in plain Python, without a thought
for speed.

Whether somebody is admitted at a given µs is not computed again: the room on paper is told how many were, and holds
that number against what capacity, rate and liveness allow. All times are µs since the epoch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from tests.lua.driven import burst, most_within
from tests.lua.held import SECOND
from waitroom.model import Marks, Ticket

SETS: Final = ("wait", "seen", "active", "offered", "used", "revoked")

#: Seconds by which two ways of adding fractions of a rate may differ.
_ROUNDING: Final = 1e-5


class Use(NamedTuple):
    """A pass: whose it is, until when it is good, and 0: in use, 1: that of an offer, 2: only remembered."""

    visitor: str
    expires: int
    kind: int


@dataclass
class PaperPlaces:
    """Settings, sets, counts and marks of one room. A room at version 0 does not exist."""

    settings: dict[str, Any] = field(default_factory=dict)
    sets: dict[str, dict[str, int]] = field(default_factory=lambda: {name: {} for name in SETS})
    counts: Counter[str] = field(default_factory=Counter)
    marks: Marks = field(default_factory=Marks)
    spent: Marks = field(default_factory=Marks)
    version: int = 0
    hold_until: int = 0
    lost_at: int = 0
    tickets_after: int = 0
    longest: float = 0
    term: int = 0
    #: The admissions that the rate of now allowed. Until it has allowed one, an older rate, or a clock that was set
    #: back, may have left a time to wait for: but from the first refusal on no longer than a pause at the rate of now.
    admissions: list[int] = field(default_factory=list)
    settled: bool = True
    refused_at: int | None = None

    # What the sets say.

    def order(self, name: str) -> list[tuple[str, int]]:
        """A set as Redis orders it."""
        return sorted(self.sets[name].items(), key=lambda pair: (pair[1], pair[0]))

    def rank(self, visitor: str) -> int:
        """How many waiting visitors have a serial up to this one's."""
        return sum(serial <= self.sets["wait"][visitor] for serial in self.sets["wait"].values())

    def occupancy(self, now: int) -> int:
        """Places inside that are not over."""
        return sum(expiry > now for expiry in self.sets["active"].values())

    def us(self, name: str) -> int:
        """A setting in µs."""
        return int(self.settings[name] * SECOND)

    def _alive(self, ticket: Ticket, now: int) -> bool:
        return ticket.issued_us >= max(now - self.us("ticket_seconds"), self.tickets_after)

    def _restorable(self, ticket: Ticket) -> bool:
        before_the_loss = ticket.issued_us <= self.spent.turn_us
        return ticket.visitor not in self.sets["used"] and not (
            ticket.serial <= self.spent.turn_serial and before_the_loss
        )

    def allowance(self, now: int) -> tuple[float, float]:
        """How many must be admitted now, where so many want to be, and how many may be."""
        if self.settings["state"] == "bypass":
            return math.inf, math.inf
        if self.settings["state"] != "open" or now < self.hold_until:
            return 0, 0
        capacity, rate = self.settings["capacity"], self.settings["admit_per_second"]
        free = max(0, capacity - self.occupancy(now)) if capacity else math.inf
        if not rate:
            return free, free
        most = burst(rate)
        may: float = math.floor(most_within(rate, 0) + _ROUNDING)
        for earlier, start in enumerate(self.admissions):
            window = (now - start) / SECOND
            may = min(may, math.floor(most_within(rate, window) + _ROUNDING) - (len(self.admissions) - earlier))
        quiet = (now - self.admissions[-1]) / SECOND if self.admissions else math.inf
        must = most if quiet > most / rate else int(quiet > 1 / rate + _ROUNDING)
        if not self.settled:
            must = int(self.refused_at is not None and (now - self.refused_at) / SECOND > 1 / rate + _ROUNDING)
        return min(free, must), min(free, max(may, 0))

    def unsettle(self) -> None:
        """The rate has changed, or the clock."""
        self.admissions, self.settled, self.refused_at = [], False, None

    def _note_refusal(self, now: int, *, wanting: int, may: float, admitted: int) -> None:
        if wanting and may and not admitted and self.refused_at is None:
            self.refused_at = now

    # What moves a visitor.

    def _offer(self, visitor: str, serial: int, now: int) -> None:
        self.sets["active"][visitor] = self.sets["offered"][visitor] = now + self.us("claim_seconds")
        self.counts["admitted"] += 1
        self.marks = replace(self.marks.merged(Marks(0, serial)), turn_us=now)
        if self.settings["admit_per_second"] and self.settings["state"] != "bypass":
            self.admissions.append(now)
            self.settled, self.refused_at = True, None

    def _queue(self, visitor: str, serial: int, now: int) -> None:
        self.sets["wait"][visitor] = serial
        self.sets["seen"][visitor] = now

    def _unqueue(self, visitor: str) -> None:
        del self.sets["wait"][visitor], self.sets["seen"][visitor]

    def _claim(self, visitor: str, now: int) -> int:
        if self.sets["offered"].pop(visitor, None):
            self.sets["active"][visitor] = now + self.us("session_seconds")
            self.counts["claimed"] += 1
        return self.sets["active"][visitor]

    def _retire(self, visitor: str, now: int) -> str:
        del self.sets["active"][visitor]
        way = "no_show" if self.sets["offered"].pop(visitor, None) else "finished"
        if way == "finished":
            self.sets["used"][visitor] = now
        self.counts[way] += 1
        return way

    def _restored(self, serial: int) -> None:
        self.counts["restored"] += 1
        self.marks = self.marks.merged(Marks(last=serial))

    # The scripts. Each returns the reply that is right.

    def enter(
        self, now: int, arrivals: Sequence[tuple[str, Ticket | None]], *, direct: bool, offered: int
    ) -> list[Any]:
        """Arrivals, of whom so many were offered a place at once."""
        must, may = (0, 0) if self.sets["wait"] else self.allowance(now)
        free, wanting, turned_away = offered, 0, 0
        before = self.counts["entered"] + self.counts["restored"]
        answers: dict[int, tuple[str, int, int]] = {}
        full = self.settings["max_waiting"]
        until = now + self.us("claim_seconds")
        for i, (_, ticket) in enumerate(arrivals):
            if ticket is None or not self._alive(ticket, now):
                continue
            visitor, serial = ticket.visitor, ticket.serial
            if visitor in self.sets["wait"]:
                self.sets["seen"][visitor] = now
                answers[i] = ("waiting", serial, self.rank(visitor))
                continue
            if self.sets["active"].get(visitor, 0) > now:
                answers[i] = ("admitted", serial, self._claim(visitor, now))
                continue
            if visitor in self.sets["active"]:
                self._retire(visitor, now)
            if not self._restorable(ticket):
                continue
            wanting += 1
            if not free and direct:
                answers[i] = ("must_wait", 0, 0)
                continue
            if not free and len(self.sets["wait"]) >= full:
                self.counts["refused_full"] += 1
                turned_away = max(turned_away, serial)
                answers[i] = ("full", 0, 0)
                continue
            self._restored(serial)
            if free:
                free -= 1
                self._offer(visitor, serial, now)
                answers[i] = ("offered", serial, until)
            else:
                self._queue(visitor, serial, now)
                answers[i] = ("waiting", serial, self.rank(visitor))
        for i, (fresh, _) in enumerate(arrivals):
            if i in answers:
                continue
            if fresh in self.sets["wait"]:
                answers[i] = ("waiting", self.sets["wait"][fresh], self.rank(fresh))
                continue
            if fresh in self.sets["active"]:
                answers[i] = ("offered", 0, self.sets["active"][fresh])
                continue
            if self.settings["state"] == "closed":
                self.counts["refused_closed"] += 1
                answers[i] = ("closed", 0, 0)
                continue
            wanting += 1
            if not free and direct:
                answers[i] = ("must_wait", 0, 0)
            elif not free and len(self.sets["wait"]) >= full:
                self.counts["refused_full"] += 1
                answers[i] = ("full", 0, 0)
            else:
                serial = max(self.marks.last + 1, now)
                self.marks = self.marks.merged(Marks(last=serial))
                self.counts["entered"] += 1
                if free:
                    free -= 1
                    self._offer(fresh, serial, now)
                    answers[i] = ("offered", serial, until)
                else:
                    self._queue(fresh, serial, now)
                    answers[i] = ("waiting", serial, self.rank(fresh))
        if self.counts["entered"] + self.counts["restored"] > before:
            # With the marks lost, the serial of one who was turned away may be ahead of all that is known.
            self.marks = self.marks.merged(Marks(last=turned_away))
        assert min(must, wanting) <= offered <= min(may, wanting), "I3, I4: admissions at first contact"
        self._note_refusal(now, wanting=wanting, may=may, admitted=offered)
        return ["ok", now, *(part for i in range(len(arrivals)) for part in answers[i])]

    def status(self, now: int, tickets: Sequence[Ticket]) -> list[Any]:
        """Look-ups: who waits is told before anybody comes back."""
        waits = [ticket.visitor in self.sets["wait"] for ticket in tickets]
        told = {i: self._standing(now, ticket) for i, ticket in enumerate(tickets) if waits[i]}
        told |= {i: self._standing(now, ticket) for i, ticket in enumerate(tickets) if not waits[i]}
        return ["ok", now, *(part for i in range(len(tickets)) for part in told[i])]

    def _standing(self, now: int, ticket: Ticket) -> tuple[str, int]:
        visitor = ticket.visitor
        if not self._alive(ticket, now):
            return "expired", 0
        if visitor in self.sets["wait"]:
            self.sets["seen"][visitor] = now
            return "waiting", self.rank(visitor)
        if self.sets["active"].get(visitor, 0) > now:
            return "admitted", self._claim(visitor, now)
        if visitor in self.sets["active"]:
            self._retire(visitor, now)
        if not self._restorable(ticket):
            return "used", 0
        if len(self.sets["wait"]) >= self.settings["max_waiting"]:
            return "full", 0
        self._restored(ticket.serial)
        self._queue(visitor, ticket.serial, now)
        return "waiting", self.rank(visitor)

    def leave(self, now: int, goodbyes: Sequence[tuple[str, int]]) -> list[Any]:
        """Goodbyes: whose, and 1: with a pass, 0: without, 2: only of those who are not inside."""
        return ["ok", now, *(self._leave(now, visitor, kind) for visitor, kind in goodbyes)]

    def _leave(self, now: int, visitor: str, kind: int) -> str:
        inside, live = visitor in self.sets["active"], self.sets["active"].get(visitor, 0) > now
        if kind == 2 and inside:
            return "unknown"
        had_place = live or visitor in self.sets["wait"]
        if visitor in self.sets["wait"]:
            self._unqueue(visitor)
        elif live:
            del self.sets["active"][visitor]
            self.sets["offered"].pop(visitor, None)
        elif inside:
            self._retire(visitor, now)
        self.sets["used"][visitor] = now
        if kind == 1 or inside:
            self.sets["revoked"][visitor] = now
        self.counts["left"] += had_place
        return "left" if had_place else "unknown"

    def extend(self, now: int, uses: Sequence[Use]) -> list[Any]:
        """Passes in use, or only remembered."""
        return ["ok", now, *(part for use in uses for part in self._use(now, use))]

    def _use(self, now: int, use: Use) -> tuple[str, int]:
        visitor, active = use.visitor, self.sets["active"]
        whole = now + self.us("session_seconds")
        if active.get(visitor, 0) > now:
            if use.kind != 2:
                self._claim(visitor, now)
            if use.kind == 2 and visitor not in self.sets["offered"]:
                active[visitor] = max(active[visitor], min(use.expires, whole))
            if use.kind != 2 and self.settings["sliding"]:
                active[visitor] = max(active[visitor], whole)
            return "admitted", active[visitor]
        if visitor in active:
            self._retire(visitor, now)
            return "used" if visitor in self.sets["used"] else "unknown", 0
        if visitor in self.sets["used"] or visitor in self.sets["revoked"]:
            return "used", 0
        full = self.settings["capacity"] and self.occupancy(now) >= self.settings["capacity"]
        if full or use.expires <= now:
            return "unknown", 0
        if visitor in self.sets["wait"]:
            self._unqueue(visitor)
            self.counts["admitted"] += 1
        else:
            self.counts["restored"] += 1
        self.counts["claimed"] += use.kind == 1
        lengthened = use.kind == 1 or (use.kind == 0 and self.settings["sliding"])
        active[visitor] = whole if lengthened else min(use.expires, whole)
        return "admitted", active[visitor]
