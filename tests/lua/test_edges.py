"""Every end to the µs: what holds one before it, and what at it. The clock is in the test's hands (see held)."""

from __future__ import annotations

from typing import Any, Final, cast

import pytest

from tests.lua.held import BEGINNING, ROOM, SECOND, HeldScripts
from waitroom import keys
from waitroom.settings import RoomSettings, fields_of

START = BEGINNING
CLAIM, SESSION, ABANDON, TICKETS = 10 * SECOND, 30 * SECOND, 20 * SECOND, 60 * SECOND
FAR = START + 1000 * SECOND


def configure(held: HeldScripts, *marks: int, hold: int = 0, **settings: Any) -> None:
    """Make the room or change it; `marks`: serials given out, and up to which serial and when turns were used."""
    chosen: dict[str, Any] = {
        "capacity": 1,
        "claim_seconds": CLAIM / SECOND,
        "session_seconds": SESSION / SECOND,
        "abandon_seconds": ABANDON / SECOND,
        "ticket_seconds": TICKETS / SECOND,
    }
    fields = fields_of(RoomSettings(**chosen | settings))
    given = [part for pair in fields.items() for part in pair]
    assert held.run("configure", "*", *(marks or (0, 0, 0)), 0, hold, *given)[0] == "ok"


def come(held: HeldScripts, *names: str) -> list[Any]:
    """First contacts: standing, serial and rank or expiry of each."""
    return held.run("enter", "queue", *(part for name in names for part in (name, "", 0, 0)))[2:]


def come_back(held: HeldScripts, name: str, *, serial: int = START, issued: int = START) -> str:
    """What somebody is told who enters with a ticket: the standing, or "anew"."""
    word, given = held.run("enter", "queue", "new", name, serial, issued)[2:4]
    return word if given == serial else "anew"


def ask(held: HeldScripts, name: str, *, serial: int = START, issued: int = START) -> str:
    """What a look-up says."""
    return str(held.run("status", name, serial, issued)[2])


def members(held: HeldScripts, name: str) -> list[str]:
    """Who is in a set."""
    return cast("list[str]", held.redis.zrange(keys.room_key(ROOM, name), 0, -1))


def count(held: HeldScripts, name: str) -> int:
    """One of the counts."""
    return int(held.redis.hget(keys.room_key(ROOM, "state"), name) or 0)


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
            "extend": lambda: held.run("extend", "a", FAR, 1)[2],
            "leave": lambda: held.run("leave", "a", 0)[2],
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
            "extend": lambda: held.run("extend", "a", FAR, 0)[2],
            "remember": lambda: held.run("extend", "a", FAR, 2)[2],
            "leave": lambda: held.run("leave", "a", 0)[2],
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


def wait_with_a_leader(held: HeldScripts, patience: float) -> None:
    """Two come, and the leader comes by."""
    configure(held, state="paused", abandon_seconds=patience, ticket_seconds=3600.0)
    come(held, "a", "b")
    held.run("admit", 1, 0)


def lead(held: HeldScripts, until: int) -> None:
    """The leader comes by often enough for all to be heard."""
    while held.now < until:
        held.now = min(held.now + 2 * SECOND, until)
        held.run("admit", 1, 0)


def silent(held: HeldScripts, by: str, *, after: int, patience: float) -> int:
    """For how many of two it is silence to have been last heard so many µs ago, or one more: as that script says."""
    held.redis.zadd(keys.room_key(ROOM, "seen"), {"a": held.now - after - 1, "b": held.now - after})
    if by == "expire":
        return int(held.run("expire", 1, 500)[3])
    configure(held, capacity=0, abandon_seconds=patience, ticket_seconds=3600.0)
    return 2 - len(held.run("admit", 1, 500)[5:])


#: abandon_seconds; how long a leader may stay away so that nobody is believed; how long they are believed. In seconds.
_BELIEFS: Final = [
    (6.0, 2.0, 6),
    (24.0, 2.0, 24),
    (30.0, 2.5, 30),
    (40.0, 40 / 12, 40),
    (60.0, 5.0, 60),
    (90.0, 5.0, 75),
]
by_each = pytest.mark.parametrize("by", ["expire", "admit"])
by_each_belief = pytest.mark.parametrize(("patience", "gap", "believed"), _BELIEFS)


@by_each
@by_each_belief
def test_an_outage_is_not_silence(held: HeldScripts, by: str, patience: float, gap: float, believed: int) -> None:
    """Without a leader for a twelfth of abandon_seconds nobody could be heard: everybody is believed."""
    for late, right in ((0, 1), (1, 0)):
        held.redis.flushall()
        held.now = START
        wait_with_a_leader(held, patience)
        held.now += int(gap * SECOND) + late
        assert silent(held, by, after=round(patience * SECOND), patience=patience) == right
    assert gap < believed


@by_each
@by_each_belief
def test_after_an_outage_all_have_time_to_be_heard(
    held: HeldScripts, by: str, patience: float, gap: float, believed: int
) -> None:
    """For abandon_seconds, but no more than 75 s; then silence is what it was."""
    for passed, right in ((0, 0), (1, 0), (believed * SECOND - 1, 0), (believed * SECOND, 1)):
        held.redis.flushall()
        held.now = START
        wait_with_a_leader(held, patience)
        held.now += round(gap * SECOND) + 1
        resumed = held.now
        held.run(by, 1, 0)
        lead(held, resumed + passed)
        assert silent(held, by, after=round(patience * SECOND), patience=patience) == right


@by_each
def test_whose_ticket_is_dead_is_not_believed(held: HeldScripts, by: str) -> None:
    """An outage, or a night without a server, of which the tickets are dead: their places hold nobody up."""
    wait_with_a_leader(held, 20.0)
    held.now += 8 * 3600 * SECOND
    assert silent(held, by, after=3600 * SECOND, patience=20.0) == 1


@by_each
@pytest.mark.parametrize("back", [1, SECOND, 3000 * SECOND])
def test_a_clock_set_back_after_an_outage(held: HeldScripts, by: str, back: int) -> None:
    """Within the time in which all are believed it begins that anew; after it, it believes nobody."""
    for passed, since, right in ((19, 0, 0), (19, 19, 0), (19, 20, 1), (20, 0, 1)):
        held.redis.flushall()
        held.now = START
        wait_with_a_leader(held, 20.0)
        held.now += 600 * SECOND
        resumed = held.now
        held.run(by, 1, 0)
        lead(held, resumed + passed * SECOND)
        held.now -= back
        if since:
            held.run(by, 1, 0)
            lead(held, held.now + since * SECOND)
        assert silent(held, by, after=20 * SECOND, patience=20.0) == right, (passed, since)


def test_what_one_script_has_noted_the_other_knows(held: HeldScripts) -> None:
    """A room in which one of the two cannot run is led all the same: who is silent there does not stay for ever."""
    for by, other in (("expire", "admit"), ("admit", "expire")):
        held.redis.flushall()
        held.now = START
        wait_with_a_leader(held, 20.0)
        for _ in range(100):
            held.now += 2 * SECOND
            held.run(by, 1, 0)
        assert silent(held, other, after=20 * SECOND, patience=20.0) == 1


def test_after_an_outage_the_head_comes_in_first(held: HeldScripts) -> None:
    """However long the outage was, admissions go on in order, also before everybody has asked again."""
    wait_with_a_leader(held, 20.0)
    held.now += 3000 * SECOND
    ask(held, "b", serial=START + 1)
    configure(held, capacity=2, abandon_seconds=20.0, ticket_seconds=3600.0)
    assert held.run("admit", 1, 1)[5:] == [START]
    assert held.run("admit", 1, 1)[5:] == [START + 1]
    assert count(held, "abandoned") == count(held, "restored") == 0


def test_a_room_that_was_never_led_is_no_outage(held: HeldScripts) -> None:
    """Without a round before there is nothing to compare with: who went silent in it goes."""
    configure(held, state="paused")
    come(held, "a")
    held.now += ABANDON + 1
    assert held.run("expire", 1, 500)[3] == 1
    assert held.redis.hget(keys.room_key(ROOM, "state"), "resumed_us") == "0"


def test_a_stale_leader_is_no_round(held: HeldScripts) -> None:
    """Whoever is refused for an older term notes nothing."""
    configure(held, state="paused")
    held.run("admit", 5, 0)
    held.now += SECOND
    for script in ("admit", "expire"):
        assert held.run(script, 4, 500) == ["stale", 5]
    assert held.redis.hget(keys.room_key(ROOM, "state"), "led_us") == str(START)


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
    held.run("leave", "a", 1)
    held.now = START + TICKETS + late
    assert held.run("expire", 1, 500)[6] == 2 * late
    assert len(members(held, "used") + members(held, "revoked")) == 2 - 2 * late


def test_marks_go_one_by_one(held: HeldScripts) -> None:
    """What is a µs younger stays."""
    configure(held, capacity=5, session_seconds=TICKETS / SECOND)
    come(held, *"abc")
    for name in "abc":
        held.run("leave", name, 1)
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
    held.run("leave", "a", 0)
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
    assert held.run("extend", "a", START + 1 - over, 0)[2:] == (["unknown", 0] if over else ["admitted", START + 1])


@pytest.mark.parametrize("rate", [0.5, 1, 4])
@pytest.mark.parametrize("early", [0, 5])
def test_the_pause_between_admissions(held: HeldScripts, early: int, rate: float) -> None:
    """The next is admitted a whole pause later, however they come, and not before but for the last rounded µs."""
    pause = int(SECOND / rate)
    configure(held, capacity=0, admit_per_second=rate)
    assert [come(held, name)[0] for name in "ab"] == ["offered", "waiting"]
    held.now = START + pause - early
    assert len(held.run("admit", 1, 500)[5:]) == (0 if early else 1)
    held.run("leave", "b", 0)
    for number in (1, 2):
        held.now = START + (number if early else number + 1) * pause - early
        assert come(held, f"early{number}")[0] == ("waiting" if early else "offered")
        held.run("leave", f"early{number}", 0)
        held.now += early
        assert come(held, f"late{number}")[0] == ("offered" if early else "waiting")
        held.run("leave", f"late{number}", 0)


@pytest.mark.parametrize("rate", [0.5, 1, 5, 7.5, 10, 14, 50])
def test_what_comes_at_once_after_a_quiet_time(held: HeldScripts, rate: float) -> None:
    """0.2 s of admissions, at least one and no part of one, by the leader as at first contact."""
    configure(held, capacity=0, admit_per_second=rate, state="paused")
    come(held, *map(str, range(40)))
    configure(held, capacity=0, admit_per_second=rate)
    for _ in range(2):
        assert len(held.run("admit", 1, 500)[5:]) == max(1, int(rate * 0.2))
        held.run("leave", *(part for name in members(held, "wait")[:1] for part in (name, 0)))
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
