"""The store: how redis-py's errors become ours, and that no call is ever made twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from redis import exceptions
from redis.asyncio import Redis

from rig import servers
from rig.line import Line
from rig.waiting import eventually
from tests.leaping import LeapingLoop, leaping
from waitroom.errors import Full, RoomBroken, RoomUnknown, Unavailable, VersionConflict, WaitroomError
from waitroom.model import Arrival, Pass, Place, Standing, Ticket, Visitor
from waitroom.proofs.tickets import new_visitor
from waitroom.settings.room import RoomSettings, fields_of
from waitroom.store import keys, scripts
from waitroom.store.clock import Clock
from waitroom.store.failures import mapped_errors
from waitroom.store.servers import connect
from waitroom.store.store import Store

ONE_INSIDE = fields_of(RoomSettings(capacity=1))


@pytest.fixture
def lone() -> Iterator[str]:
    """The URL of a server of the test's own, to be mistreated."""
    program = servers.program()
    with servers.running(binary=program) as url:
        yield url


@pytest.fixture
async def direct(lone: str) -> AsyncIterator[Redis]:
    """A raw client on the lone server."""
    client = Redis.from_url(lone, decode_responses=True, protocol=2)
    yield client
    await client.aclose()


@asynccontextmanager
async def opened(url: str, *, timeout_seconds: float = 10.0) -> AsyncIterator[Store]:
    """A store on that server, with the room `shop` for one if it does not exist yet."""
    store = Store(connect(url, timeout_seconds=timeout_seconds), Clock(), timeout_seconds=timeout_seconds)
    try:
        yield store
    finally:
        await store.close()


async def arrive(store: Store, room: str = "shop", *, ticket: Ticket | None = None) -> Place:
    """One arrival's place."""
    return (await store.enter(room, [(new_visitor(), ticket)]))[0]


def ticket_of(place: Place) -> Ticket:
    """The ticket that a place gives."""
    return Ticket(place.visitor, place.serial, place.now_us)


# The table of errors.


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), Full),
        (exceptions.ResponseError("OOM command not allowed when used memory > 'maxmemory'. script: x"), Full),
        (exceptions.ResponseError("MISCONF Redis is configured to save RDB snapshots, but"), Full),
        (exceptions.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), RoomBroken),
        (exceptions.ResponseError("ERR unknown command"), RoomBroken),
        (exceptions.ConnectionError("refused"), Unavailable),
        (exceptions.AuthenticationError("WRONGPASS"), Unavailable),
        (exceptions.MaxConnectionsError(), Unavailable),
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), Unavailable),
        (exceptions.TimeoutError("slow"), Unavailable),
        (TimeoutError(), Unavailable),
        (ConnectionResetError(104, "reset"), Unavailable),
        (BrokenPipeError(), Unavailable),
        (FileNotFoundError(2, "no socket"), Unavailable),
        (OSError(24, "too many open files"), Unavailable),
        (exceptions.ReadOnlyError("You can't write against a read only replica."), Unavailable),
        (exceptions.ResponseError("BUSY Redis is busy running a script."), Unavailable),
        (exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."), Unavailable),
        (exceptions.MasterDownError("Link with MASTER is down"), Unavailable),
        (exceptions.ClusterDownError("The cluster is down"), Unavailable),
        (exceptions.TryAgainError("Multiple keys request during rehashing of slot"), Unavailable),
        (exceptions.MovedError("5798 127.0.0.1:6381"), Unavailable),
        (exceptions.NoPermissionError("User waitroom has no permissions to run the 'x' command"), Unavailable),
        (exceptions.InvalidResponse("garbage"), Unavailable),
        (exceptions.RedisError("anything else"), Unavailable),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)  # fmt: skip
def test_each_error_becomes_the_most_specific_of_ours(error: Exception, ours: type[WaitroomError]) -> None:
    """What redis-py raises is mapped as the table in store.py says, with its cause attached."""
    with pytest.raises(WaitroomError) as mapped, mapped_errors("shop"):
        raise error
    assert type(mapped.value) is ours
    assert mapped.value.__cause__ is error


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("a bug"), asyncio.CancelledError()])
def test_what_is_not_redis_is_let_through(error: BaseException) -> None:
    """A programming error or a cancellation is not dressed up as an outage."""
    with pytest.raises(type(error)), mapped_errors("shop"):
        raise error


@pytest.mark.parametrize(
    ("reply", "ours"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", Full),
        ("MISCONF Errors writing to the AOF file: No space left on device", Full),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", RoomBroken),
        ("ERR something else", RoomBroken),
        ("BUSY Redis is busy running a script. You can only call SCRIPT KILL.", Unavailable),
        ("LOADING Redis is loading the dataset in memory", Unavailable),
        ("READONLY You can't write against a read only replica.", Unavailable),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", Unavailable),
        ("NOREPLICAS Not enough good replicas to write.", Unavailable),
        ("CLUSTERDOWN The cluster is down", Unavailable),
        ("TRYAGAIN Multiple keys request during rehashing of slot", Unavailable),
        ("NOPERM this user has no permissions to run the 'x' command", Unavailable),
        ("ERR max number of clients reached", Unavailable),
    ],
    ids=lambda value: value.split(maxsplit=1)[0] if isinstance(value, str) else None,
)  # fmt: skip
async def test_each_error_reply_becomes_the_most_specific_of_ours(
    engine: str, reply: str, ours: type[WaitroomError]
) -> None:
    """A real server's error replies, as redis-py reads them, are mapped as the table says."""
    client = connect(engine, timeout_seconds=10)
    with pytest.raises(WaitroomError) as mapped, mapped_errors("shop"):
        await client.send("any", "EVAL", "return redis.error_reply(ARGV[1])", 0, reply)
    await client.aclose()
    assert type(mapped.value) is ours


async def test_a_key_of_the_wrong_type_is_a_broken_room(store: Store, redis: Redis) -> None:
    """A key that holds something else breaks its room by name, for every script, and nothing is written."""
    await store.configure("shop", ONE_INSIDE, expected=0)
    await redis.set(keys.room_key("shop", "wait"), "not a set")
    visitor = new_visitor()
    ticket = Ticket(visitor, 1, store.clock.now_us())
    before = {key: await redis.dump(key) for key in sorted(await redis.keys())}
    calls: list[Callable[[], object]] = [
        lambda: store.enter("shop", [(visitor, None)]),
        lambda: store.status("shop", [ticket]),
        lambda: store.pass_through("shop", [(visitor, None)]),
        lambda: store.enter_guarded("shop", [Arrival(visitor)]),
        lambda: store.leave("shop", [visitor]),
        lambda: store.finish("shop", [visitor]),
        lambda: store.extend("shop", [Pass(visitor, 4e9)]),
        lambda: store.restore("shop", [Pass(visitor, 4e9)]),
        lambda: store.admit("shop", term=1),
        lambda: store.expire("shop", term=1),
        lambda: store.read("shop"),
    ]
    for call in calls:
        with pytest.raises(RoomBroken, match="room 'shop': WRONGTYPE"):
            await call()  # type: ignore[misc]
    assert {key: await redis.dump(key) for key in sorted(await redis.keys())} == before


@pytest.mark.parametrize(
    ("key", "field", "value"),
    [("state", "last", "x"), ("state", "entered", ""), ("state", "pace_us", "fast"), ("config", "version", "new")],
)
async def test_a_corrupt_field_is_a_broken_room(store: Store, redis: Redis, key: str, field: str, value: str) -> None:
    """A number that is none breaks its room, as an error of ours."""
    await store.configure("shop", ONE_INSIDE, expected=0)
    await redis.hset(keys.room_key("shop", key), field, value)
    with pytest.raises(RoomBroken, match="shop"):
        await store.read("shop")


async def test_bytes_that_are_no_text_are_a_broken_room(store: Store, redis: Redis) -> None:
    """A field that is not UTF-8 breaks its room, as an error of ours, and the connection goes on working."""
    await store.configure("shop", ONE_INSIDE, expected=0)
    await store.configure("fair", ONE_INSIDE, expected=0)
    await redis.eval("return redis.call('HSET', KEYS[1], 'message', '\\255\\254')", 1, keys.room_key("shop", "config"))
    with pytest.raises(RoomBroken, match="shop"):
        await store.read("shop")
    assert (await store.read("fair")).version == 1


async def test_a_full_server_refuses_arrivals_and_lets_everybody_out(lone: str, direct: Redis) -> None:
    """Out of memory nobody new fits, but status, leave, admit, expire and the lease go on."""
    async with opened(lone) as store:
        await store.configure("shop", ONE_INSIDE, expected=0)
        inside, waiting = await arrive(store), await arrive(store)
        await direct.config_set("maxmemory", "1")
        with pytest.raises(Full):
            await arrive(store)
        assert (await store.status("shop", [ticket_of(waiting)]))[0].rank == 1
        assert await store.leave("shop", [inside.visitor]) == [Standing.LEFT]
        assert (await store.admit("shop", term=1)).serials == (waiting.serial,)
        await store.expire("shop", term=1)
        await store.lease("hold", "me", ttl_seconds=1)


async def test_a_replica_is_unavailable(lone: str, direct: Redis) -> None:
    """After a failover the old primary refuses writes: that is an outage, not a broken room."""
    async with opened(lone) as store:
        await store.configure("shop", ONE_INSIDE, expected=0)
        await direct.replicaof("127.0.0.1", "1")
        with pytest.raises(Unavailable):
            await arrive(store)
        await direct.config_set("replica-serve-stale-data", "no")
        with pytest.raises(Unavailable):
            await arrive(store)
        with pytest.raises(Unavailable):
            await store.read("shop")
        with pytest.raises(Unavailable):
            await store.registered()
        await direct.replicaof("NO", "ONE")
        assert (await arrive(store)).standing is Standing.OFFERED


async def test_too_few_replicas_are_unavailable(lone: str, direct: Redis) -> None:
    """A primary that must have replicas and has none refuses writes: an outage."""
    async with opened(lone) as store:
        await store.configure("shop", ONE_INSIDE, expected=0)
        await direct.config_set("min-replicas-to-write", "1")
        with pytest.raises(Unavailable):
            await arrive(store)
        await direct.config_set("min-replicas-to-write", "0")
        await arrive(store)


async def test_a_busy_server_is_unavailable(lone: str, direct: Redis) -> None:
    """While a script blocks the server, callers hear at once that it is busy, and go on when it ends."""
    async with opened(lone) as store:
        await store.configure("shop", ONE_INSIDE, expected=0)
        await direct.config_set("busy-reply-threshold", "50")
        blocker = asyncio.ensure_future(direct.eval("while true do end", 0))
        killer = Redis.from_url(lone)
        try:
            told: list[object] = []
            # Calls that reach the server before the script does are still answered.
            while not told or isinstance(told[-1], Place):
                told += await asyncio.gather(arrive(store), return_exceptions=True)
            assert isinstance(told[-1], Unavailable)
            assert "BUSY" in str(told[-1])
        finally:
            await killer.script_kill()
            await asyncio.gather(blocker, return_exceptions=True)
            await killer.aclose()
        await arrive(store)


@pytest.mark.parametrize("url", ["unix:///nowhere/at/all", "redis://127.0.0.1:1"])
async def test_a_refused_connection_is_unavailable(url: str) -> None:
    """Without a server every call raises Unavailable at once."""
    async with opened(url, timeout_seconds=3600) as store, asyncio.timeout(60):
        for call in (store.registered(), store.ping(), store.read("shop"), store.delete("shop")):
            with pytest.raises(Unavailable):
                await call


def test_a_frozen_server_is_unavailable_in_time(lone: str) -> None:
    """A server that accepts and says nothing costs a caller no more than the time-out, with old and new connections."""

    async def run() -> None:
        async with opened(lone, timeout_seconds=10) as store:
            await store.configure("shop", ONE_INSIDE, expected=0)
            async with Redis.from_url(lone, protocol=2) as direct:
                pid = int((await direct.info("server"))["process_id"])
            os.kill(pid, signal.SIGSTOP)
            try:
                with leaping():
                    for _ in range(2):
                        started = asyncio.get_running_loop().time()
                        failures = await asyncio.gather(*(arrive(store) for _ in range(20)), return_exceptions=True)
                        assert asyncio.get_running_loop().time() - started < 1.1 * 10
                        assert {type(failure) for failure in failures} == {Unavailable}
            finally:
                os.kill(pid, signal.SIGCONT)
            await answering(store)

    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        runner.run(run())


async def answering(store: Store) -> None:
    """Wait until the server answers again."""
    await eventually(store.ping, "an answer", despite=Unavailable)


# One effect.


@pytest.fixture
async def line(lone: str, direct: Redis) -> AsyncIterator[Line]:
    """A line to the lone server, which knows the scripts already: no reply is a NOSCRIPT."""
    for name in scripts.NAMES:
        await direct.script_load(scripts.load(name).text)
    async with Line(lone) as made:
        yield made


async def lost(line: Line, call: Callable[[], object]) -> None:
    """Make the call and lose its reply: Unavailable is raised, after exactly one try."""
    line.once("reset")
    with pytest.raises(Unavailable):
        await call()  # type: ignore[misc]
    assert (line.did["reset"], line.pending) == (1, False)


async def test_a_lost_reply_to_an_arrival_is_one_arrival(line: Line) -> None:
    """A call whose reply is lost has been carried out once: nothing repeats it behind the caller's back."""
    async with opened(line.url) as store:
        await store.configure("shop", ONE_INSIDE, expected=0)
        await lost(line, lambda: arrive(store))
        reading = await store.read("shop")
        assert (reading.counts.entered, reading.occupancy, reading.waiting) == (1, 1, 0)


@pytest.mark.parametrize("ahead", [0, 1, 3])
async def test_repeating_an_arrival_gives_the_same_place(line: Line, ahead: int) -> None:
    """The very same call, made again after its reply was lost, finds the visitor where the first one put them."""
    async with opened(line.url) as store:
        await store.configure("shop", ONE_INSIDE, expected=0)
        for _ in range(ahead):
            await arrive(store)
        visitor = new_visitor()
        await lost(line, lambda: store.enter("shop", [(visitor, None)]))
        await arrive(store)
        first, second = [(await store.enter("shop", [(visitor, None)]))[0] for _ in range(2)]
        reading = await store.read("shop")
        assert reading.counts.entered == ahead + 2 == reading.waiting + reading.occupancy
        assert first.rank == second.rank == ahead
        assert first.expires_us == second.expires_us


async def test_repeating_a_return_gives_the_same_place(line: Line, direct: Redis) -> None:
    """A visitor who comes back with a ticket, and whose answer is lost, has their old place at the next try."""
    async with opened(line.url) as store:
        await store.configure("shop", ONE_INSIDE, expected=0)
        await arrive(store)
        silent, other = await arrive(store), await arrive(store)
        await direct.zrem(keys.room_key("shop", "wait"), silent.visitor)
        await direct.zrem(keys.room_key("shop", "seen"), silent.visitor)
        await lost(line, lambda: arrive(store, ticket=ticket_of(silent)))
        again = await arrive(store, ticket=ticket_of(silent))
        assert (again.visitor, again.serial, again.rank) == (silent.visitor, silent.serial, 1)
        assert (await store.status("shop", [ticket_of(other)]))[0].rank == 2
        assert (await store.read("shop")).counts.restored == 1


async def test_repeating_a_claim_gives_the_same_session(line: Line) -> None:
    """A claim whose reply was lost started the session once; the next look finds the same end."""
    async with opened(line.url) as store:
        await store.configure("shop", ONE_INSIDE, expected=0)
        ticket = ticket_of(await arrive(store))
        await lost(line, lambda: store.status("shop", [ticket]))
        ends = [(await store.status("shop", [ticket]))[0].expires_us for _ in range(2)]
        assert ends[0] == ends[1] > 0
        assert (await store.read("shop")).counts.claimed == 1


async def test_repeating_a_goodbye_changes_nothing(line: Line) -> None:
    """A goodbye whose reply was lost counts once."""
    async with opened(line.url) as store:
        await store.configure("shop", ONE_INSIDE, expected=0)
        visitor = (await arrive(store)).visitor
        await lost(line, lambda: store.leave("shop", [visitor]))
        assert await store.leave("shop", [visitor]) == [Standing.UNKNOWN]
        assert (await store.read("shop")).counts.left == 1


async def test_repeating_a_tick_admits_nobody_twice(line: Line) -> None:
    """An admission whose reply was lost fills the room once."""
    async with opened(line.url) as store:
        await store.configure("shop", fields_of(RoomSettings(capacity=2, state="paused")), expected=0)
        for _ in range(5):
            await arrive(store)
        await store.configure("shop", {"state": "open"}, expected=1)
        await lost(line, lambda: store.admit("shop", term=1))
        assert (await store.admit("shop", term=1)).serials == ()
        reading = await store.read("shop")
        assert (reading.occupancy, reading.counts.admitted, reading.waiting) == (2, 2, 3)


async def test_repeating_a_change_is_a_conflict(line: Line) -> None:
    """A change by version whose reply was lost has happened, so the second one is told of the new version."""
    async with opened(line.url) as store:
        await store.configure("shop", ONE_INSIDE, expected=0)
        await lost(line, lambda: store.configure("shop", {"capacity": "7"}, expected=1))
        with pytest.raises(VersionConflict) as conflict:
            await store.configure("shop", {"capacity": "7"}, expected=1)
        assert conflict.value.version == 2


async def test_a_flushed_script_cache_is_not_noticed(store: Store, redis: Redis) -> None:
    """NOSCRIPT is repaired without anybody noticing, and the call has one effect."""
    await store.configure("shop", ONE_INSIDE, expected=0)
    for _ in range(3):
        await redis.script_flush()
        await arrive(store)
    assert (await store.read("shop")).counts.entered == 3


async def test_cancelled_calls_cross_no_replies(store: Store) -> None:
    """However many callers go away at whatever moment, each of the others gets the answer to its own question."""
    drawn = random.Random(28)
    await store.configure("shop", fields_of(RoomSettings(state="paused")), expected=0)
    tickets = [ticket_of(await arrive(store)) for _ in range(40)]

    async def look(rank: int) -> None:
        assert (await store.status("shop", [tickets[rank - 1]]))[0].rank == rank

    for _ in range(10):
        looks = [asyncio.create_task(look(rank)) for rank in range(1, 41)]
        for _ in range(drawn.randrange(12)):
            await asyncio.sleep(0)
        for task in drawn.sample(looks, 20):
            task.cancel()
        results = await asyncio.gather(*looks, return_exceptions=True)
        assert not [result for result in results if isinstance(result, Exception)]


# The rest of what it promises.


async def test_an_unknown_room_is_said_to_be_unknown(store: Store) -> None:
    """Every script on a room that does not exist raises RoomUnknown and creates nothing."""
    visitor = new_visitor()
    calls: list[Callable[[], object]] = [
        lambda: store.enter("none", [(visitor, None)]),
        lambda: store.status("none", [Ticket(visitor, 1, 1)]),
        lambda: store.pass_through("none", [(visitor, None)]),
        lambda: store.enter_guarded("none", [Arrival(visitor)]),
        lambda: store.leave("none", [visitor]),
        lambda: store.finish("none", [visitor]),
        lambda: store.extend("none", [Pass(visitor, 4e9)]),
        lambda: store.restore("none", [Pass(visitor, 4e9)]),
        lambda: store.admit("none", term=1),
        lambda: store.expire("none", term=1),
        lambda: store.read("none"),
        lambda: store.configure("none", {"capacity": "1"}, expected=None),
    ]
    for call in calls:
        with pytest.raises(RoomUnknown, match="'none'"):
            await call()  # type: ignore[misc]
    assert await store.registered() == {}


async def test_a_missing_setting_is_a_broken_room(store: Store, redis: Redis) -> None:
    """A room whose capacity is gone is broken by the setting's name."""
    await store.configure("shop", ONE_INSIDE, expected=0)
    await redis.hdel(keys.room_key("shop", "config"), "capacity")
    with pytest.raises(RoomBroken, match="'capacity'"):
        await arrive(store)


async def test_every_reply_sets_the_clock(store: Store, redis: Redis) -> None:
    """After any call the instance's clock says Redis time."""
    store.clock.observe(0)
    await store.configure("shop", ONE_INSIDE, expected=0)
    await arrive(store)
    seconds, micros = await redis.time()
    assert abs(store.clock.now() - (int(seconds) + int(micros) / 1e6)) < 1


async def test_deleting_leaves_nothing_but_the_note(store: Store, redis: Redis) -> None:
    """A deleted room has no keys any more, and its name stays noted as deleted."""
    await store.register("shop", live=True)
    await store.configure("shop", ONE_INSIDE, expected=0)
    await arrive(store)
    assert await store.delete("shop") is True
    assert await store.delete("shop") is False
    assert await redis.keys() == [keys.ROOMS]
    assert await store.registered() == {"shop": False}


async def test_a_place_belongs_to_the_ticket_or_to_the_fresh_id(store: Store) -> None:
    """In one batch each arrival gets its own place: the ticket's holder the old one, the others new ones."""
    await store.configure("shop", fields_of(RoomSettings(state="paused")), expected=0)
    old = await arrive(store)
    fresh = [Visitor(new_visitor()) for _ in range(3)]
    bad = Ticket(new_visitor(), 5, 1)
    places = await store.enter("shop", [(fresh[0], None), (fresh[1], ticket_of(old)), (fresh[2], bad)])
    assert [place.visitor for place in places] == [fresh[0], old.visitor, fresh[2]]
    assert [place.rank for place in places] == [2, 1, 3]
    assert places[1].serial == old.serial


async def test_every_script_has_its_method() -> None:
    """Each script's name is the name of the coroutine that runs it."""
    assert [name for name in scripts.NAMES if not asyncio.iscoroutinefunction(getattr(Store, name))] == []


async def test_how_many_wait_is_asked_in_one_go(store: Store, redis: Redis) -> None:
    """A number for each room in the order asked for, and None where its key is no queue."""
    paused = fields_of(RoomSettings(state="paused"))
    for name, number in (("shop", 3), ("fair", 0), ("sick", 1)):
        await store.configure(name, paused, expected=0)
        for _ in range(number):
            await arrive(store, name)
    await redis.set(keys.room_key("sick", "wait"), "no set")
    assert await store.waiting(["shop", "fair", "sick", "unheard-of"]) == [3, 0, None, 0]


async def test_how_many_wait_where_nobody_answers(lone: str) -> None:
    """A server that is gone is an error of ours."""
    async with opened(lone.replace("/s", "/gone"), timeout_seconds=0.2) as store:
        with pytest.raises(Unavailable):
            await store.waiting(["shop"])
