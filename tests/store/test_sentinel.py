"""Real Sentinels: a majority is enough, and calls find the new primary after a failover."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from redis.exceptions import RedisError

from rig import clusters
from rig.raw import accepting
from rig.waiting import until
from tests.leaping import LeapingLoop, leaping
from tests.store.opening import SHORT, arrive, served_again, stored
from waitroom.errors import Unavailable
from waitroom.settings.room import RoomSettings, fields_of


@pytest.fixture(scope="module")
def sentinels() -> Iterator[clusters.Watched]:
    """A primary, a replica and three Sentinels. The test that changes who is primary comes last."""
    with clusters.watched() as made:
        yield made


@pytest.fixture
def group(sentinels: clusters.Watched) -> clusters.Watched:
    """The same, emptied."""
    sentinels.primary().ask("FLUSHALL")
    return sentinels


async def test_dead_and_silent_sentinels_cost_no_call(group: clusters.Watched) -> None:
    """With one Sentinel refusing and one that accepts and never answers, a first call is answered in time."""
    living = ",".join(f"127.0.0.1:{node.port}" for node in group.sentinels)

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    only = group.sentinels[0].port
    async with accepting(silence) as port:
        dead = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{port}"
        async with stored(f"{dead},{living}/{clusters.SERVICE}") as store:
            await store.configure("shop", fields_of(RoomSettings()), expected=0)
        async with stored(f"{dead},127.0.0.1:{only}/{clusters.SERVICE}", timeout_seconds=SHORT) as store:
            await served_again(store, "shop")


def test_sentinels_that_are_gone_do_not_matter_to_who_knows(group: clusters.Watched) -> None:
    """A primary that is known is served on without Sentinels, also after a failure that raises doubt."""
    primary = group.primary()

    async def run() -> None:
        async with stored(group.url, rooms=("shop",)):
            pass
        async with stored(group.url, timeout_seconds=SHORT) as store:
            await served_again(store, "shop")
            for node in (*group.sentinels, primary):
                node.freeze()
            try:
                with leaping(), pytest.raises(Unavailable):
                    await arrive(store, "shop")
                primary.thaw()
                await served_again(store, "shop")
            finally:
                for node in (*group.sentinels, primary):
                    node.thaw()

    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        runner.run(run())


async def test_a_service_that_no_sentinel_knows(group: clusters.Watched) -> None:
    """The sentence names the service."""
    async with stored(group.url.replace(f"/{clusters.SERVICE}", "/other")) as store:
        with pytest.raises(Unavailable, match="no Sentinel names a primary for the service 'other'"):
            await store.registered()


async def test_servers_that_are_no_sentinels(group: clusters.Watched) -> None:
    """Their own words say what is wrong."""
    async with stored(f"redis+sentinel://127.0.0.1:{group.servers[0].port}/{clusters.SERVICE}") as store:
        with pytest.raises(Unavailable, match="unknown command"):
            await store.registered()


async def test_a_failover_on_command_is_followed(group: clusters.Watched) -> None:
    """A failover on command: the next calls find the new primary, the old connections are gone, nothing is lost."""
    old = group.primary()
    async with stored(group.url, rooms=("shop",)) as store:
        first = await arrive(store, "shop")
        failover = ("SENTINEL FAILOVER", clusters.SERVICE)
        await asyncio.to_thread(until, lambda: group.sentinels[0].ask(*failover), "the failover", despite=RedisError)
        await asyncio.to_thread(until, lambda: group.primary() is not old, "the new primary")
        second = await served_again(store, "shop")
        assert (await store.read("shop")).counts.entered >= 2
        assert second.now_us > first.now_us
        assert [info["role"] for info in await store.ping()] == ["master"]
