"""Redis is there and says no: it takes no writes, has forgotten the scripts, is busy, is full, or must not be used."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from redis.exceptions import ResponseError

from rig import machine
from rig.faults import strike
from rig.instance import Instance
from rig.machine import missing
from rig.waiting import eventually
from tests.faults.scene import UNHURRIED, Stage, lasting, live_through, staged
from tests.faults.verdict import judged
from waitroom.store import keys

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


async def not_ready(instance: Instance, reason: str) -> None:
    """Wait until /readyz gives that reason."""
    await eventually(lambda: asyncio.to_thread(lambda: reason in instance.reasons()), reason)


@asynccontextmanager
async def takes_no_writes(stage: Stage) -> AsyncIterator[None]:
    """It is a replica, then one that has lost its master and says nothing, then it misses replicas of its own."""
    seconds = lasting(3.5, 10)
    async with strike("read only")(stage):
        await not_ready(stage.instances[0], "not a master")
        await eventually(lambda: stage.logged("redis is not fit: Redis is a slave, not a master"), "a line in a log")
        await asyncio.sleep(seconds)
        async with strike("silent replica")(stage):
            await asyncio.sleep(seconds)
    async with strike("no replicas")(stage):
        await eventually(lambda: stage.logged("no instance can lead: "), "a line in a log")
        await asyncio.sleep(seconds)
        yield


async def test_a_redis_without_writes_is_waited_out(tmp_path: Path) -> None:
    """F6: READONLY, MASTERDOWN, NOREPLICAS: 503, not ready, and afterwards as before.

    It lasts longer than abandon_seconds, and yet nobody was taken for silent: only missed offers had to be put back.
    """
    async with staged(tmp_path, room={"abandon_seconds": 9}) as stage:
        run = await live_through(stage, takes_no_writes, seconds=0)
        assert run.lifted - run.began > 9
        counts = stage.redis.ask("HGETALL", keys.room_key("shop", "state"))
        assert int(counts.get("restored", 0)) <= int(counts.get("no_show", 0))
    alerts = ["WaitroomRedisFails", "WaitroomNoLeader", "WaitroomRedisUnfit"]
    judged(run, "F6", "READONLY, MASTERDOWN, NOREPLICAS", alerts=alerts)
    assert run.told_to_wait > 0


async def test_forgotten_scripts_are_noticed_by_nobody(tmp_path: Path) -> None:
    """F7: no call fails because of it."""
    async with staged(tmp_path, WAITROOM_REDIS_TIMEOUT_SECONDS=UNHURRIED) as stage:
        run = await live_through(stage, strike("scripts flushed"), seconds=lasting(2, 10))
        flushed = stage.redis.ask("INFO", "commandstats")["cmdstat_eval"]["calls"]
    judged(run, "F7", "SCRIPT FLUSH ten times a second")
    assert run.told_to_wait == 0
    assert int(flushed) > 0


async def test_a_busy_redis_is_waited_out(tmp_path: Path) -> None:
    """F8: 503 at once; when the script is gone all goes on."""
    async with staged(tmp_path) as stage:
        run = await live_through(stage, strike("busy"), seconds=lasting(2, 10))
    judged(run, "F8", "a script that does not end (BUSY)", alerts=["WaitroomRedisFails"])
    assert run.told_to_wait > 0


async def test_without_memory_the_queue_drains(tmp_path: Path) -> None:
    """F9: arrivals are told that it is full; those who wait still come in, and those inside leave."""
    async with staged(tmp_path) as stage:
        # Longer than the look at Redis's fitness takes to come round, and the alert to be sure.
        run = await live_through(stage, strike("out of memory"), size=60, seconds=lasting(7, 20))
        inside = [each for each in stage.history.operations if each.call == "status" and each.state == "admitted"]
        assert stage.logged("redis is not fit: Redis uses")
    judged(run, "F9", "out of memory", alerts=["WaitroomRedisFull", "WaitroomRedisUnfit"])
    assert any(run.began < each.invoked and (each.completed or 0.0) < run.lifted for each in inside)
    assert run.told_to_wait > 0


@asynccontextmanager
async def evicting(stage: Stage) -> AsyncIterator[None]:
    """It may throw places away."""
    async with strike("evicting")(stage):
        for each in stage.instances:
            await not_ready(each, "Set maxmemory-policy to noeviction")
        await eventually(lambda: stage.logged("redis is not fit: Redis evicts (allkeys-lru)"), "a line in a log")
        yield


async def test_an_evicting_redis_is_said_to_be_unfit(tmp_path: Path) -> None:
    """F10: instances are not ready and say so in the log; visitors notice nothing."""
    async with staged(tmp_path) as stage:
        run = await live_through(stage, evicting, seconds=lasting(2, 10))
    judged(run, "F10", "maxmemory-policy allkeys-lru", alerts=["WaitroomRedisUnfit"])


#: A server on a disk of its own, which is small and ends with it. The first argument is the folder.
_ON_SMALL_DISK: Final = 'mount -t tmpfs -o size=3m tmpfs "$0" && cd "$0" && exec "$@"'


async def test_a_full_disk_is_waited_out(tmp_path: Path) -> None:
    """F11: no writes (MISCONF): nobody new, nobody admitted, passes stay good; with space again all goes on."""
    unshare = machine.program("unshare")
    if not await asyncio.to_thread(may_mount, unshare):
        missing("the right to mount a small disk (root)")
    started = (unshare, "-m", "sh", "-c", _ON_SMALL_DISK, str(tmp_path / "redis"))
    async with staged(tmp_path, started_by=started) as stage:
        run = await live_through(stage, strike("disk full"), seconds=lasting(7, 20))
        assert stage.logged("redis is not fit: Redis cannot write to its disk")
    judged(run, "F11", "disk full (MISCONF)", alerts=["WaitroomRedisFull", "WaitroomRedisUnfit", "WaitroomNoLeader"])
    assert run.told_to_wait > 0


def may_mount(unshare: str) -> bool:
    """Whether this user may."""
    done = subprocess.run([unshare, "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True)
    return done.returncode == 0


@asynccontextmanager
async def corrupted(stage: Stage) -> AsyncIterator[None]:
    """Another value stands where the room's wait queue was, then where its settings were; both are found again."""
    for name in ("wait", "config"):
        async with strike("key replaced", target=keys.room_key("shop", name))(stage):
            await not_ready(stage.instances[0], "room 'shop'")
            await asyncio.sleep(lasting(3, 10))
    yield


async def test_a_corrupt_room_is_left_alone(tmp_path: Path) -> None:
    """F13: every script refuses before it writes; repaired, the room goes on where it was."""
    async with staged(tmp_path) as stage:
        run = await live_through(stage, corrupted, seconds=0)
        assert stage.logged("room shop is degraded")
    judged(run, "F13", "WRONGTYPE of the queue, then of the settings", alerts=["WaitroomRoomFails"], faster=50)
    assert run.told_to_wait > 0


@asynccontextmanager
async def no_connections(stage: Stage) -> AsyncIterator[None]:
    """Redis takes no further client and loses those it has; then instances may open no further file."""
    for fault in ("too many clients", "too many files"):
        async with strike(fault, target="all")(stage):
            await asyncio.sleep(lasting(2, 15))
    yield


async def test_without_connections_nothing_crashes(tmp_path: Path) -> None:
    """F24: too many clients at Redis, then too many files at the instances: 503 or no answer, and no crash."""
    async with staged(tmp_path) as stage:
        run = await live_through(stage, no_connections, seconds=0)
        assert all(served.running for served in stage.instances)
        with pytest.raises(ResponseError):
            stage.redis.ask("NOSUCHCOMMAND")
    judged(run, "F24", "maxclients, then EMFILE", alerts=["WaitroomRedisFails"])
    assert run.told_to_wait > 0
