"""Restarts and losses of data, with real processes."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest
from redis.asyncio import Redis

from crowd.answers import Jar
from crowd.browser import Browser, browsing
from crowd.history import History
from crowd.visitors import PATIENT, Visitor, visitors
from rig.instance import serving
from rig.waiting import eventually

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

ROOM = {"capacity": 1, **PATIENT}


async def ranks_now(browsers: list[Browser]) -> list[int]:
    """Everybody's rank, asked for in an order that is not theirs."""
    order = random.Random(3).sample(range(len(browsers)), len(browsers))
    for index in order:
        await browsers[index].ask("GET", "/v1/rooms/shop/status")
    ranks = []
    for browser in browsers:
        status, document = await browser.ask("GET", "/v1/rooms/shop/status")
        assert status == 200, document
        ranks.append(document["rank"])
    return ranks


async def entered_one_by_one(browsers: list[Browser]) -> list[Visitor]:
    """The visitors of these browsers, who enter in their order."""
    crowd = visitors(browsers, "shop", History(), bears=False)
    for visitor in crowd:
        await visitor.take(visitor.enter())
    return crowd


async def came_back(port: int, before: list[Browser]) -> list[int]:
    """The ranks of the same visitors with new connections to another process."""
    async with browsing(len(before), port) as browsers:
        for browser, old in zip(browsers, before, strict=True):
            browser.cookies = old.cookies
        return await ranks_now(browsers)


async def test_a_restart_keeps_every_rank(tmp_path: Path) -> None:
    """`serve` stopped and started again on its data folder: everybody's rank is what it was."""
    with serving(tmp_path, rooms={"shop": ROOM}) as served:
        async with browsing(200, served.port) as browsers:
            crowd = await entered_one_by_one(browsers)
            assert crowd[0].answer.state == "admitted"
            before = await ranks_now(browsers[1:])
        assert served.stop() == 0
    with serving(tmp_path, rooms={"shop": ROOM}) as served:
        assert await came_back(served.port, browsers[1:]) == before == list(range(1, 200))


async def test_a_crash_keeps_every_rank(tmp_path: Path) -> None:
    """`serve` ended by SIGKILL: its embedded server stops with it, and finds the queue again."""
    with serving(tmp_path, rooms={"shop": ROOM}) as served:
        async with browsing(50, served.port) as browsers:
            await entered_one_by_one(browsers)
            before = await ranks_now(browsers[1:])
        served.kill()
    with serving(tmp_path, rooms={"shop": ROOM}) as served:
        assert await came_back(served.port, browsers[1:]) == before == list(range(1, 50))


async def test_an_emptied_redis_costs_nobody_the_place(tmp_path: Path) -> None:
    """FLUSHALL under 200 waiting: all back in the old order at their next status, who is inside is inside, who had
    left starts anew."""
    with serving(tmp_path, rooms={"shop": ROOM}) as served:
        redis = Redis.from_url(f"unix://{tmp_path}/data/redis.sock", decode_responses=True, protocol=2)
        async with browsing(203, served.port) as browsers:
            first, second, third, *waiting = browsers
            await entered_one_by_one(browsers)
            await first.ask("POST", "/v1/rooms/shop/leave")
            old_cookies = dict(second.cookies)
            await until_admitted(second)
            await second.ask("POST", "/v1/rooms/shop/leave")
            await until_admitted(third)
            before = await ranks_now(waiting)
            await redis.flushall()
            assert await ranks_now(waiting) == before == list(range(1, 201))
            assert (await third.ask("GET", "/v1/rooms/shop/status"))[1]["state"] == "admitted"
            second.cookies = Jar(old_cookies)
            status, document = await second.ask("GET", "/v1/rooms/shop/status")
            assert (status, document["type"]) == (410, "urn:waitroom:turn-over")
            status, document = await second.ask("POST", "/v1/rooms/shop/enter")
            assert (status, document["rank"]) == (202, 201)
        await redis.aclose()


async def until_admitted(browser: Browser) -> None:
    """Wait until the turn has come."""

    async def admitted() -> bool:
        _, document = await browser.ask("GET", "/v1/rooms/shop/status")
        return document.get("state") == "admitted"

    await eventually(admitted, "the turn")


async def test_a_dead_embedded_server_is_started_again(tmp_path: Path) -> None:
    """SIGKILL of the embedded server alone: `serve` starts it again, and everybody's rank is what it was."""
    with serving(tmp_path, rooms={"shop": ROOM}) as served:
        redis = Redis.from_url(f"unix://{tmp_path}/data/redis.sock", decode_responses=True, protocol=2)
        async with browsing(20, served.port) as browsers:
            await entered_one_by_one(browsers)
            before = await ranks_now(browsers[1:])
            os.kill((await redis.info("server"))["process_id"], signal.SIGKILL)
            while (await browsers[1].ask("GET", "/v1/rooms/shop/status"))[0] != 200:
                await asyncio.sleep(0.1)
            assert await ranks_now(browsers[1:]) == before
        await redis.aclose()
