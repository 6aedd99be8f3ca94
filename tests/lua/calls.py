"""A room on a held clock, and calls of its scripts in a word each."""

from __future__ import annotations

from typing import Any, cast

from tests.lua.held import BEGINNING, ROOM, SECOND, HeldScripts
from waitroom.settings.room import RoomSettings, fields_of
from waitroom.store import keys

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
    return held.run("enter", *(part for name in names for part in (name, "", 0, 0)))[2:]


def come_back(held: HeldScripts, name: str, *, serial: int = START, issued: int = START) -> str:
    """What somebody is told who enters with a ticket: the standing, or "anew"."""
    word, given = held.run("enter", "new", name, serial, issued)[2:4]
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
