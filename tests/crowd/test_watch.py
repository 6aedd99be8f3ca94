"""The watch sees what a room may not be, made by hand past the scripts."""

from __future__ import annotations

import time
from typing import Any

from redis.asyncio import Redis

from crowd.watch import Watch
from waitroom.store import keys


async def room(redis: Redis, *, waiting: dict[str, int], inside: list[str], **state: int) -> None:
    """Put a room into Redis; who is inside stays for a minute."""
    for name in keys.ROOM_KEYS:
        await redis.delete(keys.room_key("shop", name))
    until = (time.time() + 60) * 1_000_000
    if waiting:
        await redis.zadd(keys.room_key("shop", "wait"), waiting)
    if inside:
        await redis.zadd(keys.room_key("shop", "active"), dict.fromkeys(inside, until))
    fields: dict[Any, Any] = dict(state)
    await redis.hset(keys.room_key("shop", "state"), mapping=fields)


async def looked(redis: Redis) -> list[str]:
    """The faults that one look finds."""
    watch = Watch(redis, "shop")
    await watch.look()
    return watch.faults


async def test_a_good_room(redis: Redis) -> None:
    """Nothing is wrong; occupancy is noted."""
    await room(redis, waiting={"b": 20}, inside=["a"], entered=2, admitted=1, turn_serial=10)
    watch = Watch(redis, "shop")
    await watch.look()
    assert (watch.faults, watch.most_inside, watch.looks) == ([], 1, 1)


async def test_what_may_not_be(redis: Redis) -> None:
    """In both sets; passed over; lost."""
    await room(redis, waiting={"a": 20}, inside=["a"], entered=2, turn_serial=10)
    assert [fault.split(":")[0] for fault in await looked(redis)] == ["waiting and inside at once"]
    await room(redis, waiting={"b": 9}, inside=["a"], entered=2, turn_serial=10)
    assert await looked(redis) == ["('b', 9.0) still waits, but 10 was admitted"]
    await room(redis, waiting={"b": 20}, inside=["a"], entered=3, turn_serial=10)
    assert await looked(redis) == ["3 came, but 1 wait, 1 are inside, 0 are gone"]


async def test_who_came_back_may_wait_behind_the_turn_but_not_be_passed(redis: Redis) -> None:
    """An old serial at the head is fine once somebody was restored, until the turn passes it."""
    watch = Watch(redis, "shop")
    counts = {"entered": 3, "restored": 1, "abandoned": 1, "admitted": 1}
    await room(redis, waiting={"old": 5, "b": 20}, inside=["a"], turn_serial=10, **counts)
    await watch.look()
    assert watch.faults == []
    await room(redis, waiting={"old": 5}, inside=["a", "b"], turn_serial=20, **{**counts, "admitted": 2})
    await watch.look()
    assert watch.faults == ["('old', 5.0) still waits, but 20 was admitted"]


def test_limits_at_the_looks() -> None:
    """Capacity by the most that were inside, the rate by what was admitted between any two looks."""
    watch = Watch(Redis(), "shop", most_inside=3, admissions=[(0.0, 0), (5.0, 10), (5.5, 12), (9.0, 14)])
    assert watch.beyond(capacity=3, admit_per_second=0) == []
    assert len(watch.beyond(capacity=2, admit_per_second=0)) == 1
    assert watch.beyond(capacity=0, admit_per_second=2.0) == []
    assert len(watch.beyond(capacity=0, admit_per_second=1.5)) == 1
