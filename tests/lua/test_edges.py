"""Every end to the µs: what holds one before it, and what at it. The clock is in the test's hands (see held)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lua.calls import (
    ABANDON,
    CLAIM,
    FAR,
    SESSION,
    START,
    TICKETS,
    ask,
    come,
    come_back,
    configure,
    count,
    members,
)
from tests.lua.held import ROOM, SECOND, HeldScripts
from waitroom.store import keys

at_the_end = pytest.mark.parametrize("over", [False, True], ids=["before", "at"])


@at_the_end
def test_the_end_of_an_offer(held: HeldScripts, over: bool) -> None:
    """An offer holds up to its expiry and not at it, whoever asks: each script draws the line at the same µs."""
    for script in ("look", "status", "enter", "extend", "leave", "expire", "newcomer", "admit", "read"):
        held.redis.flushall()
        held.now = START
        configure(held)
        come(held, "a")
        held.now = START + CLAIM - 1 + over
        told: dict[str, Any] = {
            "look": lambda: held.run("look", "a")[2],
            "status": lambda: ask(held, "a"),
            "enter": lambda: come_back(held, "a"),
            "extend": lambda: held.run("extend", "a", FAR, "offer")[2],
            "leave": lambda: held.run("leave", "a", "ticket")[2],
            "expire": lambda: held.run("expire", 1, 500)[4],
            "newcomer": lambda: come(held, "b")[0],
            "admit": lambda: held.run("admit", 1, 500)[3],
            "read": lambda: held.run("read", 0)[3],
        }
        right = {
            "look": ("offered", "unknown"),
            "status": ("admitted", "waiting"),
            "enter": ("admitted", "offered"),
            "extend": ("admitted", "unknown"),
            "leave": ("left", "unknown"),
            "expire": (0, 1),
            "newcomer": ("waiting", "offered"),
            "admit": (1, 0),
            "read": (1, 0),
        }
        assert told[script]() == right[script][over], script
        assert count(held, "no_show") == (over and script in ("status", "enter", "extend", "leave", "expire")), script


@at_the_end
def test_the_end_of_a_session(held: HeldScripts, over: bool) -> None:
    """The same of a session: at its end the turn is used."""
    for script in ("look", "status", "enter", "extend", "remember", "leave", "expire"):
        held.redis.flushall()
        held.now = START
        configure(held)
        come(held, "a")
        ask(held, "a")
        held.now = START + SESSION - 1 + over
        told: dict[str, Any] = {
            "look": lambda: held.run("look", "a")[2],
            "status": lambda: ask(held, "a"),
            "enter": lambda: come_back(held, "a"),
            "extend": lambda: held.run("extend", "a", FAR, "session")[2],
            "remember": lambda: held.run("restore", "a", FAR)[2],
            "leave": lambda: held.run("leave", "a", "ticket")[2],
            "expire": lambda: held.run("expire", 1, 500)[5],
        }
        right = {
            "look": ("admitted", "unknown"),
            "status": ("admitted", "used"),
            "enter": ("admitted", "anew"),
            "extend": ("admitted", "used"),
            "remember": ("admitted", "used"),
            "leave": ("left", "unknown"),
            "expire": (0, 1),
        }
        assert told[script]() == right[script][over], script
        assert count(held, "finished") == (over and script != "look"), script


@pytest.mark.parametrize("by", ["enter", "admit"])
def test_an_admission_is_due_no_fraction_too_early(held: HeldScripts, by: str) -> None:
    """Three a second are 333,333 1/3 µs apart: rounded down, a thousand of them would be one too many in time."""
    configure(held, capacity=0, admit_per_second=3.0, state="open" if by == "enter" else "paused")
    come(held, "a")
    if by == "admit":
        configure(held, capacity=0, admit_per_second=3.0)
        held.run("admit", 1, 500)
    assert held.redis.hget(keys.room_key(ROOM, "state"), "tat_us") == str(START + 333_334)


def test_the_newest_of_several_ends(held: HeldScripts) -> None:
    """A sweep takes an offer and a session that end at the same µs for what each is, and leaves the next one."""
    configure(held, capacity=3, session_seconds=CLAIM / SECOND)
    come(held, "a", "b")
    ask(held, "a")
    held.now = START + 1
    come(held, "c")
    held.now = START + CLAIM
    assert held.run("expire", 1, 500)[2:6] == [0, 0, 1, 1]
    assert members(held, "active") == members(held, "offered") == ["c"]
    assert members(held, "used") == ["a"]


@pytest.mark.parametrize("late", [0, 1])
def test_the_end_of_patience(held: HeldScripts, late: int) -> None:
    """Who was heard abandon_seconds ago may still be offered a place; a µs later the place goes on to the next."""
    configure(held, state="paused")
    come(held, "a")
    held.now = START + 1
    come(held, "b")
    configure(held)
    held.now = START + ABANDON + late
    assert held.run("expire", 1, 500)[3] == late
    held.redis.flushall()
    held.now = START
    configure(held, state="paused")
    come(held, "a")
    configure(held)
    held.now = START + ABANDON + late
    assert held.run("admit", 1, 500)[5:] == ([] if late else [START])
    assert count(held, "abandoned") == late


def test_patience_ends_for_each_alone(held: HeldScripts) -> None:
    """Of two, of whom the first went silent a µs earlier, the second may just be offered a place."""
    configure(held, capacity=5, state="paused")
    come(held, "a")
    held.now = START + 1
    come(held, "b")
    configure(held, capacity=5)
    held.now = START + 1 + ABANDON
    assert held.run("admit", 1, 500)[5:] == [START + 1]
    assert members(held, "active") == ["b"]


def test_who_was_never_heard_is_silent(held: HeldScripts) -> None:
    """Places whose record of who was heard is gone, the others' too, are given to nobody and block nobody."""
    configure(held, state="paused")
    come(held, "a", "b")
    held.redis.delete(keys.room_key(ROOM, "seen"))
    configure(held)
    assert held.run("admit", 1, 500)[5:] == []
    assert (members(held, "wait"), count(held, "abandoned")) == (["b"], 1)


def test_nothing_more_is_promised_than_the_rate_allows(held: HeldScripts) -> None:
    """The leader comes again at once where a call says so: not where this call has used up the rate."""
    configure(held, capacity=0, admit_per_second=1.0, state="paused")
    come(held, "a", "b")
    configure(held, capacity=0, admit_per_second=1.0)
    assert held.run("admit", 1, 1)[2:5] == [1, 1, 0]


@pytest.mark.parametrize("late", [0, 1])
def test_the_end_of_a_ticket(held: HeldScripts, late: int) -> None:
    """A ticket holds for ticket_seconds, that µs included, for who waits and for who comes back."""
    configure(held, state="paused")
    come(held, "a")
    held.now = START + TICKETS + late
    assert ask(held, "a") == ("expired" if late else "waiting")
    assert come_back(held, "a") == ("anew" if late else "waiting")
    for way in (ask, come_back):
        held.redis.delete(keys.room_key(ROOM, "wait"), keys.room_key(ROOM, "seen"))
        nothing = "expired" if way is ask else "anew"
        assert way(held, "a") == (nothing if late else "waiting")


def test_tickets_that_had_died(held: HeldScripts) -> None:
    """When ticket_seconds grows, a ticket that was just good stays good, one a µs older stays dead."""
    configure(held, state="paused")
    come(held, "a")
    held.now = START + TICKETS
    configure(held, state="paused", ticket_seconds=600.0)
    held.now += 5 * SECOND
    assert ask(held, "a") == "waiting"
    assert ask(held, "a", issued=START - 1) == "expired"
    assert come_back(held, "a", issued=START - 1) == "anew"


@pytest.mark.parametrize("late", [0, 1])
def test_the_end_of_marks(held: HeldScripts, late: int) -> None:
    """A used turn is remembered for ticket_seconds and a revocation for the longest session, that µs included."""
    configure(held, session_seconds=TICKETS / SECOND)
    come(held, "a")
    held.run("leave", "a", "pass")
    held.now = START + TICKETS + late
    assert held.run("expire", 1, 500)[6] == 2 * late
    assert len(members(held, "used") + members(held, "revoked")) == 2 - 2 * late


def test_marks_go_one_by_one(held: HeldScripts) -> None:
    """What is a µs younger stays."""
    configure(held, capacity=5, session_seconds=TICKETS / SECOND)
    come(held, *"abc")
    for name in "abc":
        held.run("leave", name, "pass")
        held.now += 1
    for number, left in ((1, ["b", "c"]), (2, ["c"]), (3, [])):
        held.now = START + TICKETS + number
        assert held.run("expire", 1, 500)[6] == 2
        assert members(held, "used") == members(held, "revoked") == left


@at_the_end
def test_the_end_of_a_hold(held: HeldScripts, over: bool) -> None:
    """Until the hold is over nobody gets in, at first contact or by the leader."""
    configure(held, START, 0, 0, hold=SECOND, capacity=2)
    come(held, "a")
    held.now = START + SECOND - 1 + over
    assert len(held.run("admit", 1, 1)[5:]) == over
    held.run("leave", "a", "ticket")
    assert come(held, "b")[0] == ("offered" if over else "waiting")


@at_the_end
def test_the_end_of_the_lease(held: HeldScripts, over: bool) -> None:
    """The lease is its owner's up to its end; at it another gets it, and the owner no more than a new one."""
    held.run("lease", "hold", "a", SECOND, 0)
    held.now = START + SECOND - 1 + over
    before = held.everything()
    assert held.run("lease", "hold", "b", SECOND, 0)[0] == ("acquired" if over else "held")
    for key, value in before.items():
        held.redis.restore(key, 0, value or b"", replace=True)
    assert held.run("lease", "hold", "a", SECOND, 0)[0] == ("acquired" if over else "renewed")


def test_a_lease_of_before_the_clock_was_set_back(held: HeldScripts) -> None:
    """A lease may end a whole ttl from now, and no µs later."""
    held.run("lease", "hold", "a", SECOND, 0)
    assert held.run("lease", "hold", "b", SECOND, 0)[0] == "held"
    held.now = START - 1
    assert held.run("lease", "hold", "b", SECOND, 0)[0] == "acquired"


@at_the_end
def test_the_end_of_a_pass_whose_record_is_lost(held: HeldScripts, over: bool) -> None:
    """A pass puts its session back up to its end, and not at it."""
    configure(held)
    assert held.run("extend", "a", START + 1 - over, "session")[2:] == (
        ["unknown", 0] if over else ["admitted", START + 1]
    )


@pytest.mark.parametrize("rate", [0.5, 1, 4])
@pytest.mark.parametrize("early", [0, 5])
def test_the_pause_between_admissions(held: HeldScripts, early: int, rate: float) -> None:
    """The next is admitted a whole pause later, however they come, and not before but for the last rounded µs."""
    pause = int(SECOND / rate)
    configure(held, capacity=0, admit_per_second=rate)
    assert [come(held, name)[0] for name in "ab"] == ["offered", "waiting"]
    held.now = START + pause - early
    assert len(held.run("admit", 1, 500)[5:]) == (0 if early else 1)
    held.run("leave", "b", "ticket")
    for number in (1, 2):
        held.now = START + (number if early else number + 1) * pause - early
        assert come(held, f"early{number}")[0] == ("waiting" if early else "offered")
        held.run("leave", f"early{number}", "ticket")
        held.now += early
        assert come(held, f"late{number}")[0] == ("offered" if early else "waiting")
        held.run("leave", f"late{number}", "ticket")


@pytest.mark.parametrize("rate", [0.5, 1, 5, 7.5, 10, 14, 50])
def test_what_comes_at_once_after_a_quiet_time(held: HeldScripts, rate: float) -> None:
    """0.2 s of admissions, at least one and no part of one, by the leader as at first contact."""
    configure(held, capacity=0, admit_per_second=rate, state="paused")
    come(held, *map(str, range(40)))
    configure(held, capacity=0, admit_per_second=rate)
    for _ in range(2):
        assert len(held.run("admit", 1, 500)[5:]) == max(1, int(rate * 0.2))
        held.run("leave", *(part for name in members(held, "wait")[:1] for part in (name, "ticket")))
        held.now += 10 * SECOND


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("script", ["enter", "admit"])
def test_bypass_spends_no_rate(held: HeldScripts, script: str, number: int) -> None:
    """Whoever was let past the rate delays nobody once it counts again, though the last one before does."""
    configure(held, capacity=0, admit_per_second=1)
    come(held, "a")
    configure(held, capacity=0, admit_per_second=1, state="bypass" if script == "enter" else "paused")
    come(held, *"bcd"[:number])
    configure(held, capacity=0, admit_per_second=1, state="bypass")
    held.run("admit", 1, 500)
    configure(held, capacity=0, admit_per_second=1)
    held.now += SECOND
    assert [come(held, name)[0] for name in "ef"] == ["offered", "waiting"]


def test_lateness_that_is_made_up_for(held: HeldScripts) -> None:
    """After a pause of 0.2 s more than asked for at most a burst comes at once, and never fewer than are due."""
    configure(held, capacity=0, admit_per_second=10, state="paused")
    come(held, *"abcdefgh")
    configure(held, capacity=0, admit_per_second=10)
    assert len(held.run("admit", 1, 500)[5:]) == 2
    held.now += 100_000
    assert len(held.run("admit", 1, 500)[5:]) == 1
    held.now += 300_000
    assert len(held.run("admit", 1, 500)[5:]) in (2, 3)
    held.now += 10 * SECOND
    assert len(held.run("admit", 1, 500)[5:]) == 2


@pytest.mark.parametrize(
    ("serial", "issued", "has_turn"), [(0, 0, False), (1, 0, True), (0, 1, True), (-1, 0, False), (0, -1, False)]
)
def test_turns_that_were_used_before_a_loss(held: HeldScripts, serial: int, issued: int, has_turn: bool) -> None:
    """A ticket up to the marked serial, issued up to the marked time, has had its turn; beyond either it holds."""
    spent = START - SECOND
    configure(held, START, spent, spent, capacity=0, state="paused")
    given = {"serial": spent + serial, "issued": spent + issued}
    assert ask(held, "a", **given) == ("waiting" if has_turn else "used")
    assert come_back(held, "b", **given) == ("waiting" if has_turn else "anew")
