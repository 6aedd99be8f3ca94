"""Connections to each kind of Redis, on real servers: bounded, never repeating, back as soon as there is a primary."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from redis.exceptions import ConnectionError as RedisConnectionError

from tests import servers, topology
from tests.accepting import accepting
from waitroom.errors import Unavailable
from waitroom.model import Place
from waitroom.proofs.tickets import new_visitor
from waitroom.settings.room import RoomSettings, fields_of
from waitroom.store import keys
from waitroom.store.clients import Cluster, Servers, Watched, connect
from waitroom.store.clock import Clock
from waitroom.store.store import Store

#: A room in each third of the slots.
FIRST, SECOND, THIRD = topology.ROOMS_BY_THIRD
TIMEOUT = 0.4

#: Seconds that a busy machine makes of one or two time-outs; so many calls in turn would take a minute.
IN_TIME = 20 * TIMEOUT
COUNT = "return redis.call('INCR', KEYS[1])"


@asynccontextmanager
async def opened(url: str, *, timeout_seconds: float = TIMEOUT, connections: int = 64) -> AsyncIterator[Servers]:
    """The servers of a URL."""
    made = connect(url, timeout_seconds=timeout_seconds, connections=connections)
    try:
        yield made
    finally:
        await made.aclose()


@asynccontextmanager
async def stored(url: str, *, timeout_seconds: float = TIMEOUT, rooms: tuple[str, ...] = ()) -> AsyncIterator[Store]:
    """A store on the servers of a URL, with these rooms."""
    store = Store(connect(url, timeout_seconds=timeout_seconds), Clock(), timeout_seconds=timeout_seconds)
    try:
        for room in rooms:
            await store.configure(room, fields_of(RoomSettings()), expected=0)
        yield store
    finally:
        await store.close()


async def arrive(store: Store, room: str) -> Place:
    """One arrival's place."""
    return (await store.enter(room, [(new_visitor(), None)]))[0]


async def served_again(store: Store, room: str) -> Place:
    """The place of an arrival as soon as the room is served; no try takes longer than the time-out."""
    deadline = time.monotonic() + 30
    while True:
        began = time.monotonic()
        try:
            return await arrive(store, room)
        except Unavailable:
            assert time.monotonic() - began < IN_TIME
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


# Cluster.


@pytest.fixture(scope="module")
def nodes() -> Iterator[topology.Clustered]:
    """Three primaries without replicas."""
    with topology.clustered(servers.any_binary(), replicas=False) as made:
        yield made


@pytest.fixture
def cluster(nodes: topology.Clustered) -> topology.Clustered:
    """The same, emptied."""
    for node in nodes.primaries:
        node.ask("FLUSHALL")
        node.ask("SCRIPT FLUSH")
    return nodes


async def test_rooms_live_on_different_nodes(cluster: topology.Clustered) -> None:
    """Each room's keys are in its third, and everything that a store does finds them, lists and leases included."""
    async with stored(cluster.url, rooms=topology.ROOMS_BY_THIRD) as store:
        for number, room in enumerate(topology.ROOMS_BY_THIRD):
            await store.register(room, live=True)
            place = await arrive(store, room)
            assert (await store.read(room)).occupancy == 1
            assert await store.leave(room, [place.visitor])
            assert cluster.primaries[number].ask("EXISTS", keys.room_key(room, "config")) == 1
        await store.lease("hold", "me", ttl_seconds=1)
        assert await store.registered() == dict.fromkeys(topology.ROOMS_BY_THIRD, True)
        assert [info["role"] for info in await store.ping()] == ["master"] * 3
        assert await store.delete(SECOND) is True
        assert await store.delete(SECOND) is False
        assert await store.registered() == {FIRST: True, SECOND: False, THIRD: True}


async def test_a_moved_slot_is_followed(cluster: topology.Clustered) -> None:
    """MOVED is followed at once and learned; the call is carried out once."""
    source, target = cluster.primaries[0], cluster.primaries[1]
    async with opened(cluster.url) as made:
        key, owner, other = keys.room_key(FIRST, "x"), source, target
        slot = source.ask("CLUSTER KEYSLOT", key)
        assert await made.send(key, "EVAL", COUNT, 1, key) == 1
        owner.ask("DEL", key)
        for node in cluster.primaries:
            node.ask("CLUSTER SETSLOT", slot, "NODE", other.ask("CLUSTER MYID"))
        try:
            assert await made.send(key, "EVAL", COUNT, 1, key) == 1
            assert other.ask("GET", key) == "1"
            moved = owner.ask("INFO", "commandstats")
            assert await made.send(key, "EVAL", COUNT, 1, key) == 2
            assert owner.ask("INFO", "commandstats").get("cmdstat_eval") == moved.get("cmdstat_eval")
        finally:
            other.ask("DEL", key)
            for node in cluster.primaries:
                node.ask("CLUSTER SETSLOT", slot, "NODE", owner.ask("CLUSTER MYID"))


async def test_a_slot_on_the_move_is_asked_for(cluster: topology.Clustered) -> None:
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


async def test_a_dead_node_harms_no_other(cluster: topology.Clustered) -> None:
    """While one node is gone its rooms fail at once, the others go on without one failure; then it is served again."""
    dead = cluster.primaries[2]
    async with stored(cluster.url, rooms=topology.ROOMS_BY_THIRD) as store:
        dead.kill()
        try:
            for _ in range(20):
                results = await asyncio.gather(
                    *(arrive(store, room) for room in topology.ROOMS_BY_THIRD), return_exceptions=True
                )
                assert [type(result) for result in results] == [Place, Place, Unavailable]
                await asyncio.sleep(0.02)
            assert len(await store.ping()) == 2
        finally:
            await asyncio.to_thread(dead.start)
        deadline = time.monotonic() + 30
        while True:
            try:
                await store.configure(THIRD, fields_of(RoomSettings()), expected=None)
                break
            except Unavailable:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
        await arrive(store, THIRD)


async def test_a_frozen_node_costs_one_call_the_time(cluster: topology.Clustered) -> None:
    """Of many calls to a node that does not answer only the first wait; a call in flight is carried out once."""
    frozen = cluster.primaries[0]
    async with stored(cluster.url, rooms=topology.ROOMS_BY_THIRD) as store:
        await arrive(store, FIRST)
        before = (await store.read(FIRST)).counts.entered
        frozen.freeze()
        try:
            with pytest.raises(Unavailable):
                await arrive(store, FIRST)
            began = time.monotonic()
            for _ in range(3):
                results = await asyncio.gather(
                    *(store.read(FIRST) for _ in range(50)), arrive(store, SECOND), return_exceptions=True
                )
                assert {type(result) for result in results[:-1]} == {Unavailable}
                assert isinstance(results[-1], Place)
            assert time.monotonic() - began < IN_TIME
        finally:
            frozen.thaw()
        await served_again(store, FIRST)
        assert (await store.read(FIRST)).counts.entered == before + 2


async def test_one_living_node_of_the_url_is_enough(cluster: topology.Clustered) -> None:
    """Nodes of the URL that are gone do not matter as long as one is there."""
    url = f"redis+cluster://127.0.0.1:1,127.0.0.1:{cluster.primaries[1].port},127.0.0.1:2"
    async with stored(url) as store:
        await store.configure(FIRST, fields_of(RoomSettings()), expected=0)
        await store.configure(THIRD, fields_of(RoomSettings()), expected=0)


async def test_a_full_pool_is_waited_for(cluster: topology.Clustered) -> None:
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
    with servers.running(servers.any_binary(), "--port", str(port := topology.free_ports(1)[0])):
        async with stored(f"redis+cluster://127.0.0.1:{port}") as store:
            with pytest.raises(Unavailable, match="cluster support disabled"):
                await store.registered()


async def test_a_node_taken_for_a_server(cluster: topology.Clustered) -> None:
    """A redis:// URL of a node is told from an outage: the sentence names the remedy."""
    async with stored(f"redis://127.0.0.1:{cluster.primaries[0].port}") as store:
        with pytest.raises(Unavailable, match=r"use redis\+cluster://"):
            await store.read(THIRD)


@pytest.mark.parametrize("url", ["redis+cluster://127.0.0.1:{}", "redis+sentinel://127.0.0.1:{}/main"])
@pytest.mark.parametrize("answer", [b"+OK\r\n", b":1\r\n", b"*1\r\n*1\r\n:0\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_an_answer_that_makes_no_sense_is_an_outage(url: str, answer: bytes) -> None:
    """Whatever answers there, no other error comes out of it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            writer.write(answer)

    async with accepting(serve) as port, stored(url.format(port)) as store:
        for _ in range(2):
            with pytest.raises(Unavailable):
                await store.registered()


# Sentinel.


@pytest.fixture(scope="module")
def sentinels() -> Iterator[topology.Watched]:
    """A primary, a replica and three Sentinels. The test that changes who is primary comes last."""
    with topology.watched(servers.any_binary()) as made:
        yield made


@pytest.fixture
def group(sentinels: topology.Watched) -> topology.Watched:
    """The same, emptied."""
    sentinels.primary().ask("FLUSHALL")
    return sentinels


async def test_dead_and_silent_sentinels_cost_no_call(group: topology.Watched) -> None:
    """With one Sentinel refusing and one that accepts and never answers, a first call is answered in time."""
    living = ",".join(f"127.0.0.1:{node.port}" for node in group.sentinels)

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    only = group.sentinels[0].port
    async with accepting(silence) as port:
        dead = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{port}"
        async with stored(f"{dead},{living}/{topology.SERVICE}") as store:
            await store.configure("shop", fields_of(RoomSettings()), expected=0)
        async with stored(f"{dead},127.0.0.1:{only}/{topology.SERVICE}") as store:
            await served_again(store, "shop")


async def test_sentinels_that_are_gone_do_not_matter_to_who_knows(group: topology.Watched) -> None:
    """A primary that is known is served on without Sentinels, also after a failure that raises doubt."""
    async with stored(group.url, rooms=("shop",)) as store:
        for sentinel in group.sentinels:
            sentinel.freeze()
        pid = int(group.servers[0].ask("INFO", "server")["process_id"])
        try:
            await arrive(store, "shop")
            primary = next(node for node in group.servers if node.ask("INFO", "replication")["role"] == "master")
            pid = int(primary.ask("INFO", "server")["process_id"])
            os.kill(pid, signal.SIGSTOP)
            with pytest.raises(Unavailable):
                await arrive(store, "shop")
            os.kill(pid, signal.SIGCONT)
            await served_again(store, "shop")
        finally:
            os.kill(pid, signal.SIGCONT)
            for sentinel in group.sentinels:
                sentinel.thaw()


async def test_a_service_that_no_sentinel_knows(group: topology.Watched) -> None:
    """The sentence names the service."""
    async with stored(group.url.replace(f"/{topology.SERVICE}", "/other")) as store:
        with pytest.raises(Unavailable, match="no Sentinel names a primary for the service 'other'"):
            await store.registered()


async def test_servers_that_are_no_sentinels(group: topology.Watched) -> None:
    """Their own words say what is wrong."""
    async with stored(f"redis+sentinel://127.0.0.1:{group.servers[0].port}/{topology.SERVICE}") as store:
        with pytest.raises(Unavailable, match="unknown command"):
            await store.registered()


async def test_a_failover_on_command_is_followed(group: topology.Watched) -> None:
    """A failover on command: the next calls find the new primary, the old connections are gone, nothing is lost."""
    old = group.primary()
    async with stored(group.url, rooms=("shop",)) as store:
        first = await arrive(store, "shop")
        await asyncio.to_thread(
            topology.until, lambda: group.sentinels[0].ask("SENTINEL FAILOVER", topology.SERVICE), "the failover"
        )
        await asyncio.to_thread(topology.until, lambda: group.primary() is not old, "the new primary")
        second = await served_again(store, "shop")
        assert (await store.read("shop")).counts.entered >= 2
        assert second.now_us > first.now_us
        assert [info["role"] for info in await store.ping()] == ["master"]


# One server.


async def test_a_readonly_answer_costs_the_connection() -> None:
    """Behind a name that moves to the new primary: the connection to the old one is not used again."""
    with servers.running(servers.any_binary()) as url:
        async with opened(url, timeout_seconds=10) as made:
            first = await made.send("x", "CLIENT ID")
            assert await made.send("x", "CLIENT ID") == first
            await made.send("x", "REPLICAOF", "127.0.0.1", "1")
            with pytest.raises(Exception, match="read only"):
                await made.send("x", "SET", "x", "1")
            assert await made.send("x", "CLIENT ID") != first


@pytest.mark.parametrize("kind", [Cluster, Watched])
async def test_closing_is_harmless_at_any_time(kind: type[Cluster | Watched]) -> None:
    """Also while the question where the primaries are is under way."""
    scheme = "cluster" if kind is Cluster else "sentinel"
    made = connect(f"redis+{scheme}://127.0.0.1:1/{'' if kind is Cluster else 'x'}", timeout_seconds=1)
    assert isinstance(made, kind)
    calls = [asyncio.create_task(made.send("x", "PING")) for _ in range(3)]
    await asyncio.sleep(0)
    await made.aclose()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, Unavailable | asyncio.CancelledError) for result in results)


@pytest.mark.parametrize("closed", ["by the other side", "by the pool"])
def test_a_connection_that_broke_since_it_was_taken_is_an_outage(closed: str) -> None:
    """Under uvloop, as instances run: no error but redis-py's own comes out of it."""

    async def scene(url: str) -> None:
        async with opened(url, timeout_seconds=10) as made:
            (client,) = await made.primaries()
            pool: Any = client.connection_pool
            connection = await pool.get_connection()
            if closed == "by the other side":
                connection._writer.transport.abort()
                await asyncio.sleep(0)
            sending = asyncio.create_task(connection.send_command("PING"))
            if closed == "by the pool":
                await asyncio.sleep(0)  # it is on its way, in a task of redis-py's own
                await connection.disconnect(nowait=True)
            with pytest.raises(RedisConnectionError):
                await sending
            await pool.release(connection)
            assert await made.send("x", "PING")

    with servers.running(servers.any_binary()) as url:
        uvloop.run(scene(url))


async def test_reading_goes_on_beside_writes_that_are_refused() -> None:
    """Connections are given up for the first refusal, and not for each of many: what is read does not suffer."""
    with servers.running(servers.any_binary()) as url:
        async with opened(url, timeout_seconds=10) as made:
            await made.send("x", "REPLICAOF", "127.0.0.1", "1")

            async def refused() -> None:
                with pytest.raises(Exception, match="read only"):
                    await made.send("x", "SET", "x", "1")

            await refused()
            first = await made.send("x", "CLIENT ID")
            await refused()
            assert await made.send("x", "CLIENT ID") == first
