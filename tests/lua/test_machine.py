"""Random histories of a room on a real server against the room on paper: equal after every step."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, cast

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from tests import clockwork
from tests.lua.paper import SECOND, SETS, PaperRoom
from waitroom import keys, scripts
from waitroom.model import Counts, Marks, Pass, Ticket, Visitor
from waitroom.settings import RoomSettings, fields_of

ROOM = "shop"

#: Chosen so that every kind of end can come first, and time steps reach each of them.
SETTINGS = st.fixed_dictionaries(
    {
        "capacity": st.sampled_from([1, 2, 3, 5, 0]),
        "admit_per_second": st.sampled_from([0.0, 1.0, 0.5, 20.0]),
        "session_seconds": st.sampled_from([30.0, 15.0]),
        "claim_seconds": st.sampled_from([10.0, 4.0]),
        "abandon_seconds": st.sampled_from([20.0, 7.0, 40.0]),
        "ticket_seconds": st.sampled_from([60.0, 40.0, 100.0, 40.0]),
        "sliding": st.booleans(),
        "max_waiting": st.sampled_from([50, 50, 4]),
        "state": st.sampled_from([*["open"] * 6, "paused", "closed", "bypass"]),
    }
)
NAMES = ["capacity", "admit_per_second", "session_seconds", "claim_seconds", "ticket_seconds", "sliding", "state"]
#: Between two rounds of the scheduler, and between two rounds of anybody's attention.
SECONDS = st.sampled_from([0.6, 1.0, 1.6, 3.0, 5.0, 11.0])
LONG_SECONDS = st.sampled_from([8.0, 16.0, 21.0, 31.0, 41.0, 61.0])
#: How many visitors ago somebody came, and whether the newest or the first ticket is brought.
PICKS = st.lists(st.tuples(st.integers(0, 11), st.sampled_from([-1, -1, -1, 0])), min_size=1, max_size=5)
Picks = list[tuple[int, int]]


class RoomMachine(RuleBasedStateMachine):
    """Visitors, two leaders, an operator and misfortune.

    What the server does depends on real time, too. A rule's precondition must not, or Hypothesis could not run the
    same history again: a rule that finds nobody to act for does nothing.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.redis = Redis.from_url(url, decode_responses=True, protocol=2)
        self.redis.flushall()
        self.scripts = {name: self.redis.register_script(scripts.load(name).text) for name in scripts.NAMES}
        self.names = count(1)
        self.tickets: dict[str, list[Ticket]] = {}
        self.passes: dict[str, int] = {}
        self.newest_term = 1
        self.repeatable: tuple[str, list[Any]] | None = None

    def teardown(self) -> None:
        """Close the client."""
        self.redis.close()

    def call(self, name: str, *arguments: Any) -> list[Any]:
        """A script's raw reply."""
        names = keys.room_keys(ROOM, scripts.load(name).keys)
        return cast("list[Any]", self.scripts[name](keys=names, args=arguments))

    def issue(self, visitor: str, serial: int, now: int) -> None:
        """The visitor gets a ticket; older ones are kept, too."""
        self.tickets.setdefault(visitor, []).append(Ticket(Visitor(visitor), serial, now))

    def picked(self, picks: Picks) -> list[Ticket]:
        """Tickets of those who came last."""
        held = list(self.tickets.values())
        if not held:
            return []
        return [held[-1 - ago % len(held)][which] for ago, which in picks]

    def configure(self, marks: Marks, *, hold: int = 0, fields: dict[str, str]) -> None:
        """A change that goes through."""
        given = [part for pair in fields.items() for part in pair]
        remembered = (marks.last, marks.turn_serial, marks.turn_us, marks.version)
        assert self.call("configure", "*", *remembered, hold, *given)[0] == "ok"

    @initialize(chosen=SETTINGS, number=st.integers(1, 8))
    def create(self, chosen: dict[str, Any], number: int) -> None:
        """A new room, and who comes first."""
        self.paper = PaperRoom(chosen)
        self.configure(Marks(), fields=fields_of(RoomSettings(**chosen)))
        self.arrive(number, direct=False)

    # Visitors.

    def enter(self, arrivals: list[tuple[str, Ticket | None]], *, direct: bool) -> None:
        """Arrivals, with tickets or without."""
        self.repeatable = None
        arguments: list[Any] = ["direct" if direct else "queue"]
        for fresh, ticket in arrivals:
            arguments += (fresh, ticket.visitor, ticket.serial, ticket.issued_us) if ticket else (fresh, "", 0, 0)
        reply = self.call("enter", *arguments)
        now, words = reply[1], reply[2::3]
        assert reply == self.paper.enter(now, arrivals, direct=direct, offered=words.count("offered"))
        repeats = True
        for (fresh, ticket), word, serial, number in zip(arrivals, words, reply[3::3], reply[4::3], strict=True):
            kept = ticket is not None and ticket.serial == serial
            visitor = ticket.visitor if ticket and kept else fresh
            # A refusal is counted each time; a visitor restored inside claims by the next contact.
            repeats &= word in ("waiting", "admitted") or (word == "offered" and not kept)
            if serial:
                self.issue(visitor, serial, now)
            if word in ("offered", "admitted"):
                self.passes[visitor] = number
        if repeats:
            self.repeatable = ("enter", arguments)

    @rule(number=st.integers(1, 6))
    def come(self, number: int) -> None:
        """First contacts by the waiting page."""
        self.arrive(number, direct=False)

    @rule(number=st.integers(1, 3))
    def pass_the_gate(self, number: int) -> None:
        """First contacts by the gate."""
        self.arrive(number, direct=True)

    def arrive(self, number: int, *, direct: bool) -> None:
        """First contacts."""
        self.enter([(f"v{next(self.names)}", None) for _ in range(number)], direct=direct)

    @rule(picks=PICKS, strangers=st.integers(0, 2))
    def come_back(self, picks: Picks, strangers: int) -> None:
        """Reloads, second tabs, returns after long silence, and somebody new among them."""
        tickets: list[Ticket | None] = [*([None] * strangers), *self.picked(picks)]
        if not tickets:
            return
        self.enter([(f"v{next(self.names)}", ticket) for ticket in tickets], direct=False)

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
        self.look_up([self.tickets[visitor][-1] for visitor in self.paper.sets["offered"] if visitor in self.tickets])

    def look_up(self, tickets: Sequence[Ticket]) -> None:
        """A batch of look-ups, if there are any."""
        if not tickets:
            return
        arguments = [part for ticket in tickets for part in (ticket.visitor, ticket.serial, ticket.issued_us)]
        reply = self.call("status", *arguments)
        assert reply == self.paper.status(reply[1], tickets)
        for ticket, word, number in zip(tickets, reply[2::2], reply[3::2], strict=True):
            if word in ("waiting", "admitted"):
                self.issue(ticket.visitor, ticket.serial, reply[1])
            if word == "admitted":
                self.passes[ticket.visitor] = number
        self.repeatable = ("status", arguments)

    @rule(picks=PICKS)
    def say_goodbye(self, picks: Picks) -> None:
        """Goodbyes."""
        visitors = [ticket.visitor for ticket in self.picked(picks)]
        if not visitors:
            return
        with_pass = len(visitors) % 2 == 1
        arguments = [part for visitor in visitors for part in (visitor, int(with_pass))]
        reply = self.call("leave", *arguments)
        assert reply == self.paper.leave(reply[1], visitors, with_pass=with_pass)
        self.repeatable = ("leave", arguments)

    @rule(picks=PICKS)
    def use_pass(self, picks: Picks) -> None:
        """Passes at the gate, of those inside and of those long gone."""
        holders = list(self.passes)
        if not holders:
            return
        chosen = [holders[-1 - ago % len(holders)] for ago, _ in picks]
        proofs = [
            Pass(Visitor(visitor), self.passes[visitor], offer=bool(kind))
            for visitor, (_, kind) in zip(chosen, picks, strict=True)
        ]
        arguments = [part for proof in proofs for part in (proof.visitor, proof.expires, int(proof.offer))]
        reply = self.call("extend", *arguments)
        assert reply == self.paper.extend(reply[1], proofs)
        for visitor, expiry in zip(chosen, reply[3::2], strict=True):
            self.passes[visitor] = max(self.passes[visitor], expiry)
        self.repeatable = ("extend", arguments)

    @rule(picks=PICKS)
    def remember(self, picks: Picks) -> None:
        """An instance puts back the sessions that it remembers, also ones that are there or long gone."""
        holders = list(self.passes)
        if not holders:
            return
        proofs = [Pass(Visitor(it), self.passes[it]) for it in (holders[-1 - ago % len(holders)] for ago, _ in picks)]
        arguments = [part for proof in proofs for part in (proof.visitor, proof.expires, 2)]
        reply = self.call("extend", *arguments)
        assert reply == self.paper.extend(reply[1], proofs, remembered=True)
        self.repeatable = ("extend", arguments)

    @rule()
    def repeat(self) -> None:
        """The last call of visitors again, whose reply got lost: it changes nothing but when somebody was heard."""
        if self.repeatable is None:
            return
        before = self.server_state()
        name, arguments = self.repeatable
        reply = self.call(name, *arguments)
        after = self.server_state()
        assert after["wait"] == before["wait"]
        assert after["counts"] == before["counts"]
        for kept in ("active", "offered", "used", "revoked"):
            assert after[kept].keys() == before[kept].keys()
        self.paper.sets = {name: after[name] for name in SETS}
        for visitor, expiry in after["active"].items():
            assert before["active"][visitor] <= expiry <= reply[1] + 30 * SECOND

    # Leaders.

    @rule(seconds=SECONDS, silent=st.integers(0, 2), most=st.sampled_from([500, 500, 2]))
    def tick(self, seconds: float, silent: int, most: int) -> None:
        """Some time later those who wait ask, but for the first few, and the leader sweeps and admits."""
        self.let_time_pass(seconds)
        self.keep_waiting(silent)
        self.expire(0, most)
        self.admit(0, most)

    @rule(seconds=SECONDS)
    def tick_without_sweep(self, seconds: float) -> None:
        """Some time later the leader admits, with all who should have been swept still there."""
        self.let_time_pass(seconds)
        self.admit(0, 500)

    @rule(behind=st.sampled_from([0, 0, 0, 1]), most=st.sampled_from([500, 1, 2]))
    def lead(self, behind: int, most: int) -> None:
        """A leader, sometimes one whose time is over, admits."""
        self.admit(behind, most)

    @rule(behind=st.sampled_from([0, 0, 0, 1]), most=st.sampled_from([500, 1, 3]))
    def sweep(self, behind: int, most: int) -> None:
        """A leader, sometimes one whose time is over, sweeps."""
        self.expire(behind, most)

    def admit(self, behind: int, most: int) -> None:
        """One call."""
        self.repeatable = None
        term = self.newest_term - behind
        reply = self.call("admit", term, most)
        moved = len(self.paper.sets["wait"]) - reply[2] if reply[0] == "ok" else 0
        assert reply == self.paper.admit(reply[1], term=term, most=most, moved=moved)
        if reply[0] == "ok" and reply[4]:
            assert reply[2] > 0

    def expire(self, behind: int, most: int) -> None:
        """One call."""
        self.repeatable = None
        term = self.newest_term - behind
        reply = self.call("expire", term, most)
        assert reply == self.paper.expire(reply[1], term=term, most=most)

    @rule()
    def change_leader(self) -> None:
        """Another instance leads from now on; the old one may not know yet."""
        self.newest_term += 1

    # Operators, time, misfortune.

    @rule(chosen=SETTINGS, names=st.sets(st.sampled_from(NAMES), min_size=1))
    def change_settings(self, chosen: dict[str, Any], names: set[str]) -> None:
        """The operator changes settings, up or down."""
        self.change({name: chosen[name] for name in names})

    @precondition(lambda self: self.paper.settings["state"] != "open")
    @rule()
    def open(self) -> None:
        """The operator opens the room again."""
        self.change({"state": "open"})

    def change(self, changes: dict[str, Any]) -> None:
        """A change of settings."""
        self.repeatable = None
        names = set(changes)
        fields = fields_of(RoomSettings(**self.paper.settings | changes))
        self.configure(Marks(), fields={name: fields[name] for name in names})
        after = cast("str", self.redis.hget(keys.room_key(ROOM, "config"), "tickets_after_us"))
        now = int(self.call("read", 0)[1])
        self.paper.configure(now, changes)
        # The instant of the change is known to the server only.
        assert int(after) <= self.paper.tickets_after < int(after) + SECOND
        self.paper.tickets_after = int(after)

    def let_time_pass(self, seconds: float) -> None:
        """Time goes on, for the tickets and passes outside, too."""
        self.repeatable = None
        self.redis.eval(*clockwork.arguments(ROOM, seconds))
        by = round(seconds * SECOND)
        self.paper.fast_forward(by)
        for visitor, issued in self.tickets.items():
            self.tickets[visitor] = [ticket._replace(issued_us=ticket.issued_us - by) for ticket in issued]
        self.passes = {visitor: expiry - by for visitor, expiry in self.passes.items()}

    @rule(seconds=LONG_SECONDS)
    def rest(self, seconds: float) -> None:
        """Nothing happens for a while."""
        self.let_time_pass(seconds)

    @rule(hold=st.sampled_from([0, 10 * SECOND]), known=st.booleans())
    def lose_everything(self, hold: int, known: bool) -> None:
        """All data are lost, and an instance that remembers the marks, or nothing, makes the room again."""
        self.repeatable = None
        marks = self.paper.marks if known else Marks()
        self.redis.flushall()
        fields = fields_of(RoomSettings(**self.paper.settings))
        self.configure(marks, hold=hold, fields=fields)
        until = int(cast("str", self.redis.hget(keys.room_key(ROOM, "state"), "hold_until_us") or 0))
        self.paper = self.paper.lost(marks, hold=until)

    # What must hold.

    def server_state(self) -> dict[str, Any]:
        """Sets, counts and marks on the server."""
        with self.redis.pipeline() as pipe:
            for name in SETS:
                pipe.zrange(keys.room_key(ROOM, name), 0, -1, withscores=True)
            pipe.hgetall(keys.room_key(ROOM, "state"))
            *found, state = pipe.execute()
        sets = {
            name: {visitor: int(score) for visitor, score in pairs} for name, pairs in zip(SETS, found, strict=True)
        }
        number = {name: int(float(value)) for name, value in state.items()}
        counts = {name: number.get(name, 0) for name in Counts.__dataclass_fields__}
        marks = Marks(number.get("last", 0), number.get("turn_serial", 0), number.get("turn_us", 0))
        rest = {"marks": marks, "hold_until": number.get("hold_until_us", 0), "term": number.get("term", 0)}
        return {**sets, "counts": counts, **rest}

    @invariant()
    def server_and_paper_agree(self) -> None:
        """What the server holds is what the paper says, in the same order, and legal."""
        if not hasattr(self, "paper"):
            return
        server, paper = self.server_state(), self.paper
        for name in SETS:
            assert list(server[name].items()) == paper.order(name), name
        assert server["counts"] == {name: paper.counts[name] for name in Counts.__dataclass_fields__}
        assert server["marks"] == paper.marks
        assert (server["hold_until"], server["term"]) == (paper.hold_until, paper.term)
        wait, active, c = server["wait"], server["active"], server["counts"]
        assert not wait.keys() & active.keys(), "I1"
        gone = c["left"] + c["finished"] + c["no_show"] + c["abandoned"]
        assert c["entered"] + c["restored"] == len(wait) + len(active) + gone, "I2"
        assert wait.keys() == server["seen"].keys()
        assert server["offered"].items() <= active.items()
        assert len(set(wait.values())) == len(wait), "I6"


def test_random_histories(engine: str) -> None:
    """Whatever visitors, leaders, operators and losses do in turn, server and paper agree after every step."""

    class Machine(RoomMachine):
        def __init__(self) -> None:
            super().__init__(engine)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=250,
            stateful_step_count=50,
            deadline=None,
            print_blob=True,
            database=None,
            phases=(Phase.explicit, Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
