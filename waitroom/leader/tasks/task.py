"""The shape of a duty of the leader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Protocol

from waitroom.rooms.room import Room


class Task(Protocol):
    """One duty, done for each room in turn. What it remembers of a room it keeps by the room, and weakly."""

    #: What its failures are counted under.
    name: ClassVar[str]

    #: Seconds between two rounds for one room. 0: each tick.
    period_seconds: ClassVar[float]

    async def run(self, room: Room, term: int, calls: Iterator[None]) -> None:
        """One round for one room, under this term. `calls` yields once for each call of a script that it may make.

        May raise TermStale, Unavailable, RoomBroken and RoomUnknown: the scheduler settles what follows.
        """
        ...
