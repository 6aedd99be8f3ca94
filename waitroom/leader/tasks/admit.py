"""The head of the wait queue comes in, as far as capacity and rate allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar
from weakref import WeakKeyDictionary

from waitroom.model import Admission
from waitroom.rooms.room import Room
from waitroom.store.store import Store


class Admit:
    """Admits, and has each admission measured."""

    name: ClassVar[str] = "admit"
    period_seconds: ClassVar[float] = 0.0

    def __init__(self, store: Store, measure: Callable[[Room, Admission], None]) -> None:
        self._store = store
        self._measure = measure
        #: How many waited when each room was last served. A room without a known number is not in it.
        self.waiting: WeakKeyDictionary[Room, int] = WeakKeyDictionary()

    async def run(self, room: Room, term: int, calls: Iterator[None]) -> None:
        """Call after call until no visitor is left that may come in."""
        # In every case: as long as nothing else is known, visitors wait.
        self.waiting.pop(room, None)
        for _ in calls:
            admission = await self._store.admit(room.name, term=term)
            room.memory.note_admission(admission)
            self._measure(room, admission)
            if not admission.more:
                self.waiting[room] = admission.waiting
                return
