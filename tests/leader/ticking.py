"""Schedulers for tests, that serve every room at every tick, and what they have done."""

from __future__ import annotations

from waitroom.leader.leadership import Leadership
from waitroom.leader.scheduler import Scheduler
from waitroom.model import Place
from waitroom.proofs.tickets import new_visitor
from waitroom.rooms.registry import Rooms
from waitroom.settings.room import RoomSettings
from waitroom.store.store import Store


class AlwaysLeads(Leadership):
    """A claim that holds without any lease, until a newer term is seen."""

    def __init__(self, store: Store, *, term: int = 1) -> None:
        super().__init__(store, lease_seconds=3)
        self.given: int | None = term

    @property
    def term(self) -> int | None:
        return self.given

    async def hold(self) -> int | None:
        return self.given

    def forget(self, newer: int = 0) -> None:
        self.given = None


async def instance(store: Store, **seeds: RoomSettings) -> Rooms:
    """The rooms of an instance that has just started."""
    rooms = Rooms(store, seeds)
    await rooms.refresh()
    return rooms


def scheduler(
    store: Store, rooms: Rooms, *, leadership: Leadership | None = None, tick_seconds: float = 1e-9
) -> Scheduler:
    """A scheduler that, unless told otherwise, serves every room at every tick, however soon it comes."""
    return Scheduler(store, rooms, leadership or AlwaysLeads(store), tick_seconds=tick_seconds)


async def arrive(rooms: Rooms, name: str = "shop") -> Place:
    """One arrival's place."""
    return await rooms.get(name).enter(new_visitor(), None)


async def admitted(store: Store, room: str = "shop") -> int:
    """How many were admitted so far."""
    return (await store.read(room)).counts.admitted
