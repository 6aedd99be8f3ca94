"""Thousands of real HTTP clients against real server processes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from loadtest.watch import Watch, looking, watching
from tests.system.crowd import PATIENT, all_enter, all_stay
from tests.system.history import Visit, check
from tests.system.http import browsing
from tests.system.processes import Served, serving

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

ROOM = {"capacity": 50, "state": "paused", **PATIENT}


async def counts(redis: Redis) -> dict[str, int]:
    """The room's counts."""
    state = await redis.hgetall("waitroom:{shop}:state")
    names = ("entered", "admitted", "claimed", "left", "restored", "abandoned", "no_show", "finished")
    return {name: int(state.get(name, 0)) for name in names}


def ranks_of(visits: list[Visit]) -> list[int]:
    """The first ranks, in the order of arrival (`entered_at` is the serial to the millisecond; rank breaks ties)."""
    return [rank for _, rank in sorted((visit.serials[0], visit.ranks[0]) for visit in visits)]


async def test_two_thousand_clients_come_in_once_each_in_order(tmp_path: Path) -> None:
    """2,000 clients, capacity 50, embedded server: all admitted exactly once, in order, never more than 50 inside."""
    with serving(tmp_path, rooms={"shop": ROOM}) as served:
        async with looking(f"unix://{tmp_path}/data/redis.sock") as redis:
            async with browsing(2000, served.port) as browsers, watching(redis) as watch:
                visits = await all_enter(browsers, "shop")
                assert ranks_of(visits) == list(range(1, 2001))
                await asyncio.to_thread(served.command, "POST", "/admin/rooms/shop/resume", {})
                await all_stay(browsers, visits, "shop", seed=1, stay=0.2)
            await watch.look()
            assert check(visits) == []
            assert watch.faults == []
            assert watch.looks > 100
            assert watch.most_inside == 50
            assert await counts(redis) == {
                **dict.fromkeys(("entered", "admitted", "claimed", "left"), 2000),
                **dict.fromkeys(("restored", "abandoned", "no_show", "finished"), 0),
            }


async def test_a_killed_leader_is_succeeded(engine: str, redis: Redis, tmp_path: Path) -> None:
    """Two instances on one Redis; the leader gets SIGKILL half-way; the other goes on and nothing is lost."""
    rooms = {"shop": ROOM}
    with (
        serving(tmp_path / "a", rooms=rooms, redis_url=engine) as first,
        serving(tmp_path / "b", rooms=rooms, redis_url=engine) as second,
    ):
        async with browsing(600, first.port, second.port) as browsers, watching(redis) as watch:
            visits = await all_enter(browsers, "shop")
            assert ranks_of(visits) == list(range(1, 601))
            await asyncio.to_thread(first.command, "POST", "/admin/rooms/shop/resume", {})
            staying = asyncio.create_task(all_stay(browsers, visits, "shop", seed=2, stay=0.2))
            await until_admitted(watch, 200)
            leader, other = await leader_first([first, second])
            await asyncio.to_thread(leader.kill)
            await staying
            assert await asyncio.to_thread(other.is_leader)
        await watch.look()
        assert check(visits) == []
        assert watch.faults == []
        assert watch.most_inside == 50
        found = await counts(redis)
        assert (found["entered"], found["admitted"], found["left"]) == (600, 600, 600)
        print(f"longest time without an admission: {watch.longest_gap():.2f} s (lease 3 s, tick 0.1 s)")


async def until_admitted(watch: Watch, number: int) -> None:
    """Wait until so many were admitted; the test's own time-out is the deadline."""
    while watch.admissions[-1][1] < number:
        await asyncio.sleep(0.01)


async def leader_first(served: list[Served]) -> tuple[Served, Served]:
    """The two processes, the leader first."""
    leads = [await asyncio.to_thread(one.is_leader) for one in served]
    assert sorted(leads) == [False, True]
    return (served[0], served[1]) if leads[0] else (served[1], served[0])
