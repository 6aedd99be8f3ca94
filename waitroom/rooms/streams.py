"""Event streams: the visitors that listen on this instance, and the one look-up a second and room that serves them all.

A look-up says where all visitors stand now, so nothing can be missed between two of them. A stream that could not be
told before is told the latest. Telling never waits: a visitor that does not read holds up no other. While Redis is gone
the streams stay, and hear again when it answers.
"""

from __future__ import annotations

import asyncio
import logging
import random
import resource
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from typing import Final

from waitroom import metrics
from waitroom.cancelling import cancelled
from waitroom.errors import RoomUnknown, StreamsFull, WaitroomError
from waitroom.model import Place, Standing, Visitor
from waitroom.rooms.batching import MOST_PER_CALL
from waitroom.rooms.room import Room

logger = logging.getLogger(__name__)

#: Seconds between two looks at where a stream's visitor stands.
TICK_SECONDS: Final = 1.0

#: Seconds after which the place is said although nothing has changed, with a fresh eta.
QUIET_SECONDS: Final = 15.0

#: Seconds of silence after which there is a heartbeat. By it the page tells its visitor within five seconds that the
#: connection is cut. Proxies end connections that are silent for long.
BEAT_SECONDS: Final = 2.0

#: Seconds between two places of which the second is better by less than a hundredth.
_THIN_SECONDS: Final = 3.0

#: Seconds after which a stream ends, drawn for each, so that visitors that came together do not come back together.
_AGE_SECONDS: Final = (300.0, 600.0)

#: Streams of one visitor on this instance. All tabs of a browser share one, and a page that is loaded anew may open its
#: own before the old one is noticed to be gone. A browser opens six connections to a host: where its tabs share nothing
#: (plain http), two instances leave it two.
MOST_PER_VISITOR: Final = 2

#: Streams that are told something before other work has its turn: some two milliseconds of it.
_SLICE: Final = 64


class News(StrEnum):
    """What a stream is told: the word of its event."""

    PLACE = "place"
    ADMITTED = "admitted"
    OVER = "over"
    RECONNECT = "reconnect"
    #: Nothing, so that the connection is not silent.
    HEARTBEAT = "heartbeat"
    #: The visitor is not there any more.
    GONE = "gone"


#: After these nothing is said.
LAST: Final = frozenset({News.ADMITTED, News.OVER, News.RECONNECT, News.GONE})


class Stream:
    """What one visitor is still to be told: the latest, however long they take to read what came before."""

    __slots__ = ("_ends_at", "_news", "_spoken_at", "_told", "_told_at", "_told_rank", "_waiter", "place")

    def __init__(self, place: Place, room: Room) -> None:
        now = time.monotonic()
        self.place = place
        self._news: News | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._told_rank, self._told, self._told_at, self._spoken_at = place.rank, _announced(room), now, now
        self._ends_at = now + random.uniform(*_AGE_SECONDS)  # noqa: S311 - spreads load, no secret # nosec B311

    async def news(self, room: Room) -> News:
        """Wait for the next word. `place` goes with it."""
        while self._news is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        news = self._news
        if news not in LAST:
            self._news = None
        self._spoken_at = time.monotonic()
        if news is News.PLACE:
            self._told_rank, self._told, self._told_at = self.place.rank, _announced(room), self._spoken_at
        return news

    def say(self, news: News) -> None:
        """Say this next, instead of the word that was to come. After the last word only "not there" may follow."""
        if self._news in LAST and news is not News.GONE:
            return
        self._news = news
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def hear(self, place: Place, announced: tuple[str, str], now: float) -> None:
        """Take over where the visitor stands, and say it if it is news."""
        self.place = place
        if place.standing is Standing.UNKNOWN:
            self.say(News.OVER)
        elif place.standing is not Standing.WAITING:
            self.say(News.ADMITTED)
        elif self._is_news(place.rank, announced, now - self._told_at):
            self.say(News.PLACE)

    def pass_time(self, now: float) -> None:
        """End an old stream, and break a long silence."""
        if now >= self._ends_at:
            self.say(News.RECONNECT)
        elif self._news is None and now - self._spoken_at >= BEAT_SECONDS:
            self.say(News.HEARTBEAT)

    def _is_news(self, rank: int, announced: tuple[str, str], quiet_seconds: float) -> bool:
        if announced != self._told or quiet_seconds >= QUIET_SECONDS:
            return True
        moved = abs(rank - self._told_rank)
        return moved > 0 and (moved * 100 >= self._told_rank or quiet_seconds >= _THIN_SECONDS)


def _announced(room: Room) -> tuple[str, str]:
    """What all waiting visitors of the room are told."""
    return room.settings.state, room.settings.message


class Streams:
    """The open streams of one instance: at most `most`, and `most_per_address` for each address (0: any number)."""

    def __init__(self, *, most: int, most_per_address: int = 0) -> None:
        self._most = most
        self._most_per_address = most_per_address
        self._open = 0
        self._by_visitor: Counter[str] = Counter()
        self._by_address: Counter[str] = Counter()
        self._listening: dict[Room, set[Stream]] = {}
        self._looking: dict[Room, asyncio.Task[None]] = {}
        self._ending = False

    @property
    def full(self) -> bool:
        """Whether no further stream is to be had here, now or for good."""
        return self._ending or self._open >= self._most

    @property
    def ending(self) -> bool:
        """Whether everybody is told to come back, to another instance."""
        return self._ending

    @contextmanager
    def slot(self, visitor: Visitor, address: str) -> Iterator[None]:
        """Room for one more stream. Raises StreamsFull."""
        network = _network(address) if self._most_per_address else ""
        if self._open >= self._most:
            raise StreamsFull("instance", f"{self._most} streams are open on this instance")
        if self._by_visitor[visitor] >= MOST_PER_VISITOR:
            raise StreamsFull("visitor", f"{MOST_PER_VISITOR} streams of this visitor are open")
        if network and self._by_address[network] >= self._most_per_address:
            raise StreamsFull("address", f"{self._most_per_address} streams of this address are open")
        self._open += 1
        self._by_visitor[visitor] += 1
        self._by_address[network] += 1
        metrics.STREAMS.inc()
        try:
            yield
        finally:
            metrics.STREAMS.dec()
            self._open -= 1
            _discount(self._by_visitor, visitor)
            _discount(self._by_address, network)

    @contextmanager
    def listening(self, room: Room, place: Place) -> Iterator[Stream]:
        """A stream that is told what becomes of the place."""
        stream = Stream(place, room)
        if self._ending:
            stream.say(News.RECONNECT)
        streams = self._listening.setdefault(room, set())
        streams.add(stream)
        if room not in self._looking:
            self._looking[room] = asyncio.create_task(self._look_on(room))
        try:
            yield stream
        finally:
            streams.discard(stream)

    async def end(self) -> None:
        """Tell all visitors to come back, to another instance if there is one. Streams opened later hear it too."""
        self._ending = True
        for streams in list(self._listening.values()):
            listed = list(streams)
            for at in range(0, len(listed), _SLICE):
                for stream in listed[at : at + _SLICE]:
                    stream.say(News.RECONNECT)
                await asyncio.sleep(0)

    async def close(self) -> None:
        """Look no more."""
        await cancelled(*self._looking.values())

    async def _look_on(self, room: Room) -> None:
        """Look for the visitors that listen to the room, again and again, until none is left."""
        try:
            while self._listening[room]:
                await _tick(room, list(self._listening[room]))
        finally:
            del self._looking[room], self._listening[room]


async def _tick(room: Room, streams: Sequence[Stream]) -> None:
    """Tell these streams where they stand, in the course of one tick."""
    began, calls = time.monotonic(), -(-len(streams) // MOST_PER_CALL)
    answers = True
    for call in range(calls):
        batch = streams[call * MOST_PER_CALL : (call + 1) * MOST_PER_CALL]
        # One call that fails is enough: each takes as long as Redis may take.
        places = await _look(room, batch) if answers else None
        answers = places is not None
        await _tell(room, batch, places)
        # The work of a tick is spread over it, so that it holds up no request for long.
        await asyncio.sleep(max(began + TICK_SECONDS * (call + 1) / calls - time.monotonic(), 0))


async def _look(room: Room, streams: Sequence[Stream]) -> list[Place] | None:
    """Where they stand. None while it is not known."""
    listening = [(stream.place.visitor, stream.place.serial) for stream in streams]
    try:
        return await room.look(listening)
    except RoomUnknown:
        # Deleted: there are no places any more.
        return [Place(Standing.UNKNOWN, 0, visitor, serial) for visitor, serial in listening]
    except WaitroomError as error:
        logger.debug("room %s: the streams' visitors cannot be looked for: %s", room.name, error)
    except Exception:
        # Also after an unknown error the look-ups must go on: a loop that ends is worse than a loud log.
        logger.exception("room %s: looking for the streams' visitors failed", room.name)
    return None


async def _tell(room: Room, streams: Sequence[Stream], places: Sequence[Place] | None) -> None:
    announced = _announced(room)
    for at in range(0, len(streams), _SLICE):
        now = time.monotonic()
        for number, stream in enumerate(streams[at : at + _SLICE], start=at):
            if places is not None:
                stream.hear(places[number], announced, now)
            stream.pass_time(now)
        await asyncio.sleep(0)


def _discount(counts: Counter[str], key: str) -> None:
    """Count one less. A key at zero is dropped."""
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


def _network(address: str) -> str:
    """What counts as one address: an IPv4 address, or a /64 of IPv6. One client may have all of a /64."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    return str(parsed.ipv4_mapped) if parsed.ipv4_mapped else parsed.packed[:8].hex()


def affordable(wanted: int) -> int:
    """So many streams, as far as the process may have files open: a quarter of them stays for everything else."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY or wanted <= files * 3 // 4:
        return wanted
    logger.warning(
        "max_streams %d: only %d streams, for this process may open only %d files", wanted, files * 3 // 4, files
    )
    return files * 3 // 4
