"""The scheduler: every instance runs one, the leader's acts.

Each tick serves every room: first who is over goes out, then the head of the queue comes in. A room that fails harms
no other, and nothing that Redis does ends the loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from waitroom import metrics
from waitroom.errors import RoomBroken, RoomUnknown, TermStale, Unavailable
from waitroom.eta import Audit
from waitroom.leadership import Leadership
from waitroom.room import Room
from waitroom.rooms import Rooms
from waitroom.store import Store

logger = logging.getLogger(__name__)

#: Calls of one script for one room in one tick at most: a room with much to do must not starve the others.
_MOST_CALLS: Final = 20

#: Rooms served at the same time.
_ROOMS_AT_ONCE: Final = 8

#: Seconds between two notes of the eta at the tail.
_NOTE_SECONDS: Final = 1.0


class Scheduler:
    """The loop that admits batches."""

    def __init__(self, store: Store, rooms: Rooms, leadership: Leadership, *, tick_seconds: float) -> None:
        self._store = store
        self._rooms = rooms
        self._leadership = leadership
        self._tick_seconds = tick_seconds
        self._audits: dict[str, Audit] = {}
        self._places = asyncio.Semaphore(_ROOMS_AT_ONCE)
        #: What the leader does for each room, in this order: name, seconds between two rounds, coroutine.
        self.tasks: tuple[tuple[str, float, Callable[[Room, int], Awaitable[None]]], ...] = (
            ("expire", tick_seconds, self._expire),
            ("admit", tick_seconds, self._admit),
            ("note_eta", _NOTE_SECONDS, self._note_eta),
        )
        self._due: dict[tuple[str, str], float] = {}
        self._lease_fault = ""

    async def run(self) -> None:
        """Tick for ever."""
        while True:
            started = time.monotonic()
            try:
                await self.tick()
            except Exception:
                logger.exception("a tick failed")
            await asyncio.sleep(max(0.0, started + self._tick_seconds - time.monotonic()))

    async def tick(self) -> None:
        """One round: hold the lease and, while it is held, serve every room."""
        try:
            term = await self._leadership.hold()
        except Unavailable:
            # Rooms.run says that Redis is down; the lease runs out by itself.
            return
        except RoomBroken as error:
            metrics.TICK_FAILURES.labels("lease").inc()
            if self._lease_fault != str(error):
                logger.error("nobody can lead: %s", error)
            self._lease_fault = str(error)
            return
        if term is None:
            return
        with metrics.TICK_SECONDS.time():
            await asyncio.gather(*(self._serve(room, term) for room in self._rooms))

    async def _serve(self, room: Room, term: int) -> None:
        async with self._places:
            for name, period, task in self.tasks:
                now = time.monotonic()
                if now < self._due.get((room.name, name), 0.0) or self._leadership.term != term:
                    continue
                # Half a tick early is on time: else jitter would skip every other round.
                self._due[room.name, name] = now + period - self._tick_seconds / 2
                try:
                    await task(room, term)
                except TermStale:
                    self._leadership.forget()
                except (Unavailable, RoomBroken, RoomUnknown) as error:
                    metrics.TICK_FAILURES.labels(name).inc()
                    logger.debug("room %s: %s failed: %s", room.name, name, error)

    async def _expire(self, room: Room, term: int) -> None:
        for _ in range(_MOST_CALLS):
            done = await self._store.expire(room.name, term=term)
            if not done.more or self._leadership.term != term:
                return

    async def _admit(self, room: Room, term: int) -> None:
        for _ in range(_MOST_CALLS):
            admission = await self._store.admit(room.name, term=term)
            room.note_admission(admission)
            self._measure(room, admission.serials, admission.now_us)
            if not admission.more or self._leadership.term != term:
                return

    async def _note_eta(self, room: Room, _term: int) -> None:
        reading = room.reading
        eta = room.eta(reading.waiting + 1)
        self._audits.setdefault(room.name, Audit()).note(reading.marks.last, reading.now_us, eta)

    def _measure(self, room: Room, serials: tuple[int, ...], now_us: int) -> None:
        waits = metrics.WAIT_SECONDS.labels(room.name)
        for serial in serials:
            # A serial is the time of arrival in µs, give or take the arrivals of the same µs.
            waits.observe(max(now_us - serial, 0) / 1_000_000)
        audit = self._audits.get(room.name)
        if audit is None or not serials:
            return
        for verdict in audit.judge(serials[-1], now_us):
            metrics.ETA_ERROR_SECONDS.labels(room.name).observe(verdict.error_seconds)
            metrics.ETA_WITHIN.labels(room.name, "yes" if verdict.within else "no").inc()
