"""What leaders, operators and the clock do to the room on a real server and to the room on paper."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.lua.held import ROOM, SECOND
from tests.lua.machine import KINDS, PROOFS, SETTINGS, VisitorMachine
from tests.lua.paper import Use
from tests.lua.witness import state_of
from waitroom.model import Arrival, Marks, Visitor
from waitroom.store import keys

NAMES: Final = [
    *("capacity", "admit_per_second", "session_seconds", "claim_seconds", "ticket_seconds", "max_waiting"),
    *("sliding", "state"),
]
#: Between two rounds of the scheduler, and between two rounds of anybody's attention.
SECONDS: Final = st.sampled_from([0.05, 0.6, 1.0, 1.6, 3.0, 5.0, 11.0])
LONG_SECONDS: Final = st.sampled_from([8.0, 16.0, 21.0, 31.0, 41.0, 61.0, 76.0])
INSTANCES: Final = st.sampled_from(["a", "b", "c"])
TTL: Final = 9 * SECOND
#: Between two rounds of a leader at which nobody is taken for unheard.
_ROUNDS: Final = 2 * SECOND
#: For how long a leader is there at most.
_LED_FOR: Final = 150 * SECOND
#: What may end, and which µs beside its end.
STAYS: Final = ["inside", "inside", "pass", "silent"]
MARKS: Final = ["lease", "hold", "rate", "used", "revoked", "ticket", "resumed"]
#: Whether a leader is there meanwhile: else nobody is taken for silent for a while afterwards.
LED: Final = st.sampled_from([True, True, True, True, False])
OFF: Final = st.sampled_from([-1, 0, 0, 1])


class HouseMachine(VisitorMachine):
    """Visitors, three instances, an operator and a clock."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        #: Under which term each instance believes to lead.
        self.terms: dict[str, int] = {}
        #: The newest term by which each was refused.
        self.refused: dict[str, int] = {}

    # Leaders.

    @rule(who=INSTANCES)
    def ask_for_lease(self, who: str) -> None:
        """An instance wants to lead, or to go on leading."""
        self.lease("hold", who)

    @rule(who=INSTANCES)
    def resign(self, who: str) -> None:
        """An instance gives up, whether it leads or not."""
        self.lease("resign", who)

    def lease(self, action: str, who: str, above: int | None = None) -> None:
        """One call."""
        above = self.refused.get(who, 0) if above is None else above
        self.calls.append(partial(self.lease, action, who, above))
        now, paper = self.held.now, self.lease_paper
        hold = action == "hold"
        right = partial(paper.hold, now, who, TTL, above) if hold else partial(paper.resign, who)
        reply = self.act("lease", [action, who, TTL, above], lambda _: right())
        if reply and reply[0] in ("acquired", "renewed"):
            self.terms[who] = reply[1]
        assert self.held.redis.hgetall(keys.LEASE) == paper.stored()
        self.repeatable = ("lease", [action, who, TTL, above])

    @rule()
    def lose_lease(self) -> None:
        """The lease is gone, and nothing else: nobody knows who leads."""
        self.held.redis.delete(keys.LEASE)
        self.repeatable = None
        self.lease_paper = type(self.lease_paper)()

    def term_of(self, who: str) -> int:
        """Under which term that instance acts: one that never led asks first, and tries all the same."""
        if who not in self.terms:
            self.lease("hold", who)
        return self.terms.get(who, 0)

    @rule(seconds=SECONDS, silent=st.integers(0, 2), most=st.sampled_from([500, 500, 2]))
    def tick(self, seconds: float, silent: int, most: int) -> None:
        """Some time later those who wait ask, but for the first few, and the leader sweeps and admits."""
        self.attend(self.held.now + round(seconds * SECOND))
        self.keep_waiting(silent)
        term = max(self.terms.values(), default=self.paper.term)
        self.expire(term, most)
        self.admit(term, most)

    @rule(seconds=SECONDS, who=INSTANCES)
    def tick_without_sweep(self, seconds: float, who: str) -> None:
        """Some time later a leader admits, with all who should have been swept still there."""
        self.attend(self.held.now + round(seconds * SECOND))
        self.admit_by(who, 500)

    @rule(who=INSTANCES, most=st.sampled_from([500, 600, 1, 2, 0, -1]))
    def lead(self, who: str, most: int) -> None:
        """A leader, or one whose time is over, admits."""
        self.admit_by(who, most)

    def admit_by(self, who: str, most: int) -> None:
        """One call of that instance, which learns from a refusal."""
        reply = self.admit(self.term_of(who), most)
        if reply and reply[0] == "stale":
            self.refused[who] = reply[1]

    @rule(who=INSTANCES, most=st.sampled_from([500, 600, 1, 3, 0, -1]))
    def sweep(self, who: str, most: int) -> None:
        """A leader, or one whose time is over, sweeps."""
        self.expire(self.term_of(who), most)

    def admit(self, term: int, most: int) -> list[Any] | None:
        """One call."""
        self.calls.append(partial(self.admit, term, most))
        waiting = len(self.paper.sets["wait"])

        def answer(reply: list[Any]) -> list[Any]:
            moved = waiting - reply[2] if reply[0] == "ok" else 0
            return self.paper.admit(self.held.now, term=term, most=most, moved=moved)

        reply = self.act("admit", [term, most], answer)
        if reply and reply[0] == "ok":
            silent = waiting - reply[2] > len(reply) - 5
            more = self.paper.more(self.held.now, silent=silent, full_call=len(reply) - 5 == min(most, 500))
            assert reply[4] in ((0, 1) if more is None else (more,))
        return reply

    def expire(self, term: int, most: int) -> None:
        """One call."""
        self.calls.append(partial(self.expire, term, most))
        reply = self.act("expire", [term, most], lambda _: self.paper.expire(self.held.now, term=term, most=most))
        if reply and (reply[0] == "stale" or not reply[2]):
            self.repeatable = ("expire", [term, most])

    # Operators.

    @rule(chosen=SETTINGS, names=st.sets(st.sampled_from(NAMES), min_size=1), by_version=st.integers(-1, 2))
    def change_settings(self, chosen: dict[str, Any], names: set[str], by_version: int) -> None:
        """The operator changes settings, up or down: any version, the one of now, or one that was or will be."""
        changes = {name: chosen[name] for name in sorted(names)}
        expected = "*" if by_version < 0 else max(self.paper.version + (0, 1, -1)[by_version], 0)
        if self.paper.version:
            self.configure(expected, Marks(), 0, changes)

    @precondition(lambda self: self.paper.version and self.paper.settings["state"] != "open")
    @rule()
    def open(self) -> None:
        """The operator opens the room again."""
        self.configure("*", Marks(), 0, {"state": "open"})

    @rule(since=st.sampled_from([0, SECOND, 10 * SECOND]))
    def read(self, since: int) -> None:
        """Somebody reads the whole room."""
        since = self.held.now - since if since else 0
        reply = self.act("read", [since], lambda _: self.paper.read(self.held.now, since))
        if reply is None:
            return
        state = state_of(self.held.redis)
        releases, ladder = self.paper.lists(self.held.now)
        assert set(reply[8]) <= set(releases)
        assert len(releases) > 17 or set(reply[8]) == set(releases)
        told = list(zip(reply[9][::2], reply[9][1::2], strict=True))
        assert set(told) <= set(ladder)
        assert len(ladder) > 32 or told == ladder
        assert (told[:1], told[-1:]) == (ladder[:1], ladder[-1:])
        assert dict(zip(reply[5][::2], reply[5][1::2], strict=True)) == state.config
        assert {name: float(value) for name, value in zip(reply[6][::2], reply[6][1::2], strict=True)} == state.numbers
        self.repeatable = ("read", [since])

    @rule()
    def delete(self) -> None:
        """The operator deletes the room with all in it."""
        self.held.redis.unlink(*keys.room_keys(ROOM))
        self.begin_anew()
        self.outlive_tickets()
        self.known = Marks()

    @precondition(lambda self: not self.paper.version)
    @rule(chosen=SETTINGS)
    def make_again(self, chosen: dict[str, Any]) -> None:
        """The operator makes a room of that name again."""
        now = self.held.now
        self.configure(0, Marks(), 0, chosen | {"tickets_after_us": now, "passes_after_us": now})

    def begin_anew(self) -> None:
        """There is no room."""
        self.repeatable = None
        self.paper = self.paper.lost()
        self.witness.begin(state_of(self.held.redis))

    # Time.

    def let_time_pass(self, seconds: float) -> None:
        """The clock goes on."""
        self.repeatable = None
        self.held.now += round(seconds * SECOND)

    def attend(self, until: int) -> None:
        """The clock goes on, and the leader comes by often enough for all to be heard; it admits nobody."""
        term = max(self.terms.values(), default=self.paper.term)
        self.held.now = max(self.held.now, until - _LED_FOR)
        while until - self.held.now > _ROUNDS and self.paper.version:
            self.held.now += _ROUNDS
            self.admit(term, 0)
        self.let_time_pass((until - self.held.now) / SECOND)

    @rule(seconds=LONG_SECONDS, led=LED)
    def rest(self, seconds: float, led: bool) -> None:
        """Nothing happens for a while, with a leader or without one."""
        if led:
            self.attend(self.held.now + round(seconds * SECOND))
        else:
            self.let_time_pass(seconds)

    @rule(kind=st.sampled_from(STAYS), which=st.integers(0, 3), off=OFF, how=st.integers(0, 4), led=LED)
    def come_to_the_end_of_a_stay(self, kind: str, which: int, off: int, how: int, led: bool) -> None:
        """The clock goes on to the µs at which somebody's place ends, or one before or after, and somebody asks."""
        if not self.come_to_an_edge(kind, which, off, led=led):
            return
        visitors = list(self.tickets)[-6:]
        passes = list(self.passes.items())[-5:]
        self.observe(visitors)
        if how < 2:
            self.sweep_or_admit(admit=how == 0)
        elif how == 2:
            self.finish(visitors[::3])
            self.leave([(visitor, PROOFS[number % 2]) for number, visitor in enumerate(visitors)])
        elif how == 3:
            self.look_up([self.tickets[visitor][-1] for visitor in visitors])
        else:
            self.restore(passes[::2])
            self.extend([Use(visitor, expires, KINDS[at % 2]) for at, (visitor, expires) in enumerate(passes)])

    @rule(kind=st.sampled_from(MARKS), which=st.integers(0, 3), off=OFF, how=st.integers(0, 2), led=LED)
    def come_to_the_end_of_a_mark(self, kind: str, which: int, off: int, how: int, led: bool) -> None:
        """The same for the lease, a hold, a pause between admissions, a ticket, and what is kept for so long."""
        if not self.come_to_an_edge(kind, which, off, led=led):
            return
        tickets = [held[-1] for held in self.tickets.values()][-6:]
        if kind == "lease":
            self.lease("hold", "abc"[how])
        elif kind == "ticket" and how == 0:
            self.look_up(tickets)
        elif kind == "ticket":
            arrivals = [Arrival(Visitor(f"v{next(self.names)}"), ticket) for ticket in tickets[-2:]]
            self.enter(arrivals, script="pass_through" if how == 2 else "enter")
        elif kind in ("rate", "hold") and how == 0:
            self.arrive(2)
        else:
            self.sweep_or_admit(admit=kind in ("rate", "hold") or (kind == "resumed" and how == 0))

    def come_to_an_edge(self, kind: str, which: int, off: int, *, led: bool) -> bool:
        """Set the clock to the end of something of that kind, or beside it; False where there is none to come.

        `led`: with a leader all the way there.
        """
        edges = sorted({edge + off for edge in self.edges()[kind] if edge + off > self.held.now})
        if not edges:
            return False
        edge = edges[which % len(edges)]
        if led:
            self.attend(edge)
        self.repeatable, self.held.now = None, edge
        return True

    def sweep_or_admit(self, *, admit: bool) -> None:
        """One call under the newest term."""
        term = max(self.terms.values(), default=self.paper.term)
        if admit:
            self.admit(term, 500)
        else:
            self.expire(term, 500)

    def edges(self) -> dict[str, list[int]]:
        """Every time at which something may end, by its kind."""
        paper = self.paper
        found = {kind: list[int]() for kind in (*STAYS, *MARKS)} | {
            "lease": [self.lease_paper.until],
            "inside": list(paper.sets["active"].values()),
            "pass": list(self.passes.values()),
            "hold": [paper.hold_until],
        }
        if paper.version:
            rate = paper.settings["admit_per_second"]
            newest = [ticket.issued_us for held in self.tickets.values() for ticket in held[-2:]]
            found["rate"] = [at + round(SECOND / rate) for at in paper.admissions[-1:] if rate]
            found["silent"] = [at + paper.us("abandon_seconds") for at in paper.sets["seen"].values()]
            found["resumed"] = [math.ceil(paper.led_until()), paper.resumed_at + paper.believed_for()]
            found["used"] = [at + paper.us("ticket_seconds") for at in paper.sets["used"].values()]
            found["revoked"] = [at + round(paper.longest * SECOND) for at in paper.sets["revoked"].values()]
            found["ticket"] = [at + paper.us("ticket_seconds") for at in newest]
        return found

    @rule(seconds=st.sampled_from([0.05, 2.0, 60.0, 3600.0]))
    def set_the_clock_back(self, seconds: float) -> None:
        """The clock of the server is set back; not to when serials were given out of which nobody knows any more."""
        self.let_time_pass(-min(seconds, max(0, self.held.now - self.forgotten_until) / SECOND))
        self.paper.unsettle()
        self.witness.begin(state_of(self.held.redis))
