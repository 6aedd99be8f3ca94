"""What the benchmarks of requests have in common: a Redis with a room that is full and has a queue, and what is asked.

The room `shop` is open, `visitors` are inside, nobody can be admitted. Who asks for a status is one of as many who are
spread over the queue, who goes through the gate one of those inside, each with their own ticket or pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks import servers, wrk
from benchmarks.servers import DOCUMENT, ROOM
from benchmarks.wrk import Ask, Asked, Load
from rig import filling
from rig.accounting import Accountable
from rig.embedded import Embedded

#: A room for those who ask where they stand while nobody waits in the other one.
SMALL_ROOM: Final = "small"

BARE: Final = Ask("bare", "/")
ENTER: Final = Ask("enter", f"{DOCUMENT}/enter", "POST")


class Scene:
    """A Redis, a folder for everything, and the rooms in it."""

    def __init__(self, folder: Path, redis: Embedded, visitors: int) -> None:
        self.folder = folder
        self.redis = redis
        self.visitors = visitors
        self.waiting = 0
        servers.fill(redis, capacity=visitors)
        servers.fill(redis, visitors, room=SMALL_ROOM, state="paused")
        self._passes = asyncio.run(self._admitted())

    async def _admitted(self) -> list[dict[str, str]]:
        async with filling.opened(self.redis.url) as store:
            return filling.pass_cookies(ROOM, await filling.admitted(store, ROOM, self.visitors))

    def fill(self, waiting: int) -> None:
        """Let so many wait, at least as many as do, and have the store at rest."""
        servers.fill(self.redis, waiting - self.waiting)
        self.waiting = waiting
        self.redis.settle()

    def restore(self) -> None:
        """Take those out of the queue again who entered meanwhile."""
        filling.trim(self.redis.client, ROOM, self.waiting)

    def ask(
        self,
        asked: Sequence[tuple[Asked, Ask]],
        *,
        rounds: int = 1,
        connections: int,
        seconds: int,
        accounts: Sequence[Accountable],
    ) -> dict[str, list[Load]]:
        """Rounds through all that is asked of servers; what came of each ask, round by round."""
        loads: dict[str, list[Load]] = {ask.name: [] for _, ask in asked}
        for _ in range(rounds):
            for server, ask in asked:
                load = wrk.run(server, ask, connections=connections, seconds=seconds, accounts=accounts)
                loads[ask.name].append(load)
                self.restore()
        return loads

    def hot(self) -> tuple[Ask, Ask, Ask]:
        """First contacts, who have to wait; visitors of the queue; what a proxy asks for those inside."""
        return ENTER, self.status(), self.gate_pass()

    def status(self) -> Ask:
        """Visitors of the queue who ask where they stand; of the small room if nobody waits."""
        room = ROOM if self.waiting else SMALL_ROOM
        tickets = filling.tickets_of_waiting(self.redis.client, room, self.visitors)
        return Ask("status", f"/v1/rooms/{room}/status", visitors=filling.ticket_cookies(room, tickets))

    def gate_pass(self) -> Ask:
        """What a proxy asks for visitors who are inside."""
        return Ask("gate_pass", f"/gate/{ROOM}", visitors=self._passes)

    def admitted(self) -> Ask:
        """A request of visitors who are inside to the site itself, by way of nginx."""
        return Ask("nginx_admitted", "/", visitors=self._passes)


@contextmanager
def scene(visitors: int = 20_000) -> Iterator[Scene]:
    """A scene in a folder that is gone afterwards."""
    with servers.empty_redis() as (folder, redis):
        yield Scene(folder, redis, visitors)
