"""The life of a loss: Redis knows less of a room than this instance does. What happened, and what mends it.

Redis holds a room's data, and may lose them: all of them (it came back empty), or the last moments (a failover, a file
without its end). Each instance remembers a little of each room (`memory`), and visitors hold tickets and passes.

1. An instance **finds** the loss: a script answers that there is no room, or the reading of each second knows less than
   the one before. `happened` tells what it was.
2. It **gives back** the settings as they were last decided, unless an operator has decided since, and the **marks**:
   serials go on above the highest one given out, and tickets whose turn has passed stay used. Of several instances the
   one that knows of the latest decision has the last word.
3. The room **holds**: it admits no visitor until all had the time to come back with their tickets in their old order.
   That is the longest poll and some after a loss of everything, and two readings after a failover.
4. The room says when data were lost (`lost_us`). Every instance sees that at its next reading, and **puts back** what
it alone knows: visitors inside, visitors that left, sessions that are over.
5. Visitors bring their places back themselves: the scripts restore a good ticket at its order.

A room that an operator deleted is not lost, and nothing of it comes back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, TypeVar

from waitroom import metrics
from waitroom.errors import RoomUnknown, VersionConflict, WaitroomError
from waitroom.model import Marks, Reading
from waitroom.rooms.batching import MOST_PER_CALL
from waitroom.rooms.room import READING_SECONDS, Room
from waitroom.settings.room import fields_of
from waitroom.store.store import Store

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

#: A room that was made again admits no visitor for the longest poll times this (ours and the page's jitter) ...
_HOLD_JITTER: Final = 1.3

#: ... and these seconds, for a slow network.
_HOLD_MARGIN_SECONDS: Final = 5.0

#: After a failover that lost the last moments a room holds for so many seconds: by then every instance has read it, and
#: told the visitors inside.
_FAILOVER_HOLD_SECONDS: Final = 2 * READING_SECONDS

#: The last admission that was lost is at most so many seconds after the last reading, which is tried once a second.
_UNREAD_SECONDS: Final = 5.0

#: Seconds for which a call that found data lost waits until what is known is put back.
_PUT_BACK_WAIT_SECONDS: Final = 0.1


class Happened(Enum):
    """What may have happened to a room between two readings. The value says it in words."""

    NOTHING = "Redis knows all that this instance knows"
    MADE_ANEW = "an operator deleted the room, and made another under its name"
    SOWN = "the room was lost, and an instance that knew nothing of it made it from its file"
    DECIDED = "the room was lost, and an operator has decided on it since"
    GIVEN_LESS = "the room was lost, and an instance that had missed a change gave its settings back"
    CHANGE_LOST = "a failover lost a change of the settings"
    MOMENTS_LOST = "a failover lost the last moments of visitors"
    TOLD = "another instance found data lost, and has mended what it could"


@dataclass(frozen=True, slots=True)
class _Mend:
    """What is given back after a loss: the settings or not, and whether the room holds for as long as all may poll."""

    settings: bool
    long_hold: bool


_MENDS: Final = {
    Happened.SOWN: _Mend(settings=True, long_hold=True),
    Happened.DECIDED: _Mend(settings=False, long_hold=True),
    Happened.GIVEN_LESS: _Mend(settings=True, long_hold=True),
    Happened.CHANGE_LOST: _Mend(settings=True, long_hold=False),
}


def happened(before: Reading, now: Reading, known: Marks) -> Happened:
    """What happened to a room since the reading `before`, by the reading `now` and the marks `known` before it."""
    then, origin = before.origin, now.origin
    if _is_made_anew(before, now):
        return Happened.MADE_ANEW
    same_data = origin.made_us == then.made_us
    # A version that was given back is the room's own until an operator decides.
    if origin.set_us < then.set_us and (same_data or now.version == origin.made_version):
        return Happened.CHANGE_LOST if same_data else Happened.GIVEN_LESS
    if not same_data and not origin.lost_us:
        return Happened.SOWN if origin.sown and now.version == 1 else Happened.DECIDED
    if now.marks.turn_serial < known.turn_serial or now.marks.last < known.last:
        return Happened.MOMENTS_LOST
    return Happened.TOLD if origin.lost_us != then.lost_us else Happened.NOTHING


def _is_made_anew(before: Reading, now: Reading) -> bool:
    """Whether an operator's new room has a date before which no pass counts, and it is not the one known already."""
    date, known = now.origin.passes_after_us, before.origin.passes_after_us
    # An earlier date comes from a clock that was set back, or from a room made again after a loss with less than is
    # known.
    return date > known or (date not in (0, known) and not now.origin.made_version)


def hold_seconds(room: Room) -> float:
    """How long visitors may stay away after a loss before their places are given to others.

    A visitor that watches the room document may stay away for longer, but sees there within seconds that data were
    lost, and then asks as soon as the others.
    """
    return room.settings.longest_poll_seconds * _HOLD_JITTER + _HOLD_MARGIN_SECONDS


def spent(room: Room) -> Marks:
    """The marks that say which turns are used after a loss.

    A visitor that was heard shortly before the last admission may have been offered a place and not know it: such
    tickets stay good. Each instance knows the visitors that it served in that time, and puts them back.
    """
    # A ticket is as old as the last question in person. The visitor learns of a later offer from the document.
    unaware_us = int((room.settings.latest_poll_seconds + _HOLD_MARGIN_SECONDS) * 1_000_000)
    unaware_us = max(unaware_us, int(hold_seconds(room) * 1_000_000))
    # A new primary may have admitted others since, after any length of outage: what was lost was before that.
    lost_by_us = room.reading.now_us + int(_UNREAD_SECONDS * 1_000_000)
    marks = room.memory.marks
    return replace(marks, turn_us=max(min(marks.turn_us, lost_by_us) - unaware_us, 0))


class Recovery:
    """Mends the rooms of an instance. `forget` is told the name of a room that an operator has deleted."""

    def __init__(self, store: Store, *, forget: Callable[[str], None]) -> None:
        self._store = store
        self._forget = forget
        self._remaking: dict[str, asyncio.Task[None]] = {}
        self._putting_back: dict[Room, asyncio.Task[None]] = {}

    async def read(self, room: Room) -> Reading:
        """A reading of the room, after a loss was found and mended. Raises as `Room.read` does."""
        # What is learned while Redis is asked is no sign of a loss.
        known, before = room.memory.marks, room.reading
        try:
            now = await room.read()
        except RoomUnknown:
            await self.remake(room)
            now = await room.read()
        what = happened(before, now, known)
        if what is Happened.MADE_ANEW:
            room.begin_anew(now)
        elif what in _MENDS:
            await self._mend(room, now, what)
            now = await room.read()
            if happened(before, now, known) is Happened.MADE_ANEW:  # an operator was faster than the mending
                room.begin_anew(now)
        elif what is Happened.MOMENTS_LOST:
            logger.error("room %s: the last moments of its data were lost, adding what this instance knows", room.name)
            metrics.RECOVERED.labels(room.name).inc()
            await self._add_marks(room)
        elif what is Happened.TOLD:
            await self.put_back(room)
        return now

    async def remake(self, room: Room) -> None:
        """Make a lost room again. Raises RoomUnknown when an operator deleted it. All callers share one remaking."""
        remaking = self._remaking.get(room.name)
        if remaking is None:
            remaking = self._remaking[room.name] = asyncio.create_task(self._remake(room))
            remaking.add_done_callback(lambda done: self._remade(room.name, done))
        await asyncio.shield(remaking)

    def _remade(self, name: str, remaking: asyncio.Task[None]) -> None:
        del self._remaking[name]
        if not remaking.cancelled():
            remaking.exception()  # its callers have it, and all of them may have gone

    async def _remake(self, room: Room) -> None:
        if (await self._store.registered()).get(room.name) is False:
            self._forget(room.name)
            raise RoomUnknown(f"no room {room.name!r}")
        hold = hold_seconds(room)
        try:
            await self._store.configure(room.name, _known(room), expected=0, marks=spent(room), hold_seconds=hold)
        except VersionConflict:
            await self._mend_anew(room)
        else:
            logger.error(
                "room %s: its data were lost. The room is made again and admits no visitor for %.0f s", room.name, hold
            )
            metrics.RECOVERED.labels(room.name).inc()
            await self.put_back(room)
        await self._store.register(room.name, live=True)

    async def _mend_anew(self, room: Room) -> None:
        """Another instance or an operator was faster: see what is left to do."""
        now = await room.read()
        what = happened(room.reading, now, room.memory.marks)
        if what in _MENDS:
            await self._mend(room, now, what)
        elif what is not Happened.MADE_ANEW:
            await self._add_marks(room)

    async def _mend(self, room: Room, now: Reading, what: Happened) -> None:
        mend = _MENDS[what]
        hold = hold_seconds(room) if mend.long_hold else _FAILOVER_HOLD_SECONDS
        fields = _known(room) if mend.settings else {}
        try:
            await self._store.configure(room.name, fields, expected=now.version, marks=spent(room), hold_seconds=hold)
        except VersionConflict:
            await self._mend_anew(room)
            return
        logger.error(
            "room %s: its data were lost. What this instance knows is back, no visitor is admitted for %.0f s",
            room.name,
            hold,
        )
        metrics.RECOVERED.labels(room.name).inc()
        await self.put_back(room)

    async def _add_marks(self, room: Room) -> None:
        """Raise the room's marks to those of this instance, at any version of its settings."""
        hold = _FAILOVER_HOLD_SECONDS
        await self._store.configure(room.name, {}, expected=None, marks=spent(room), hold_seconds=hold)
        await self.put_back(room)

    async def put_back(self, room: Room) -> None:
        """Tell Redis what this instance knows: the visitors inside, those that left, the sessions that are over.

        That goes on in the background, one piece at a time and once for all callers. They wait for it shortly.
        """
        putting = self._putting_back.get(room)
        if putting is None:
            putting = self._putting_back[room] = asyncio.create_task(self._put_back(room))
            putting.add_done_callback(lambda _: self._putting_back.pop(room))
        await asyncio.wait({putting}, timeout=_PUT_BACK_WAIT_SECONDS)

    async def _put_back(self, room: Room) -> None:
        now_us, memory = self._store.clock.now_us(), room.memory
        inside, left = memory.inside(now_us), list(memory.revoked)
        # Another instance may know a later end of a sliding session: what is over here proves nothing.
        over = [] if room.settings.sliding else memory.over(now_us)
        try:
            for passes in _in_calls(inside):
                await self._store.restore(room.name, passes)
            for visitors in _in_calls(left):
                await self._store.leave(room.name, visitors, with_pass=frozenset(visitors))
            for visitors in _in_calls(over):
                await self._store.finish(room.name, visitors)
        except WaitroomError as error:
            logger.warning("room %s: some of the lost places could not be put back: %s", room.name, error)

    async def close(self) -> None:
        """Let what is being put back come to its end."""
        await asyncio.gather(*self._putting_back.values())


def _known(room: Room) -> dict[str, str]:
    """The room's settings as last known, with the date before which no proof counts, if it has one."""
    origin = room.reading.origin
    after = str(origin.passes_after_us)
    dates = {"tickets_after_us": after, "passes_after_us": after} if origin.passes_after_us else {}
    return fields_of(room.settings) | dates | {"set_us": str(origin.set_us)}


def _in_calls(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """The items, as many at a time as a script call takes."""
    for start in range(0, len(items), MOST_PER_CALL):
        yield items[start : start + MOST_PER_CALL]
