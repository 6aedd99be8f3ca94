"""What open event streams cost, beside bare ones, and how long it takes from an admission to the event that tells it.

`python -m benchmarks.streams`. One instance on one core holds the streams; Redis and the listeners are on the other.
bare: a constant event a second on each stream, from a plain ASGI loop. quiet: the room is paused, nobody moves. moving:
everybody who waits listens, and so many are admitted that each tick has news for all; the delay is from the admission,
by the time of Redis, to the arrival of the event. stopped: from SIGTERM to the end of all streams, and of the process.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, cast

import uvloop

from benchmarks import report, servers
from benchmarks.figures import figure, significant
from benchmarks.report import Options, Row, say
from benchmarks.servers import BenchmarkError
from rig import accounting, filling
from rig.cores import OTHER_CORE, on_core
from rig.embedded import Embedded
from rig.instance import Instance
from rig.process import Process
from rig.served import Served
from rig.waiting import eventually
from waitroom.model import Place, Visitor
from waitroom.store import keys

ROOM: Final = "shop"

#: Streams that are opened at the same time: more would only test the accept queue.
_AT_ONCE: Final = 100

#: Seconds in which all must be open.
_OPEN_SECONDS: Final = 60.0

#: Seconds after which what was allocated and sent for the opening has settled.
_SETTLE_SECONDS: Final = 3.0

#: Seconds for which an offer stays an offer: nobody takes it up here.
_CLAIM_SECONDS: Final = 3_600.0


@dataclass(frozen=True)
class Plan:
    """How much is measured: `rate` admissions per second, `seconds` of each measurement, `rounds` of them."""

    streams: int = 5_000
    rate: int = 100
    seconds: float = 8.0
    rounds: int = 3


QUICK: Final = Plan(streams=400, rate=20, seconds=2.0, rounds=1)


@dataclass
class Crowd:
    """The listeners: how many events they have heard, and who was told of the admission when (s since the epoch)."""

    events: int = 0
    open: int = 0
    admitted: dict[Visitor, float] = field(default_factory=dict)


class Listener(asyncio.Protocol):
    """One stream, as a browser has it."""

    def __init__(self, crowd: Crowd, visitor: Visitor, head: bytes, opened: asyncio.Future[None]) -> None:
        self._crowd = crowd
        self._visitor = visitor
        self._head = head
        self._opened = opened
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the events."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        """Count what is told. An event is sent in one piece."""
        told = data.count(b"event: ")
        self._crowd.events += told
        if b"event: admitted" in data:
            self._crowd.admitted[self._visitor] = time.time()
        if told and not self._opened.done():
            self._crowd.open += 1
            self._opened.set_result(None)

    def connection_lost(self, _error: Exception | None) -> None:
        """The stream is over."""
        if self._opened.done():
            self._crowd.open -= 1
        else:
            self._opened.set_exception(BenchmarkError("a stream was refused or cut off at its beginning"))


def main() -> None:
    """Measure and print."""
    report.run("streams", measure, description=__doc__, extend=_options)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--streams", type=int, metavar="N", help=f"streams to open (default {Plan.streams:,})")


def measure(options: Options) -> list[Row]:
    """A row for bare streams, and for ours: quiet, moving, stopped."""
    plan = QUICK if options.quick else Plan(streams=options.given.streams or Plan.streams)
    with TemporaryDirectory(prefix="waitroom-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        redis = stack.enter_context(Embedded(folder))
        with _bare(folder) as bare:
            rows = uvloop.run(_measure_bare(bare, plan))
        say("streams: bare: done")
        places = uvloop.run(_prepare(redis, plan))
        with servers.instance(redis.url, folder, max_streams=plan.streams) as instance:
            rows += uvloop.run(_measure_ours(instance, redis, places, plan))
    bare_bytes = rows[0]["bytes_per_stream"]
    rows[1]["to_bare"] = significant(rows[1]["bytes_per_stream"] / bare_bytes)
    rows[2]["to_bare"] = significant(rows[2]["server_us_per_event"] / rows[0]["server_us_per_event"])
    return rows


def _bare(folder: Path) -> Served:
    """uvicorn with the bare application, with the options that `bare` has too."""
    options = ("--port", "{port}", "--no-access-log", "--log-level", "critical", "--backlog", "4096")
    command = (sys.executable, "-m", "uvicorn", "benchmarks.bare_streams:app", *options)
    grace = ("--timeout-graceful-shutdown", "1")
    return servers.bare(folder, name="bare streams", command=(*command, *grace))


async def _prepare(redis: Embedded, plan: Plan) -> list[Place]:
    """A paused room in which as many wait as there are streams."""
    async with filling.opened(redis.url) as store:
        await filling.configure(store, ROOM, state="paused", capacity=0, claim_seconds=_CLAIM_SECONDS)
        return await filling.enter(store, ROOM, plan.streams, keep=plan.streams)


async def _measure_bare(server: Served, plan: Plan) -> list[Row]:
    crowd = Crowd()
    request = [(Visitor(""), b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")] * plan.streams
    before = accounting.memory_bytes(server.pid)["uss"]
    with on_core(OTHER_CORE):
        listeners = await _open(server.port, crowd, request)
        taken = accounting.memory_bytes(server.pid)["uss"] - before
        costs = [await _cost(crowd, server, None, plan.seconds) for _ in range(plan.rounds)]
        _close(listeners)
    return [{"what": "bare", **_costs(costs, plan, taken)}]


async def _measure_ours(instance: Instance, redis: Embedded, places: Sequence[Place], plan: Plan) -> list[Row]:
    crowd = Crowd()
    before = accounting.memory_bytes(instance.pid)["uss"]
    with on_core(OTHER_CORE):
        await _open(instance.port, crowd, _requests(places))
        taken = accounting.memory_bytes(instance.pid)["uss"] - before
        quiet = [await _cost(crowd, instance, redis, plan.seconds) for _ in range(plan.rounds)]
        say("streams: quiet: done")
        async with filling.opened(redis.url) as store:
            more = {"capacity": 0, "claim_seconds": _CLAIM_SECONDS, "admit_per_second": plan.rate}
            await filling.configure(store, ROOM, **more)
            await asyncio.sleep(_SETTLE_SECONDS)
            moving = [await _cost(crowd, instance, redis, plan.seconds) for _ in range(plan.rounds)]
            await filling.configure(store, ROOM, **more | {"state": "paused"})
        say("streams: moving: done")
        await asyncio.sleep(_SETTLE_SECONDS)
        delays = _delays(crowd, redis)
        left = crowd.open
        stopped = await _stop(instance, crowd)
    return [
        {"what": "quiet", **_costs(quiet, plan, taken)},
        {"what": "moving", **_costs(moving, plan), "admissions": len(delays), **_spread(delays)},
        {"what": "stopped", "streams": left, **stopped},
    ]


def _requests(places: Sequence[Place]) -> list[tuple[Visitor, bytes]]:
    cookies = filling.ticket_cookies(ROOM, [filling.ticket_of(place) for place in places])
    browser = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    head = f"GET /v1/rooms/{ROOM}/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{browser}"
    return [
        (place.visitor, f"{head}Cookie: {cookie['Cookie']}\r\n\r\n".encode())
        for place, cookie in zip(places, cookies, strict=True)
    ]


async def _open(port: int, crowd: Crowd, requests: Sequence[tuple[Visitor, bytes]]) -> list[Listener]:
    """A listener for each request, once all have heard the first event and things have settled."""
    loop = asyncio.get_running_loop()
    together = asyncio.Semaphore(_AT_ONCE)

    async def one(visitor: Visitor, head: bytes) -> Listener:
        async with together:
            opened: asyncio.Future[None] = loop.create_future()
            _, listener = await loop.create_connection(
                lambda: Listener(crowd, visitor, head, opened), "127.0.0.1", port
            )
            await opened
            return listener

    async with asyncio.timeout(_OPEN_SECONDS):
        listeners = await asyncio.gather(*(one(visitor, head) for visitor, head in requests))
    await asyncio.sleep(_SETTLE_SECONDS)
    if crowd.open != len(requests):
        raise BenchmarkError(f"{crowd.open} of {len(requests)} streams are open")
    return listeners


def _close(listeners: Sequence[Listener]) -> None:
    for listener in listeners:
        if listener.transport is not None:
            listener.transport.abort()


@dataclass(frozen=True)
class Cost:
    """What some seconds took: CPU seconds of the server and of Redis, for so many events."""

    seconds: float
    events: int
    server: float
    redis: float


async def _cost(crowd: Crowd, server: Process, redis: Embedded | None, seconds: float) -> Cost:
    those: list[accounting.Accountable] = [server]
    if redis is not None:
        those.append(redis)
    events, began = crowd.events, time.monotonic()
    with accounting.accounted(*those) as bill:
        await asyncio.sleep(seconds)
    took = time.monotonic() - began
    return Cost(took, crowd.events - events, bill.seconds[server.name], bill.seconds.get("redis", 0.0))


def _costs(costs: Sequence[Cost], plan: Plan, taken: int | None = None) -> Row:
    """Medians: shares of a core, CPU µs per event, and per stream and second (one look-up for each)."""
    row: Row = {"streams": plan.streams}
    if taken is not None:
        row["bytes_per_stream"] = significant(taken / plan.streams)
    events = figure(cost.events / cost.seconds for cost in costs)
    server = figure(100 * cost.server / cost.seconds for cost in costs)
    row |= {
        "events_per_second": significant(events.median),
        "server_percent": significant(server.median),
        "server_percent_spread": server.spread,
        "redis_percent": significant(figure(100 * cost.redis / cost.seconds for cost in costs).median),
        "server_us_per_stream_second": significant(_per_second(costs, lambda cost: cost.server) / plan.streams),
        "redis_us_per_stream_second": significant(_per_second(costs, lambda cost: cost.redis) / plan.streams),
    }
    if events.median:
        row["server_us_per_event"] = significant(_per_second(costs, lambda cost: cost.server) / events.median)
    return row


def _per_second(costs: Sequence[Cost], of: Callable[[Cost], float]) -> float:
    """CPU µs in a second."""
    return figure(of(cost) / cost.seconds * 1_000_000 for cost in costs).median


def _delays(crowd: Crowd, redis: Embedded) -> list[float]:
    """Milliseconds from each admission to its event. An offer's end tells when it was made."""
    found: Any = redis.client.zrange(keys.room_key(ROOM, "active"), 0, -1, withscores=True)
    ends: dict[Visitor, float] = dict(found)
    missing = ends.keys() - crowd.admitted.keys()
    if missing:
        raise BenchmarkError(f"{len(missing)} of {len(ends)} visitors were never told that they are admitted")
    return [(heard - (ends[visitor] / 1_000_000 - _CLAIM_SECONDS)) * 1_000 for visitor, heard in crowd.admitted.items()]


def _spread(delays: Sequence[float]) -> Row:
    if len(delays) < 2:
        raise BenchmarkError("nobody was admitted")
    cuts = statistics.quantiles(delays, n=100, method="inclusive")
    named = {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "longest": max(delays)}
    return {f"delay_{name}_ms": significant(value) for name, value in named.items()}


async def _stop(instance: Instance, crowd: Crowd) -> Row:
    began = time.monotonic()
    instance.signal(signal.SIGTERM)
    await eventually(lambda: crowd.open == 0, "the end of all streams")
    over = time.monotonic() - began
    await eventually(lambda: not instance.running, "the end of the instance")
    return {"streams_over_s": significant(over), "process_over_s": significant(time.monotonic() - began)}


if __name__ == "__main__":
    main()
