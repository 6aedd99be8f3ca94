"""What a stream is told and when, how many there may be, and that one look serves them all."""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest
from redis.asyncio import Redis

from waitroom.errors import StreamsFull, Unavailable
from waitroom.model import Place, Standing, Visitor
from waitroom.proofs.tickets import new_visitor
from waitroom.rooms import streams
from waitroom.rooms.batching import MOST_PER_CALL
from waitroom.rooms.registry import Rooms
from waitroom.rooms.room import Room
from waitroom.rooms.streams import BEAT_SECONDS, MOST_PER_VISITOR, QUIET_SECONDS, News, Stream, Streams, affordable
from waitroom.settings.room import RoomSettings
from waitroom.store import keys
from waitroom.store.clock import Clock
from waitroom.store.servers import connect
from waitroom.store.store import Store

OPEN = ("open", "")


@pytest.fixture
async def rooms(store: Store) -> Rooms:
    """An instance with a room in which everybody waits."""
    rooms = Rooms(store, {"shop": RoomSettings(state="paused")})
    await rooms.refresh()
    return rooms


@pytest.fixture
def room(rooms: Rooms) -> Room:
    """That room."""
    return rooms.get("shop")


@pytest.fixture
async def opened() -> AsyncIterator[Streams]:
    """The streams of an instance, which looks often."""
    made = Streams(most=100_000)
    yield made
    await made.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten ticks a second."""
    monkeypatch.setattr(streams, "TICK_SECONDS", 0.1)


async def arrivals(room: Room, number: int) -> list[Place]:
    """So many newcomers, in order."""
    return [await room.enter(new_visitor(), None) for _ in range(number)]


async def said(stream: Stream, room: Room) -> News:
    """What is said next, before the test's patience ends."""
    async with asyncio.timeout(10):
        return await stream.news(room)


def at(place: Place, rank: int, standing: Standing = Standing.WAITING) -> Place:
    """The place when the visitor has that rank, or another standing."""
    return Place(standing, place.now_us, place.visitor, place.serial, rank)


def pending(stream: Stream) -> News | None:
    """What is to be said."""
    return stream._news


# One stream.


@pytest.mark.parametrize(
    ("before", "after", "quiet", "told"),
    [
        (2, 1, 0.0, True),
        (100, 99, 0.0, True),
        (1000, 990, 0.0, True),
        (1000, 991, 0.0, False),
        (1000, 991, 3.0, True),
        (1000, 1000, 3.0, False),
        (1000, 1000, QUIET_SECONDS, True),
        (1, 1, 14.0, False),
        (5, 7, 0.0, True),
    ],
)
async def test_what_is_news(room: Room, before: int, after: int, quiet: float, told: bool) -> None:
    """A better rank at once, save when it is better by less than a hundredth: then now and then."""
    place = at((await arrivals(room, 1))[0], before)
    stream = Stream(place, room)
    announced = (room.settings.state, room.settings.message)
    stream.hear(at(place, after), announced, time.monotonic() + quiet)
    assert pending(stream) is (News.PLACE if told else None)
    assert stream.place.rank == after


async def test_an_operators_words_are_news(room: Room) -> None:
    """State and message are told at once, and once."""
    place = (await arrivals(room, 1))[0]
    stream = Stream(place, room)
    for announced in (("open", ""), ("paused", "Hello.")):
        stream.hear(place, announced, time.monotonic())
        assert pending(stream) is News.PLACE
        room.settings = room.settings.model_copy(update={"state": announced[0], "message": announced[1]})
        assert await said(stream, room) is News.PLACE
        stream.hear(place, announced, time.monotonic())
        assert pending(stream) is None


@pytest.mark.parametrize(
    ("standing", "news"),
    [(Standing.OFFERED, News.ADMITTED), (Standing.ADMITTED, News.ADMITTED), (Standing.UNKNOWN, News.OVER)],
)
async def test_the_last_word_stands(room: Room, standing: Standing, news: News) -> None:
    """After it nothing is said, save that nobody is there."""
    place = (await arrivals(room, 1))[0]
    stream = Stream(place, room)
    stream.say(News.PLACE)
    stream.hear(at(place, 0, standing), OPEN, time.monotonic())
    stream.hear(at(place, 1), OPEN, time.monotonic())
    stream.say(News.RECONNECT)
    stream.pass_time(time.monotonic() + 10_000)
    assert await said(stream, room) is news
    stream.say(News.GONE)
    assert await said(stream, room) is News.GONE


async def test_only_the_latest_is_told(room: Room) -> None:
    """What could not be said in between is left out: a stream holds one thing to say at most."""
    place = at((await arrivals(room, 1))[0], 1000)
    stream = Stream(place, room)
    for rank in range(999, 0, -1):
        stream.hear(at(place, rank), OPEN, time.monotonic())
    assert await said(stream, room) is News.PLACE
    assert stream.place.rank == 1
    assert pending(stream) is None


async def test_time_passes(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long silence is broken by a heartbeat, which stands behind news; an old stream ends."""
    monkeypatch.setattr(streams, "_AGE_SECONDS", (300.0, 300.0))
    place, now = (await arrivals(room, 1))[0], time.monotonic()
    stream = Stream(place, room)
    stream.pass_time(now + BEAT_SECONDS - 1)
    assert pending(stream) is None
    stream.say(News.PLACE)
    stream.pass_time(now + BEAT_SECONDS + 1)
    assert await said(stream, room) is News.PLACE
    stream.pass_time(time.monotonic() + BEAT_SECONDS)
    assert await said(stream, room) is News.HEARTBEAT
    stream.pass_time(now + 310)
    assert await said(stream, room) is News.RECONNECT


async def test_ages_differ(room: Room) -> None:
    """Streams that begin together do not end together."""
    place, now = (await arrivals(room, 1))[0], time.monotonic()
    made = [Stream(place, room) for _ in range(200)]
    for stream in made:
        stream.pass_time(now + 450)
    over = sum(pending(stream) is News.RECONNECT for stream in made)
    assert 50 < over < 150


# Many streams.


@contextmanager
def taken(opened: Streams, *visitors: str, address: str = "") -> Iterator[None]:
    """Slots of these visitors."""
    with ExitStack() as stack:
        for visitor in visitors:
            stack.enter_context(opened.slot(Visitor(visitor), address))
        yield


@pytest.mark.parametrize(
    ("most", "per_address", "there", "comes", "limit"),
    [
        (2, 0, [("a", "1.1.1.1"), ("b", "1.1.1.2")], ("c", "1.1.1.3"), "instance"),
        (0, 0, [], ("a", "1.1.1.1"), "instance"),
        (9, 0, [("a", "1.1.1.1")] * MOST_PER_VISITOR, ("a", "1.1.1.2"), "visitor"),
        (9, 2, [("a", "1.1.1.1"), ("b", "1.1.1.1")], ("c", "1.1.1.1"), "address"),
        (9, 1, [("a", "2001:db8:1:2::1")], ("b", "2001:db8:1:2:ffff::2"), "address"),
        (9, 1, [("a", "::ffff:1.1.1.1")], ("b", "::ffff:1.1.1.1"), "address"),
        (9, 1, [("a", "1.1.1.1")], ("b", "1.1.1.2"), None),
        (9, 1, [("a", "2001:db8:1:2::1")], ("b", "2001:db8:1:3::1"), None),
        (9, 1, [("a", "::ffff:1.1.1.1")], ("b", "::ffff:1.1.1.2"), None),
        (9, 1, [("a", "")], ("b", ""), None),
        (9, 0, [("a", "1.1.1.1")] * MOST_PER_VISITOR + [("b", "1.1.1.1")] * MOST_PER_VISITOR, ("c", "1.1.1.1"), None),
    ],
)
def test_limits(
    most: int, per_address: int, there: list[tuple[str, str]], comes: tuple[str, str], limit: str | None
) -> None:
    """So many on the instance, of a visitor, of an address; a /64 of IPv6 is one address, an unknown one is none."""
    opened = Streams(most=most, most_per_address=per_address)
    with ExitStack() as stack:
        for visitor, address in there:
            stack.enter_context(taken(opened, visitor, address=address))
        if limit is None:
            stack.enter_context(taken(opened, comes[0], address=comes[1]))
            return
        for _ in range(2):
            with pytest.raises(StreamsFull) as refused, taken(opened, comes[0], address=comes[1]):
                pass
            assert refused.value.limit == limit


def test_a_slot_is_free_again() -> None:
    """However the stream ends, and nothing is left of who was there."""
    opened = Streams(most=1, most_per_address=1)
    for number in range(3):
        with pytest.raises(ZeroDivisionError), taken(opened, f"v{number}", address="1.1.1.1"):
            raise ZeroDivisionError
    assert (opened._open, len(opened._by_visitor), len(opened._by_address)) == (0, 0, 0)


class CountingStore(Store):
    """A store that counts looks, and can be cut off."""

    looks: list[int]
    cut = False

    async def look(self, room: str, watching: Sequence[tuple[Visitor, int]]) -> list[Place]:
        self.looks = [*getattr(self, "looks", []), len(watching)]
        if self.cut:
            raise Unavailable("cut off")
        return await super().look(room, watching)


@pytest.fixture
async def counting(engine: str, redis: Redis) -> AsyncIterator[CountingStore]:
    """Such a store on the emptied server."""
    opened = CountingStore(connect(engine, timeout_seconds=10), Clock(), timeout_seconds=10)
    yield opened
    await opened.close()


@pytest.mark.usefixtures("quick")
async def test_one_look_serves_all(counting: CountingStore, opened: Streams) -> None:
    """A tick is one call for each 512 streams, whatever happens in the room; without streams there is none."""
    rooms = Rooms(counting, {"shop": RoomSettings(state="paused")})
    await rooms.refresh()
    room = rooms.get("shop")
    places = await counting.enter("shop", [(new_visitor(), None) for _ in range(500)])
    with ExitStack() as stack:
        listening = [stack.enter_context(opened.listening(room, place)) for place in places + places[:100]]
        await counting.leave("shop", [place.visitor for place in places[:250]])
        for stream in listening[250:500]:
            assert await said(stream, room) is News.PLACE
        assert [stream.place.rank for stream in listening[250:500]] == list(range(1, 251))
        for stream in listening[:250] + listening[500:]:
            assert await said(stream, room) is News.OVER
        assert set(counting.looks) == {MOST_PER_CALL, 600 % MOST_PER_CALL}
    while opened._looking:
        await asyncio.sleep(0.01)
    looks = len(counting.looks)
    await asyncio.sleep(0.3)
    assert len(counting.looks) == looks


@pytest.mark.usefixtures("quick")
async def test_without_redis_the_streams_stay(
    counting: CountingStore, opened: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call a tick tries; there are heartbeats; when it answers again the streams hear what is new."""
    monkeypatch.setattr(streams, "QUIET_SECONDS", 0.2)
    rooms = Rooms(counting, {"shop": RoomSettings(state="paused")})
    await rooms.refresh()
    room = rooms.get("shop")
    places = await counting.enter("shop", [(new_visitor(), None) for _ in range(4 * MOST_PER_CALL)])
    counting.cut = True
    with ExitStack() as stack:
        listening = [stack.enter_context(opened.listening(room, place)) for place in places + places]
        for stream in listening:
            assert await said(stream, room) is News.HEARTBEAT
        assert set(counting.looks) == {MOST_PER_CALL}
        await counting.leave("shop", [places[0].visitor])
        counting.cut = False
        news = await said(listening[1], room)
        while news is News.HEARTBEAT:
            news = await said(listening[1], room)
        assert (news, listening[1].place.rank) == (News.PLACE, 1)


@pytest.mark.usefixtures("quick")
async def test_a_broken_room_harms_no_other(store: Store, redis: Redis, opened: Streams) -> None:
    """Where a look fails for good, the streams of other rooms hear on, and its own when it is mended."""
    rooms = Rooms(store, {name: RoomSettings(state="paused") for name in ("shop", "hall")})
    await rooms.refresh()
    shop, hall = rooms.get("shop"), rooms.get("hall")
    (first, second), (third, fourth) = await arrivals(shop, 2), await arrivals(hall, 2)
    with opened.listening(shop, second) as one, opened.listening(hall, fourth) as other:
        active = keys.room_key("shop", "active")
        await redis.set(active, "x")
        await hall.leave(third.visitor)
        assert await said(other, hall) is News.PLACE
        await redis.delete(active)
        await shop.leave(first.visitor)
        assert await said(one, shop) is News.PLACE


@pytest.mark.usefixtures("quick")
async def test_a_loop_that_stumbles_goes_on(
    rooms: Rooms, room: Room, opened: Streams, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong in a look is logged, and the next one is made."""
    first, second = await arrivals(room, 2)
    stumbled = asyncio.Event()
    look = Room.look

    async def stumbling(self: Room, watching: Sequence[tuple[Visitor, int]]) -> list[Place]:
        if not stumbled.is_set():
            stumbled.set()
            raise ZeroDivisionError
        return await look(self, watching)

    monkeypatch.setattr(Room, "look", stumbling)
    with opened.listening(room, second) as stream:
        await stumbled.wait()
        await room.leave(first.visitor)
        assert await said(stream, room) is News.PLACE
    assert "looking for the streams' visitors failed" in caplog.text


@pytest.mark.usefixtures("quick")
async def test_a_deleted_room_is_over(rooms: Rooms, room: Room, opened: Streams) -> None:
    """Its streams hear that there is no place any more."""
    with opened.listening(room, (await arrivals(room, 1))[0]) as stream:
        await rooms.delete("shop")
        assert await said(stream, room) is News.OVER


async def test_the_end_is_told_to_all(room: Room, opened: Streams) -> None:
    """Those who listen, and those who come while the instance goes."""
    places = await arrivals(room, 150)
    with ExitStack() as stack:
        listening = [stack.enter_context(opened.listening(room, place)) for place in places]
        await opened.end()
        for stream in listening:
            assert await said(stream, room) is News.RECONNECT
        late = stack.enter_context(opened.listening(room, places[0]))
        assert await said(late, room) is News.RECONNECT


async def test_closing_with_streams_open(room: Room) -> None:
    """Nothing runs on, and who listened may go afterwards."""
    before, opened = asyncio.all_tasks(), Streams(most=9)
    with opened.listening(room, (await arrivals(room, 1))[0]):
        await asyncio.sleep(0)
        await opened.close()
    assert asyncio.all_tasks() == before


# As many as files can be open.


@pytest.fixture
def files() -> Iterator[None]:
    """This process may have 1,000 files open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(("wanted", "given"), [(0, 0), (750, 750), (751, 750), (5_000, 750)])
def test_a_quarter_of_the_files_is_for_everything_else(
    wanted: int, given: int, caplog: pytest.LogCaptureFixture
) -> None:
    """An instance that accepts until it has no file left answers nobody; that there are fewer streams is logged."""
    with caplog.at_level(logging.WARNING):
        assert affordable(wanted) == given
    assert ("max_streams" in caplog.text) is (given < wanted)
