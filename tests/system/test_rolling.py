"""Instances told to stop, restarted one after another, or frozen: what visitors and other instances see of it."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from pathlib import Path

import pytest

from crowd.browser import Browser
from crowd.habits import Manner
from crowd.history import History
from crowd.rules import Rules
from crowd.verdict import faults
from crowd.visitors import PATIENT, SteadyCrowd, Visitor, coming
from crowd.watch import Watch, last_look, watching
from rig.composed import Composed
from rig.instance import Instance
from rig.waiting import eventually, until
from tests.system.clusters import all_serve, clustered, raw, tried
from tests.system.test_crowd import counts

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

CAPACITY = 60
SHOP = {"capacity": CAPACITY, **PATIENT}

#: An arrival that a frozen instance takes when nobody waits for the answer any more keeps others out for so long.
HAUNTED = {**SHOP, "claim_seconds": 60}

#: A room in which nobody moves, so that every place can be compared.
HALL = {"capacity": 10, "state": "paused", "abandon_seconds": 600}

#: An arrival without its body, which is of two bytes.
_ARRIVAL = (
    b"POST /v1/rooms/hall/enter HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
)

#: Seconds in which something must have happened that takes far less.
DEADLINE_SECONDS = 30.0


class Sitters:
    """Visitors who wait in the paused room all the time, through nginx."""

    def __init__(self, port: int, *, number: int) -> None:
        self.history = History()
        manner = Manner(room="hall", gate="/gate/hall")
        self._crowd = [
            Visitor(f"{index}", Browser([port], tries=1, address=f"127.8.0.{index + 1}"), manner, self.history)
            for index in range(number)
        ]
        self._over = False

    @property
    def places(self) -> list[list[tuple[int, int]]]:
        """Each one's ranks and serials."""
        return [[(each.rank, each.serial) for each in visits] for visits in self.history.by_visitor().values()]

    def end(self) -> None:
        """Let everybody look once more."""
        self._over = True

    async def run(self) -> None:
        """Enter one after another; then ask for the rank again and again."""
        for visitor in self._crowd:
            await visitor.take(visitor.enter())
        while not self._over:
            await asyncio.sleep(0.5)
            for visitor in self._crowd:
                await visitor.take(visitor.status())
        await asyncio.gather(*(visitor.browser.close() for visitor in self._crowd))


@pytest.mark.parametrize(
    ("by_name", "drain_seconds"), [(True, 2.0), (False, 0.0)], ids=["by name, with a drain", "by address, without"]
)
async def test_a_rolling_restart_costs_nobody_anything(tmp_path: Path, by_name: bool, drain_seconds: float) -> None:
    """Three instances restarted in turn under 300 visitors: no error, every place and the order as they were."""
    began = time.monotonic()
    async with (
        clustered(
            tmp_path,
            instances=3,
            rooms={"shop": SHOP, "hall": HALL},
            settings={"WAITROOM_DRAIN_SECONDS": str(drain_seconds)},
            by_name=by_name,
            named_while_leaving=False,
        ) as cluster,
        raw(cluster) as redis,
    ):
        crowd, sitters = SteadyCrowd(cluster.port, "shop", size=300, seed=5), Sitters(cluster.port, number=50)
        watch = Watch("shop", cluster.redis_url)
        async with watching(watch):
            async with coming(sitters), coming(crowd):
                await all_serve(cluster, crowd)
                before = [instance.pid for instance in cluster.instances]
                await asyncio.to_thread(cluster.restart)
                await all_serve(cluster, crowd)
            await last_look(watch)
        found = await counts(redis)
        after = [instance.pid for instance in cluster.instances]
        again = sum(len(each) > 1 for each in tried(cluster))
    print(
        f"{time.monotonic() - began:.0f} s, {crowd.told()}; most inside {watch.most_inside} of {CAPACITY}; "
        f"{again} requests tried at another instance"
    )
    assert faults(crowd.history, Rules.of(SHOP), watch.looks) == []
    assert set(crowd.history.statuses) == {200, 202, 204}
    assert watch.most_inside == CAPACITY
    assert cluster.exit_codes == [0, 0, 0]
    assert not set(before) & set(after)
    assert {each.outcome for each in sitters.history.operations} == {"ok"}
    assert {len(set(places)) for places in sitters.places} == {1}
    assert [places[0][0] for places in sitters.places] == list(range(1, 51))
    assert found["entered"] == crowd.visits
    assert [found[name] for name in ("restored", "abandoned", "no_show")] == [0, 0, 0]


async def test_visitors_are_answered_while_an_instance_is_frozen(tmp_path: Path) -> None:
    """The leader of three gets SIGSTOP: another leads when its lease is over, and nobody gets an error."""
    async with clustered(tmp_path, instances=3, rooms={"shop": HAUNTED}) as cluster:
        crowd = SteadyCrowd(cluster.port, "shop", size=200, seed=6)
        watch = Watch("shop", cluster.redis_url)
        async with watching(watch):
            async with coming(crowd):
                await all_serve(cluster, crowd)
                leader = await the_leader(cluster)
                leader.signal(signal.SIGSTOP)
                others = [instance for instance in cluster.instances if instance is not leader]
                await asyncio.to_thread(until, lambda: any(each.leads() for each in others), "another leader")
                await all_serve(cluster, crowd, instances=others)
                leader.signal(signal.SIGCONT)
                await all_serve(cluster, crowd)
            await last_look(watch)
    print(f"{crowd.told()}; longest time without an admission {watch.longest_gap():.2f} s")
    assert faults(crowd.history, Rules.of(HAUNTED), watch.looks) == []
    assert set(crowd.history.statuses) == {200, 202, 204}
    assert watch.most_inside == CAPACITY


async def the_leader(cluster: Composed) -> Instance:
    """The one instance that leads."""
    while True:
        leading = [instance for instance in cluster.instances if await asyncio.to_thread(instance.leads)]
        if len(leading) == 1:
            return leading[0]


@pytest.mark.parametrize("workers", [1, 2])
async def test_an_instance_told_to_stop_says_so_and_resigns(tmp_path: Path, workers: int) -> None:
    """While it drains it is alive, not ready and still serves; another leads at once; a second SIGTERM ends it."""
    settings = {
        "WAITROOM_WORKERS": str(workers),
        "WAITROOM_DRAIN_SECONDS": "120",
        # Only a lease that was given back is free within the length of this test.
        "WAITROOM_LEASE_SECONDS": "60",
    }
    async with clustered(tmp_path, instances=2, rooms={"hall": HALL}, settings=settings) as cluster:
        leader = await the_leader(cluster)
        (other,) = (instance for instance in cluster.instances if instance is not leader)
        leader.signal(signal.SIGTERM)
        told = time.monotonic()
        await eventually(lambda: asyncio.to_thread(other.leads), "another leader")
        print(f"another led {time.monotonic() - told:.2f} s after SIGTERM (tick 0.1 s)")
        await eventually(
            lambda: asyncio.to_thread(lambda: leader.get("/readyz")[0] == 503), "a leader that is not ready"
        )
        assert "this instance was told to stop" in leader.get("/readyz")[1]
        assert leader.get("/livez")[0] == 200
        assert leader.get("/v1/rooms/hall")[0] == 200
        assert not leader.leads()
        leader.signal(signal.SIGTERM)
        assert await asyncio.to_thread(leader.wait, DEADLINE_SECONDS) == 0
        assert other.ready()


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_request_in_flight_is_answered_and_no_new_one(tmp_path: Path, workers: int) -> None:
    """An arrival whose body is still under way when the instance stops listening gets its place."""
    settings = {"WAITROOM_WORKERS": str(workers), "WAITROOM_DRAIN_SECONDS": "0.5"}
    async with clustered(tmp_path, instances=1, rooms={"hall": HALL}, settings=settings) as cluster:
        (instance,) = cluster.instances
        reader, writer = await asyncio.open_connection(instance.address, instance.port)
        writer.write(_ARRIVAL + b"{")
        await writer.drain()
        await eventually(lambda: asyncio.to_thread(lambda: instance.get("/livez")[0] == 200), "an instance that lives")
        instance.signal(signal.SIGTERM)
        await eventually(lambda: asyncio.to_thread(refuses, instance), "an instance that refuses")
        assert instance.running
        writer.write(b"}")
        answer = (await asyncio.wait_for(reader.read(), DEADLINE_SECONDS)).decode()
        assert answer.startswith("HTTP/1.1 202 ")
        assert '"rank":1,' in answer
        writer.close()
        await writer.wait_closed()
        assert await asyncio.to_thread(instance.wait, DEADLINE_SECONDS) == 0


def refuses(instance: Instance) -> bool:
    """Whether nobody listens there."""
    try:
        socket.create_connection((instance.address, instance.port), timeout=2).close()
    except ConnectionRefusedError:
        return True
    return False
