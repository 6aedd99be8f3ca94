"""A Redis that is not fit is said once in the log, shown as a metric, and said to be fit again."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from waitroom.checks.fitness import FAULTS, Fitness, faults_of
from waitroom.store.store import Store

FIT: dict[str, Any] = {
    "role": "master",
    "maxmemory_policy": "noeviction",
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "rdb_last_bgsave_status": "ok",
    "used_memory": 80,
    "maxmemory": 100,
}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, None),
        ({"role": "slave"}, "role"),
        ({"maxmemory_policy": "allkeys-lru"}, "eviction"),
        ({"aof_last_write_status": "err"}, "persistence"),
        ({"rdb_last_bgsave_status": "err"}, "persistence"),
        ({"used_memory": 81}, "memory"),
        ({"used_memory": 81, "maxmemory": 0}, None),
        ({"used_memory": 81, "maxmemory": 0, "total_system_memory": 100}, "memory"),
        ({"used_memory": 80, "maxmemory": 0, "total_system_memory": 100}, None),
    ],
)
def test_what_is_wrong(change: dict[str, Any], fault: str | None) -> None:
    """Each fault has its name; four fifths of the memory may be used, and any amount where no limit is told."""
    assert list(faults_of({**FIT, **change})) == ([fault] if fault else [])


def unfit() -> dict[str, float | None]:
    """What the metric says."""
    return {fault: REGISTRY.get_sample_value("waitroom_redis_unfit", {"fault": fault}) for fault in FAULTS}


async def test_it_is_said_once_and_shown(store: Store, redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    """A wrong eviction policy: one line however long it lasts, one when it is over."""
    caplog.set_level(logging.INFO, "waitroom.checks.fitness")
    fitness = Fitness(store)
    await fitness.look()
    assert (caplog.messages, unfit()) == ([], dict.fromkeys(FAULTS, 0.0))
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        for _ in range(3):
            await fitness.look()
        # A site of other tests may live in this process and tell of its own Redis in between.
        async with asyncio.timeout(60):
            while unfit() != {**dict.fromkeys(FAULTS, 0.0), "eviction": 1.0}:
                await fitness.look()
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")
    await fitness.look()
    assert unfit()["eviction"] == 0.0
    assert caplog.messages == [
        "redis is not fit: Redis evicts (allkeys-lru). Set maxmemory-policy to noeviction",
        "redis is fit again, it was: Redis evicts (allkeys-lru)",
    ]
