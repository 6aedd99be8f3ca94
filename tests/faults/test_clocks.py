"""Clocks are wrong: that of Redis jumps while it runs, those of the instances are an hour off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from crowd.history import clock
from rig.machine import faketime
from rig.servers import program
from rig.waiting import eventually
from tests.faults.scene import UNHURRIED, Stage, lasting, live_through, staged
from tests.faults.verdict import judged
from waitroom.store import keys

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


#: Told by the answers' own times, which went back.
BACKWARDS: Final = ("rank never grows, but by returners",)


def shift(stage: Stage, seconds: int) -> None:
    """Tell libfaketime."""
    (stage.folder / "shift").write_text(f"{seconds:+d}\n")


@asynccontextmanager
async def jumps(stage: Stage) -> AsyncIterator[None]:
    """The clock of Redis goes a minute ahead, and later, while nobody is inside, an hour back."""
    await jump(stage, 60)
    yield
    (served, *_), active = stage.instances, keys.room_key("shop", "active")
    await asyncio.to_thread(served.operate, "POST", "/admin/rooms/shop/pause", {})
    await eventually(lambda: stage.redis.ask("ZCARD", active) == 0, "an empty room")
    await jump(stage, -3600)
    await asyncio.to_thread(served.operate, "POST", "/admin/rooms/shop/resume", {})


async def jump(stage: Stage, seconds: int) -> None:
    """Set the clock of Redis so far from the true time."""
    await asyncio.to_thread(shift, stage, seconds)
    assert abs(stage.redis.ask("TIME")[0] - clock() - seconds) < 30


async def test_a_jumping_redis_clock_lets_nobody_in_too_early(tmp_path: Path) -> None:
    """F17: whose offer ended by the jump is back by the ticket; nobody is admitted twice or past a limit.

    Set back, Redis has passes come from the future, which are refused: so nobody is inside then. It is said in
    docs/explanation/failures.md.
    """
    library = await asyncio.to_thread(faketime)
    await asyncio.to_thread((tmp_path / "shift").write_text, "+0\n")
    # Debian's redis-server does not start under libfaketime.
    started = (
        "/usr/bin/env",
        f"LD_PRELOAD={library}",
        f"FAKETIME_TIMESTAMP_FILE={tmp_path}/shift",
        "FAKETIME_NO_CACHE=1",
        "DONT_FAKE_MONOTONIC=1",
    )
    async with staged(tmp_path, started_by=started, binary=program("valkey")) as stage:
        run = await live_through(stage, jumps, seconds=lasting(6, 15), probing=False)
    judged(run, "F17", "the clock of Redis jumps +60 s, then -1 h", alerts=["WaitroomClockSkew"], excused=BACKWARDS)


@asynccontextmanager
async def nothing(_stage: Stage) -> AsyncIterator[None]:
    """The fault was there from the beginning."""
    yield


async def test_instances_an_hour_off_go_by_redis_time(tmp_path: Path) -> None:
    """F18: one instance an hour ahead, one an hour behind: visitors move between them and notice nothing."""
    library = await asyncio.to_thread(faketime)
    skewed = [{"LD_PRELOAD": library, "FAKETIME": f"{hours:+d}h", "DONT_FAKE_MONOTONIC": "1"} for hours in (1, -1)]
    async with staged(tmp_path, each=skewed, WAITROOM_REDIS_TIMEOUT_SECONDS=UNHURRIED) as stage:
        run = await live_through(stage, nothing, seconds=lasting(5, 15))
        skews = [stage.scraper.last("waitroom_clock_skew_seconds", name) for name in "ab"]
    judged(run, "F18", "instances an hour ahead and an hour behind", alerts=["WaitroomClockSkew"])
    assert [round(skew / 3600) for skew in skews] == [1, -1]
    assert run.told_to_wait == 0
