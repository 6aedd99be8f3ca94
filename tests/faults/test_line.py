"""The line between the instances and Redis is bad: replies are lost, cut, late; or nothing gets through."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from crowd.browser import Browser
from rig.faults import strike
from rig.waiting import eventually
from tests.faults.scene import Stage, lasting, live_through, staged
from tests.faults.verdict import judged
from waitroom.store import scripts

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

#: Scripts whose replies matter to a visitor.
_SCRIPTS: Final = ("enter", "admit", "status", "leave", "lease", "expire")


def digest(script: str) -> str:
    """The name under which Redis knows a script."""
    return hashlib.sha1(scripts.load(script).text.encode(), usedforsecurity=False).hexdigest()


@asynccontextmanager
async def replies_lost(stage: Stage) -> AsyncIterator[None]:
    """One reply to each script is lost, after it was carried out."""
    visits = []
    for number, script in enumerate(_SCRIPTS * round(lasting(1, 5))):
        stage.line.once("drop", of=digest(script))
        # Somebody who enters, waits and leaves, so that every script is called however far the others are.
        visitor = stage.visitor("patient", number, f"extra-{number}")
        visits.append(asyncio.create_task(visitor.visit()))
        await eventually(lambda: not stage.line.pending, f"a reply to {script}")
    yield
    await asyncio.gather(*visits)


async def test_a_lost_reply_has_one_effect(tmp_path: Path) -> None:
    """F1: enter, admit, claim, leave: carried out once whatever the visitor was told, and asked for again."""
    async with staged(tmp_path) as stage:
        run = await live_through(stage, replies_lost, seconds=0)
    judged(run, "F1", "the reply to each script is lost once")
    assert stage.line.did["drop"] == len(_SCRIPTS) * round(lasting(1, 5))


@asynccontextmanager
async def replies_broken(stage: Stage) -> AsyncIterator[None]:
    """Every reply is cut off, then every connection reset at its reply, then replies come byte for byte."""
    for fault, mode in (("truncated", "truncate"), ("resets", "reset"), ("trickling", "trickle")):
        async with strike(fault, pause_seconds=0)(stage):
            await asyncio.sleep(lasting(0.8, 10))
        assert stage.line.did[mode] > 0
    yield


async def test_a_broken_reply_reaches_nobody_else(tmp_path: Path) -> None:
    """F21: truncated, reset and one-byte replies cost a call each; no visitor gets a piece of another's answer."""
    async with staged(tmp_path) as stage:
        run = await live_through(stage, replies_broken, seconds=0)
    judged(run, "F21", "replies cut off, reset, byte for byte", alerts=["WaitroomRedisFails"])


@asynccontextmanager
async def slow(stage: Stage) -> AsyncIterator[None]:
    """Each reply takes 50 to 500 ms; no more is asked meanwhile than before."""
    before = stage.line.did["requests"]
    await asyncio.sleep(1)
    normal = stage.line.did["requests"] - before
    before, seconds = stage.line.did["requests"], lasting(8, 30)
    async with strike("slow", value=0.5)(stage):
        await asyncio.sleep(seconds)
        # Nobody asks again and again: slow replies make for fewer questions.
        assert (stage.line.did["requests"] - before) / seconds < 2 * normal + 10
        yield


async def test_slow_replies_slow_visitors_down_only(tmp_path: Path) -> None:
    """F22: some calls run into their time-out, and no retry storm follows."""
    async with staged(tmp_path) as stage:
        run = await live_through(stage, slow, seconds=0)
    # Five minutes for five minutes in the rule: its time has to run faster still.
    judged(run, "F22", "50 to 500 ms for each reply", alerts=["WaitroomSlowRedis", "WaitroomSlowTick"], faster=100)


@asynccontextmanager
async def partitioned(stage: Stage) -> AsyncIterator[None]:
    """Replies do not come back, then nothing gets through; what was held arrives late."""
    for fault, short in (("replies held", 3.5), ("black hole", 1.5)):
        async with strike(fault)(stage):
            await asyncio.sleep(lasting(short, 15))
        await asyncio.sleep(lasting(0.5, 3))
    yield


async def test_a_partition_is_an_outage_and_no_more(tmp_path: Path) -> None:
    """F35: what was sent before it is carried out after it, and harms nobody."""
    async with staged(tmp_path) as stage:
        run = await live_through(stage, partitioned, seconds=0)
    judged(run, "F35", "replies, then all, held back", alerts=["WaitroomNoLeader", "WaitroomRedisFails"])
    assert run.told_to_wait > 0


@asynccontextmanager
async def crowded(stage: Stage) -> AsyncIterator[None]:
    """Five hundred ask at once, again and again, over a slow line."""
    stage.line.mode, stage.line.delay_seconds = "slow", (0.2, 0.3)
    holder = stage.visitor("patient", 0, "for-a-ticket")
    holder.habit = "leaver"
    await holder.take(holder.enter())
    browsers = [Browser([each.port], tries=1) for each in stage.instances for _ in range(250)]
    for browser in browsers:
        browser.cookies = holder.browser.cookies
    statuses: set[int] = set()
    for _ in range(round(lasting(4, 20))):
        answers = await asyncio.gather(*(each.ask("GET", "/v1/rooms/shop/status") for each in browsers))
        statuses |= {status for status, _ in answers}
    assert 503 in statuses
    assert statuses <= {200, 503}
    yield
    stage.line.mode = "open"
    await holder.take(holder.leave())
    await asyncio.gather(*(browser.close() for browser in (*browsers, holder.browser)))


async def test_too_many_at_once_are_told_so(tmp_path: Path) -> None:
    """F20: beyond the backlog the answer is 503 at once; the others are served, and afterwards all is as before."""
    async with staged(tmp_path, WAITROOM_MAX_BACKLOG="20") as stage:
        run = await live_through(stage, crowded, seconds=0)
    judged(run, "F20", "500 at once over a slow line, a backlog of 20", alerts=["WaitroomOverloaded"])
