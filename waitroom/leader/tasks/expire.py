"""Visitors go out when their time is over: sessions that ended, offers not taken up, silent visitors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from waitroom.rooms.room import Room
from waitroom.store.store import Store


class Expire:
    """Makes room for waiting visitors."""

    name: ClassVar[str] = "expire"
    period_seconds: ClassVar[float] = 0.0

    def __init__(self, store: Store) -> None:
        self._store = store

    async def run(self, room: Room, term: int, calls: Iterator[None]) -> None:
        """Call after call until no visitor is left with time that is over."""
        for _ in calls:
            if not (await self._store.expire(room.name, term=term)).more:
                return
