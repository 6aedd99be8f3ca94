"""What stands in a reply beside the word, as each script's header says: also where there is nothing to tell."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lua.held import BEGINNING, ROOM, SECOND, HeldScripts
from waitroom.settings.room import RoomSettings, fields_of
from waitroom.store import keys

CLAIM, SESSION, TICKETS = 10 * SECOND, 30 * SECOND, 60 * SECOND


def configure(held: HeldScripts, **settings: Any) -> None:
    """Make the room or change it."""
    chosen = {"capacity": 1, "claim_seconds": 10, "session_seconds": 30, "abandon_seconds": 20, "ticket_seconds": 60}
    fields = fields_of(RoomSettings(**chosen | settings))
    given = [part for pair in fields.items() for part in pair]
    assert held.run("configure", "*", 0, 0, 0, 0, 0, *given)[0] == "ok"


def guarded(held: HeldScripts, *names: str, address: str = "") -> list[Any]:
    """Arrivals whose ids are made of what they proved; of an address without a proof."""
    keyed = int(not address)
    return held.run("enter_guarded", *(part for name in names for part in (name, "", 0, 0, keyed, 0, address, "")))[2:]


#: The ticket of somebody who is not there: it gives back a place where there is room.
GHOST = ("ghost", BEGINNING - 5, BEGINNING)


def test_who_gets_no_place(held: HeldScripts) -> None:
    """No serial, no rank and no end, with a ticket and without."""
    configure(held, max_waiting=1)
    held.run("enter", "a", "", 0, 0, "b", "", 0, 0)
    assert held.run("enter", "c", "", 0, 0, "d", *GHOST)[2:] == ["full", 0, 0] * 2
    assert held.run("pass_through", "c", "", 0, 0, "d", *GHOST)[2:] == ["must_wait", 0, 0] * 2
    assert held.run("status", *GHOST)[2:] == ["full", 0]
    configure(held, max_waiting=1, state="closed")
    assert held.run("enter", "c", "", 0, 0)[2:] == ["closed", 0, 0]


def test_who_proved_something(held: HeldScripts) -> None:
    """The serial of a place inside is not known any more; a turn that was had has nothing."""
    configure(held, enqueue_tokens="accepted")
    assert guarded(held, "a", "b") == ["offered", BEGINNING, BEGINNING + CLAIM, "waiting", BEGINNING + 1, 1]
    assert guarded(held, "a", "b") == ["admitted", 0, BEGINNING + SESSION, "waiting", BEGINNING + 1, 1]
    held.run("leave", "a", "ticket")
    assert guarded(held, "a") == ["used", 0, 0]


@pytest.mark.parametrize("over", [0, 1])
def test_the_end_of_a_session_that_was_proved(held: HeldScripts, over: int) -> None:
    """A µs before its end it goes on, at its end the turn is used."""
    configure(held, enqueue_tokens="accepted")
    guarded(held, "a")
    guarded(held, "a")
    held.now = BEGINNING + SESSION - 1 + over
    assert guarded(held, "a") == (["used", 0, 0] if over else ["admitted", 0, BEGINNING + SESSION])


def test_who_has_taken_the_places(held: HeldScripts) -> None:
    """The answer says when there is another one."""
    configure(held, places_per_address=2)
    assert guarded(held, "a", address="home")[::3] == ["offered"]
    assert guarded(held, "b", address="home")[::3] == ["waiting"]
    assert guarded(held, "c", address="home") == ["limited", 0, BEGINNING + TICKETS // 2]
    assert held.redis.hget(keys.room_key(ROOM, "state"), "refused_limited") == "1"


def test_a_room_that_knows_no_limits_limits_nobody(held: HeldScripts) -> None:
    """An older waitroom has made it."""
    configure(held, state="paused")
    held.redis.hdel(keys.room_key(ROOM, "config"), "places_per_address", "places_per_network")
    for number in range(3):
        arrival = (f"v{number}", "", 0, 0, 0, 0, "home", "street")
        assert held.run("enter_guarded", *arrival)[2:] == ["waiting", BEGINNING + number, number + 1]
    assert not held.redis.exists(keys.room_key(ROOM, "sources"))


def test_the_next_place_is_told_no_fraction_too_early(held: HeldScripts) -> None:
    """Seven places in a minute are no whole number of µs apart: who comes when told gets one, a µs before not."""
    configure(held, places_per_address=7)
    for number in range(7):
        guarded(held, f"v{number}", address="home")
    word, _, again = guarded(held, "late", address="home")
    assert word == "limited"
    held.now = again - 1
    assert guarded(held, "late", address="home")[0] == "limited"
    held.now = again
    assert guarded(held, "late", address="home")[0] == "waiting"


def test_who_is_restored_while_there_is_room(held: HeldScripts) -> None:
    """Three come back by one call to a queue of one that takes three."""
    configure(held, max_waiting=3, state="paused")
    held.run("enter", "a", "", 0, 0)
    tickets = [part for number in range(3) for part in (f"ghost{number}", BEGINNING - 5 + number, BEGINNING)]
    assert held.run("status", *tickets)[2:] == ["waiting", 1, "waiting", 2, "full", 0]


@pytest.mark.parametrize("script", ["enter", "admit"])
def test_a_rate_that_was_taken_away_limits_nobody(held: HeldScripts, script: str) -> None:
    """Not even at the µs of the last admission under it."""
    configure(held, capacity=0, admit_per_second=1.0)
    assert held.run("enter", "a", "", 0, 0, "b", "", 0, 0, "c", "", 0, 0)[2::3] == [
        "offered",
        "waiting",
        "waiting",
    ]
    configure(held, capacity=0)
    if script == "admit":
        assert len(held.run("admit", 1, 500)[5:]) == 2
    else:
        held.redis.delete(keys.room_key(ROOM, "wait"), keys.room_key(ROOM, "seen"))
        assert held.run("enter", "d", "", 0, 0, "e", "", 0, 0)[2::3] == ["offered"] * 2
