"""A room on paper: what the scripts must do, said once more in plain Python, without a thought for speed.

Whether somebody is admitted at a given µs is not computed again: the room on paper is told how many were, and holds
that number against what capacity, rate and liveness allow. All times are µs since the epoch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from unittest.mock import ANY

from tests.lua.driven import burst, most_within
from waitroom.model import Marks, Pass, Ticket

SETS: Final = ("wait", "seen", "active", "offered", "used", "revoked")

SECOND: Final = 1_000_000


@dataclass
class PaperRoom:
    """Settings, sets, counts and marks of one room."""

    settings: dict[str, Any]
    sets: dict[str, dict[str, int]] = field(default_factory=lambda: {name: {} for name in SETS})
    counts: Counter[str] = field(default_factory=Counter)
    marks: Marks = field(default_factory=Marks)
    spent: Marks = field(default_factory=Marks)
    hold_until: int = 0
    tickets_after: int = 0
    longest: float = 0
    term: int = 0
    travelled: int = 0
    #: Room times of the admissions that the rate of now allowed, and whether no older rate may still delay the next.
    admissions: list[int] = field(default_factory=list)
    settled: bool = True

    def __post_init__(self) -> None:
        self.longest = max(self.settings["session_seconds"], self.settings["claim_seconds"])

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

    def _us(self, name: str) -> int:
        return int(self.settings[name] * SECOND)

    def _alive(self, ticket: Ticket, now: int) -> bool:
        return ticket.issued_us >= max(now - self._us("ticket_seconds"), self.tickets_after)

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
        may: float = math.floor(most_within(rate, 0) + 1e-5)
        for earlier, start in enumerate(self.admissions):
            window = (now + self.travelled - start) / SECOND
            may = min(may, math.floor(most_within(rate, window) + 1e-5) - (len(self.admissions) - earlier))
        quiet = (now + self.travelled - self.admissions[-1]) / SECOND if self.admissions else math.inf
        must = most if quiet > most / rate else int(quiet > 1 / rate + 1e-5)
        return min(free, must if self.settled else 0), min(free, max(may, 0))

    # What moves a visitor.

    def _offer(self, visitor: str, serial: int, now: int) -> None:
        self.sets["active"][visitor] = self.sets["offered"][visitor] = now + self._us("claim_seconds")
        self.counts["admitted"] += 1
        self.marks = self.marks.merged(Marks(0, serial, now))
        if self.settings["admit_per_second"] and self.settings["state"] != "bypass":
            self.admissions.append(now + self.travelled)
            self.settled = True

    def _queue(self, visitor: str, serial: int, now: int) -> None:
        self.sets["wait"][visitor] = serial
        self.sets["seen"][visitor] = now

    def _unqueue(self, visitor: str) -> None:
        del self.sets["wait"][visitor], self.sets["seen"][visitor]

    def _claim(self, visitor: str, now: int) -> int:
        if self.sets["offered"].pop(visitor, None):
            self.sets["active"][visitor] = now + self._us("session_seconds")
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
        until = now + self._us("claim_seconds")
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

    def leave(self, now: int, visitors: Sequence[str], *, with_pass: bool = False) -> list[Any]:
        """Goodbyes."""
        return ["ok", now, *(self._leave(now, visitor, with_pass) for visitor in visitors)]

    def _leave(self, now: int, visitor: str, with_pass: bool) -> str:
        if with_pass:
            self.sets["revoked"][visitor] = now
        if visitor in self.sets["wait"]:
            self._unqueue(visitor)
        elif visitor in self.sets["active"]:
            self.sets["revoked"][visitor] = now
            if self.sets["active"][visitor] <= now:
                self._retire(visitor, now)
                self.sets["used"][visitor] = now
                return "unknown"
            del self.sets["active"][visitor]
            self.sets["offered"].pop(visitor, None)
        else:
            self.sets["used"][visitor] = now
            return "unknown"
        self.sets["used"][visitor] = now
        self.counts["left"] += 1
        return "left"

    def extend(self, now: int, passes: Sequence[Pass], *, remembered: bool = False) -> list[Any]:
        """Passes in use, or only remembered; `expires` in µs here."""
        return ["ok", now, *(part for proof in passes for part in self._use(now, proof, remembered))]

    def _use(self, now: int, proof: Pass, remembered: bool) -> tuple[str, int]:
        visitor = proof.visitor
        if remembered and self.sets["active"].get(visitor, 0) > now:
            if visitor not in self.sets["offered"]:
                granted = min(int(proof.expires), now + self._us("session_seconds"))
                self.sets["active"][visitor] = max(self.sets["active"][visitor], granted)
            return "admitted", self.sets["active"][visitor]
        if self.sets["active"].get(visitor, 0) > now:
            expiry = self._claim(visitor, now)
            if self.settings["sliding"]:
                expiry = self.sets["active"][visitor] = max(expiry, now + self._us("session_seconds"))
            return "admitted", expiry
        if visitor in self.sets["active"]:
            self._retire(visitor, now)
            return "used" if visitor in self.sets["used"] else "unknown", 0
        if visitor in self.sets["used"] or visitor in self.sets["revoked"]:
            return "used", 0
        capacity = self.settings["capacity"]
        full = capacity and self.occupancy(now) >= capacity
        if full or proof.expires <= now:
            return "unknown", 0
        if visitor in self.sets["wait"]:
            self._unqueue(visitor)
            self.counts["admitted"] += 1
        else:
            self.counts["restored"] += 1
        self.counts["claimed"] += proof.offer
        expiry = now + self._us("session_seconds")
        if not proof.offer:
            expiry = min(int(proof.expires), expiry)
        self.sets["active"][visitor] = expiry
        return "admitted", expiry

    def admit(self, now: int, *, term: int, most: int, moved: int) -> list[Any]:
        """The leader's admissions, for which so many went out of the queue."""
        if term < self.term:
            return ["stale", self.term]
        self.term = term
        must, may = self.allowance(now)
        asked = min(most, 500, len(self.sets["wait"]))
        assert min(must, asked) <= moved <= min(may, asked), "I3, I4, I17: admissions"
        serials = []
        for visitor, serial in self.order("wait")[:moved]:
            silent = self.sets["seen"][visitor] < now - self._us("abandon_seconds")
            self._unqueue(visitor)
            if silent:
                self.counts["abandoned"] += 1
            else:
                self._offer(visitor, serial, now)
                serials.append(serial)
        return ["ok", now, len(self.sets["wait"]), self.occupancy(now), ANY, *serials]

    def expire(self, now: int, *, term: int, most: int) -> list[Any]:
        """The leader's sweep."""
        if term < self.term:
            return ["stale", self.term]
        self.term = term
        budget = min(most, 500)

        def due(name: str, before: int) -> list[str]:
            nonlocal budget
            found = [visitor for visitor, score in self.order(name) if score < before][:budget]
            budget -= len(found)
            return found

        ways = Counter(self._retire(visitor, now) for visitor in due("active", now + 1))
        silent = due("seen", now - self._us("abandon_seconds"))
        for visitor in silent:
            self._unqueue(visitor)
        self.counts["abandoned"] += len(silent)
        used = due("used", now - self._us("ticket_seconds"))
        revoked = due("revoked", now - round(self.longest * SECOND))
        for name, swept in (("used", used), ("revoked", revoked)):
            for visitor in swept:
                del self.sets[name][visitor]
        more = int(budget <= 0)
        return ["ok", now, more, len(silent), ways["no_show"], ways["finished"], len(used) + len(revoked)]

    def configure(self, now: int, changes: dict[str, Any]) -> None:
        """New settings."""
        old, new = self.settings, self.settings | changes
        if new["ticket_seconds"] > old["ticket_seconds"]:
            self.tickets_after = max(self.tickets_after, now - self._us("ticket_seconds"))
        if new["admit_per_second"] != old["admit_per_second"]:
            self.admissions, self.settled = [], False
        self.longest = max(self.longest, new["session_seconds"], new["claim_seconds"])
        self.settings = new

    def lost(self, marks: Marks, *, hold: int) -> PaperRoom:
        """The room that is made again after a loss of all data, by an instance that remembers the marks."""
        return PaperRoom(self.settings, marks=marks, spent=marks, hold_until=hold, travelled=self.travelled)

    def fast_forward(self, by: int) -> None:
        """Everything is that much older."""
        self.travelled += by
        for name in SETS[1:]:
            self.sets[name] = {visitor: score - by for visitor, score in self.sets[name].items()}

        def older(marks: Marks) -> Marks:
            return Marks(marks.last, marks.turn_serial, marks.turn_us - by if marks.turn_us > 0 else marks.turn_us)

        self.marks, self.spent = older(self.marks), older(self.spent)
        self.hold_until -= by if self.hold_until > 0 else 0
        self.tickets_after -= by if self.tickets_after > 0 else 0
