"""A room on a real server beside the room on paper, and what visitors do to both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, count, repeat
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.lua.held import HeldScripts
from tests.lua.paper import SETS, Use
from tests.lua.paper_house import PaperLease, PaperRoom, texts_of
from tests.lua.witness import Witness, state_of
from waitroom.model import Arrival, Counts, Marks, Ticket, Visitor
from waitroom.store import keys

#: Chosen so that every kind of end can come first.
SETTINGS: Final = st.fixed_dictionaries(
    {
        "capacity": st.sampled_from([1, 2, 3, 5, 0]),
        "admit_per_second": st.sampled_from([0.0, 1.0, 0.5, 20.0]),
        "session_seconds": st.sampled_from([30.0, 15.0]),
        "claim_seconds": st.sampled_from([10.0, 4.0, 35.0]),
        "abandon_seconds": st.sampled_from([20.0, 7.0, 40.0]),
        "ticket_seconds": st.sampled_from([60.0, 40.0, 100.0, 40.0]),
        "sliding": st.booleans(),
        "max_waiting": st.sampled_from([50, 50, 4]),
        "places_per_address": st.sampled_from([0, 3, 1]),
        "places_per_network": st.sampled_from([0, 4]),
        "state": st.sampled_from([*["open"] * 6, "paused", "closed", "bypass"]),
    }
)
#: How many visitors ago somebody came, and whether the newest or the first ticket is brought.
PICKS: Final = st.lists(st.tuples(st.integers(0, 11), st.sampled_from([-1, -1, -1, 0])), min_size=1, max_size=5)
Picks = list[tuple[int, int]]

#: Who comes to a guard: a customer, or 0 for somebody unknown; in front or not; of which address and network.
COMERS: Final = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.sampled_from([False, False, True]),
        st.sampled_from(["", "a1", "a2"]),
        st.sampled_from(["", "n1"]),
    ),
    min_size=1,
    max_size=5,
)

#: Scripts that give places to arrivals.
ARRIVING: Final = ("enter", "pass_through", "enter_guarded")
#: What a visitor who leaves may hold, and of which kind a pass in use is.
PROOFS: Final = ("ticket", "pass")
KINDS: Final = ("session", "offer")

#: A room that nobody touches, with the same visitors in it.
_BYSTANDER: Final = keys.room_keys("shop2")


class VisitorMachine(RuleBasedStateMachine):
    """Visitors of one room. Whatever is called is also said to the paper, and judged by the witness."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.held = HeldScripts(url)
        self.names = count(1)
        self.tickets: dict[str, list[Ticket]] = {}
        self.passes: dict[str, int] = {}
        self.paper = PaperRoom()
        self.lease_paper = PaperLease()
        self.witness = Witness(state_of(self.held.redis))
        self.put_bystander()
        #: What instances know that have seen everything.
        self.known = Marks()
        #: Up to when serials were given out of which nothing but the clock keeps later ones apart.
        self.forgotten_until = 0
        #: Every call so far, ready to be carried out again word for word.
        self.calls: list[Callable[[], Any]] = []
        #: The last call, if to carry it out again at the same instant must change nothing.
        self.repeatable: tuple[str, list[Any]] | None = None

    def teardown(self) -> None:
        """Close the connections."""
        self.held.close()

    # One call, and what must hold after it.

    def act(self, name: str, arguments: list[Any], answer: Callable[[list[Any]], list[Any]]) -> list[Any] | None:
        """A script's reply, which must be the paper's answer; None where the room does not exist."""
        self.repeatable = None
        reply = self.held.run(name, *arguments)
        if not self.paper.version and name not in ("configure", "lease"):
            assert reply == ["missing"]
            self.agree(name)
            return None
        assert reply == answer(reply), name
        self.agree(name)
        return reply

    def agree(self, name: str) -> None:
        """What the server holds is what the paper says, in the same order, and what the witness lets pass."""
        state, paper = state_of(self.held.redis), self.paper
        for key in SETS:
            assert list(state.sets[key].items()) == paper.order(key), key
        assert state.counts == {one: paper.counts[one] for one in Counts.__dataclass_fields__}
        assert state.marks == paper.marks
        marks = ("spent_serial", "spent_us", "hold_until_us", "lost_us", "term", "led_us", "resumed_us")
        noted = (
            *(paper.spent.turn_serial, paper.spent.turn_us, paper.hold_until, paper.lost_at, paper.term),
            *(paper.led_at, paper.resumed_at),
        )
        assert dict(zip(marks, map(state.number, marks), strict=True)) == dict(zip(marks, noted, strict=True))
        assert state.config == paper.config()
        assert self.bystander() == self.bystander_before, "I12"
        self.witness.judge(name, self.held.now, state)
        self.known = self.known.merged(paper.marks).merged(Marks(version=paper.version))

    def put_bystander(self) -> None:
        """Make the room that nobody touches."""
        redis = self.held.redis
        redis.delete(*_BYSTANDER)
        for key in _BYSTANDER[:2]:
            redis.hset(key, mapping={"state": "open", "last": "1"})
        for key in _BYSTANDER[2:]:
            redis.zadd(key, {"v1": 1, "v2": 2})
        self.bystander_before = self.bystander()

    def bystander(self) -> list[Any]:
        """All of the room that nobody touches."""
        return self.held.dumps(_BYSTANDER)

    # Who is chosen.

    def picked(self, picks: Picks) -> list[Ticket]:
        """Tickets of those who came last."""
        held = list(self.tickets.values())
        return [held[-1 - ago % len(held)][which] for ago, which in picks] if held else []

    def holders(self, picks: Picks) -> list[str]:
        """Visitors who were given a pass."""
        held = list(self.passes)
        return [held[-1 - ago % len(held)] for ago, _ in picks] if held else []

    def outlive_tickets(self) -> None:
        """The clock goes on until every serial and every ticket is of the past."""
        tickets = [ticket for held in self.tickets.values() for ticket in held]
        newest = max((max(ticket.serial, ticket.issued_us) for ticket in tickets), default=0)
        self.forgotten_until = max(self.forgotten_until, newest + 1)
        self.held.now = max(self.held.now, self.forgotten_until)

    def issue(self, visitor: str, serial: int) -> None:
        """The visitor gets a ticket; older ones are kept, too."""
        self.tickets.setdefault(visitor, []).append(Ticket(Visitor(visitor), serial, self.held.now))

    # What visitors do.

    @initialize(chosen=SETTINGS, number=st.integers(1, 8))
    def create(self, chosen: dict[str, Any], number: int) -> None:
        """A new room, and who comes first."""
        self.configure(0, Marks(), 0, chosen)
        self.arrive(number)

    def configure(self, expected: int | str, marks: Marks, hold: int, changes: dict[str, Any]) -> None:
        """A call of the operator's, or of an instance that remembers the marks."""
        self.calls.append(partial(self.configure, expected, marks, hold, changes))
        given = [part for pair in texts_of(changes).items() for part in pair]
        arguments = [expected, marks.last, marks.turn_serial, marks.turn_us, marks.version, hold, *given]
        now = self.held.now
        self.act("configure", arguments, lambda _: self.paper.configure(now, expected, marks, hold, changes))
        if expected != "*" and changes:
            self.repeatable = ("configure", arguments)

    def enter(self, arrivals: list[Arrival], *, script: str) -> None:
        """Arrivals, with tickets or without."""
        self.calls.append(partial(self.enter, arrivals, script=script))
        arguments: list[Any] = []
        for one in arrivals:
            arguments += (one.fresh, *(one.ticket[:3] if one.ticket else ("", 0, 0)))
            if script == "enter_guarded":
                arguments += (int(one.keyed), int(one.priority), one.address, one.network)

        def answer(reply: list[Any]) -> list[Any]:
            offered = [word == "offered" and serial for word, serial in zip(reply[2::3], reply[3::3], strict=True)]
            # Who stands twice in a call has one place.
            own = {(one.fresh, serial) for one, serial in zip(arrivals, offered, strict=True) if serial}
            return self.paper.enter(self.held.now, arrivals, script=script, offered=len(own))

        reply = self.act(script, arguments, answer)
        if reply is None:
            return
        repeats = True
        for one, word, serial, number in zip(arrivals, reply[2::3], reply[3::3], reply[4::3], strict=True):
            kept = one.ticket is not None and one.ticket.serial == serial
            visitor = one.ticket.visitor if one.ticket and kept else one.fresh
            # A refusal is counted each time; who is restored inside, or known by a proof, claims by coming again.
            known = kept or one.keyed
            repeats &= word in ("waiting", "admitted", "must_wait", "used") or (word == "offered" and not known)
            if serial:
                self.issue(visitor, serial)
            if word in ("offered", "admitted"):
                self.passes[visitor] = number
        if repeats:
            self.repeatable = (script, arguments)

    @rule(number=st.integers(1, 6))
    def come(self, number: int) -> None:
        """First contacts by the waiting page."""
        self.arrive(number)

    @rule(number=st.integers(1, 3))
    def pass_the_gate(self, number: int) -> None:
        """First contacts by the gate."""
        self.arrive(number, script="pass_through")

    def arrive(self, number: int, *, script: str = "enter") -> None:
        """First contacts."""
        self.enter([Arrival(Visitor(f"v{next(self.names)}")) for _ in range(number)], script=script)

    @rule(picks=PICKS, strangers=st.integers(0, 2), script=st.sampled_from(["enter", "enter", "pass_through"]))
    def come_back(self, picks: Picks, strangers: int, script: str) -> None:
        """Reloads, second tabs, returns after long silence, and somebody new among them."""
        tickets: list[Ticket | None] = [*([None] * strangers), *self.picked(picks)]
        arrivals = [Arrival(Visitor(f"v{next(self.names)}"), ticket) for ticket in tickets]
        self.enter(arrivals, script=script)

    @rule(comers=COMERS, picks=PICKS)
    def come_to_a_guard(self, comers: list[tuple[int, bool, str, str]], picks: Picks) -> None:
        """Customers and others, of one address or another; some bring a ticket, their own or an older one of theirs."""
        arrivals, tickets = [], chain(self.picked(picks), repeat(None))
        for (customer, priority, address, network), ticket in zip(comers, tickets, strict=False):
            name = f"c{customer}" if customer else f"v{next(self.names)}"
            own = self.tickets.get(name, [None])[-1] if customer else ticket
            brought = own if customer % 2 == 0 else None
            arrivals.append(Arrival(Visitor(name), brought, customer > 0, priority, address, network))
        self.enter(arrivals, script="enter_guarded")

    @rule(picks=PICKS)
    def ask(self, picks: Picks) -> None:
        """Look-ups."""
        self.look_up(self.picked(picks))

    def keep_waiting(self, silent: int) -> None:
        """Everybody who waits asks where they stand, but for the first few."""
        waiting = [visitor for visitor, _ in self.paper.order("wait")][silent:]
        self.look_up([self.tickets[visitor][-1] for visitor in waiting])

    @rule()
    def show_up(self) -> None:
        """Everybody who was offered a place asks."""
        self.look_up([self.tickets[visitor][-1] for visitor in self.paper.sets["offered"]])

    def look_up(self, tickets: Sequence[Ticket]) -> None:
        """A batch of look-ups."""
        self.calls.append(partial(self.look_up, tickets))
        arguments = [part for ticket in tickets for part in (ticket.visitor, ticket.serial, ticket.issued_us)]
        reply = self.act("status", arguments, lambda _: self.paper.status(self.held.now, tickets))
        if reply is None:
            return
        for ticket, word, number in zip(tickets, reply[2::2], reply[3::2], strict=True):
            if word in ("waiting", "admitted"):
                self.issue(ticket.visitor, ticket.serial)
            if word == "admitted":
                self.passes[ticket.visitor] = number
        self.repeatable = ("status", arguments)

    @rule(picks=PICKS, proofs=st.lists(st.sampled_from(PROOFS), min_size=5, max_size=5))
    def say_goodbye(self, picks: Picks, proofs: list[str]) -> None:
        """Goodbyes: with a pass or without."""
        self.leave([(ticket.visitor, proof) for ticket, proof in zip(self.picked(picks), proofs, strict=False)])

    def leave(self, goodbyes: list[tuple[str, str]]) -> None:
        """A batch of goodbyes."""
        self.calls.append(partial(self.leave, goodbyes))
        arguments = [part for goodbye in goodbyes for part in goodbye]
        self.act("leave", arguments, lambda _: self.paper.leave(self.held.now, goodbyes))
        self.repeatable = ("leave", arguments)

    @rule(picks=PICKS, sessions=st.lists(st.booleans(), min_size=5, max_size=5))
    def put_back(self, picks: Picks, sessions: list[bool]) -> None:
        """An instance tells what it remembers: sessions that last, and others that are over."""
        self.restore([(visitor, self.passes[visitor]) for visitor in self.holders(picks)])
        over = zip(self.picked(picks), sessions, strict=False)
        self.finish([ticket.visitor for ticket, lasts in over if not lasts])

    def restore(self, sessions: list[tuple[str, int]]) -> None:
        """A batch of sessions that are remembered, and until when."""
        self.calls.append(partial(self.restore, sessions))
        arguments = [part for session in sessions for part in session]
        reply = self.act("restore", arguments, lambda _: self.paper.restore(self.held.now, sessions))
        self.prolong([visitor for visitor, _ in sessions], reply)
        self.repeatable = ("restore", arguments)

    def finish(self, visitors: list[str]) -> None:
        """A batch of sessions that are remembered to be over."""
        self.calls.append(partial(self.finish, visitors))
        self.act("finish", list(visitors), lambda _: self.paper.finish(self.held.now, visitors))
        self.repeatable = ("finish", list(visitors))

    @rule(picks=PICKS, kinds=st.lists(st.sampled_from(["session", *KINDS]), min_size=5, max_size=5))
    def use_pass(self, picks: Picks, kinds: list[str]) -> None:
        """Passes at the gate, of those inside and long gone."""
        chosen = zip(self.holders(picks), kinds, strict=False)
        self.extend([Use(visitor, self.passes[visitor], kind) for visitor, kind in chosen])

    def extend(self, uses: list[Use]) -> None:
        """A batch of passes."""
        self.calls.append(partial(self.extend, uses))
        arguments = [part for use in uses for part in use]
        reply = self.act("extend", arguments, lambda _: self.paper.extend(self.held.now, uses))
        self.prolong([use.visitor for use in uses], reply)
        self.repeatable = ("extend", arguments)

    def prolong(self, visitors: Sequence[str], reply: list[Any] | None) -> None:
        """Passes are good for as long as the room says."""
        for visitor, expiry in zip(visitors, reply[3::2] if reply else (), strict=reply is not None):
            if visitor in self.passes:
                self.passes[visitor] = max(self.passes[visitor], expiry)

    @rule(picks=PICKS)
    def watch(self, picks: Picks) -> None:
        """Somebody looks, and leaves no trace."""
        self.observe([ticket.visitor for ticket in self.picked(picks)])

    def observe(self, visitors: Sequence[str]) -> None:
        """One look."""
        self.act("look", list(visitors), lambda _: self.paper.look(self.held.now, visitors))
        self.repeatable = ("look", list(visitors))

    @rule(ago=st.integers(0, 30))
    def replay(self, ago: int) -> None:
        """An earlier call again, word for word, by whoever lost its reply and took long to notice."""
        if self.calls:
            self.calls[-1 - ago % len(self.calls)]()

    @rule()
    def repeat(self) -> None:
        """The last call again, at the same instant: it changes nothing at all (I9)."""
        if self.repeatable is None:
            return
        name, arguments = self.repeatable
        before = self.held.everything()
        self.held.run(name, *arguments)
        after = self.held.everything()
        assert after == before, [key for key in after if after[key] != before.get(key)]
