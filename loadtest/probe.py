"""What the servers hold on to during a long run: memory, descriptors, keys. It may go up and down, but not only up."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import psutil

from crowd.history import EVENT, History
from crowd.invariants import Check
from loadtest.figures import percentile
from loadtest.stage import Stage
from rig.accounting import descriptors, memory_bytes

#: Seconds between two looks.
_PAUSE_SECONDS: Final = 1.0

#: How much more there may be at the end than early in the run: a share, and an amount that says nothing yet.
_SHARE: Final = 0.15
_FREE: Final[dict[str, float]] = {"bytes": 12 * 1024 * 1024, "descriptors": 30, "keys": 2, "p95 ms": 20}

#: Looks (or answers) that make a comparison.
_FEWEST: Final = 10


@dataclass
class Probe:
    """What was seen, look by look, by name; the unit is the name's last word."""

    series: dict[str, list[float]] = field(default_factory=dict)

    def note(self, name: str, value: float) -> None:
        """Add a look."""
        self.series.setdefault(name, []).append(value)

    def look(self, stage: Stage) -> None:
        """Look at every process and at Redis."""
        for server in stage.processes:
            with suppress(psutil.NoSuchProcess):
                self.note(f"{server.name}: bytes", memory_bytes(server.pid)["rss"])
                self.note(f"{server.name}: descriptors", descriptors(server.pid))
        if stage.redis is not None:
            self.note("redis: bytes", float(stage.redis.info("memory")["used_memory"]))
            self.note("redis: keys", float(stage.redis.client.dbsize()))

    async def run(self, stage: Stage) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.to_thread(self.look, stage)
            await asyncio.sleep(_PAUSE_SECONDS)


@contextmanager
def probing(stage: Stage) -> Iterator[Probe]:
    """A probe that looks during the block, which has to await something."""
    probe = Probe()
    task = asyncio.create_task(probe.run(stage))
    try:
        yield probe
    finally:
        task.cancel()


@dataclass(frozen=True)
class Growth:
    """One thing from the second fifth of a run to the last, and how many looks there were."""

    name: str
    early: float
    late: float
    looks: int

    def check(self) -> Check:
        """Whether it grew by more than chance has it."""
        unit = self.name.rpartition(": ")[2]
        wrong = self.late > self.early * (1 + _SHARE) and self.late > self.early + _FREE[unit]
        said = f"from {self.early:,.0f} to {self.late:,.0f}"
        return Check(f"no growth of {self.name}", self.looks, [said] if wrong else [])


def growths(probe: Probe, history: History) -> list[Growth]:
    """What became of everything that was looked at: medians, and the p95 of the answers."""
    took = [each.took_ms for each in history.operations if each.completed is not None and each.call != EVENT]
    found = [_growth(name, values, statistics.median) for name, values in probe.series.items()]
    found.append(_growth("answers: p95 ms", took, lambda part: percentile(sorted(part), 0.95)))
    return [each for each in found if each.looks >= _FEWEST]


def _growth(name: str, values: Sequence[float], figure: Callable[[Sequence[float]], float]) -> Growth:
    fifth = max(len(values) // 5, 1)
    return Growth(name, figure(values[fifth : 2 * fifth] or [0]), figure(values[-fifth:] or [0]), len(values))
