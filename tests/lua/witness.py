"""What no step may do, whatever it is: the invariants, said of what Redis holds before and after it.

The witness knows nothing of tickets, passes or what the room on paper expects. It compares two states.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Final

from redis import Redis

from tests.lua.driven import most_within
from tests.lua.held import ROOM, SECOND
from tests.lua.paper import SETS
from waitroom.model import Counts, Marks
from waitroom.store import keys

_COUNTS: Final = tuple(one.name for one in fields(Counts))
#: Scripts that may admit at first contact.
_ARRIVING: Final = ("enter", "pass_through", "enter_guarded")
_OUT: Final = ("left", "finished", "no_show", "abandoned")


@dataclass(frozen=True)
class State:
    """One room as Redis holds it."""

    sets: dict[str, dict[str, int]]
    config: dict[str, str]
    numbers: dict[str, float]

    @property
    def counts(self) -> dict[str, int]:
        """What has happened."""
        return {name: self.number(name) for name in _COUNTS}

    @property
    def marks(self) -> Marks:
        """What instances remember."""
        return Marks(self.number("last"), self.number("turn_serial"), self.number("turn_us"))

    def number(self, field: str) -> int:
        """A count or mark."""
        return int(self.numbers.get(field, 0))

    def occupancy(self, now: int) -> int:
        """Places inside that are not over."""
        return sum(expiry > now for expiry in self.sets["active"].values())


def state_of(redis: Redis) -> State:
    """The room at this moment."""
    with redis.pipeline(transaction=False) as pipe:
        for name in SETS:
            pipe.zrange(keys.room_key(ROOM, name), 0, -1, withscores=True)
        pipe.hgetall(keys.room_key(ROOM, "config"))
        pipe.hgetall(keys.room_key(ROOM, "state"))
        *found, config, state = pipe.execute()
    sets = {}
    for name, pairs in zip(SETS, found, strict=True):
        assert all(score == int(score) and abs(score) < 2**53 for _, score in pairs), f"{name}: no whole number"
        sets[name] = {visitor: int(score) for visitor, score in pairs}
    return State(sets, config, {name: float(value) for name, value in state.items()})


@dataclass
class Witness:
    """Watches one room from step to step; `begin` after a loss of data, when nothing can be compared."""

    before: State
    #: When somebody was admitted under the rate of now.
    admissions: list[int] = field(default_factory=list)

    def begin(self, state: State) -> None:
        """Go on from here."""
        self.before, self.admissions = state, []

    def judge(self, script: str, now: int, after: State) -> None:
        """Hold a call of that script against what was before."""
        before, self.before = self.before, after
        _is_legal(after)
        _keeps_order(script, before, after)
        assert all(after.counts[name] >= before.counts[name] for name in _COUNTS), "a count has shrunk"
        for mark in ("last", "turn_serial", "spent_serial", "spent_us", "hold_until_us", "term"):
            assert after.number(mark) >= before.number(mark), f"{mark} has gone back"
        if not after.config:
            return
        self._keeps_limits(script, now, before, after)

    def _keeps_limits(self, script: str, now: int, before: State, after: State) -> None:
        bypass = after.config["state"] == "bypass"
        capacity, rate = int(after.config["capacity"]), float(after.config["admit_per_second"])
        if capacity and not bypass:
            assert after.occupancy(now) <= max(capacity, before.occupancy(now)), "I3"
        most = int(after.config["max_waiting"])
        assert len(after.sets["wait"]) <= max(most, len(before.sets["wait"])), "I13"
        # A pass that takes in who waits after a failover is no new admission: it was one before.
        admitted = 0 if script in ("extend", "restore") else after.counts["admitted"] - before.counts["admitted"]
        assert script in (*_ARRIVING, "admit") or not admitted
        assert not admitted or after.config["state"] in ("open", "bypass")
        if before.config.get("admit_per_second") != after.config["admit_per_second"]:
            self.admissions = []
        if not rate or bypass:
            return
        self.admissions += [now] * admitted
        for at, start in enumerate(self.admissions):
            window = (now - start) / SECOND
            assert len(self.admissions) - at <= most_within(rate, window) + 1e-5, "I4"


def _is_legal(state: State) -> None:
    wait, active, counts = state.sets["wait"], state.sets["active"], state.counts
    assert not wait.keys() & active.keys(), "I1: somebody waits and is inside"
    assert wait.keys() == state.sets["seen"].keys()
    assert state.sets["offered"].items() <= active.items()
    gone = sum(counts[way] for way in _OUT)
    assert counts["entered"] + counts["restored"] == len(wait) + len(active) + gone, "I2: somebody vanished or doubled"
    assert len(set(wait.values())) == len(wait), "I6: a serial was given twice"
    assert all(0 < serial <= state.number("last") for serial in wait.values()), "I6: a serial above the last"


def _keeps_order(script: str, before: State, after: State) -> None:
    was, waits = before.sets["wait"], after.sets["wait"]
    assert all(was[visitor] == serial for visitor, serial in waits.items() if visitor in was), "I7: another serial"
    assert all(one < other for one, other in pairwise(waits.values()))
    new_inside = after.sets["active"].keys() - before.sets["active"].keys()
    if script == "admit":
        # I5: whoever goes out of the queue stood before all that stay, and nobody comes in from elsewhere.
        gone = [serial for visitor, serial in was.items() if visitor not in waits]
        stay = [serial for visitor, serial in was.items() if visitor in waits]
        assert not gone or not stay or max(gone) < min(stay), "I5: somebody was overtaken"
        assert new_inside <= was.keys()
    elif script in _ARRIVING and new_inside:
        assert not was, "I5: somebody got in past those who wait"
    elif script not in (*_ARRIVING, "extend", "restore"):
        assert not new_inside, f"{script} admits nobody"
