"""How many visitors share a call of the script `enter`, and what a call of so many costs Redis."""

from __future__ import annotations

import asyncio
import re
import time
import urllib.request
from dataclasses import dataclass
from typing import Final

from loadtest.stage import Stage
from rig.filling import opened
from waitroom.proofs.tickets import new_visitor
from waitroom.store.store import Store

_LINE: Final = re.compile(r'^waitroom_batch_size_(sum|count)\{[^}]*"enter"[^}]*\} (\S+)$', re.MULTILINE)

#: Visitors per call, and seconds of calls of each size.
_SIZES: Final = (1, 4, 16, 64, 256)
_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Batches:
    """Calls of the script `enter` so far, and the visitors in them, on all instances."""

    calls: float
    visitors: float

    @classmethod
    def of(cls, stage: Stage) -> Batches:
        """What the instances' metrics say."""
        counted = {"count": 0.0, "sum": 0.0}
        for server in stage.processes:
            if server.name.startswith("waitroom"):
                with urllib.request.urlopen(f"{server.url}/metrics", timeout=10) as answer:  # noqa: S310 - ours
                    for kind, value in _LINE.findall(answer.read().decode()):
                        counted[kind] += float(value)
        return cls(counted["count"], counted["sum"])

    def mean_since(self, before: Batches) -> float:
        """Visitors per call since then; 0 if there was none."""
        calls = self.calls - before.calls
        return (self.visitors - before.visitors) / calls if calls else 0.0


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
