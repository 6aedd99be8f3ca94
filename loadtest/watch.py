"""A watch on the room itself: looks into Redis all the time, and holds what must hold at every instant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from redis.asyncio import Redis

from loadtest.rules import LATENESS_SECONDS
from waitroom.cancelling import cancelled
from waitroom.store import keys

#: The ways out of a room, as its state counts them.
WAYS_OUT: Final = ("left", "finished", "no_show", "abandoned")

#: How many are inside now: those whose time is up count no more, though they may not be swept yet.
INSIDE: Final = """
local time = redis.call('TIME')
return redis.call('ZCOUNT', KEYS[1], string.format('(%.0f', time[1] * 1000000 + time[2]), '+inf')
"""


@dataclass
class Watch:
    """Looks at the room in Redis again and again, each look one atomic transaction.

    `admissions` are the times of the looks, in seconds on Redis' clock, and how many had been admitted until then.
    """

    redis: Redis
    room: str
    pause_seconds: float = 0.005
    most_inside: int = 0
    looks: int = 0
    faults: list[str] = field(default_factory=list)
    admissions: list[tuple[float, int]] = field(default_factory=list)
    _before: tuple[int, int, str] = (0, 0, "")

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self.pause_seconds)

    async def look(self) -> None:
        """Note occupancy; hold what must hold at every instant."""
        names = {name: keys.room_key(self.room, name) for name in keys.ROOM_KEYS}
        async with self.redis.pipeline(transaction=True) as together:
            together.zrange(names["wait"], 0, 0, withscores=True)
            together.zcard(names["wait"])
            together.zcard(names["active"])
            together.hgetall(names["state"])
            together.zinter([names["wait"], names["active"]])
            together.time()
            together.eval(INSIDE, 1, names["active"])
            head, waiting, inside, state, both, (seconds, micros), now_inside = await together.execute()
        self.looks += 1
        self.most_inside = max(self.most_inside, now_inside)
        self.admissions.append((seconds + micros / 1_000_000, int(state.get("admitted", 0))))
        self._hold_order(head, int(state.get("turn_serial", 0)), int(state.get("restored", 0)))
        if both:
            self.faults.append(f"waiting and inside at once: {both}")
        came = int(state.get("entered", 0)) + int(state.get("restored", 0))
        gone = sum(int(state.get(name, 0)) for name in WAYS_OUT)
        if came != waiting + inside + gone:
            self.faults.append(f"{came} came, but {waiting} wait, {inside} are inside, {gone} are gone")

    def _hold_order(self, head: list[tuple[str, float]], turn: int, restored: int) -> None:
        """Everybody up to the highest serial admitted was admitted: nobody who waits came before it.

        Once somebody has come back to an older serial, this holds for who waited at two looks, and nobody came back
        between: the turn may not have passed them meanwhile.
        """
        turn_before, restored_before, waited = self._before
        self._before = turn, restored, head[0][0] if head else ""
        if not head or head[0][1] > turn:
            return
        stayed = head[0][0] == waited and restored == restored_before
        if restored == 0 or (stayed and turn > turn_before):
            self.faults.append(f"{head[0]} still waits, but {turn} was admitted")

    def longest_gap(self) -> float:
        """The longest time in which nobody was admitted, up to the last admission, in seconds."""
        last = self.admissions[-1][1]
        gap, since = 0.0, self.admissions[0][0]
        for (_, before), (at, after) in zip(self.admissions, self.admissions[1:], strict=False):
            if after > before:
                gap, since = max(gap, at - since), at
            if after == last:
                break
        return gap

    def beyond(self, *, capacity: int, admit_per_second: float) -> list[str]:
        """What went past the limits, as far as the looks can tell; 0 is no limit."""
        found = []
        if 0 < capacity < self.most_inside:
            found.append(f"{self.most_inside} were inside, capacity is {capacity}")
        return found + beyond_rate(self.admissions, admit_per_second)


def beyond_rate(admissions: Iterable[tuple[float, int]], admit_per_second: float) -> list[str]:
    """Where more were admitted than the rate allows. `admissions` as a Watch has them; 0 is no limit."""
    least = float("inf")
    for at, admitted in admissions if admit_per_second else ():
        surplus = admitted - admit_per_second * at
        least = min(least, surplus)
        if surplus - least > 1 + LATENESS_SECONDS * admit_per_second:
            return [f"{surplus - least:.1f} admitted beyond {admit_per_second:g} per second at {at:.3f}"]
    return []


@asynccontextmanager
async def looking(url: str) -> AsyncIterator[Redis]:
    """A raw client on a Redis, which waits for a busy machine; replies are text."""
    client = Redis.from_url(url, decode_responses=True, protocol=2, socket_timeout=60, socket_connect_timeout=60)
    try:
        yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def watching(redis: Redis, room: str = "shop", *, pause_seconds: float = 0.005) -> AsyncIterator[Watch]:
    """A watch on the room for the length of the block; raises what has ended it before that."""
    watch = Watch(redis, room, pause_seconds)
    task = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        await cancelled(task)
    if not task.cancelled():
        task.result()
