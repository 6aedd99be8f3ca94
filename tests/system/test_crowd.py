"""Thousands of real HTTP clients against real server processes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from crowd.browser import browsing
from crowd.history import History
from crowd.rules import Rules
from crowd.verdict import faults
from crowd.visitors import LONGEST_POLL_SECONDS, PATIENT, all_enter, all_stay, visitors
from crowd.watch import Watch, last_look, watching
from rig.instance import Instance, serving
from rig.waiting import eventually

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

ROOM = {"capacity": 50, "state": "paused", **PATIENT}


async def counts(redis: Redis) -> dict[str, int]:
    """The room's counts."""
    state = await redis.hgetall("waitroom:{shop}:state")
    names = ("entered", "admitted", "claimed", "left", "restored", "abandoned", "no_show", "finished")
    return {name: int(state.get(name, 0)) for name in names}


def first_ranks(history: History) -> list[int]:
    """The first ranks, in the order of arrival."""
    first = [operations[0] for operations in history.by_visitor().values()]
    return [each.rank for each in sorted(first, key=lambda each: each.serial)]


async def test_two_thousand_clients_come_in_once_each_in_order(tmp_path: Path) -> None:
    """2,000 clients, capacity 50, embedded server: all admitted exactly once, in order, never more than 50 inside."""
    with serving(tmp_path, rooms={"shop": ROOM}) as served:
        url, history = f"unix://{tmp_path}/data/redis.sock", History()
        watch = Watch("shop", url)
        async with browsing(2000, served.port) as browsers, watching(watch):
            crowd = visitors(browsers, "shop", history, longest_poll_seconds=LONGEST_POLL_SECONDS)
            await all_enter(crowd)
            assert first_ranks(history) == list(range(1, 2001))
            await asyncio.to_thread(served.operate, "POST", "/admin/rooms/shop/resume", {})
            await all_stay(crowd)
            await last_look(watch)
        assert faults(history, Rules.of(ROOM), watch.looks) == []
        assert len(watch.looks) > 100
        assert watch.most_inside == 50
        async with Redis.from_url(url, decode_responses=True, protocol=2) as redis:
            assert await counts(redis) == {
                **dict.fromkeys(("entered", "admitted", "claimed", "left"), 2000),
                **dict.fromkeys(("restored", "abandoned", "no_show", "finished"), 0),
            }


async def test_a_killed_leader_is_succeeded(engine: str, redis: Redis, tmp_path: Path) -> None:
    """Two instances on one Redis; the leader gets SIGKILL half-way; the other goes on and nothing is lost."""
    rooms, history, watch = {"shop": ROOM}, History(), Watch("shop", engine)
    with (
        serving(tmp_path / "a", rooms=rooms, redis_url=engine) as first,
        serving(tmp_path / "b", rooms=rooms, redis_url=engine) as second,
    ):
        async with browsing(600, first.port, second.port) as browsers, watching(watch):
            crowd = visitors(browsers, "shop", history, longest_poll_seconds=LONGEST_POLL_SECONDS)
            await all_enter(crowd)
            assert first_ranks(history) == list(range(1, 601))
            await asyncio.to_thread(first.operate, "POST", "/admin/rooms/shop/resume", {})
            staying = asyncio.create_task(all_stay(crowd))
            await eventually(lambda: watch.admitted >= 200, "the admission of 200")
            leader, other = await leader_first([first, second])
            await asyncio.to_thread(leader.kill)
            await staying
            assert await asyncio.to_thread(other.leads)
            await last_look(watch)
        assert faults(history, Rules.of(ROOM), watch.looks) == []
        assert watch.most_inside == 50
        found = await counts(redis)
        assert (found["entered"], found["admitted"], found["left"]) == (600, 600, 600)
        print(f"longest time without an admission: {watch.longest_gap():.2f} s (lease 3 s, tick 0.1 s)")


async def leader_first(served: list[Instance]) -> tuple[Instance, Instance]:
    """The two processes, the leader first."""
    leads = [await asyncio.to_thread(one.leads) for one in served]
    assert sorted(leads) == [False, True]
    return (served[0], served[1]) if leads[0] else (served[1], served[0])
