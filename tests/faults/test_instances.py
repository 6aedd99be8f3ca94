"""Instances die, hang, run out of memory, are told to change their keys; and operators change the room meanwhile."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError

import pytest

from crowd.history import clock
from rig.faults import strike
from rig.instance import Instance
from rig.machine import missing
from rig.waiting import eventually
from tests.faults.scene import UNHURRIED, Stage, lasting, live_through, staged
from tests.faults.verdict import judged
from waitroom.store import keys

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

#: A room in which somebody can be admitted at any time: held back by its rate only, a fifth of a second for each.
PACED: Final = {"capacity": 100, "admit_per_second": 5}

#: Seconds within which another leads, for the stage's lease and tick, and what a busy machine may add.
_SUCCESSION_SECONDS: Final = 1.0 + 2 * 0.1
_SLACK_SECONDS: Final = 5.0

#: Seconds for which the alert on a dead instance has to see it dead, here.
_NOTICED_SECONDS: Final = 4.0


@asynccontextmanager
async def leaderless(stage: Stage, fault: str, *, undone: bool = True) -> AsyncIterator[None]:
    """The leader is lost in the middle of its work."""

    async def leaders() -> list[int]:
        return [number for number, each in enumerate(stage.instances, 1) if await asyncio.to_thread(each.leads)]

    leader, *_ = await eventually(leaders, "a leader")
    stage.lost_at = clock()
    async with strike(fault, target=str(leader), undone=undone)(stage):
        yield


async def test_a_killed_leader_is_succeeded(tmp_path: Path) -> None:
    """F14: another admits within the lease and two ticks, and carries on alone."""
    async with staged(tmp_path, room=PACED) as stage:
        killed = partial(leaderless, fault="instance killed", undone=False)
        run = await live_through(stage, killed, size=60, seconds=_NOTICED_SECONDS)
    how, alerts = "the leader gets SIGKILL", ["WaitroomInstanceDown"]
    judged(run, "F14", how, alerts=alerts, succeeded_within=_SUCCESSION_SECONDS + _SLACK_SECONDS)


async def test_a_leader_that_stood_still_has_no_effect(tmp_path: Path) -> None:
    """F15: another leads meanwhile; the old term admits nobody (the limits and the order hold to the instant)."""
    async with staged(tmp_path, room=PACED) as stage:
        run = await live_through(stage, partial(leaderless, fault="instance frozen"), size=60, seconds=_NOTICED_SECONDS)
    how = f"the leader frozen for {_NOTICED_SECONDS:g} s, four leases"
    within = _SUCCESSION_SECONDS + _SLACK_SECONDS
    judged(run, "F15", how, alerts=["WaitroomInstanceDown"], succeeded_within=within)


@asynccontextmanager
async def lease_lost(stage: Stage) -> AsyncIterator[None]:
    """The lease is taken away fifty times a second, so that every instance takes itself for the leader."""
    leading = []
    async with strike("lease lost")(stage):
        for _ in range(round(lasting(100, 500))):
            leading.append(sum(stage.scraper.last("waitroom_leader", name) for name in "abc"))
            await asyncio.sleep(0.02)
    assert max(leading) > 1
    yield


async def test_three_leaders_keep_every_limit(tmp_path: Path) -> None:
    """F16: capacity, rate and order do not hang on the lease."""
    async with staged(tmp_path, instances=3) as stage:
        run = await live_through(stage, lease_lost, seconds=0)
    judged(run, "F16", "three instances lead at once")


@asynccontextmanager
async def rude_clients(stage: Stage) -> AsyncIterator[None]:
    """Clients that reset the connection at any moment of their request, two hundred times."""
    chance, cookie = random.Random(19), stage.cookie
    for _ in range(round(lasting(200, 1000))):
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", chance.choice(stage.instances).port)
            writer.write(f"GET /v1/rooms/shop/status HTTP/1.1\r\nHost: test\r\nCookie: {cookie}\r\n\r\n".encode())
            await asyncio.sleep(chance.uniform(0, 0.01))
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
    yield


async def test_clients_that_go_away_harm_nobody(tmp_path: Path) -> None:
    """F19: whatever was under way when they went, nobody gets another's answer."""
    async with staged(tmp_path, WAITROOM_REDIS_TIMEOUT_SECONDS=UNHURRIED) as stage:
        run = await live_through(stage, rude_clients, seconds=0)
        ready = [await asyncio.to_thread(served.reasons) for served in stage.instances]
    judged(run, "F19", "clients reset at any moment of a request")
    assert ready == ["", ""]
    assert run.told_to_wait == 0


async def test_without_instances_nobody_gets_past(tmp_path: Path) -> None:
    """F28: no answer from anybody; started again, they go on where they were."""
    async with staged(tmp_path) as stage:
        run = await live_through(stage, strike("instance killed", target="all"), seconds=lasting(3, 20))
    judged(run, "F28", "all instances killed, started again", alerts=["WaitroomNobodyAnswers", "WaitroomInstanceDown"])


async def test_keys_rotate_under_visitors(tmp_path: Path) -> None:
    """F33: tickets and passes of either key are good throughout; nobody is lost and no forger gets in."""
    async with staged(tmp_path) as stage:
        run = await live_through(stage, strike("key rotated"), size=48, seconds=0)
    judged(run, "F33", "signing keys rotated by a rolling restart")


@asynccontextmanager
async def fickle(stage: Stage) -> AsyncIterator[None]:
    """Operators change capacity and rate, pause, resume, make and delete another room, at every instance at once."""
    chance = random.Random(34)

    async def change(served: Instance) -> None:
        for _ in range(round(lasting(15, 100))):
            capacity, rate = chance.randint(1, stage.room["capacity"]), chance.choice([5, 10, 20])
            for method, path, document in (
                ("PATCH", "/admin/rooms/shop", {"capacity": capacity, "admit_per_second": rate}),
                ("POST", "/admin/rooms/shop/pause", {}),
                ("PUT", "/admin/rooms/other", {"capacity": 1}),
                ("POST", "/admin/rooms/shop/resume", {}),
                ("DELETE", "/admin/rooms/other", {}),
            ):
                await asyncio.to_thread(commanded, served, method, path, document)

    await asyncio.gather(*(change(served) for served in stage.instances))
    document = {"capacity": stage.room["capacity"], "admit_per_second": stage.room["admit_per_second"]}
    await asyncio.to_thread(stage.instances[0].operate, "PATCH", "/admin/rooms/shop", document)
    await asyncio.to_thread(commanded, stage.instances[0], "DELETE", "/admin/rooms/other", {})
    yield


def commanded(served: Instance, method: str, path: str, document: dict[str, Any]) -> None:
    """An operator's call, which another may have overtaken."""
    try:
        served.operate(method, path, document)
    except HTTPError as error:
        if error.code not in (404, 409, 412, 503):
            raise


async def test_operators_in_a_hurry_break_no_limit(tmp_path: Path) -> None:
    """F34: capacity is kept through every change; a deleted room leaves no key and its gate is shut."""
    async with staged(tmp_path, WAITROOM_REDIS_TIMEOUT_SECONDS="5") as stage:
        run = await live_through(stage, fickle, seconds=0)
        left = [key for key in keys.room_keys("other") if stage.redis.ask("EXISTS", key)]
        assert (await asyncio.to_thread(stage.instances[0].get, "/gate/other"))[0] == 403
    judged(run, "F34", "operators change and delete rooms at every instance at once")
    assert left == []


_GROUPS: Final = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))


def memory_group() -> Path | None:
    """A new control group for memory, if this user may make one."""
    for root in _GROUPS:
        group = root / f"waitroom-test-{os.getpid()}"
        with suppress(OSError):
            group.mkdir()
            if (group / "memory.limit_in_bytes").exists() or (group / "memory.max").exists():
                return group
            group.rmdir()
    return None


async def test_an_instance_out_of_memory_is_a_dead_one(tmp_path: Path) -> None:
    """F36: the kernel kills it; the others carry on."""
    group = await asyncio.to_thread(memory_group) or missing("the right to make a control group for memory (root)")
    try:
        async with staged(tmp_path, group=group) as stage:
            run = await live_through(stage, strike("instance starved", undone=False), seconds=_NOTICED_SECONDS)
        judged(run, "F36", "the kernel kills an instance for its memory", alerts=["WaitroomInstanceDown"])
    finally:
        await asyncio.to_thread(group.rmdir)
