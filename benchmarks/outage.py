"""How long visitors wait for an answer while Redis is gone: longest and median, for each kind of outage.

`python -m benchmarks.outage --requests 40`. One instance with its default time-outs, before a Redis that refuses
connections, swallows requests, or is frozen; the room in each of its `when_down` modes. The bar is 500 ms.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import httpx

from benchmarks import report, servers
from benchmarks.report import Row
from rig.instance import Instance
from rig.line import Mode, in_thread
from rig.servers import IN_MEMORY, Server
from rig.waiting import until

Call = tuple[str, str, dict[str, str]]

#: Milliseconds in which every answer is to be there.
BAR_MS: Final = 500

#: Kinds of outages, and what the line does then; a Redis that is frozen is so without it.
OUTAGES: Final[dict[str, Mode]] = {"refused": "refuse", "silent": "blackhole", "frozen": "open"}


@dataclass(frozen=True)
class Plan:
    """How much is measured: `requests` of each kind, ten at once."""

    requests: int = 40
    modes: tuple[str, ...] = ("static", "closed", "open")
    outages: tuple[str, ...] = tuple(OUTAGES)


QUICK: Final = Plan(requests=10, modes=("static",), outages=("refused",))


def measure(plan: Plan) -> list[Row]:
    """A row per outage, mode and call."""
    rows = list[Row]()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="waitroom-bench-")))
        redis = stack.enter_context(Server(folder / "redis", *IN_MEMORY))
        line = stack.enter_context(in_thread(redis.url))
        instance = stack.enter_context(
            servers.instance(line.url, folder, redis_timeout_seconds=0.4, tick_seconds=0.1, log_level="error")
        )
        for mode in plan.modes:
            instance.operate("PUT", f"/admin/rooms/{mode}", {"when_down": mode})
            calls = _calls(instance, mode)
            for outage in plan.outages:
                with redis.frozen() if outage == "frozen" else line.cut(OUTAGES[outage]):
                    for name, call in calls.items():
                        took = asyncio.run(_asked(instance.url, *call, plan.requests))
                        rows.append({"outage": outage, "when_down": mode, "call": name, **_told(took)})
                until(instance.ready, "the instance's recovery")
    return rows


def _calls(instance: Instance, room: str) -> dict[str, Call]:
    path = f"/v1/rooms/{room}"
    offered = httpx.post(f"{instance.url}{path}/enter").json()["pass"]
    claimed = httpx.get(f"{instance.url}{path}/status", headers={"Authorization": f"Bearer {offered}"})
    granted: str = claimed.json()["pass"]
    return {
        "gate": ("GET", f"/gate/{room}", {}),
        "gate with a pass": ("GET", f"/gate/{room}", {"X-Waitroom-Pass": granted}),
        "enter": ("POST", f"{path}/enter", {}),
        "status": ("GET", f"{path}/status", {"Authorization": f"Bearer {granted}"}),
        "waiting page": ("GET", f"/wait/{room}", {}),
    }


async def _asked(url: str, method: str, path: str, headers: dict[str, str], number: int) -> list[tuple[int, float]]:
    """Status and milliseconds of so many calls, ten at once."""
    ten = asyncio.Semaphore(10)
    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:

        async def one() -> tuple[int, float]:
            async with ten:
                began = time.perf_counter()
                answer = await client.request(method, path, headers=headers)
                return answer.status_code, (time.perf_counter() - began) * 1000

        return await asyncio.gather(*(one() for _ in range(number)))


def _told(answers: list[tuple[int, float]]) -> Row:
    took = [ms for _, ms in answers]
    return {
        "answers": "/".join(sorted({str(status) for status, _ in answers})),
        "median_ms": round(statistics.median(took)),
        "longest_ms": round(max(took)),
        "within_bar": max(took) <= BAR_MS,
    }


if __name__ == "__main__":
    report.run("outage", measure, Plan(), QUICK, description=__doc__)
