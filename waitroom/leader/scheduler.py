"""The scheduler: every instance runs one, the leader's acts.

Each tick serves every room in which visitors wait, task by task. Where no visitor waits there is none to admit: one
look at all these rooms together finds those in which visitors began to wait since the last tick, and what else is to be
done there is done once a second. A room that fails harms no other, and nothing that Redis does ends the loop.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Final
from weakref import WeakKeyDictionary

from waitroom import metrics
from waitroom.errors import RoomBroken, RoomUnknown, TermStale, Unavailable
from waitroom.leader.leadership import Leadership
from waitroom.leader.tasks.admit import Admit
from waitroom.leader.tasks.expire import Expire
from waitroom.leader.tasks.note_eta import NoteEta
from waitroom.leader.tasks.task import Task
from waitroom.rooms.registry import Rooms
from waitroom.rooms.room import Room
from waitroom.store.store import Store

logger = logging.getLogger(__name__)

#: A room with much to do must not starve the others: of each tick it gets so many calls of a script, and as many more
#: as begin within that share of the tick.
_SURE_CALLS: Final = 20
_SHARE: Final = 0.75

#: Seconds between two rounds at least for a room in which no visitor waits.
_QUIET_SECONDS: Final = 1.0

#: Rooms served at the same time.
_ROOMS_AT_ONCE: Final = 8

#: Seconds for which the lease must have been out of reach before it is worth a word.
_SAID_AFTER_SECONDS: Final = 1.0


class Scheduler:
    """The loop: at each tick the leader does every task that is due, room by room."""

    def __init__(self, store: Store, rooms: Rooms, leadership: Leadership, *, tick_seconds: float) -> None:
        self._store = store
        self._rooms = rooms
        self._leadership = leadership
        self._tick_seconds = tick_seconds
        self._places = asyncio.Semaphore(_ROOMS_AT_ONCE)
        noting = NoteEta()
        self._admit = Admit(store, noting.measure)
        #: What the leader does for each room, in this order: visitors go out before the next come in.
        self._tasks: tuple[Task, ...] = (
            Expire(store),
            self._admit,
            noting,
        )
        # What is known of a room goes with it.
        self._done: WeakKeyDictionary[Room, dict[str, float]] = WeakKeyDictionary()
        self._lease_fault = ""
        self._failing_since = math.inf

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
        except Unavailable as error:
            # Where no Redis answers, Rooms.run says that it is down. A Redis that takes no writes may still be read.
            if self._rooms.reachable:
                self._say(str(error), after_seconds=_SAID_AFTER_SECONDS)
            return
        except RoomBroken as error:
            metrics.TICK_FAILURES.labels("lease").inc()
            self._say(str(error))
            return
        self._say("")
        if term is None:
            return
        with metrics.TICK_SECONDS.time():
            rooms = list(self._rooms)
            quiet = await self._quiet(rooms)
            await asyncio.gather(*(self._serve(room, term, quiet=room in quiet) for room in rooms))

    def _say(self, fault: str, *, after_seconds: float = 0.0) -> None:
        """Say once why no instance can have the lease, if that lasts, and when one can again."""
        if not fault:
            if self._lease_fault:
                logger.info("an instance can lead again")
            self._lease_fault, self._failing_since = "", math.inf
            return
        self._failing_since = min(self._failing_since, time.monotonic())
        if not self._lease_fault and time.monotonic() - self._failing_since >= after_seconds:
            logger.error("no instance can lead: %s", fault)
            self._lease_fault = fault

    async def _quiet(self, rooms: Sequence[Room]) -> set[Room]:
        """The rooms in which no visitor waits. A room of which that is not known is served like any other."""
        asked = [room for room in rooms if self._admit.waiting.get(room) == 0]
        if not asked:
            return set()
        try:
            lengths = await self._store.waiting([room.name for room in asked])
        except (Unavailable, RoomBroken):
            return set()
        return {room for room, length in zip(asked, lengths, strict=True) if length == 0}

    async def _serve(self, room: Room, term: int, *, quiet: bool) -> None:
        async with self._places:
            done_at = self._done.setdefault(room, {})
            shortest = max(self._tick_seconds, _QUIET_SECONDS) if quiet else self._tick_seconds
            for task in self._tasks:
                now, done = time.monotonic(), done_at.get(task.name, -math.inf)
                # Half a tick early is on time: else jitter would skip every other round.
                early = done + max(task.period_seconds, shortest) - self._tick_seconds / 2
                if now < early or self._leadership.term != term:
                    continue
                done_at[task.name] = now
                await self._do(task, room, term)

    async def _do(self, task: Task, room: Room, term: int) -> None:
        try:
            await task.run(room, term, self._calls(term))
        except TermStale as stale:
            self._leadership.forget(stale.term)
        except (Unavailable, RoomBroken, RoomUnknown) as error:
            metrics.TICK_FAILURES.labels(task.name).inc()
            logger.debug("room %s: %s failed: %s", room.name, task.name, error)

    def _calls(self, term: int) -> Iterator[None]:
        """Once for each call that one task may make for one room in this tick."""
        until = time.monotonic() + self._tick_seconds * _SHARE
        for number in count():
            if self._leadership.term != term or (number >= _SURE_CALLS and time.monotonic() > until):
                return
            yield
