"""All rooms of this instance: created from the settings, read anew once a second, re-created after a loss of data.

Redis holds the truth. A room that is gone there without having been deleted was lost: it is made again from what this
instance last knew of it, with marks that keep used turns used, and admits nobody until its visitors had time to come
back in their old order.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from waitroom import metrics
from waitroom.errors import RoomBroken, RoomUnknown, SettingsError, Unavailable, VersionConflict
from waitroom.model import Marks, Reading
from waitroom.rooms.room import Room
from waitroom.settings.room import YOUNGER, RoomSettings, differences, fields_of, parse_room, settings_of
from waitroom.store.store import SCHEMA, Store

logger = logging.getLogger(__name__)

#: Seconds between two readings of a room.
READING_SECONDS: Final = 1.0

#: A reading that is younger is fresh; and seconds that are waited for one that is.
_FRESH_SECONDS: Final = 0.2
_FRESHEN_SECONDS: Final = 0.1

#: A re-created room admits nobody for the longest poll times this (ours and the page's jitter) ...
_HOLD_JITTER: Final = 1.3

#: ... and these seconds, for a slow network.
_HOLD_MARGIN_SECONDS: Final = 5.0

#: After a failover that lost the last moments nobody is admitted for so many readings: by then every instance has said
#: who is inside.
_READINGS_HELD: Final = 2.0

#: The last admission that was lost is at most so long after the last reading, which is tried once a second.
_UNREAD_SECONDS: Final = 5.0

#: Rooms that are read at the same time.
_ROOMS_AT_ONCE: Final = 8

#: Times that a change is tried when others change the same room.
_TRIES: Final = 30


class Rooms:
    """The rooms, in the order of their names. `faults` says which rooms cannot be served right now, and why."""

    def __init__(self, store: Store, seeds: Mapping[str, RoomSettings], *, most_waiting: int = 20_000) -> None:
        self.faults: dict[str, str] = {}
        self.reachable = False
        self._store = store
        #: Seeds that are still to be sown, and rooms that are known to be there and could not be read yet.
        self._unsown = dict(seeds)
        self._unread: set[str] = set()
        self._most_waiting = most_waiting
        self._rooms: dict[str, Room] = {}
        self._recoveries: dict[str, asyncio.Task[None]] = {}
        self._freshenings: dict[Room, asyncio.Task[None]] = {}
        self._seeded = False

    def __iter__(self) -> Iterator[Room]:
        return iter([self._rooms[name] for name in sorted(self._rooms)])

    def get(self, name: str) -> Room:
        """The room of that name; raises RoomUnknown, or Unavailable before Redis could be asked at all."""
        try:
            return self._rooms[name]
        except KeyError:
            if not self._seeded or name in self._unread:
                raise Unavailable("the rooms have not been read yet") from None
            raise RoomUnknown(f"no room {name!r}") from None

    async def refresh(self, *, in_part: bool = True) -> None:
        """Create what is to be created, learn of rooms made and deleted, read every room anew.

        Raises Unavailable; a room that cannot be read goes to `faults` and harms no other. With `in_part` the rooms
        that are known are read also where the list of rooms cannot be read, which takes another time-out.
        """
        outage: Exception | None = None
        try:
            await self._learn()
        except (Unavailable, RoomBroken) as error:
            if not in_part:
                raise
            outage = error
        await self._renew_all(said=outage is not None)
        # In a cluster the list and the rooms are in several places: whatever can be reached is served.
        self.reachable = self._seeded and (outage is None or any(room.reachable for room in self))
        metrics.SKEW_SECONDS.set(self._store.clock.skew_seconds())
        if outage is not None:
            raise outage

    async def _learn(self) -> None:
        """Which rooms there are."""
        listed = await self._store.registered()
        if self._unsown:
            await self._seed(listed)
            listed = await self._store.registered()
        new = [name for name, live in listed.items() if live and name not in self._rooms]
        for name in new if self._seeded else ():
            if name not in self._unread and name not in self.faults:
                logger.info("room %s was made", name)
        # What is listed is not unknown, and is asked for while it is being read.
        self._unread.update(new)
        self._seeded = True
        for name in {*self._rooms, *self._unread, *self.faults}:
            if listed.get(name) is False:
                self._forget(name)
        await self._each(new, self._adopt_listed)

    async def _renew_all(self, *, said: bool) -> None:
        """Read every room anew, some at a time; each room's outage is its own.

        `said`: the log says already that Redis is down.
        """
        together, answers, silences = asyncio.Semaphore(_ROOMS_AT_ONCE), 0, 0

        async def renew(room: Room) -> None:
            nonlocal answers, silences
            async with together:
                # Where nobody has answered, the rest need not be waited for one by one.
                dark = silences >= _ROOMS_AT_ONCE and answers == 0
                reached = not dark and await self._reach(room, said=said)
            answers, silences = answers + reached, silences + (not reached)
            room.reachable = reached

        await asyncio.gather(*(renew(room) for room in self))

    async def _reach(self, room: Room, *, said: bool) -> bool:
        try:
            await self._guarded(room.name, self._renew(room))
        except Unavailable as error:
            if room.reachable and not said:
                logger.warning("room %s cannot be reached: %s", room.name, error)
            return False
        if not room.reachable and not said:
            logger.info("room %s is reached again", room.name)
        return True

    async def run(self) -> None:
        """Refresh once a second for ever; outages are logged once and waited out."""
        down = False
        while True:
            try:
                await self.refresh()
                if down:
                    logger.info("redis is back")
                down = False
            except (Unavailable, RoomBroken) as error:
                if not down:
                    logger.error("redis is down: %s", error)
                down = True
            except Exception:
                # Whatever it is, the instance must go on reading: a loop that ends is worse than a loud log.
                logger.exception("reading the rooms failed")
            await asyncio.sleep(READING_SECONDS)

    async def create(self, name: str, settings: RoomSettings, *, expected: int | None = None) -> int:
        """Create or replace a room; returns its version. Raises VersionConflict."""
        fields, live = fields_of(settings), (await self._store.registered()).get(name)
        if live is False:
            # The proofs of a deleted room do not come back with its name.
            fields["tickets_after_us"] = fields["passes_after_us"] = str(self._store.clock.now_us())
        version = await self._store.configure(name, fields, expected=expected)
        # Not before, and not for a known room: a change that is refused, or overtaken by a deletion, must not take
        # back the note that the room was deleted.
        if not live:
            await self._store.register(name, live=True)
        await self.adopt(name)
        return version

    async def change(self, name: str, changes: Mapping[str, Any], *, expected: int | None = None) -> Room:
        """Change some settings of a room, given as they stand in a document.

        Without `expected` a change that was overtaken is tried again on what the other made of the room. Raises
        SettingsError, RoomUnknown, VersionConflict.
        """
        for attempt in range(1, _TRIES + 1):
            try:
                return await self._change_once(name, changes, expected)
            except VersionConflict:
                if expected is not None or attempt == _TRIES:
                    raise
            await asyncio.sleep(random.uniform(0, 0.01 * attempt))  # noqa: S311 - spreads load, no secret # nosec B311
        raise AssertionError("the last attempt returns or raises")

    async def _change_once(self, name: str, changes: Mapping[str, Any], expected: int | None) -> Room:
        room = await self.adopt(name)
        version = room.reading.version
        if expected is not None and expected != version:
            raise VersionConflict(name, version)
        await self.create(name, parse_room({**room.settings.model_dump(), **changes}), expected=version)
        return self.get(name)

    async def delete(self, name: str) -> bool:
        """Remove a room with everybody in it; False when there was none."""
        existed = await self._store.delete(name)
        self._forget(name)
        return existed

    async def adopt(self, name: str) -> Room:
        """Read a room from Redis and serve it from now on; raises RoomUnknown, RoomBroken."""
        known = self._rooms.get(name)
        if known is not None:
            await self._renew(known)
            return known
        reading = await self._store.read(name)
        self._rooms[name] = Room(
            name,
            self._store,
            settings=_settings_in(name, reading),
            reading=reading,
            most_waiting=self._most_waiting,
            recover=self.recover,
        )
        self.faults.pop(name, None)
        return self._rooms[name]

    async def _adopt_listed(self, name: str) -> None:
        try:
            await self.adopt(name)
        except RoomUnknown:
            raise RoomBroken("it is listed, but its data are gone, and nobody here knows its settings") from None

    async def freshen(self, room: Room) -> None:
        """Have a reading of this moment, if Redis answers soon. All who ask share one."""
        if not room.reachable or time.monotonic() - room.read_at < _FRESH_SECONDS:
            return
        freshening = self._freshenings.get(room)
        if freshening is None:
            freshening = self._freshenings[room] = asyncio.create_task(self._freshen(room))
            freshening.add_done_callback(lambda _: self._freshenings.pop(room))
        await asyncio.wait({freshening}, timeout=_FRESHEN_SECONDS)

    async def _freshen(self, room: Room) -> None:
        try:
            await self._guarded(room.name, self._renew(room))
        except Unavailable as error:
            # The next reading of all rooms says so aloud.
            logger.debug("room %s: no fresh reading: %s", room.name, error)

    async def recover(self, room: Room) -> None:
        """Make a lost room again; raises RoomUnknown when it was deleted on purpose. All who ask share one recovery."""
        recovery = self._recoveries.get(room.name)
        if recovery is None:
            recovery = self._recoveries[room.name] = asyncio.create_task(self._recover(room))
            recovery.add_done_callback(lambda done: self._recovered(room.name, done))
        await asyncio.shield(recovery)

    def _recovered(self, name: str, recovery: asyncio.Task[None]) -> None:
        del self._recoveries[name]
        if not recovery.cancelled():
            recovery.exception()  # those who asked have it; nobody may be left of them

    async def _recover(self, room: Room) -> None:
        if (await self._store.registered()).get(room.name) is False:
            self._forget(room.name)
            raise RoomUnknown(f"no room {room.name!r}")
        hold = _hold_seconds(room)
        try:
            await self._store.configure(room.name, _known(room), expected=0, marks=_spent(room), hold_seconds=hold)
            logger.error("room %s: its data were lost; re-created, admits nobody for %.0f s", room.name, hold)
            metrics.RECOVERED.labels(room.name).inc()
            await room.put_back()
        except VersionConflict:
            await self._complete(room, await room.read())
        await self._store.register(room.name, live=True)

    async def close(self) -> None:
        """Answer everybody who still waits for Redis."""
        await asyncio.gather(*self._freshenings.values(), return_exceptions=True)
        for room in self:
            await room.close()

    async def _seed(self, listed: Mapping[str, bool]) -> None:
        for name in [name for name in self._unsown if listed.get(name) is False]:
            logger.warning("room %s was deleted live and is not made again; PUT it or take it out of the file", name)
            del self._unsown[name]
        await self._each(list(self._unsown), self._sow)
        self._unsown = {name: settings for name, settings in self._unsown.items() if name in self._unread}

    async def _each(self, names: Iterable[str], work: Callable[[str], Awaitable[object]]) -> None:
        """Do that for each of these rooms, some at a time; those that cannot be reached are left for the next time."""
        together = asyncio.Semaphore(_ROOMS_AT_ONCE)

        async def one(name: str) -> None:
            async with together:
                try:
                    await self._guarded(name, work(name))
                    self._unread.discard(name)
                except Unavailable:
                    self._unread.add(name)

        await asyncio.gather(*map(one, names))

    async def _sow(self, name: str) -> None:
        settings = self._unsown[name]
        await self._store.register(name, live=True)
        try:
            await self._store.configure(name, fields_of(settings) | {"sown": "1"}, expected=0)
            logger.info("room %s created", name)
        except VersionConflict:
            held = _settings_in(name, await self._store.read(name))
            if held != settings:
                told = differences(settings, held)
                logger.warning("room %s is there, and what Redis holds counts, not the file: %s", name, told)

    async def _renew(self, room: Room) -> None:
        # Compared with what was known before asking: what is learned meanwhile is no sign of a loss.
        known, before = room.marks, room.reading
        try:
            reading = await room.read()
        except RoomUnknown:
            await self.recover(room)
            reading = await room.read()
        if _is_made_anew(reading, before):
            room.begin_anew(reading)
        elif _is_made_by_a_stranger(reading, before) or _is_made_from_less(reading, before):
            await self._complete(room, reading)
            reading = await room.read()
        elif reading.marks.turn_serial < known.turn_serial or reading.marks.last < known.last:
            logger.error("room %s: the last moments of its data were lost; adding what is known here", room.name)
            metrics.RECOVERED.labels(room.name).inc()
            await self._add_what_is_known(room)
        elif reading.lost_us != room.reading.lost_us:
            await room.put_back()
        room.renew(reading, _settings_in(room.name, reading))
        self.faults.pop(room.name, None)

    async def _complete(self, room: Room, reading: Reading) -> None:
        """Somebody else made a lost room again: it is to be as if we had."""
        less = _is_made_from_less(reading, room.reading)
        if not less and not _is_made_by_a_stranger(reading, room.reading):
            await self._add_what_is_known(room)
            return
        # The file of an instance that knew nothing says less than we know. What an operator decided since says more.
        untouched = less or (reading.sown and reading.version == 1)
        # A failover has lost the last moments only.
        failover = reading.made_us == room.reading.made_us
        hold = _READINGS_HELD * READING_SECONDS if failover else _hold_seconds(room)
        try:
            await self._store.configure(
                *(room.name, _known(room) if untouched else {}),
                expected=reading.version,
                marks=_spent(room),
                hold_seconds=hold,
            )
            logger.error(
                "room %s: its data were lost; what is known is back, nobody gets in for %.0f s", room.name, hold
            )
            metrics.RECOVERED.labels(room.name).inc()
            await room.put_back()
        except VersionConflict:
            # Somebody was faster: an operator, or one who knows less than we do.
            await self._complete(room, await room.read())

    async def _add_what_is_known(self, room: Room) -> None:
        """Another instance re-created the room, or a failover lost its last moments: add what this one knows."""
        hold = _READINGS_HELD * READING_SECONDS
        await self._store.configure(room.name, {}, expected=None, marks=_spent(room), hold_seconds=hold)
        await room.put_back()

    async def _guarded(self, name: str, work: Awaitable[object]) -> None:
        try:
            await work
        except RoomUnknown:
            pass
        except RoomBroken as error:
            if self.faults.get(name) != str(error):
                logger.error("room %s is degraded: %s", name, error)
            self.faults[name] = str(error)

    def _forget(self, name: str) -> None:
        if self._rooms.pop(name, None) is not None or name in self.faults:
            logger.info("room %s was deleted", name)
        self._unread.discard(name)
        self.faults.pop(name, None)
        metrics.forget(name)


def _is_made_anew(reading: Reading, before: Reading) -> bool:
    """Whether an operator has deleted the room that was known and made another under its name.

    That one has a new date before which no pass counts. One that was lost has none, or the same again.
    """
    date, known = reading.passes_after_us, before.passes_after_us
    # Also where the clock was set back; but one that was made again after a loss may be older than what is known here.
    return date not in (0, known) and (not reading.made_version or date > known)


def _is_made_by_a_stranger(reading: Reading, before: Reading) -> bool:
    """Whether this is another room than before, and nobody has yet said that one was lost."""
    return reading.made_us != before.made_us and not reading.lost_us and not _is_made_anew(reading, before)


def _is_made_from_less(reading: Reading, before: Reading) -> bool:
    """Whether a change of the settings was lost, by a failover or by who made the room again, and none came since."""
    if reading.set_us >= before.set_us or _is_made_anew(reading, before):
        return False
    return reading.made_us == before.made_us or reading.version == reading.made_version


def _known(room: Room) -> dict[str, str]:
    """The room's settings as last known, with the date before which no proof counts, if it has one."""
    after = str(room.reading.passes_after_us)
    dates = {"tickets_after_us": after, "passes_after_us": after} if room.reading.passes_after_us else {}
    return fields_of(room.settings) | dates | {"set_us": str(room.reading.set_us)}


def _hold_seconds(room: Room) -> float:
    """How long visitors may stay away after a loss before their place is given to others.

    Who watches the room document may stay away for longer, but sees there within seconds that data were lost, and then
    asks as soon as the others.
    """
    return room.settings.longest_poll_seconds * _HOLD_JITTER + _HOLD_MARGIN_SECONDS


def _spent(room: Room) -> Marks:
    """The marks that say whose turn is used after a loss.

    Whoever was heard shortly before the last admission may have been offered a place and not know it: their tickets
    stay good. Of those who took it in that time each instance knows the ones that it served, and puts them back.
    """
    # A ticket is as old as the last question in person; an offer that came since is heard of in the document.
    unaware_us = int((room.settings.latest_poll_seconds + _HOLD_MARGIN_SECONDS) * 1_000_000)
    unaware_us = max(unaware_us, int(_hold_seconds(room) * 1_000_000))
    # Whoever took over may have admitted others since, after any length of outage: what was lost was before that.
    lost_by_us = room.reading.now_us + int(_UNREAD_SECONDS * 1_000_000)
    return replace(room.marks, turn_us=max(min(room.marks.turn_us, lost_by_us) - unaware_us, 0))


def _settings_in(name: str, reading: Reading) -> RoomSettings:
    if reading.schema != SCHEMA:
        raise RoomBroken(f"room {name!r}: schema {reading.schema!r} is not {SCHEMA!r}; another version wrote it")
    missing = [field for field in RoomSettings.model_fields if field not in reading.settings.keys() | YOUNGER]
    if missing:
        raise RoomBroken(f"room {name!r}: the setting {missing[0]!r} is missing")
    try:
        return settings_of(reading.settings)
    except SettingsError as error:
        raise RoomBroken(f"room {name!r}: {error}") from None
