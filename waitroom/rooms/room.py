"""One room as this instance knows it: settings and counts of a second ago, and the batches that go to Redis."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from waitroom import metrics
from waitroom.errors import RoomUnknown
from waitroom.model import Arrival, Pass, Place, Reading, Standing, Ticket, Visitor, arrived_us
from waitroom.rooms.batching import Batcher
from waitroom.rooms.eta.estimate import Eta, Pace, pace_of
from waitroom.rooms.memory import Memory
from waitroom.settings.room import RoomSettings, differences
from waitroom.store.store import Store

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

#: Seconds between two readings of a room.
READING_SECONDS: Final = 1.0

#: Revocations of this last while before a reading are asked for again by the next: equal times are not lost.
_OVERLAP_US: Final = 1_000_000


class Room:
    """A room on this instance. `remake` makes it again in Redis, or raises RoomUnknown when it was deleted.

    `memory` is what this instance alone knows of it. `read_at`: when it was read, by time.monotonic(). `reachable`:
    whether the last try got an answer.
    """

    def __init__(
        self,
        name: str,
        store: Store,
        *,
        settings: RoomSettings,
        reading: Reading,
        most_waiting: int,
        remake: Callable[[Room], Awaitable[None]],
    ) -> None:
        self.name = name
        self.settings = settings
        self.reading = reading
        self.memory = Memory(reading)
        self.read_at = time.monotonic()
        self.reachable = True
        self.pace: Pace = pace_of(reading, settings)
        self._store = store
        self._remake = remake

        def batcher(run: Callable[[Sequence[Any]], Awaitable[Sequence[Any]]]) -> Batcher[Any, Any]:
            return Batcher(run, most_waiting=most_waiting)

        self._enter: Batcher[tuple[Visitor, Ticket | None], Place] = batcher(self._run_enter)
        self._enter_guarded: Batcher[Arrival, Place] = batcher(self._run_enter_guarded)
        self._pass_through: Batcher[tuple[Visitor, Ticket | None], Place] = batcher(self._run_pass_through)
        self._status: Batcher[Ticket, Place] = batcher(self._run_status)
        self._leave: Batcher[tuple[Visitor, bool], Standing] = batcher(self._run_leave)
        self._extend: Batcher[Pass, Place] = batcher(self._run_extend)

    # What visitors do. Each raises Unavailable (Full, Overloaded), RoomUnknown or RoomBroken.

    def enter(self, fresh: Visitor, ticket: Ticket | None) -> Awaitable[Place]:
        """A place for an arrival, at the end of the queue or where the ticket says."""
        return self._enter.submit((fresh, ticket))

    def enter_guarded(self, arrival: Arrival) -> Awaitable[Place]:
        """The same by more than a ticket. LIMITED where the address or network has no place left."""
        return self._enter_guarded.submit(arrival)

    def pass_through(self, fresh: Visitor) -> Awaitable[Place]:
        """An offer at once, if no visitor waits and there is room, else MUST_WAIT."""
        return self._pass_through.submit((fresh, None))

    def status(self, ticket: Ticket) -> Awaitable[Place]:
        """Where the ticket's holder stands. Claims an offer."""
        return self._status.submit(ticket)

    async def look(self, watching: Sequence[tuple[Visitor, int]]) -> list[Place]:
        """Where these visitors, given with their serials, stand. None counts as heard. At most a call's worth."""
        return await self._again_if_lost(self._store.look, watching)

    def leave(self, visitor: Visitor, *, with_pass: bool = False) -> Awaitable[Standing]:
        """Say goodbye. `with_pass` where they hold a pass, also if Redis knows nothing of them."""
        return self._leave.submit((visitor, with_pass))

    def extend(self, proof: Pass) -> Awaitable[Place]:
        """Claim an offer, lengthen a sliding session, or just see whether the pass still has its place."""
        return self._extend.submit(proof)

    def is_revoked(self, proof: Pass) -> bool:
        """Whether the pass outlives its place, or the room for which it was given."""
        return proof.visitor in self.memory.revoked or proof.issued * 1_000_000 < self.reading.origin.passes_after_us

    def takes_at_its_word(self, proof: Pass) -> bool:
        """Whether a pass without a record, which a loss took and there is no room to make anew, is good all the same.

        A claimed pass is, until it ends. An offer is void.
        """
        return not (proof.offer or self.settings.strict or self.settings.when_down == "closed")

    def eta(self, rank: int) -> Eta | None:
        """When the visitor at `rank` will be admitted, as far as anybody can say."""
        return self.pace.eta(rank)

    # What the instance learns.

    def renew(self, reading: Reading, settings: RoomSettings) -> None:
        """Take over a newer reading. Every change of the settings is logged, by whichever way it came.

        One that was asked for before a change and answered after it is not newer.
        """
        if reading.version < self.reading.version and reading.now_us < self.reading.now_us:
            return
        if settings != self.settings:
            logger.info("room %s was changed: %s", self.name, differences(self.settings, settings))
        self.reading, self.settings = reading, settings
        self.read_at = time.monotonic()
        self.memory.learn(reading)
        self.pace = pace_of(reading, settings)

    def begin_anew(self, reading: Reading) -> None:
        """An operator deleted it and made it anew: nothing that is known of the old one counts."""
        logger.info("room %s was deleted and made anew", self.name)
        self.memory.begin_anew(reading)

    def note_session(self, visitor: Visitor, expires_us: int) -> None:
        """Remember the visitors inside, in case the record is lost, but none with a ticket that is of no use."""
        old_us = self.reading.now_us - int(self.settings.ticket_seconds * 1_000_000)
        self.memory.note_session(visitor, expires_us, old_us=old_us)

    async def read(self) -> Reading:
        """A fresh reading from Redis. Raises RoomUnknown, RoomBroken, Unavailable."""
        known = self.reading.now_us
        reading = await self._store.read(self.name, since_us=max(known - _OVERLAP_US, 0))
        if reading.now_us < known:
            # The clock of Redis was set back: what was revoked since then is dated before what is known.
            reading = await self._store.read(self.name)
        return reading

    async def close(self) -> None:
        """Answer all requests that still wait for Redis."""
        for batcher in self._batchers():
            await batcher.close()

    def _batchers(self) -> tuple[Batcher[Any, Any], ...]:
        return (self._enter, self._enter_guarded, self._pass_through, self._status, self._leave, self._extend)

    # How a batch becomes a call.

    async def _again_if_lost(
        self, call: Callable[[str, Sequence[Any]], Awaitable[list[Result]]], items: Sequence[Any]
    ) -> list[Result]:
        try:
            return await call(self.name, items)
        except RoomUnknown:
            await self._remake(self)
            return await call(self.name, items)

    async def _run_enter(self, arrivals: Sequence[tuple[Visitor, Ticket | None]]) -> list[Place]:
        places = await self._again_if_lost(self._store.enter, arrivals)
        self._note_arrivals(places)
        return self._noted(places)

    async def _run_enter_guarded(self, arrivals: Sequence[Arrival]) -> list[Place]:
        places = await self._again_if_lost(self._store.enter_guarded, arrivals)
        self._note_arrivals(places)
        return self._noted(places)

    async def _run_pass_through(self, arrivals: Sequence[tuple[Visitor, Ticket | None]]) -> list[Place]:
        places = await self._again_if_lost(self._store.pass_through, arrivals)
        self._note_arrivals(places)
        return places

    def _note_arrivals(self, places: Sequence[Place]) -> None:
        self.memory.note_arrivals(places)
        waits = metrics.WAIT_SECONDS.labels(self.name)
        for place in places:
            if place.standing is Standing.OFFERED:
                waits.observe((place.now_us - arrived_us(place.serial)) / 1_000_000 if place.serial else 0.0)

    async def _run_status(self, tickets: Sequence[Ticket]) -> list[Place]:
        return self._noted(await self._again_if_lost(self._store.status, tickets))

    async def _run_leave(self, goodbyes: Sequence[tuple[Visitor, bool]]) -> list[Standing]:
        holders = frozenset(visitor for visitor, with_pass in goodbyes if with_pass)

        async def leave(room: str, visitors: Sequence[Visitor]) -> list[Standing]:
            return await self._store.leave(room, visitors, with_pass=holders)

        visitors = [visitor for visitor, _ in goodbyes]
        standings = await self._again_if_lost(leave, visitors)
        self.memory.note_goodbyes(visitors, self._store.clock.now_us(), with_pass=holders)
        return standings

    async def _run_extend(self, passes: Sequence[Pass]) -> list[Place]:
        return self._noted(await self._again_if_lost(self._store.extend, passes))

    def _noted(self, places: list[Place]) -> list[Place]:
        for place in places:
            if place.standing is Standing.ADMITTED:
                self.note_session(place.visitor, place.expires_us)
        return places
