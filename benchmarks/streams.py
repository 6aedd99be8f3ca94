"""What open event streams cost, beside bare ones, and how long it takes from an admission to the event that tells it.

`python -m benchmarks.streams`. One instance on one core holds the streams; Redis and the listeners are on the other.
bare: a constant event a second on each stream, from a plain ASGI loop. quiet: the room is paused, nobody moves. moving:
everybody who waits listens, and so many are admitted that each tick has news for all; the delay is from the admission,
by the time of Redis, to the arrival of the event. stopped: from SIGTERM to the end of all streams, and of the process.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

import uvloop

from benchmarks import report, servers
from benchmarks.figures import percentiles, significant, spread
from benchmarks.report import Row, say
from benchmarks.servers import DOCUMENT, ROOM, BenchmarkError
from rig import filling
from rig.accounting import Accountable, accounted, memory_bytes
from rig.cores import OTHER_CORE, on_core
from rig.embedded import Embedded
from rig.instance import Instance
from rig.served import Served
from rig.waiting import eventually
from waitroom.model import Place, Visitor
from waitroom.store import keys

#: Streams that are opened at the same time: more would only test the accept queue. Seconds in which all must be open.
_AT_ONCE, _OPEN_SECONDS = 100, 60.0

#: Seconds after which what was allocated and sent for the opening has settled.
_SETTLE_SECONDS: Final = 3.0

#: Seconds for which an offer stays an offer: nobody takes it up here.
_CLAIM_SECONDS: Final = 3_600.0
_SETTINGS: Final[dict[str, Any]] = {"capacity": 0, "claim_seconds": _CLAIM_SECONDS}

#: What each browser sends along.
_HEAD: Final = (
    f"GET {DOCUMENT}/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
)


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
    """The listeners to a server: how many events they heard, and when who was told of the admission (Unix time, s)."""

    plan: Plan
    server: Served
    accounts: Sequence[Accountable]
    events: int = 0
    open: int = 0
    admitted: dict[Visitor, float] = field(default_factory=dict)

    async def come(self, requests: Sequence[tuple[Visitor, bytes]]) -> Row:
        """All have heard the first event, and things have settled; bytes that the server holds for each."""
        loop, together = asyncio.get_running_loop(), asyncio.Semaphore(_AT_ONCE)
        before = memory_bytes(self.server.pid)["uss"]

        async def one(visitor: Visitor, request: bytes) -> None:
            async with together:
                opened: asyncio.Future[None] = loop.create_future()
                transport, _ = await loop.create_connection(
                    lambda: Listener(self, visitor, opened), self.server.address, self.server.port
                )
                transport.write(request)
                await opened

        async with asyncio.timeout(_OPEN_SECONDS):
            await asyncio.gather(*(one(*each) for each in requests))
        await asyncio.sleep(_SETTLE_SECONDS)
        if self.open != len(requests):
            raise BenchmarkError(f"{self.open} of {len(requests)} streams are open")
        return {"bytes_per_stream": significant((memory_bytes(self.server.pid)["uss"] - before) / len(requests))}

    async def listen(self) -> Row:
        """What listening costs. Medians: shares of a core, CPU µs per event, and per stream and second."""
        rounds = [await self._round() for _ in range(self.plan.rounds)]
        each = dict(zip(("events", "server", "redis"), zip(*rounds, strict=True), strict=True))
        events, server, redis = (median(figures) for figures in each.values())
        row = {
            "events_per_second": significant(events),
            "server_percent": significant(100 * server),
            "server_percent_spread": spread([100 * cores for cores in each["server"]]),
            "redis_percent": significant(100 * redis),
            "server_us_per_stream_second": significant(server * 1_000_000 / self.plan.streams),
            "redis_us_per_stream_second": significant(redis * 1_000_000 / self.plan.streams),
        }
        return row | ({"server_us_per_event": significant(server * 1_000_000 / events)} if events else {})

    async def _round(self) -> tuple[float, float, float]:
        """Events per second, and the cores that the server and Redis take."""
        events, began = self.events, time.monotonic()
        with accounted(*self.accounts) as bill:
            await asyncio.sleep(self.plan.seconds)
        took = time.monotonic() - began
        return (
            (self.events - events) / took,
            bill.seconds[self.server.name] / took,
            bill.seconds.get("redis", 0.0) / took,
        )


@dataclass
class Listener(asyncio.Protocol):
    """One stream, as a browser has it."""

    crowd: Crowd
    visitor: Visitor
    opened: asyncio.Future[None]

    def data_received(self, data: bytes) -> None:
        """Count what is told. An event is sent in one piece."""
        told = data.count(b"event: ")
        self.crowd.events += told
        if b"event: admitted" in data:
            self.crowd.admitted[self.visitor] = time.time()
        if told and not self.opened.done():
            self.crowd.open += 1
            self.opened.set_result(None)

    def connection_lost(self, _error: Exception | None) -> None:
        """The stream is over."""
        if self.opened.done():
            self.crowd.open -= 1
        else:
            self.opened.set_exception(BenchmarkError("a stream was refused or cut off at its beginning"))


def measure(plan: Plan) -> list[Row]:
    """A row for bare streams, and for ours: quiet, moving, stopped."""
    with servers.empty_redis() as (folder, redis):
        command = (*servers.UVICORN, "--timeout-graceful-shutdown", "1")
        with servers.bare(folder, name="bare streams", command=command, app="streams") as server, on_core(OTHER_CORE):
            bare = uvloop.run(_bare(Crowd(plan, server, [server])))
        say("streams: bare: done")
        places = servers.fill(redis, plan.streams, keep=plan.streams, state="paused", **_SETTINGS)
        with servers.instance(redis.url, folder, max_streams=plan.streams) as instance, on_core(OTHER_CORE):
            quiet, moving, stopped = uvloop.run(
                _ours(Crowd(plan, instance, [instance, redis]), instance, redis, places)
            )
    quiet["to_bare"] = significant(quiet["bytes_per_stream"] / bare["bytes_per_stream"])
    moving["to_bare"] = significant(moving["server_us_per_event"] / bare["server_us_per_event"])
    return [bare, quiet, moving, stopped]


async def _bare(crowd: Crowd) -> Row:
    requests = [(Visitor(""), b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")] * crowd.plan.streams
    return {"what": "bare", "streams": len(requests), **await crowd.come(requests), **await crowd.listen()}


async def _ours(crowd: Crowd, instance: Instance, redis: Embedded, places: Sequence[Place]) -> list[Row]:
    cookies = filling.ticket_cookies(ROOM, [filling.ticket_of(place) for place in places])
    requests = [
        (place.visitor, f"{_HEAD}Cookie: {cookie['Cookie']}\r\n\r\n".encode())
        for place, cookie in zip(places, cookies, strict=True)
    ]
    streams = {"streams": len(requests)}
    quiet = {"what": "quiet", **streams, **await crowd.come(requests), **await crowd.listen()}
    say("streams: quiet: done")
    async with filling.opened(redis.url) as store:
        rate = crowd.plan.rate
        await filling.configure(store, ROOM, admit_per_second=rate, **_SETTINGS)
        await asyncio.sleep(_SETTLE_SECONDS)
        moving = {"what": "moving", **streams, **await crowd.listen()}
        await filling.configure(store, ROOM, admit_per_second=rate, state="paused", **_SETTINGS)
    say("streams: moving: done")
    await asyncio.sleep(_SETTLE_SECONDS)
    moving |= _delays(crowd, redis)
    stopped = {"what": "stopped", "streams": crowd.open}
    began = time.monotonic()
    instance.signal(signal.SIGTERM)
    await eventually(lambda: crowd.open == 0, "the end of all streams")
    stopped["streams_over_s"] = significant(time.monotonic() - began)
    await eventually(lambda: not instance.running, "the end of the instance")
    return [quiet, moving, stopped | {"process_over_s": significant(time.monotonic() - began)}]


def _delays(crowd: Crowd, redis: Embedded) -> Row:
    """Milliseconds from each admission to its event. An offer's end tells when it was made."""
    found: Any = redis.client.zrange(keys.room_key(ROOM, "active"), 0, -1, withscores=True)
    ends: dict[Visitor, float] = dict(found)
    missing = ends.keys() - crowd.admitted.keys()
    if missing or len(ends) < 2:
        raise BenchmarkError(f"{len(missing)} of {len(ends)} visitors were never told that they are admitted")
    delays = [
        (heard - (ends[visitor] / 1_000_000 - _CLAIM_SECONDS)) * 1_000 for visitor, heard in crowd.admitted.items()
    ]
    return {"admissions": len(delays), **percentiles("delay_{}_ms", delays, p50=50, p95=95, p99=99)}


if __name__ == "__main__":
    report.run("streams", measure, Plan(), QUICK, description=__doc__)
