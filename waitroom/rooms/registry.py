"""All rooms of this instance: made from the settings, looked up, read anew once a second, changed by operators.

Redis holds the truth. What happens where it has lost some of it is told in `recovery`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from waitroom import metrics
from waitroom.errors import RoomBroken, RoomUnknown, SettingsError, Unavailable, VersionConflict
from waitroom.model import Reading
from waitroom.rooms.recovery import Recovery
from waitroom.rooms.room import READING_SECONDS, Room
from waitroom.settings.room import YOUNGER, RoomSettings, differences, fields_of, parse_room, settings_of
from waitroom.store.store import SCHEMA, Store

logger = logging.getLogger(__name__)

#: A younger reading is fresh. And: seconds to wait for a fresh one.
_FRESH_SECONDS: Final = 0.2
_FRESHEN_SECONDS: Final = 0.1

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
        self._recovery = Recovery(store, forget=self._forget)
        self._freshenings: dict[Room, asyncio.Task[None]] = {}
        self._seeded = False

    def __iter__(self) -> Iterator[Room]:
        return iter([self._rooms[name] for name in sorted(self._rooms)])

    def get(self, name: str) -> Room:
        """The room of that name. Raises RoomUnknown, or Unavailable before Redis could be asked at all."""
        try:
            return self._rooms[name]
        except KeyError:
            if not self._seeded or name in self._unread:
                raise Unavailable("the rooms have not been read yet") from None
            raise RoomUnknown(f"no room {name!r}") from None

    async def refresh(self, *, in_part: bool = True) -> None:
        """Create what is to be created, learn of rooms made and deleted, read every room anew.

        Raises Unavailable. A room that cannot be read goes to `faults` and harms no other. With `in_part` the rooms
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
        # In a cluster the list and the rooms are in several places: all that can be reached are served.
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
        """Read every room anew, some at a time. Each room's outage is its own.

        `said`: the log says already that Redis is down.
        """
        together, answers, silences = asyncio.Semaphore(_ROOMS_AT_ONCE), 0, 0

        async def renew(room: Room) -> None:
            nonlocal answers, silences
            async with together:
                # Where no Redis has answered, the rest need not be waited for one by one.
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
        """Refresh once a second for ever. Outages are logged once and waited out."""
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
                # Also after an unknown error the instance must go on reading: a loop that ends is worse than a loud
                # log.
                logger.exception("reading the rooms failed")
            await asyncio.sleep(READING_SECONDS)

    async def create(self, name: str, settings: RoomSettings, *, expected: int | None = None) -> int:
        """Create or replace a room. Returns its version. Raises VersionConflict."""
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
        """Remove a room with all its visitors. False when there was none."""
        existed = await self._store.delete(name)
        self._forget(name)
        return existed

    async def adopt(self, name: str) -> Room:
        """Read a room from Redis and serve it from now on. Raises RoomUnknown, RoomBroken."""
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
            remake=self._recovery.remake,
        )
        self.faults.pop(name, None)
        return self._rooms[name]

    async def _adopt_listed(self, name: str) -> None:
        try:
            await self.adopt(name)
        except RoomUnknown:
            raise RoomBroken(
                "it is listed, but its data are gone, and this instance does not know its settings"
            ) from None

    async def freshen(self, room: Room) -> None:
        """Have a reading of this moment, if Redis answers soon. All callers share one."""
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

    async def close(self) -> None:
        """Answer all requests that still wait for Redis."""
        await asyncio.gather(*self._freshenings.values(), return_exceptions=True)
        for room in self:
            await room.close()
        await self._recovery.close()

    async def _seed(self, listed: Mapping[str, bool]) -> None:
        for name in [name for name in self._unsown if listed.get(name) is False]:
            logger.warning(
                "room %s was deleted by an operator and is not made again: PUT it, or take it out of the config file",
                name,
            )
            del self._unsown[name]
        await self._each(list(self._unsown), self._sow)
        self._unsown = {name: settings for name, settings in self._unsown.items() if name in self._unread}

    async def _each(self, names: Iterable[str], work: Callable[[str], Awaitable[object]]) -> None:
        """Do that for each of these rooms, some at a time. Rooms that cannot be reached are left for the next time."""
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
                logger.warning(
                    "room %s exists: its settings in Redis count, not those of the config file: %s", name, told
                )

    async def _renew(self, room: Room) -> None:
        reading = await self._recovery.read(room)
        room.renew(reading, _settings_in(room.name, reading))
        self.faults.pop(room.name, None)

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


def _settings_in(name: str, reading: Reading) -> RoomSettings:
    if reading.schema != SCHEMA:
        raise RoomBroken(
            f"room {name!r}: schema {reading.schema!r} is not {SCHEMA!r}: another version of waitroom wrote it"
        )
    missing = [field for field in RoomSettings.model_fields if field not in reading.settings.keys() | YOUNGER]
    if missing:
        raise RoomBroken(f"room {name!r}: the setting {missing[0]!r} is missing")
    try:
        return settings_of(reading.settings)
    except SettingsError as error:
        raise RoomBroken(f"room {name!r}: {error}") from None
