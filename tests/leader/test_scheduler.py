"""The scheduler on a real server: every room is served in time, and nothing ends the loop."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from redis.asyncio import Redis

from rig import servers
from rig.clockwork import fast_forward
from rig.waiting import eventually
from tests.leader.ticking import AlwaysLeads, admitted, arrive, instance, scheduler
from waitroom.cancelling import cancelled
from waitroom.errors import Unavailable
from waitroom.leader.leadership import Leadership
from waitroom.leader.scheduler import Scheduler
from waitroom.model import Ticket
from waitroom.proofs.tickets import new_visitor
from waitroom.rooms.registry import Rooms
from waitroom.settings.room import RoomSettings
from waitroom.store import keys
from waitroom.store.clock import Clock
from waitroom.store.servers import connect
from waitroom.store.store import Store


class Server:
    """A server on one socket that can be stopped and started again, empty."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.url = f"unix://{folder / 's'}"
        self._command = [str(program), "--unixsocket", str(folder / "s"), "--dir", str(folder), "--port", "0"]
        self._command += ["--save", "", "--appendonly", "no"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            self._process = None


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of the test's own; not started yet."""
    program = servers.program()
    with TemporaryDirectory(prefix="wr-") as folder:
        made = Server(program, Path(folder))
        yield made
        made.stop()


async def test_the_over_go_out_before_the_next_come_in(store: Store, redis: Redis) -> None:
    """In one tick a session that ended, a no-show and a silent visitor go, and the next one is admitted."""
    rooms = await instance(store, shop=RoomSettings(capacity=2, session_seconds=60))
    session, _absent, silent, next_up = [await arrive(rooms) for _ in range(4)]
    await rooms.get("shop").status(Ticket(session.visitor, session.serial, session.now_us))
    await fast_forward(redis, "shop", 121)
    await rooms.get("shop").status(Ticket(next_up.visitor, next_up.serial, store.clock.now_us()))
    await scheduler(store, rooms).tick()
    counts = (await store.read("shop")).counts
    assert (counts.finished, counts.no_show, counts.abandoned) == (1, 1, 1)
    assert await redis.zrange(keys.room_key("shop", "active"), 0, -1) == [next_up.visitor]
    assert silent.visitor != next_up.visitor


@pytest.mark.parametrize(
    ("key", "field", "value"),
    [("wait", None, "no set"), ("state", None, "no hash"), ("config", "capacity", "many"), ("config", "state", "ajar")],
)
async def test_one_rooms_failure_stops_no_other(
    store: Store, redis: Redis, key: str, field: str | None, value: str
) -> None:
    """A room whose keys are broken is skipped; the rooms before and after it are served."""
    names = ("a", "sick", "z")
    rooms = await instance(store, **{name: RoomSettings(capacity=0, state="paused") for name in names})
    for name in names:
        await arrive(rooms, name)
        await rooms.create(name, RoomSettings(capacity=0))
    broken = keys.room_key("sick", key)
    if field is None:
        await redis.delete(broken)
        await redis.set(broken, value)
    else:
        await redis.hset(broken, field, value)
    ticking = scheduler(store, rooms)
    for _ in range(2):
        await ticking.tick()
    assert [await admitted(store, name) for name in ("a", "z")] == [1, 1]


async def test_a_room_that_is_gone_stops_no_other(store: Store, redis: Redis) -> None:
    """A room that was deleted or lost since the last reading is skipped."""
    rooms = await instance(store, gone=RoomSettings(), shop=RoomSettings(capacity=0, state="paused"))
    await arrive(rooms)
    await rooms.create("shop", RoomSettings(capacity=0))
    await redis.delete(*keys.room_keys("gone"))
    await scheduler(store, rooms).tick()
    assert await admitted(store) == 1


async def test_an_outage_does_not_end_the_loop(server: Server) -> None:
    """The server goes away and comes back empty on the same address; the same loop goes on admitting."""
    server.start()
    store = Store(connect(server.url, timeout_seconds=0.5), Clock(), timeout_seconds=0.5)
    rooms = Rooms(store, {"shop": RoomSettings(capacity=0, state="paused")})

    async def reachable() -> bool:
        try:
            await rooms.refresh()
        except Unavailable:
            return False
        return True

    async def all_admitted() -> bool:
        reading = await store.read("shop")
        return reading.waiting == 0 and reading.counts.admitted == 1

    await eventually(reachable, "the server")
    leadership = Leadership(store, lease_seconds=0.3)
    loop = asyncio.create_task(scheduler(store, rooms, leadership=leadership, tick_seconds=0.01).run())
    await arrive(rooms)
    await rooms.create("shop", RoomSettings(capacity=0))
    await eventually(all_admitted, "the admission of all")

    server.stop()
    await eventually(lambda: leadership.term is None, "the end of the term")
    assert not loop.done()
    server.start()
    await eventually(reachable, "the server")
    await store.delete("shop")
    await rooms.create("shop", RoomSettings(capacity=0, state="paused"))
    await arrive(rooms)
    await rooms.create("shop", RoomSettings(capacity=0))
    await eventually(all_admitted, "the admission of all")
    await cancelled(loop)
    await store.close()


async def test_no_error_ends_the_loop(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Even an error that nobody thought of is logged, and the next tick works."""

    class Stumbles(AlwaysLeads):
        stumbled = False

        async def hold(self) -> int | None:
            if not self.stumbled:
                self.stumbled = True
                raise RuntimeError("unthought of")
            return await super().hold()

    rooms = await instance(store, shop=RoomSettings(capacity=0, state="paused"))
    await arrive(rooms)
    await rooms.create("shop", RoomSettings(capacity=0))
    loop = asyncio.create_task(scheduler(store, rooms, leadership=Stumbles(store), tick_seconds=0.01).run())

    async def served() -> bool:
        return await admitted(store) == 1

    await eventually(served, "the next tick")
    await cancelled(loop)
    assert "a tick failed" in caplog.text


async def test_a_stale_term_stops_acting(store: Store) -> None:
    """A leader whose room has seen a newer term admits nobody and gives up its claim at once."""
    rooms = await instance(store, shop=RoomSettings(capacity=0, state="paused"))
    await arrive(rooms)
    await rooms.create("shop", RoomSettings(capacity=0))
    await store.expire("shop", term=99)
    stale = AlwaysLeads(store, term=98)
    await scheduler(store, rooms, leadership=stale).tick()
    assert stale.term is None
    assert await admitted(store) == 0
    await scheduler(store, rooms, leadership=AlwaysLeads(store, term=99)).tick()
    assert await admitted(store) == 1


async def test_whose_lease_went_back_to_an_older_term_leads_on(store: Store) -> None:
    """A room that has seen a newer term than the lease knows of is served at the second tick, not never (I17)."""
    rooms = await instance(store, shop=RoomSettings(capacity=0, state="paused"))
    await arrive(rooms)
    await rooms.create("shop", RoomSettings(capacity=0))
    leader = Leadership(store, lease_seconds=60)
    lost = (await leader.hold() or 0) + 3_600_000
    await store.expire("shop", term=lost)
    ticking = scheduler(store, rooms, leadership=leader)
    await ticking.tick()
    assert await admitted(store) == 0
    await ticking.tick()
    assert await admitted(store) == 1
    assert (leader.term or 0) > lost


async def test_who_does_not_lead_does_nothing(store: Store) -> None:
    """Without the lease a tick touches no room."""
    rooms = await instance(store, shop=RoomSettings(capacity=0, state="paused"))
    await arrive(rooms)
    await rooms.create("shop", RoomSettings(capacity=0))
    leader, follower = Leadership(store, lease_seconds=60), Leadership(store, lease_seconds=60)
    await leader.hold()
    await scheduler(store, rooms, leadership=follower).tick()
    assert await admitted(store) == 0
    await scheduler(store, rooms, leadership=leader).tick()
    assert await admitted(store) == 1


async def test_a_large_room_does_not_starve_a_small_one(store: Store) -> None:
    """One tick serves a room with thousands to admit and the small one beside it."""
    rooms = await instance(
        store, big=RoomSettings(capacity=0, state="paused"), small=RoomSettings(capacity=0, state="paused")
    )
    for name, size in (("big", 3000), ("small", 1)):
        await asyncio.gather(*(rooms.get(name).enter(new_visitor(), None) for _ in range(size)))
        await rooms.create(name, RoomSettings(capacity=0))
    await scheduler(store, rooms).tick()
    assert [await admitted(store, name) for name in ("big", "small")] == [3000, 1]


async def test_a_large_room_has_a_share_of_the_tick(store: Store) -> None:
    """A room with more to do than its sure calls goes on while its share of the tick lasts."""
    rooms = await instance(store, big=RoomSettings(capacity=0, state="paused", max_waiting=100_000))
    for _ in range(3):
        await asyncio.gather(*(rooms.get("big").enter(new_visitor(), None) for _ in range(3000)))
    await rooms.create("big", RoomSettings(capacity=0, max_waiting=100_000))
    await scheduler(store, rooms, tick_seconds=60).tick()
    assert await admitted(store, "big") == 9000


async def test_a_redis_that_takes_no_writes_is_said_to_hold_the_lead_back(
    store: Store, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """It answers what is read, so nothing else says why nobody is admitted; once, and once when it is over."""
    caplog.set_level("INFO", "waitroom.leader.scheduler")
    rooms = Rooms(store, {"shop": RoomSettings()})
    await rooms.refresh()
    scheduler = Scheduler(store, rooms, Leadership(store, lease_seconds=3), tick_seconds=0.1)
    await redis.replicaof("127.0.0.1", "1")
    try:
        deadline = time.monotonic() + 30
        while not caplog.messages and time.monotonic() < deadline:
            await scheduler.tick()
            await asyncio.sleep(0.05)
        await scheduler.tick()
    finally:
        await redis.replicaof("NO", "ONE")
    await scheduler.tick()
    assert caplog.messages == ["no instance can lead: Redis refused: ReadOnlyError", "an instance can lead again"]
