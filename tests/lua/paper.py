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
from waitroom.model import LANE_US, Arrival, Marks, Ticket, arrived_us

SETS: Final = ("wait", "seen", "active", "offered", "used", "revoked", "sources")

#: Seconds by which two ways of adding fractions of a rate may differ.
_ROUNDING: Final = 1e-5


class Use(NamedTuple):
    """A pass in use: whose it is, until when it is good, and whether it is that of a session or of an offer."""

    visitor: str
    expires: int
    kind: str


@dataclass
class _Call:
    """A batch of arrivals: how many places inside are left for it, and what was answered to whom."""

    now: int
    script: str
    free: int
    wanting: int = 0
    turned_away: int = 0
    answers: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    twins: dict[int, int] = field(default_factory=dict)


@dataclass
class PaperPlaces:
    """Settings, sets, counts and marks of one room. A room at version 0 does not exist."""

    settings: dict[str, Any] = field(default_factory=dict)
    sets: dict[str, dict[str, int]] = field(default_factory=lambda: {name: {} for name in SETS})
    counts: Counter[str] = field(default_factory=Counter)
    marks: Marks = field(default_factory=Marks)
    spent: Marks = field(default_factory=Marks)
    version: int = 0
    made_at: int = 0
    made_version: int = 0
    set_at: int = 0
    hold_until: int = 0
    lost_at: int = 0
    #: When the leader came by last, and when it did so again after nobody had been heard for a while.
    led_at: int = 0
    resumed_at: int = 0
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
            arrived_us(ticket.serial) <= self.spent.turn_serial and before_the_loss
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
        self.marks = self.marks.merged(Marks(last=arrived_us(serial)))

    # The scripts. Each returns the reply that is right.

    def enter(self, now: int, arrivals: Sequence[Arrival], *, script: str, offered: int) -> list[Any]:
        """Arrivals, of whom so many were offered a place at once."""
        must, may = (0, 0) if self.sets["wait"] else self.allowance(now)
        call = _Call(now, script, offered)
        before = self.counts["entered"] + self.counts["restored"]
        for i, arrival in enumerate(arrivals):
            if arrival.ticket is not None and self._alive(arrival.ticket, now):
                self._return(call, i, arrival.ticket)
        rest = [i for i in range(len(arrivals)) if i not in call.answers]
        for i in self._guarded(call, arrivals, rest) if script == "enter_guarded" else rest:
            self._arrive(call, i, arrivals[i])
        call.answers |= {i: call.answers[twin] for i, twin in call.twins.items()}
        if self.counts["entered"] + self.counts["restored"] > before:
            # With the marks lost, the serial of one who was turned away may be ahead of all that is known.
            self.marks = self.marks.merged(Marks(last=call.turned_away))
        assert min(must, call.wanting) <= offered <= min(may, call.wanting), "I3, I4: admissions at first contact"
        self._note_refusal(now, wanting=call.wanting, may=may, admitted=offered)
        return ["ok", now, *(part for i in range(len(arrivals)) for part in call.answers[i])]

    def _return(self, call: _Call, i: int, ticket: Ticket) -> None:
        """Somebody with a ticket: an answer, or none where it gives nothing back."""
        now, visitor, serial = call.now, ticket.visitor, ticket.serial
        if visitor in self.sets["wait"]:
            self.sets["seen"][visitor] = now
            call.answers[i] = ("waiting", serial, self.rank(visitor))
            return
        if self.sets["active"].get(visitor, 0) > now:
            call.answers[i] = ("admitted", serial, self._claim(visitor, now))
            return
        if visitor in self.sets["active"]:
            self._retire(visitor, now)
        if not self._restorable(ticket):
            return
        call.wanting += 1
        if not call.free and call.script == "pass_through":
            call.answers[i] = ("must_wait", 0, 0)
        elif not call.free and self._is_full():
            self.counts["refused_full"] += 1
            call.turned_away = max(call.turned_away, arrived_us(serial))
            call.answers[i] = ("full", 0, 0)
        else:
            self._restored(serial)
            self._place(call, i, visitor, serial)

    def _guarded(self, call: _Call, arrivals: Sequence[Arrival], rest: Sequence[int]) -> list[int]:
        """Those of them who want a new place, the lane in front first: who is known by what was proved has an answer,
        and who stands twice in the call gets the answer of the first."""
        first: dict[str, int] = {}
        for i in rest:
            arrival = arrivals[i]
            if first.setdefault(arrival.fresh, i) != i:
                call.twins[i] = first[arrival.fresh]
            elif arrival.keyed:
                self._recognise(call, i, arrival.fresh)
        new = [i for i in first.values() if i not in call.answers]
        return sorted(new, key=lambda i: not arrivals[i].priority)

    def _recognise(self, call: _Call, i: int, visitor: str) -> None:
        if visitor in self.sets["wait"]:
            self.sets["seen"][visitor] = call.now
            call.answers[i] = ("waiting", self.sets["wait"][visitor], self.rank(visitor))
            return
        if self.sets["active"].get(visitor, 0) > call.now:
            call.answers[i] = ("admitted", 0, self._claim(visitor, call.now))
            return
        if visitor in self.sets["active"]:
            self._retire(visitor, call.now)
        if visitor in self.sets["used"] or visitor in self.sets["revoked"]:
            call.answers[i] = ("used", 0, 0)

    def _arrive(self, call: _Call, i: int, arrival: Arrival) -> None:
        """Somebody who wants a new place."""
        fresh = arrival.fresh
        if fresh in self.sets["wait"]:
            call.answers[i] = ("waiting", self.sets["wait"][fresh], self.rank(fresh))
            return
        if fresh in self.sets["active"]:
            call.answers[i] = ("offered", 0, self.sets["active"][fresh])
            return
        if self.settings["state"] == "closed":
            self.counts["refused_closed"] += 1
            call.answers[i] = ("closed", 0, 0)
            return
        if not call.free and self._is_full() and call.script != "pass_through":
            call.wanting += 1
            self.counts["refused_full"] += 1
            call.answers[i] = ("full", 0, 0)
            return
        again = self._charge(call.now, arrival) if call.script == "enter_guarded" else 0
        if again:
            self.counts["refused_limited"] += 1
            call.answers[i] = ("limited", 0, again)
            return
        call.wanting += 1
        if not call.free and call.script == "pass_through":
            call.answers[i] = ("must_wait", 0, 0)
            return
        drawn = max(self.marks.last + 1, call.now)
        self.marks = self.marks.merged(Marks(last=drawn))
        self.counts["entered"] += 1
        self._place(call, i, fresh, drawn - LANE_US if arrival.priority else drawn)

    def _charge(self, now: int, arrival: Arrival) -> int:
        """Take a place off what address and network have left: 0, or when they have one again and nothing is taken."""
        charged, again = {}, 0.0
        for kind in ("address", "network"):
            source, most = getattr(arrival, kind), self.settings.get(f"places_per_{kind}", 0)
            if source and most:
                interval = self.settings["ticket_seconds"] * SECOND / most
                level_at = max(now, self.sets["sources"].get(source, 0))
                if level_at > now + most * interval + 1:
                    level_at = now
                again = max(again, level_at - (most - 1) * interval)
                charged[source] = round(level_at + interval)
        if again > now:
            return math.ceil(again)
        self.sets["sources"].update(charged)
        return 0

    def _is_full(self) -> bool:
        return len(self.sets["wait"]) >= int(self.settings["max_waiting"])

    def _place(self, call: _Call, i: int, visitor: str, serial: int) -> None:
        if call.free:
            call.free -= 1
            self._offer(visitor, arrived_us(serial), call.now)
            call.answers[i] = ("offered", serial, call.now + self.us("claim_seconds"))
        else:
            self._queue(visitor, serial, call.now)
            call.answers[i] = ("waiting", serial, self.rank(visitor))

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

    def leave(self, now: int, goodbyes: Sequence[tuple[str, str]]) -> list[Any]:
        """Goodbyes: whose, and whether they may hold a pass or a ticket only."""
        return ["ok", now, *(self._leave(now, visitor, proof) for visitor, proof in goodbyes)]

    def _leave(self, now: int, visitor: str, proof: str) -> str:
        inside, live = visitor in self.sets["active"], self.sets["active"].get(visitor, 0) > now
        had_place = live or visitor in self.sets["wait"]
        if visitor in self.sets["wait"]:
            self._unqueue(visitor)
        elif live:
            del self.sets["active"][visitor]
            self.sets["offered"].pop(visitor, None)
        elif inside:
            self._retire(visitor, now)
        self.sets["used"][visitor] = now
        if proof == "pass" or inside:
            self.sets["revoked"][visitor] = now
        self.counts["left"] += had_place
        return "left" if had_place else "unknown"

    def finish(self, now: int, visitors: Sequence[str]) -> list[Any]:
        """Sessions that are over: of visitors who are not inside, the turn is used."""
        return ["ok", now, *(self._finish(now, visitor) for visitor in visitors)]

    def _finish(self, now: int, visitor: str) -> str:
        return "unknown" if visitor in self.sets["active"] else self._leave(now, visitor, "ticket")

    def extend(self, now: int, uses: Sequence[Use]) -> list[Any]:
        """Passes in use."""
        return ["ok", now, *(part for use in uses for part in self._use(now, use))]

    def _use(self, now: int, use: Use) -> tuple[str, int]:
        active, whole = self.sets["active"], now + self.us("session_seconds")
        if active.get(use.visitor, 0) > now:
            self._claim(use.visitor, now)
            if self.settings["sliding"]:
                active[use.visitor] = max(active[use.visitor], whole)
            return "admitted", active[use.visitor]
        lengthened = use.kind == "offer" or self.settings["sliding"]
        found = self._put_back(now, use.visitor, use.expires, whole if lengthened else min(use.expires, whole))
        self.counts["claimed"] += use.kind == "offer" and found[0] == "admitted"
        return found

    def restore(self, now: int, sessions: Sequence[tuple[str, int]]) -> list[Any]:
        """Sessions that are remembered, and until when."""
        return ["ok", now, *(part for session in sessions for part in self._remember(now, *session))]

    def _remember(self, now: int, visitor: str, expires: int) -> tuple[str, int]:
        active, until = self.sets["active"], min(expires, now + self.us("session_seconds"))
        if active.get(visitor, 0) > now:
            if visitor not in self.sets["offered"]:
                active[visitor] = max(active[visitor], until)
            return "admitted", active[visitor]
        return self._put_back(now, visitor, expires, until)

    def _put_back(self, now: int, visitor: str, expires: int, until: int) -> tuple[str, int]:
        """A visitor who is not inside, with a pass that is good until `expires`: inside until then, or the reason."""
        active = self.sets["active"]
        if visitor in active:
            self._retire(visitor, now)
            return "used" if visitor in self.sets["used"] else "unknown", 0
        if visitor in self.sets["used"] or visitor in self.sets["revoked"]:
            return "used", 0
        full = self.settings["capacity"] and self.occupancy(now) >= self.settings["capacity"]
        if full or expires <= now:
            return "unknown", 0
        if visitor in self.sets["wait"]:
            self._unqueue(visitor)
            self.counts["admitted"] += 1
        else:
            self.counts["restored"] += 1
        active[visitor] = until
        return "admitted", until
