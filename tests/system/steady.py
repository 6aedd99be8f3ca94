"""A crowd that keeps coming through nginx: who has left comes back as somebody new, until the crowd is told to end."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from crowd.browser import Browser
from tests.system.crowd import LONGEST_POLL_SECONDS
from tests.system.history import Visit, check

#: Seconds over which the crowd arrives, and that a visitor stays inside at most.
_ARRIVAL_SECONDS: Final = 3.0
_STAY_SECONDS: Final = 2.0


class SteadyCrowd:
    """`size` visitors of a room behind nginx, each at an address of its own. Nobody asks twice for one answer.

    `visits` are the records of all visits so far, but for those who still waited when the crowd was told to end and
    left the queue, which are in `gave_up`. `statuses` counts the answers; `slowest` is the longest that one took, in
    seconds.
    """

    def __init__(self, port: int, room: str, *, size: int, seed: int) -> None:
        self.visits: list[Visit] = []
        self.gave_up: list[Visit] = []
        self.statuses: Counter[int] = Counter()
        self.slowest = 0.0
        self._port = port
        self._room = f"/v1/rooms/{room}"
        self._size = size
        self._chance = random.Random(seed)
        self._over = asyncio.Event()

    def faults(self) -> list[str]:
        """What visitors should not have seen: an error, another place, a rank that grew."""
        gave_up = (f"gave up: {fault}" for fault in check(self.gave_up) if not fault.endswith("never admitted"))
        return [*check(self.visits), *gave_up]

    def told(self) -> str:
        """The figures of it."""
        asked, errors = sum(self.statuses.values()), sum(len(each.errors) for each in [*self.visits, *self.gave_up])
        return f"{len(self.visits)} visits, {asked} requests, {errors} errors, slowest {self.slowest:.2f} s"

    def end(self) -> None:
        """Let nobody come back; who is inside finishes the visit, who waits leaves."""
        self._over.set()

    async def run(self) -> None:
        """Let everybody come and go until `end`, and all visits are finished."""
        async with asyncio.TaskGroup() as visitors:
            for number in range(self._size):
                visitors.create_task(self._come_and_go(f"127.9.{number // 200}.{number % 200 + 1}"))

    async def _come_and_go(self, address: str) -> None:
        await asyncio.sleep(self._chance.uniform(0, _ARRIVAL_SECONDS))
        while not self._over.is_set():
            browser = Browser([self._port], tries=1, address=address)
            visit = Visit()
            self.visits.append(visit)
            try:
                await self._visit(browser, visit)
            except (OSError, asyncio.IncompleteReadError) as error:
                visit.errors.append(f"no answer: {error!r}")
            finally:
                await browser.close()

    async def _visit(self, browser: Browser, visit: Visit) -> None:
        document = await self._ask(browser, visit, "POST", f"{self._room}/enter", 200, 202)
        while document.get("state") == "waiting":
            visit.serials.append(str(document["entered_at"]))
            visit.ranks.append(int(document["rank"]))
            await asyncio.sleep(min(float(document["poll_after_seconds"]), LONGEST_POLL_SECONDS))
            if self._over.is_set():
                self.visits.remove(visit)
                self.gave_up.append(visit)
                await self._leave(browser, visit)
                return
            document = await self._ask(browser, visit, "GET", f"{self._room}/status", 200)
        if visit.errors:
            return
        visit.admitted_at = time.monotonic()
        visit.passes.add(str(document["pass"]))
        for _ in range(2):
            await self._ask(browser, visit, "GET", "/", 200)
            await asyncio.sleep(self._chance.uniform(0, _STAY_SECONDS / 2))
        await self._leave(browser, visit)

    async def _leave(self, browser: Browser, visit: Visit) -> None:
        await self._ask(browser, visit, "POST", f"{self._room}/leave", 204)
        visit.left = not visit.errors

    async def _ask(self, browser: Browser, visit: Visit, method: str, path: str, *good: int) -> dict[str, Any]:
        began = time.monotonic()
        status, document = await browser.ask(method, path)
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.statuses[status] += 1
        if status not in good:
            visit.errors.append(f"{method} {path}: {status} {document}")
            return {}
        return document


class Comers(Protocol):
    """A crowd: `run` lasts until `end` was called and all are done."""

    def end(self) -> None:
        """Let it come to an end."""

    async def run(self) -> None:
        """Come and go."""


@asynccontextmanager
async def coming(crowd: Comers) -> AsyncIterator[None]:
    """The crowd comes and goes for the length of the block, and then comes to its end."""
    running = asyncio.create_task(crowd.run())
    try:
        yield
        crowd.end()
        await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
