"""A watch on the room in Redis that bears its outages, and what must hold of all its looks.

Each look is one transaction, past the line that faults strike, so it is exact at its instant: what is held here knows
the settings of that very instant.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from crowd.invariants import Check
from crowd.rules import LATENESS_SECONDS
from crowd.watch import INSIDE, WAYS_OUT
from waitroom.cancelling import cancelled
from waitroom.store import keys

#: Seconds between two looks, and after one that failed.
_PAUSE_SECONDS: Final = 0.05

#: How many of the first who wait are looked at.
_HEAD: Final = 30

#: Counts of a room: without a loss of data none of them ever falls.
_COUNTS: Final = ("entered", "restored", "admitted", "claimed", *WAYS_OUT, "last", "turn_serial", "term")

_LOGIN: Final[dict[str, Any]] = {
    "decode_responses": True,
    "protocol": 2,
    "socket_timeout": 1.0,
    "socket_connect_timeout": 1.0,
    "retry": Retry(NoBackoff(), 0),
}


@dataclass(frozen=True)
class Look:
    """The room at one instant: `at` on Redis' clock, in seconds.

    `held` counts all who have a place inside, `inside` those whose time is not up yet. `admitted_at`: when the last
    admission was; `made_at`: when the room's data began; `hold_until`: after a loss nobody is admitted before.
    """

    at: float
    version: int
    capacity: int
    admit_per_second: float
    open: bool
    head: Mapping[str, int]
    waiting: int
    held: int
    inside: int
    both: Sequence[str]
    counts: Mapping[str, int]
    hold_until: float
    admitted_at: float
    made_at: float

    @property
    def missing(self) -> int:
        """How many came and are in no column."""
        came = self.counts["entered"] + self.counts["restored"]
        return came - self.waiting - self.held - sum(self.counts[way] for way in WAYS_OUT)


@dataclass
class Lookout:
    """Looks at the room again and again, for as long as there is one."""

    port: int
    room: str
    looks: list[Look] = field(default_factory=list)

    async def run(self) -> None:
        """Look until cancelled."""
        async with Redis(port=self.port, **_LOGIN) as redis:
            while True:
                try:
                    look = await self._look(redis)
                    if look is not None:
                        self.looks.append(look)
                except RedisError:
                    pass
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _look(self, redis: Redis) -> Look | None:
        names = {name: keys.room_key(self.room, name) for name in keys.ROOM_KEYS}
        async with redis.pipeline(transaction=True) as together:
            together.hgetall(names["config"])
            together.zrange(names["wait"], 0, _HEAD - 1, withscores=True)
            together.zcard(names["wait"])
            together.zcard(names["active"])
            together.hgetall(names["state"])
            together.zinter([names["wait"], names["active"]])
            together.time()
            together.eval(INSIDE, 1, names["active"])
            config, head, waiting, held, state, both, (seconds, micros), inside = await together.execute()
        if not config:
            return None
        return Look(
            at=seconds + micros / 1_000_000,
            version=int(config["version"]),
            capacity=int(config["capacity"]),
            admit_per_second=float(config["admit_per_second"]),
            open=config["state"] == "open",
            head={visitor: int(serial) for visitor, serial in head},
            waiting=waiting,
            held=held,
            inside=inside,
            both=both,
            counts={name: int(state.get(name, 0)) for name in _COUNTS},
            hold_until=int(state.get("hold_until_us", 0)) / 1_000_000,
            admitted_at=int(state.get("turn_us", 0)) / 1_000_000,
            made_at=int(config["made_us"]) / 1_000_000,
        )


@asynccontextmanager
async def looking_out(port: int, room: str) -> AsyncIterator[Lookout]:
    """A lookout for the length of the block."""
    lookout = Lookout(port, room)
    task = asyncio.create_task(lookout.run())
    try:
        yield lookout
    finally:
        await cancelled(task)


def checks(
    looks: Sequence[Look],
    *,
    losses: Collection[tuple[float, float]],
    capacities: Collection[int],
    hold_seconds: float,
) -> list[Check]:
    """What must hold at every look, and from one to the next.

    `losses`: when all data were lost, from before to after; `capacities`: all that the room ever had; `hold_seconds`:
    for how long at least nobody is admitted after a loss.
    """
    pairs = [(one, other) for one, other in pairwise(looks) if not _across(one, other, losses)]
    return [
        Check("nobody waits and is inside, at every look", len(looks), [f"{each.both}" for each in looks if each.both]),
        Check("nobody is lost in the books, at every look", len(looks), list(_unbalanced(looks))),
        Check("counts only grow", len(pairs), list(_fallen(pairs))),
        Check("occupancy never grows past the capacity of the instant", len(pairs), list(_over(pairs, capacities))),
        Check("the rate of the instant in every window", len(looks), list(_too_fast(looks, losses))),
        Check("nobody is admitted before the head of the queue", len(pairs), list(_passed(pairs))),
        Check("nobody is admitted while the room is shut, or held", len(pairs), list(_while_shut(pairs))),
        Check("nobody is admitted soon after a loss", len(losses), list(_too_soon(looks, losses, hold_seconds))),
        Check("no room is held without a loss", len(looks), list(_held(looks, losses))),
    ]


def _across(one: Look, other: Look, losses: Collection[tuple[float, float]]) -> bool:
    return any(one.at <= end and begin <= other.at for begin, end in losses)


def _unbalanced(looks: Sequence[Look]) -> Iterator[str]:
    for each in looks:
        if each.missing:
            yield f"{each.missing} too many came at {each.at:.3f}: {dict(each.counts)}, {each.waiting} wait"


def _fallen(pairs: Sequence[tuple[Look, Look]]) -> Iterator[str]:
    for one, other in pairs:
        for name, count in one.counts.items():
            if other.counts[name] < count:
                yield f"{name} fell from {count} to {other.counts[name]} at {other.at:.3f}"
        if other.version < one.version:
            yield f"version fell from {one.version} to {other.version} at {other.at:.3f}"


def _over(pairs: Sequence[tuple[Look, Look]], capacities: Collection[int]) -> Iterator[str]:
    for one, other in pairs:
        # Of two changes between two looks nobody saw the first: then the highest capacity that ever was is the bound.
        unseen = other.version > one.version + 1
        most = max(max(capacities) if unseen else 0, one.capacity, other.capacity)
        if other.inside > max(most, one.inside):
            yield f"{other.inside} are inside at {other.at:.3f}, before {one.inside}; capacity {other.capacity}"


def _too_fast(looks: Sequence[Look], losses: Collection[tuple[float, float]]) -> Iterator[str]:
    """Within each stretch of looks under the same settings, whatever the window."""
    least, before = float("inf"), None
    for each in looks:
        if before is None or each.version != before.version or _across(before, each, losses):
            least = float("inf")
        before = each
        rate = each.admit_per_second
        surplus = each.counts["admitted"] - rate * each.at
        # A session that is put back after a loss was admitted before it, whatever the count says.
        if each.at < each.hold_until:
            continue
        least = min(least, surplus)
        if rate and surplus - least > 1 + LATENESS_SECONDS * rate:
            yield f"{surplus - least:.2f} admitted beyond {rate:g} per second at {each.at:.3f}"


def _passed(pairs: Sequence[tuple[Look, Look]]) -> Iterator[str]:
    """Nobody who waits at two looks was passed by a later serial in between.

    Somebody may have been away between the two, and come back: each is counted as restored. While a room is held
    instances add what they know of turns before the loss; those are no admissions.
    """
    for one, other in pairs:
        turn = other.counts["turn_serial"]
        returned = other.counts["restored"] - one.counts["restored"]
        if turn <= one.counts["turn_serial"] or other.at < other.hold_until:
            continue
        passed = {visitor: serial for visitor, serial in other.head.items() if visitor in one.head and serial < turn}
        if len(passed) > max(returned, 0):
            yield f"{passed} still wait at {other.at:.3f}, but {turn} was admitted and {returned} came back"


def _while_shut(pairs: Sequence[tuple[Look, Look]]) -> Iterator[str]:
    """Admissions between two looks that both find the room paused, closed or held, under the same settings."""
    for one, other in pairs:
        same = one.version == other.version and one.hold_until == other.hold_until
        if same and (not one.open or other.at < other.hold_until) and other.admitted_at > one.at:
            yield f"admitted at {other.admitted_at:.3f}: open {other.open}, held until {other.hold_until:.3f}"


def _too_soon(looks: Sequence[Look], losses: Collection[tuple[float, float]], hold_seconds: float) -> Iterator[str]:
    """Visitors have time to come back into their old order, counted from when the room was made again."""
    lost = min((begin for begin, _ in losses), default=float("inf"))
    told = set()
    for each in looks:
        if lost <= each.made_at <= each.admitted_at < each.made_at + hold_seconds and each.made_at not in told:
            told.add(each.made_at)
            yield f"admitted {each.admitted_at - each.made_at:.2f} s after the room was made at {each.made_at:.3f}"


def _held(looks: Sequence[Look], losses: Collection[tuple[float, float]]) -> Iterator[str]:
    """A room is held after a loss of data only."""
    lost = min((begin for begin, _ in losses), default=float("inf"))
    for each in looks:
        if each.hold_until and each.at < lost:
            yield f"the room is held until {each.hold_until:.3f} at {each.at:.3f}, though nothing was lost"
            break


def admission_after(looks: Sequence[Look], at: float) -> float | None:
    """Seconds from `at` until somebody was admitted, as a look saw it; None if nobody was."""
    known: int | None = None
    for each in looks:
        if each.at <= at:
            known = each.counts["admitted"]
        elif known is not None and each.counts["admitted"] > known:
            return each.at - at
        else:
            known = each.counts["admitted"]
    return None
