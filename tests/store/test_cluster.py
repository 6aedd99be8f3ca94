"""A real cluster: redirections are followed once, and a node that is gone harms no other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest

from rig import clusters, servers
from rig.ports import free_port
from rig.waiting import eventually
from tests.leaping import LeapingLoop, leaping
from tests.store.opening import arrive, opened, served_again, stored
from waitroom.errors import Unavailable
from waitroom.model import Place, Reading
from waitroom.settings.room import RoomSettings, fields_of
from waitroom.store import keys

#: A room in each third of the slots.
FIRST, SECOND, THIRD = clusters.ROOMS_BY_THIRD
COUNT = "return redis.call('INCR', KEYS[1])"


@pytest.fixture(scope="module")
def nodes() -> Iterator[clusters.Clustered]:
    """Three primaries without replicas."""
    with clusters.clustered(replicas=False) as made:
        yield made


@pytest.fixture
def cluster(nodes: clusters.Clustered) -> clusters.Clustered:
    """The same, emptied."""
    for node in nodes.primaries:
        node.ask("FLUSHALL")
        node.ask("SCRIPT FLUSH")
    return nodes


async def test_rooms_live_on_different_nodes(cluster: clusters.Clustered) -> None:
    """Each room's keys are in its third, and everything that a store does finds them, lists and leases included."""
    async with stored(cluster.url, rooms=clusters.ROOMS_BY_THIRD) as store:
        for number, room in enumerate(clusters.ROOMS_BY_THIRD):
            await store.register(room, live=True)
            place = await arrive(store, room)
            assert (await store.read(room)).occupancy == 1
            assert await store.leave(room, [place.visitor])
            assert cluster.primaries[number].ask("EXISTS", keys.room_key(room, "config")) == 1
        await store.lease("hold", "me", ttl_seconds=1)
        assert await store.registered() == dict.fromkeys(clusters.ROOMS_BY_THIRD, True)
        assert [info["role"] for info in await store.ping()] == ["master"] * 3
        assert await store.delete(SECOND) is True
        assert await store.delete(SECOND) is False
        assert await store.registered() == {FIRST: True, SECOND: False, THIRD: True}


async def test_a_moved_slot_is_followed(cluster: clusters.Clustered) -> None:
    """MOVED is followed at once and learned; the call is carried out once."""
    source, target = cluster.primaries[0], cluster.primaries[1]
    async with opened(cluster.url) as made:
        key, owner, other = keys.room_key(FIRST, "x"), source, target
        slot = source.ask("CLUSTER KEYSLOT", key)
        assert await made.send(key, "EVAL", COUNT, 1, key) == 1
        owner.ask("DEL", key)
        hand_over(cluster, slot, other)
        try:
            assert await made.send(key, "EVAL", COUNT, 1, key) == 1
            assert other.ask("GET", key) == "1"
            moved = owner.ask("INFO", "commandstats")
            assert await made.send(key, "EVAL", COUNT, 1, key) == 2
            assert owner.ask("INFO", "commandstats").get("cmdstat_eval") == moved.get("cmdstat_eval")
        finally:
            other.ask("DEL", key)
            hand_over(cluster, slot, owner)


def hand_over(cluster: clusters.Clustered, slot: int, owner: servers.Server) -> None:
    """Give the slot to that node. Its word is the newest before it says so: an older word of the one that had the slot,
    still under way, would take it away again, and each of the two would name the other."""
    owner.ask("CLUSTER BUMPEPOCH")
    for node in cluster.primaries:
        node.ask("CLUSTER SETSLOT", slot, "NODE", owner.ask("CLUSTER MYID"))


async def test_a_slot_on_the_move_is_asked_for(cluster: clusters.Clustered) -> None:
    """ASK is followed with ASKING on the same connection, for all of many calls at once."""
    source, target = cluster.primaries[0], cluster.primaries[2]
    key = keys.room_key(FIRST, "x")
    slot = source.ask("CLUSTER KEYSLOT", key)
    async with opened(cluster.url) as made:
        target.ask("CLUSTER SETSLOT", slot, "IMPORTING", source.ask("CLUSTER MYID"))
        source.ask("CLUSTER SETSLOT", slot, "MIGRATING", target.ask("CLUSTER MYID"))
        try:
            counted = await asyncio.gather(*(made.send(key, "EVAL", COUNT, 1, key) for _ in range(50)))
            assert sorted(counted) == list(range(1, 51))
            with pytest.raises(Exception, match="wrong kind"):
                await made.send(key, "HSET", key, "a", "b")
        finally:
            target.ask("ASKING")
            target.ask("CLUSTER SETSLOT", slot, "STABLE")
            source.ask("CLUSTER SETSLOT", slot, "STABLE")


async def test_a_dead_node_harms_no_other(cluster: clusters.Clustered) -> None:
    """While one node is gone its rooms fail at once, the others go on without one failure; then it is served again."""
    dead = cluster.primaries[2]
    async with stored(cluster.url, rooms=clusters.ROOMS_BY_THIRD) as store:
        dead.kill()
        try:
            for _ in range(20):
                results = await asyncio.gather(
                    *(arrive(store, room) for room in clusters.ROOMS_BY_THIRD), return_exceptions=True
                )
                assert [type(result) for result in results] == [Place, Place, Unavailable]
                await asyncio.sleep(0.02)
            assert len(await store.ping()) == 2
        finally:
            await asyncio.to_thread(dead.start)
        made = partial(store.configure, THIRD, fields_of(RoomSettings()), expected=None)
        await eventually(made, "the node", despite=Unavailable)
        await arrive(store, THIRD)


def test_a_frozen_node_costs_one_call_the_time(cluster: clusters.Clustered) -> None:
    """Of many calls to a node that does not answer only the first wait; a call in flight is carried out once."""
    frozen = cluster.primaries[0]

    async def run() -> None:
        async with stored(cluster.url, rooms=clusters.ROOMS_BY_THIRD) as store:
            await arrive(store, FIRST)
            before = (await store.read(FIRST)).counts.entered
            at_once = f"the node 127.0.0.1:{frozen.port} of the cluster does not answer"
            frozen.freeze()
            try:
                with leaping(), pytest.raises(Unavailable):
                    await arrive(store, FIRST)
                for _ in range(3):
                    calls = {asyncio.create_task(store.read(FIRST)) for _ in range(50)}
                    await arrive(store, SECOND)
                    ended, (waiting,) = await left_alone(calls)
                    assert {str(call.exception()) for call in ended} == {at_once}
                    with leaping(), pytest.raises(Unavailable, match="did not answer"):
                        await waiting
            finally:
                frozen.thaw()
            await served_again(store, FIRST)
            assert (await store.read(FIRST)).counts.entered == before + 2

    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        runner.run(run())


async def left_alone(
    calls: set[asyncio.Task[Reading]],
) -> tuple[set[asyncio.Task[Reading]], set[asyncio.Task[Reading]]]:
    """The calls that ended, and the one that is left or none."""
    ended: set[asyncio.Task[Reading]] = set()
    while len(calls) > 1:
        done, calls = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        ended |= done
    return ended, calls


async def test_one_living_node_of_the_url_is_enough(cluster: clusters.Clustered) -> None:
    """Nodes of the URL that are gone do not matter as long as one is there."""
    url = f"redis+cluster://127.0.0.1:1,127.0.0.1:{cluster.primaries[1].port},127.0.0.1:2"
    async with stored(url) as store:
        await store.configure(FIRST, fields_of(RoomSettings()), expected=0)
        await store.configure(THIRD, fields_of(RoomSettings()), expected=0)


async def test_a_full_pool_is_waited_for(cluster: clusters.Clustered) -> None:
    """More calls than connections take turns."""
    async with opened(cluster.url, timeout_seconds=10, connections=2) as made:
        key = keys.room_key(FIRST, "x")
        counted = await asyncio.gather(*(made.send(key, "EVAL", COUNT, 1, key) for _ in range(200)))
        assert sorted(counted) == list(range(1, 201))
        clients = str(await made.send(key, "CLIENT LIST")).count("name=")
        assert clients <= 3


async def test_without_a_node_everything_is_unavailable() -> None:
    """Nobody there: it is said at once, and why."""
    async with stored("redis+cluster://127.0.0.1:1,127.0.0.1:2") as store:
        for call in (store.registered(), store.read(FIRST), store.ping()):
            with pytest.raises(Unavailable, match="cluster"):
                await call


async def test_a_server_that_is_no_cluster() -> None:
    """Its own words say what is wrong."""
    with servers.running("--port", str(port := free_port())):
        async with stored(f"redis+cluster://127.0.0.1:{port}") as store:
            with pytest.raises(Unavailable, match="cluster support disabled"):
                await store.registered()


async def test_a_node_taken_for_a_server(cluster: clusters.Clustered) -> None:
    """A redis:// URL of a node is told from an outage: the sentence names the remedy."""
    async with stored(f"redis://127.0.0.1:{cluster.primaries[0].port}") as store:
        with pytest.raises(Unavailable, match=r"use redis\+cluster://"):
            await store.read(THIRD)
