"""What a call of the script `enter` costs Redis, by the number of visitors in it: they share the call."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from loadtest.stage import Stage
from rig.filling import opened
from waitroom.proofs.tickets import new_visitor
from waitroom.store.store import Store

#: Visitors per call, and seconds of calls of each size.
_SIZES: Final = (1, 4, 16, 64, 256)
_SECONDS: Final = 1.0


async def call_costs(stage: Stage) -> list[tuple[int, float]]:
    """Each size with the CPU µs per visitor that Redis took; the visitors stay. Nothing without a Redis of our own."""
    if stage.redis is None:
        return []
    found = []
    async with opened(stage.redis.url) as store:
        for size in _SIZES:
            before = await asyncio.to_thread(stage.redis.cpu_seconds)
            visitors = await _entered(store, stage.room, size)
            taken = await asyncio.to_thread(stage.redis.cpu_seconds) - before
            found.append((size, taken / visitors * 1_000_000))
    return found


async def _entered(store: Store, room: str, size: int) -> int:
    """Let visitors enter, so many per call and call after call; how many those were."""
    number, end = 0, time.monotonic() + _SECONDS
    while time.monotonic() < end:
        await store.enter(room, [(new_visitor(), None) for _ in range(size)])
        number += size
    return number
