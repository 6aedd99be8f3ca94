"""What happened to every visitor of a run, and a watch on the room itself: checked when the run is over."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from redis.asyncio import Redis

from waitroom import keys


@dataclass
class Visit:
    """One visitor's record. `ranks` are as told, in order; times are monotonic seconds."""

    serials: list[str] = field(default_factory=list)
    ranks: list[int] = field(default_factory=list)
    passes: set[str] = field(default_factory=set)
    admitted_at: float | None = None
    left: bool = False
    errors: list[str] = field(default_factory=list)


@dataclass
class Watch:
    """Looks at the room in Redis all the time, each look one atomic transaction."""

    redis: Redis
    room: str
    most_inside: int = 0
    looks: int = 0
    faults: list[str] = field(default_factory=list)
    admissions: list[tuple[float, int]] = field(default_factory=list)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(0.005)

    async def look(self) -> None:
        """Note occupancy; hold what must hold at every instant."""
        names = {name: keys.room_key(self.room, name) for name in keys.ROOM_KEYS}
        async with self.redis.pipeline(transaction=True) as together:
            together.zrange(names["wait"], 0, 0, withscores=True)
            together.zcard(names["wait"])
            together.zcard(names["active"])
            together.hgetall(names["state"])
            together.zinter([names["wait"], names["active"]])
            head, waiting, inside, state, both = await together.execute()
        self.looks += 1
        self.most_inside = max(self.most_inside, inside)
        self.admissions.append((time.monotonic(), int(state.get("admitted", 0))))
        # FIFO at this instant: everybody up to turn_serial was admitted, nobody who waits came before it.
        if head and int(head[0][1]) <= int(state.get("turn_serial", 0)):
            self.faults.append(f"{head[0]} still waits, but {state['turn_serial']} was admitted")
        if both:
            self.faults.append(f"waiting and inside at once: {both}")
        came = int(state.get("entered", 0)) + int(state.get("restored", 0))
        gone = sum(int(state.get(name, 0)) for name in ("left", "finished", "no_show", "abandoned"))
        if came != waiting + inside + gone:
            self.faults.append(f"{came} came, but {waiting} wait, {inside} are inside, {gone} are gone")

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


def check(visits: list[Visit]) -> list[str]:
    """What is wrong with the visits: nothing, if everybody kept one place, moved up only, and came in once."""
    faults = []
    for number, visit in enumerate(visits):
        who = f"visitor {number}"
        faults += [f"{who}: {error}" for error in visit.errors]
        if len(set(visit.serials)) > 1:
            faults.append(f"{who}: changed place, entered at {visit.serials}")
        if any(later > earlier for earlier, later in zip(visit.ranks, visit.ranks[1:], strict=False)):
            faults.append(f"{who}: rank grew: {visit.ranks}")
        if visit.admitted_at is None:
            faults.append(f"{who}: never admitted")
        if not visit.left:
            faults.append(f"{who}: never left")
    admitted_ids = [identity for visit in visits for identity in visit.passes]
    if len(set(admitted_ids)) != len(admitted_ids):
        faults.append("two visitors hold the same pass")
    return faults
