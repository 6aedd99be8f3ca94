"""One room as this instance knows it: settings and counts of a second ago, and the batches that go to Redis.

Nothing here that another instance could not rebuild from Redis, save the marks: they are what lets the instances
re-create a room whose data were lost without letting anybody in twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from waitroom import metrics
from waitroom.errors import RoomUnknown, WaitroomError
from waitroom.model import Admission, Arrival, Marks, Pass, Place, Reading, Standing, Ticket, Visitor, arrived_us
from waitroom.rooms.batching import MOST_PER_CALL, Batcher
from waitroom.rooms.eta.estimate import Eta, Pace, pace_of
from waitroom.settings.room import RoomSettings, differences
from waitroom.store.store import Store

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Seconds for which whoever found data lost waits until what is known is put back.
_PUT_BACK_WAIT_SECONDS: Final = 0.1

#: Sessions that are remembered, in case their record is lost: about 20 MB at most.
_REMEMBERED: Final = 100_000

#: Revocations of this last while before a reading are asked for again by the next: equal times are not lost.
_OVERLAP_US: Final = 1_000_000


class Room:
    """A room on this instance. `recover` re-creates it in Redis, or raises RoomUnknown when it was deleted."""

    def __init__(
        self,
        name: str,
        store: Store,
        *,
        settings: RoomSettings,
        reading: Reading,
        most_waiting: int,
        recover: Callable[[Room], Awaitable[None]],
    ) -> None:
        self.name = name
        self.settings = settings
        self.reading = reading
        #: When, by time.monotonic().
        self.read_at = time.monotonic()
        self.marks = reading.marks
        #: Whether the last try to read it got an answer.
        self.reachable = True
        self.pace: Pace = pace_of(reading, settings)
        # In the order of revocation, so that old ones are found in front.
        self.revoked: OrderedDict[Visitor, int] = OrderedDict(reading.revoked)
        #: Who is inside until when (µs), as far as this instance has seen, the last seen last.
        self._sessions: OrderedDict[Visitor, int] = OrderedDict()
        self._putting_back: asyncio.Task[None] | None = None
        self._store = store
        self._recover = recover

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
        """The same by more than a ticket; LIMITED where the address or network has no place left."""
        return self._enter_guarded.submit(arrival)

    def pass_through(self, fresh: Visitor) -> Awaitable[Place]:
        """An offer at once, if nobody waits and there is room; else MUST_WAIT."""
        return self._pass_through.submit((fresh, None))

    def status(self, ticket: Ticket) -> Awaitable[Place]:
        """Where the ticket's holder stands; claims what was offered to them."""
        return self._status.submit(ticket)

    async def look(self, watching: Sequence[tuple[Visitor, int]]) -> list[Place]:
        """Where these visitors, given with their serials, stand; nobody counts as heard. At most a call's worth."""
        return await self._again_if_lost(self._store.look, watching)

    def leave(self, visitor: Visitor, *, with_pass: bool = False) -> Awaitable[Standing]:
        """Say goodbye; `with_pass` where they hold a pass, whatever Redis knows of them."""
        return self._leave.submit((visitor, with_pass))

    def extend(self, proof: Pass) -> Awaitable[Place]:
        """Claim an offer, lengthen a sliding session, or just see whether the pass still has its place."""
        return self._extend.submit(proof)

    def is_revoked(self, proof: Pass) -> bool:
        """Whether the pass outlives its place, or the room for which it was given."""
        return proof.visitor in self.revoked or proof.issued * 1_000_000 < self.reading.passes_after_us

    def takes_at_its_word(self, proof: Pass) -> bool:
        """Whether a pass without a record, which a loss took and there is no room to make anew, is good all the same.

        A claimed pass is, until it ends; an offer is void.
        """
        return not (proof.offer or self.settings.strict or self.settings.when_down == "closed")

    def eta(self, rank: int) -> Eta | None:
        """When the visitor at `rank` will be admitted, as far as anybody can say."""
        return self.pace.eta(rank)

    # What the instance learns.

    def renew(self, reading: Reading, settings: RoomSettings) -> None:
        """Take over a newer reading; whoever changed the settings, and by what way, the log says so.

        One that was asked for before a change and answered after it is not newer.
        """
        if reading.version < self.reading.version and reading.now_us < self.reading.now_us:
            return
        if settings != self.settings:
            logger.info("room %s was changed: %s", self.name, differences(self.settings, settings))
        self.reading, self.settings = reading, settings
        self.read_at = time.monotonic()
        self.marks = self.marks.merged(reading.marks)
        self.pace = pace_of(reading, settings)
        self.revoked.update(reading.revoked)
        over = reading.now_us - reading.longest_session_seconds * 1_000_000
        while self.revoked and next(iter(self.revoked.values())) < over:
            self.revoked.popitem(last=False)

    def begin_anew(self, reading: Reading) -> None:
        """It was deleted and made anew: nothing that is known of the old one counts."""
        logger.info("room %s was deleted and made anew", self.name)
        self.marks = reading.marks
        self.revoked = OrderedDict(reading.revoked)
        self._sessions.clear()

    def note_admission(self, admission: Admission) -> None:
        """Remember whose turn has come, in case the data are lost before the next reading."""
        if admission.serials:
            self.marks = self.marks.merged(Marks(0, max(admission.serials), admission.now_us))

    def note_session(self, visitor: Visitor, expires_us: int) -> None:
        """Remember who is inside, in case the record of it is lost."""
        self._sessions[visitor] = expires_us
        self._sessions.move_to_end(visitor)
        # Those are forgotten whose tickets are too old to bring anything back. More never get old than are noted.
        old = self.reading.now_us - self.settings.ticket_seconds * 1_000_000
        for _ in range(2):
            if len(self._sessions) > _REMEMBERED or next(iter(self._sessions.values()), old) < old:
                self._sessions.popitem(last=False)

    async def put_back(self) -> None:
        """After a loss of data: tell Redis who is inside and who left, as far as known here.

        It goes on in the background, one piece at a time and once for all who ask; they wait for it shortly.
        """
        if self._putting_back is None or self._putting_back.done():
            self._putting_back = asyncio.create_task(self._put_back())
        await asyncio.wait({self._putting_back}, timeout=_PUT_BACK_WAIT_SECONDS)

    async def _put_back(self) -> None:
        now_us = self._store.clock.now_us()
        # A session that this instance saw last may have been lengthened by another: what is over here proves nothing.
        inside = [
            Pass(visitor, us / 1_000_000)
            for visitor, us in self._sessions.items()
            if us > now_us and visitor not in self.revoked
        ]
        left, over = list(self.revoked), self._over(now_us)
        try:
            for passes in _in_calls(inside):
                await self._store.restore(self.name, passes)
            for visitors in _in_calls(left):
                await self._store.leave(self.name, visitors, with_pass=frozenset(visitors))
            for visitors in _in_calls(over):
                await self._store.finish(self.name, visitors)
        except WaitroomError as error:
            logger.warning("room %s: not all that was lost could be put back: %s", self.name, error)

    def _over(self, now_us: int) -> list[Visitor]:
        """Whose session has ended: their turn stays used. Of a sliding one another instance may know a later end."""
        if self.settings.sliding:
            return []
        return [visitor for visitor, us in self._sessions.items() if us <= now_us]

    async def read(self) -> Reading:
        """A fresh reading from Redis; raises RoomUnknown, RoomBroken, Unavailable."""
        known = self.reading.now_us
        reading = await self._store.read(self.name, since_us=max(known - _OVERLAP_US, 0))
        if reading.now_us < known:
            # The clock of Redis was set back: what was revoked since then is dated before what is known.
            reading = await self._store.read(self.name)
        return reading

    async def close(self) -> None:
        """Answer everybody who still waits for Redis."""
        for batcher in self._batchers():
            await batcher.close()
        if self._putting_back is not None:
            await self._putting_back

    def _batchers(self) -> tuple[Batcher[Any, Any], ...]:
        return (self._enter, self._enter_guarded, self._pass_through, self._status, self._leave, self._extend)

    # How a batch becomes a call.

    async def _again_if_lost(
        self, call: Callable[[str, Sequence[Any]], Awaitable[list[Result]]], items: Sequence[Any]
    ) -> list[Result]:
        try:
            return await call(self.name, items)
        except RoomUnknown:
            await self._recover(self)
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
        """Remember the serials given out, and whose turn came at once, in case the data are lost."""
        offered = [place for place in places if place.standing is Standing.OFFERED]
        waits = metrics.WAIT_SECONDS.labels(self.name)
        for place in offered:
            waits.observe((place.now_us - arrived_us(place.serial)) / 1_000_000 if place.serial else 0.0)
        last = max(arrived_us(place.serial) for place in places)
        turn = max((arrived_us(place.serial) for place in offered), default=0)
        self.marks = self.marks.merged(Marks(last, turn, places[0].now_us if offered else 0))

    async def _run_status(self, tickets: Sequence[Ticket]) -> list[Place]:
        return self._noted(await self._again_if_lost(self._store.status, tickets))

    async def _run_leave(self, goodbyes: Sequence[tuple[Visitor, bool]]) -> list[Standing]:
        holders = frozenset(visitor for visitor, with_pass in goodbyes if with_pass)

        async def leave(room: str, visitors: Sequence[Visitor]) -> list[Standing]:
            return await self._store.leave(room, visitors, with_pass=holders)

        visitors = [visitor for visitor, _ in goodbyes]
        standings = await self._again_if_lost(leave, visitors)
        now_us = self._store.clock.now_us()
        for visitor in visitors:
            if self._sessions.pop(visitor, None) is not None or visitor in holders:
                # The next reading will say so too; here it holds from now on.
                self.revoked[visitor] = now_us
                self.revoked.move_to_end(visitor)
        return standings

    async def _run_extend(self, passes: Sequence[Pass]) -> list[Place]:
        return self._noted(await self._again_if_lost(self._store.extend, passes))

    def _noted(self, places: list[Place]) -> list[Place]:
        for place in places:
            if place.standing is Standing.ADMITTED:
                self.note_session(place.visitor, place.expires_us)
        return places


def _in_calls(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """The items, as many at a time as a script call takes."""
    for start in range(0, len(items), MOST_PER_CALL):
        yield items[start : start + MOST_PER_CALL]
