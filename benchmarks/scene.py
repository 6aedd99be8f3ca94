"""What the benchmarks of requests have in common: a Redis with a room that is full and has a queue, and what is asked.

The room `shop` is open, INSIDE visitors are inside, nobody can be admitted. Who asks for a status is one of ASKING
visitors spread over the queue, who goes through the gate one of those inside, each with their own ticket or pass.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.wrk import Ask
from rig import filling
from rig.embedded import Embedded

ROOM: Final = "shop"

#: A room for those who ask where they stand while nobody waits in the other one.
SMALL_ROOM: Final = "small"

INSIDE, ASKING = 20_000, 20_000


class Scene:
    """A Redis, a folder for everything, and the rooms in it."""

    def __init__(self, folder: Path, redis: Embedded) -> None:
        self.folder = folder
        self.redis = redis
        self.waiting = 0
        asyncio.run(self._begin())

    async def _begin(self) -> None:
        async with filling.opened(self.redis.url) as store:
            await filling.configure(store, ROOM, capacity=INSIDE)
            self._passes = filling.pass_cookies(ROOM, await filling.admitted(store, ROOM, INSIDE))
            await filling.configure(store, SMALL_ROOM, state="paused")
            await filling.enter(store, SMALL_ROOM, ASKING)

    def fill(self, waiting: int) -> None:
        """Let so many wait, at least as many as do, and have the store at rest."""
        asyncio.run(self._fill(waiting - self.waiting))
        self.waiting = waiting
        self.redis.settle()

    async def _fill(self, more: int) -> None:
        async with filling.opened(self.redis.url) as store:
            await filling.enter(store, ROOM, more)

    def restore(self) -> None:
        """Take those out of the queue again who entered meanwhile."""
        filling.trim(self.redis.client, ROOM, self.waiting)

    def enter(self) -> Ask:
        """First contacts, who have to wait."""
        return Ask("enter", f"/v1/rooms/{ROOM}/enter", "POST")

    def status(self) -> Ask:
        """Visitors of the queue who ask where they stand; of the small room if nobody waits."""
        room = ROOM if self.waiting else SMALL_ROOM
        tickets = filling.tickets_of_waiting(self.redis.client, room, ASKING)
        return Ask("status", f"/v1/rooms/{room}/status", visitors=filling.ticket_cookies(room, tickets))

    def gate_pass(self) -> Ask:
        """What a proxy asks for visitors who are inside."""
        return Ask("gate_pass", f"/gate/{ROOM}", visitors=self._passes)

    def gate_401(self) -> Ask:
        """What a proxy asks for visitors who are not."""
        return Ask("gate_401", f"/gate/{ROOM}", refused=True)

    def public(self) -> Ask:
        """The public document."""
        return Ask("public", f"/v1/rooms/{ROOM}")

    def admitted(self) -> Ask:
        """A request of visitors who are inside to the site itself, by way of nginx."""
        return Ask("nginx_admitted", "/", visitors=self._passes)


@contextmanager
def scene() -> Iterator[Scene]:
    """A scene in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="waitroom-bench-") as name, Embedded(Path(name)) as redis:
        yield Scene(Path(name), redis)


def bare() -> Ask:
    """What the yardstick is asked."""
    return Ask("bare", "/")
