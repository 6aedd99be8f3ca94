"""How long visitors wait for an answer while Redis is gone: longest and median, for each kind of outage.

`python -m benchmarks.outage --requests 40`. One instance with its default time-outs, before a Redis that refuses
connections, swallows requests, or is frozen; the room in each of its `when_down` modes. The bar is 500 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from contextlib import AbstractContextManager
from typing import Final

import httpx

from benchmarks import report
from benchmarks.report import Options, Row
from rig.line import Line
from tests.web import sites
from tests.web.sites import Site

Call = tuple[str, str, dict[str, str]]

BAR_MS: Final = 500
MODES: Final = ("static", "closed", "open")
OUTAGES: Final = ("refused", "silent", "frozen")


def main() -> None:
    """Measure and print."""
    report.run("outage", measure, description=__doc__, extend=_options)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--requests", type=int, help="of each kind, ten at once (default 40)")


def measure(options: Options) -> list[Row]:
    """A row per outage, mode and call."""
    requests: int = options.given.requests or (10 if options.quick else 40)
    modes, outages = (MODES[:1], OUTAGES[:1]) if options.quick else (MODES, OUTAGES)
    rows = list[Row]()
    with sites.severable(redis_timeout_seconds=0.4, tick_seconds=0.1, log_level="error") as (site, line):
        for mode in modes:
            room = site.make_room(when_down=mode)
            calls = _calls(site, room)
            for outage in outages:
                with _outage(outage, site, line):
                    rows += [_row(site, outage, mode, name, call, requests) for name, call in calls.items()]
                sites.until(lambda: site.call("GET", "/readyz").status_code == 200, what="recovery")
    return rows


def _row(site: Site, outage: str, mode: str, name: str, call: Call, requests: int) -> Row:
    method, path, headers = call
    answers = asyncio.run(_asked(f"{site.url}{path}", method, headers, requests))
    took = [ms for _, ms in answers]
    return {
        "outage": outage,
        "when_down": mode,
        "call": name,
        "answers": "/".join(sorted({str(status) for status, _ in answers})),
        "median_ms": round(statistics.median(took)),
        "longest_ms": round(max(took)),
        "within_bar": max(took) <= BAR_MS,
    }


def _calls(site: Site, room: str) -> dict[str, Call]:
    granted = site.pass_of_new(room)
    bearer = {"Authorization": f"Bearer {granted}"}
    return {
        "gate": ("GET", f"/gate/{room}", {}),
        "gate with a pass": ("GET", f"/gate/{room}", {"X-Waitroom-Pass": granted}),
        "enter": ("POST", f"/v1/rooms/{room}/enter", {}),
        "status": ("GET", f"/v1/rooms/{room}/status", bearer),
        "waiting page": ("GET", f"/wait/{room}", {}),
    }


def _outage(kind: str, site: Site, line: Line) -> AbstractContextManager[None]:
    if kind == "frozen":
        return sites.frozen(site.redis)
    return line.cut("refuse" if kind == "refused" else "blackhole")


async def _asked(url: str, method: str, headers: dict[str, str], number: int) -> list[tuple[int, float]]:
    """Status and milliseconds of so many calls, ten at once."""
    ten = asyncio.Semaphore(10)
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:

        async def one() -> tuple[int, float]:
            async with ten:
                began = time.perf_counter()
                answer = await client.request(method, url, headers=headers)
                return answer.status_code, (time.perf_counter() - began) * 1000

        return await asyncio.gather(*(one() for _ in range(number)))


if __name__ == "__main__":
    main()
