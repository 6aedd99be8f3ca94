"""Instances that know the rooms of one Redis, without a web server."""

from __future__ import annotations

from collections.abc import Callable

from waitroom.model import Place, Reading, Ticket
from waitroom.proofs.tickets import new_visitor
from waitroom.rooms.registry import Rooms
from waitroom.settings.room import RoomSettings
from waitroom.store.store import Store

ONE = RoomSettings(capacity=1)


class LateStore(Store):
    """A store whose readings arrive late: `meanwhile` happens after Redis has answered."""

    meanwhile: Callable[[], object] | None = None

    async def read(self, room: str, *, since_us: int = 0) -> Reading:
        reading = await super().read(room, since_us=since_us)
        happens, self.meanwhile = self.meanwhile, None
        if happens:
            await happens()  # type: ignore[misc]
        return reading


async def instance(store: Store, **seeds: RoomSettings) -> Rooms:
    """The rooms of an instance that has just started."""
    rooms = Rooms(store, seeds)
    await rooms.refresh()
    return rooms


async def arrive(rooms: Rooms, name: str = "shop", *, ticket: Ticket | None = None) -> Place:
    """One arrival's place."""
    return await rooms.get(name).enter(new_visitor(), ticket)


def ticket_of(place: Place) -> Ticket:
    """The ticket that a place gives."""
    return Ticket(place.visitor, place.serial, place.now_us)
