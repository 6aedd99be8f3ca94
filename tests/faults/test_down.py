"""Redis freezes, dies, and comes back: as it was, with its last moments missing, or empty."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from crowd.verdict import OVERTAKEN
from crowd.visitors import ended
from rig.faults import refuses, strike
from rig.waiting import eventually
from tests.faults.scene import Stage, lasting, live_through, staged
from tests.faults.verdict import judged
from waitroom.store import keys

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

#: Seconds within which service is back once Redis answers: six times what docs/explanation/failures.md promises, for
#: there the machine does nothing else. An instance that had to be restarted would never be back.
_BACK_SECONDS: Final = 30.0

#: Seconds that a replica hears nothing before it takes over.
_BEHIND_SECONDS: Final = 0.7

#: Bytes that a crash takes off the end of the append-only file.
_TAIL_BYTES: Final = 1000


async def test_a_frozen_redis_thaws(tmp_path: Path) -> None:
    """F2: what it had taken is carried out late, once; passes stay good meanwhile."""
    async with staged(tmp_path) as stage:
        run = await live_through(stage, strike("frozen"), seconds=lasting(3.5, 30))
        assert stage.logged("redis is down")
        assert stage.logged("redis is back")
    judged(run, "F2", f"frozen for {lasting(3.5, 30):g} s", alerts=["WaitroomRedisFails", "WaitroomNoLeader"])
    assert run.told_to_wait > 0


@asynccontextmanager
async def dead(stage: Stage) -> AsyncIterator[None]:
    """Started again it first loads its data for a while (LOADING), which it says every 1,024 commands."""
    stage.redis.ask("EVAL", "for _ = 1, 10000 do redis.call('INCR', 'filler') end", 0)
    stage.redis.command += ["--key-load-delay", "100"]
    async with asyncio.TaskGroup() as beside, strike("killed")(stage):
        yield
        beside.create_task(eventually(lambda: refuses(stage.redis, "loading"), "a look while it loads"))


async def test_a_killed_redis_comes_back(tmp_path: Path) -> None:
    """F3: 503 while it is gone or loads; with its append-only file nothing is lost, and no instance is restarted."""
    async with staged(tmp_path) as stage:
        run = await live_through(stage, dead, seconds=lasting(2, 20))
    made = judged(run, "F3", "killed, restarted with its file", alerts=["WaitroomRedisFails"])
    assert max(made.enter_seconds, made.admission_seconds) < _BACK_SECONDS
    assert run.told_to_wait > 0


async def test_an_empty_redis_costs_nobody_the_place(tmp_path: Path) -> None:
    """F4: the rooms are made again, everybody is back at the old serial, operators are told."""
    async with staged(tmp_path) as stage:
        run = await live_through(stage, strike("emptied"), seconds=lasting(1, 20))
        assert stage.logged("its data were lost")
        restored = int(stage.redis.ask("HGET", keys.room_key("shop", "state"), "restored"))
    judged(run, "F4", "killed, restarted empty", alerts=["WaitroomDataLost"], loss=True)
    assert restored > 0


async def test_a_cut_file_costs_nobody_the_place(tmp_path: Path) -> None:
    """F12: it starts; what each call did is there as a whole or not at all, and tickets bring the rest back."""
    async with staged(tmp_path) as stage:
        run = await live_through(stage, strike("file cut", value=_TAIL_BYTES), seconds=lasting(1, 10))
    judged(run, "F12", f"killed, the last {_TAIL_BYTES} bytes of its file missing", excused=OVERTAKEN, loss=True)


@asynccontextmanager
async def behind(stage: Stage) -> AsyncIterator[None]:
    """A replica that has not heard of the last moments takes over."""
    stage.replica.ask("REPLICAOF", "127.0.0.1", "1")
    # Something happens in those moments, however far the others are.
    unheard = stage.visitor("patient", 0, "unheard")
    unheard.habit = "vanisher"
    visit = asyncio.create_task(unheard.visit())
    await eventually(lambda: unheard.entered, "an entry that the replica does not hear of")
    await asyncio.sleep(_BEHIND_SECONDS)
    async with strike("failed over")(stage):
        await ended([visit], [unheard])
        yield


async def test_a_failover_costs_nobody_the_place(tmp_path: Path) -> None:
    """F5: serials stay unique, and what the replica had not heard of comes back by the tickets."""
    async with staged(tmp_path, replica=True) as stage:
        run = await live_through(stage, behind, seconds=lasting(1, 10))
    judged(
        run,
        "F5",
        f"killed, a replica {_BEHIND_SECONDS:g} s behind takes over",
        alerts=["WaitroomDataLost"],
        excused=OVERTAKEN,
        loss=True,
    )
