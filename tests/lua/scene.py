"""A room with visitors in every standing, and a call of each script that would move them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.lua.driven import DrivenRoom
from waitroom.model import Place
from waitroom.store import keys, scripts

#: Scripts that work on a room (the lease has none).
ROOM_SCRIPTS: Final = tuple(name for name in scripts.NAMES if name != "lease")

SETTINGS: Final = {
    "capacity": 6,
    "session_seconds": 100.0,
    "claim_seconds": 50.0,
    "abandon_seconds": 10.0,
    "ticket_seconds": 200.0,
    "sliding": True,
}


@dataclass(frozen=True)
class Scene:
    """Who stands where. Four of the six places are free."""

    finished: Place  # the session is over, nobody has looked yet
    missed: Place  # the offer is over, nobody has looked yet
    used: Place
    left: Place
    abandoned: Place  # swept
    silent: Place  # not yet swept
    inside: Place
    offered: Place
    first: Place  # waiting, heard
    second: Place  # waiting, heard

    def arguments(self, script: str) -> list[str | int]:
        """A call of that script that concerns everybody here."""
        now = self.second.now_us
        everybody = [
            *(self.inside, self.offered, self.first, self.silent, self.abandoned),
            *(self.missed, self.finished, self.used, self.left, self.second),
        ]
        tickets = [(place.visitor, place.serial, now) for place in everybody]
        enter: list[str | int] = []
        guarded: list[str | int] = []
        for number, (visitor, serial, issued) in enumerate(tickets):
            enter += (f"new{number}", visitor, serial, issued)
            guarded += (f"new{number}", visitor, serial, issued, 0, number % 2, "address", "network")
        passes = [(place.visitor, now + self._pass_us(place)) for place in everybody]
        calls: dict[str, list[str | int]] = {
            "enter": enter,
            "pass_through": enter,
            "enter_guarded": guarded,
            "status": [part for ticket in tickets for part in ticket],
            "leave": [part for place in everybody for part in (place.visitor, "pass")],
            "extend": [part for proof in passes for part in (*proof, "session")],
            "restore": [part for proof in passes for part in proof],
            "finish": [place.visitor for place in everybody],
            "admit": [9, 500],
            "expire": [9, 500],
            "configure": ["*", now, 7, 8, 9, 10, "capacity", 6, "session_seconds", 70, "ticket_seconds", 300],
            "read": [0],
            "look": [place.visitor for place in everybody],
        }
        return calls[script]

    def _pass_us(self, place: Place) -> int:
        """How long the pass of that visitor has to go; who waits has one as after a failover."""
        return -1 if place in (self.finished, self.missed, self.used, self.abandoned) else 60_000_000


async def build(room: DrivenRoom) -> Scene:
    """The scene in an empty room."""
    await room.configure(**SETTINGS | {"state": "paused"})
    used, finished, inside, missed, offered, left, abandoned, silent, first, second = await room.arrive(10)
    await room.configure(**SETTINGS)
    await room.admit(6)
    await room.claim(used, finished, inside)
    await room.leave(left)
    await _age(room, used, "active", seconds=100)
    await _age(room, abandoned, "seen", seconds=11)
    await room.expire()
    await _age(room, finished, "active", seconds=100)
    await _age(room, missed, "active", "offered", seconds=50)
    await _age(room, silent, "seen", seconds=11)
    return Scene(finished, missed, used, left, abandoned, silent, inside, offered, first, second)


async def _age(room: DrivenRoom, place: Place, *names: str, seconds: float) -> None:
    for name in names:
        await room.redis.zincrby(keys.room_key(room.name, name), -round(seconds * 1_000_000), place.visitor)
