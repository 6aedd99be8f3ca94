"""Random histories of a room on a real server against the room on paper: equal after every step.

Every script is in them and every fault that a script can meet. The clock is in the test's hands (see held), so that
ends are met to the µs. Keys and their rotation are no matter of the scripts, which see ids and times only: for them
see tests/proofs/test_rotation.py.

`make test` runs 300 histories on each engine, less than half a minute. WAITROOM_MACHINE=deep runs ten thousand
(about half an hour); with it a history that fails is printed so that it can be run again.
"""

from __future__ import annotations

import copy
import os
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test
from redis.exceptions import OutOfMemoryError, ResponseError

from tests.lua.held import ROOM, SECOND
from tests.lua.machine import ARRIVING, PICKS, Picks
from tests.lua.machine_house import TTL, HouseMachine
from tests.lua.witness import state_of
from waitroom.model import Marks
from waitroom.store import keys, scripts

#: Histories on each engine, by how thorough a run is to be; "mutants" are the ones of `make mutants`.
HISTORIES: Final = {"usual": 300, "deep": 10_000, "mutants": 100}
RUN: Final = os.environ.get("WAITROOM_MACHINE", "usual")

HOLDS: Final = st.sampled_from([0, 10 * SECOND])

#: What a full memory stops.
NEEDS_MEMORY: Final = (*ARRIVING, "configure")

#: Every key that a script looks at, but the settings of a room that somebody leaves: those are not asked.
KEYS_OF_SCRIPTS: Final = {
    key: [
        name
        for name in scripts.NAMES
        if key in scripts.load(name).keys and (name, key) not in [("leave", "config"), ("finish", "config")]
    ]
    for key in (*keys.ROOM_KEYS, "lease")
}


class RoomMachine(HouseMachine):
    """The same, and misfortune."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        #: What a replica has: the server's data, and the papers of that time.
        self.replica: Any = None
        #: What was known at those moments.
        self.remembered: list[Marks] = []

    @rule(hold=HOLDS, known=st.booleans())
    def lose_everything(self, hold: int, known: bool) -> None:
        """All data are lost, and an instance that remembers the marks, or nothing, makes the room again."""
        chosen = self.paper.settings
        self.held.redis.flushall()
        self.held.now = self.held.now
        self.put_bystander()
        self.lease_paper = type(self.lease_paper)()
        self.begin_anew()
        self.remake(chosen, hold, known=known)

    @precondition(lambda self: self.paper.version)
    @rule(hold=HOLDS, known=st.booleans())
    def lose_settings(self, hold: int, known: bool) -> None:
        """The settings of the room are lost and nothing else: it is made again around those who are there."""
        self.held.redis.delete(keys.room_key(ROOM, "config"))
        self.paper.version = 0
        self.arrive(1)
        self.remake(self.paper.settings, hold, known=known)

    def remake(self, chosen: dict[str, Any], hold: int, *, known: bool) -> None:
        """An instance finds the room gone."""
        if not known:
            self.outlive_tickets()
        if chosen:
            self.configure(0, self.known if known else Marks(), hold, chosen)

    @rule(hold=HOLDS, ago=st.integers(0, 5))
    def tell_marks(self, hold: int, ago: int) -> None:
        """An instance tells what it remembers, whether the room knows it, or more, or not as much."""
        remembered = [Marks(self.known.last, self.paper.marks.turn_serial, 0), self.known, *self.remembered]
        self.configure("*", remembered[-1 - ago % len(remembered)], hold, {})

    @rule()
    def replicate(self) -> None:
        """A replica has everything up to now."""
        self.remembered.append(self.known)
        self.replica = (self.held.everything(), copy.deepcopy(self.paper), copy.deepcopy(self.lease_paper))

    @rule(told=st.booleans(), hold=HOLDS)
    def fail_over(self, told: bool, hold: int) -> None:
        """The replica takes over: all since then is lost, but tickets, passes and instances are from later."""
        if self.replica is None:
            return
        self.repeatable = None
        contents, paper, lease = self.replica
        redis, now = self.held.redis, self.held.now
        redis.flushall()
        for key, value in contents.items():
            redis.restore(key, 0, value)
        self.held.now = now
        self.paper, self.lease_paper = copy.deepcopy(paper), copy.deepcopy(lease)
        self.paper.unsettle()
        self.witness.begin(state_of(redis))
        # Who knows the higher serials tells them; where nobody does, the clock has gone on.
        if told and self.paper.version:
            self.configure("*", self.known, hold, {})
        else:
            self.outlive_tickets()

    @rule()
    def flush_scripts(self) -> None:
        """The server forgets its scripts, and gets them again."""
        self.held.redis.script_flush()

    @rule(picks=PICKS, silent=st.integers(0, 1))
    def run_out_of_memory(self, picks: Picks, silent: int) -> None:
        """Without memory nobody enters and nothing is configured; everything else goes on."""
        redis = self.held.redis
        redis.config_set("maxmemory", 1)
        try:
            before = self.held.everything()
            for name in NEEDS_MEMORY:
                with pytest.raises(OutOfMemoryError):
                    self.held.run(name, *self.harmless(name))
            assert self.held.everything() == before
            self.keep_waiting(silent)
            self.show_up()
            self.say_goodbye(picks, ["pass"] * 5)
            self.use_pass(picks, ["session"] * 5)
            self.put_back(picks, [True] * 5)
            self.watch(picks)
            term = max(self.terms.values(), default=self.paper.term)
            self.expire(term, 500)
            self.admit(term, 500)
            self.lease("hold", "a")
        finally:
            redis.config_set("maxmemory", 0)

    @rule(key=st.sampled_from([*keys.ROOM_KEYS, "lease"]), picks=PICKS, concerned=st.booleans())
    def spoil_a_key(self, key: str, picks: Picks, concerned: bool) -> None:
        """A key of the wrong type stops every script that looks at it before it writes, whomever the call is about."""
        if not self.paper.version:
            return
        redis, spoilt = self.held.redis, keys.LEASE if key == "lease" else keys.room_key(ROOM, key)
        was = redis.dump(spoilt)
        redis.set(spoilt, "x")
        before = self.held.everything()
        for name in KEYS_OF_SCRIPTS[key]:
            with pytest.raises(ResponseError, match="WRONGTYPE"):
                self.held.run(name, *self.harmless(name, self.picked(picks) if concerned else ()))
            assert self.held.everything() == before, name
        redis.delete(spoilt)
        if was is not None:
            redis.restore(spoilt, 0, was)

    def harmless(self, name: str, tickets: Any = ()) -> list[Any]:
        """Arguments of a call that is to be refused, about the holders of these tickets."""
        term, visitors = self.paper.term, [ticket.visitor for ticket in tickets]
        arrivals = [part for ticket in tickets for part in ("x", *ticket[:3])]
        calls: dict[str, list[Any]] = {
            "enter": arrivals,
            "pass_through": arrivals,
            "enter_guarded": [part for ticket in tickets for part in ("x", *ticket[:3], 0, 0, "", "")],
            "status": [part for ticket in tickets for part in ticket[:3]],
            "leave": [part for visitor in visitors for part in (visitor, "pass")],
            "extend": [part for visitor in visitors for part in (visitor, self.held.now + SECOND, "offer")],
            "restore": [part for visitor in visitors for part in (visitor, self.held.now + SECOND)],
            "finish": visitors,
            "admit": [term, 500],
            "expire": [term, 500],
            "configure": ["*", 0, 0, 0, 0, 0, "capacity", 9],
            "lease": ["hold", "a", TTL, 0],
            "read": [0],
            "look": visitors or ["nobody"],
        }
        return calls[name]


# A time-out would be taken for a fault in the history, and looked for in ever shorter ones.
@pytest.mark.long
@pytest.mark.timeout(1200)
def test_random_histories(engine: str) -> None:
    """Whatever visitors, leaders, operators and losses do in turn, server and paper agree after every step."""

    class Machine(RoomMachine):
        def __init__(self) -> None:
            super().__init__(engine)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=HISTORIES[RUN],
            stateful_step_count=50,
            deadline=None,
            print_blob=True,
            database=None,
            derandomize=RUN == "mutants",
            phases=(Phase.generate,) if RUN == "mutants" else (Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
