"""The watch sees what a room may not be, made by hand past the scripts."""

from __future__ import annotations

import time
from typing import Any

from redis.asyncio import Redis

from crowd.rules import Rules
from crowd.watch import Watch, looks_hold
from waitroom.store import keys


async def room(redis: Redis, *, waiting: dict[str, int], inside: list[str], **state: int) -> None:
    """Put a room into Redis; who is inside stays for a minute."""
    for name in keys.ROOM_KEYS:
        await redis.delete(keys.room_key("shop", name))
    until = (time.time() + 60) * 1_000_000
    config: dict[Any, Any] = {"version": 1, "capacity": 0, "admit_per_second": 0, "state": "open", "made_us": 1}
    await redis.hset(keys.room_key("shop", "config"), mapping=config)
    if waiting:
        await redis.zadd(keys.room_key("shop", "wait"), waiting)
    if inside:
        await redis.zadd(keys.room_key("shop", "active"), dict.fromkeys(inside, until))
    fields: dict[Any, Any] = dict(state)
    await redis.hset(keys.room_key("shop", "state"), mapping=fields)


def faults(watch: Watch) -> list[str]:
    """What the looks have found."""
    return [fault for check in looks_hold(watch.looks, Rules()) for fault in check.faults]


async def looked(redis: Redis) -> list[str]:
    """What one look finds."""
    watch = Watch("shop")
    await watch.look(redis)
    return [fault.partition(" at ")[0] for fault in faults(watch)]


async def test_a_good_room(redis: Redis) -> None:
    """Nothing is wrong; occupancy is noted. Where there is no room there is no look."""
    await room(redis, waiting={"b": 20}, inside=["a"], entered=2, admitted=1, turn_serial=10)
    watch = Watch("shop")
    await watch.look(redis)
    assert (faults(watch), watch.most_inside, watch.admitted, len(watch.looks)) == ([], 1, 1, 1)
    await redis.delete(keys.room_key("shop", "config"))
    await watch.look(redis)
    assert len(watch.looks) == 1


async def test_what_may_not_be(redis: Redis) -> None:
    """In both sets; passed over; lost."""
    await room(redis, waiting={"a": 20}, inside=["a"], entered=2, turn_serial=10)
    assert await looked(redis) == ["['a']"]
    await room(redis, waiting={"b": 9}, inside=["a"], entered=2, turn_serial=10)
    assert await looked(redis) == ["9 still waits"]
    await room(redis, waiting={"b": 20}, inside=["a"], entered=3, turn_serial=10)
    assert await looked(redis) == ["1 too many came"]


async def test_who_came_back_may_wait_behind_the_turn_but_not_be_passed(redis: Redis) -> None:
    """An old serial at the head is fine once somebody was restored, until the turn passes it."""
    watch = Watch("shop")
    counts = {"entered": 3, "restored": 1, "abandoned": 1, "admitted": 1}
    await room(redis, waiting={"old": 5, "b": 20}, inside=["a"], turn_serial=10, **counts)
    await watch.look(redis)
    assert faults(watch) == []
    await room(redis, waiting={"old": 5}, inside=["a", "b"], turn_serial=20, **{**counts, "admitted": 2})
    await watch.look(redis)
    assert [fault.partition(" at ")[0] for fault in faults(watch)] == ["{'old': 5} still wait"]
