"""A watch on a room in Redis, which goes on at whichever server is primary, and what must hold of all its looks.

Each look is one transaction, so it is exact at its instant: what is held here knows the settings of that very instant.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from crowd.history import clock
from crowd.invariants import Check
from crowd.rules import LATENESS_SECONDS, Rules
from rig.waiting import eventually
from waitroom.store import keys

#: The ways out of a room, as its state counts them.
WAYS_OUT: Final = ("left", "finished", "no_show", "abandoned")

#: Counts of a room: without a loss of data none of them ever falls.
_COUNTS: Final = ("entered", "restored", "admitted", "claimed", *WAYS_OUT, "last", "turn_serial", "term")

#: How many of the first who wait are looked at.
_HEAD: Final = 100

#: How many are inside now: those whose time is up count no more, though they may not be swept yet.
_INSIDE: Final = """#!lua flags=no-writes
local time = redis.call('TIME')
return redis.call('ZCOUNT', KEYS[1], string.format('(%.0f', time[1] * 1000000 + time[2]), '+inf')
"""

#: How the watch talks to a server: without redis-py's ten tries.
_LOGIN: Final[dict[str, Any]] = {
    "decode_responses": True,
    "protocol": 2,
    "socket_timeout": 1.0,
    "socket_connect_timeout": 1.0,
    "retry": Retry(NoBackoff(), 0),
}

#: When data were lost: from before to after, on Redis' clock.
Losses = Collection[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The room at one instant: `at` on Redis' clock, `seen` on the history's, in seconds.

    `held` counts all who have a place inside, `inside` those whose time is not up yet. `first`: the least serial that
    waits; 0 where nobody does. `passed`: those who waited at the look before as well, though a later serial has had its
    turn. `admitted_at`: when the last admission was; `made_at`: when the room's data began; `hold_until`: after a loss
    nobody is admitted before.
    """

    at: float
    seen: float
    version: int
    capacity: int
    admit_per_second: float
    open: bool
    first: int
    passed: Mapping[str, int]
    waiting: int
    held: int
    inside: int
    both: Sequence[str]
    counts: Mapping[str, int]
    hold_until: float
    admitted_at: float
    made_at: float


def missing(counts: Mapping[str, int], waiting: int, inside: int) -> int:
    """How many came and are in no column of the books."""
    return counts["entered"] + counts["restored"] - waiting - inside - sum(counts[way] for way in WAYS_OUT)


class Watch:
    """Looks at the room again and again, for as long as there is one. The servers are asked in turn for the primary."""

    def __init__(
        self, room: str, *urls: str, login: Mapping[str, Any] | None = None, pause_seconds: float = 0.01
    ) -> None:
        self.looks: list[Look] = []
        self._room, self._urls, self._pause_seconds = room, list(urls), pause_seconds
        self._login = {**_LOGIN, **(login or {})}
        self._head: set[str] = set()
        self._over = False

    async def run(self) -> None:
        """Look until told to end: cancelled within a call, it would leave a connection open."""
        while not self._over:
            with suppress(RedisError):
                async with Redis.from_url(self._urls[0], **self._login) as redis:
                    if (await redis.info("replication"))["role"] == "master":
                        while not self._over:
                            await self.look(redis)
                            await asyncio.sleep(self._pause_seconds)
            self._urls.append(self._urls.pop(0))
            await asyncio.sleep(0.01)

    def end(self) -> None:
        """Look no more."""
        self._over = True

    async def look(self, redis: Redis) -> None:
        """Look once. Raises RedisError."""
        names = {name: keys.room_key(self._room, name) for name in keys.ROOM_KEYS}
        seen = clock()
        async with redis.pipeline(transaction=True) as together:
            together.hgetall(names["config"])
            together.zrange(names["wait"], 0, _HEAD - 1, withscores=True)
            together.zcard(names["wait"])
            together.zcard(names["active"])
            together.hgetall(names["state"])
            together.zinter([names["wait"], names["active"]])
            together.time()
            together.eval(_INSIDE, 1, names["active"])
            config, head, waiting, held, state, both, (seconds, micros), inside = await together.execute()
        if not config:
            return
        turn = int(state.get("turn_serial", 0))
        look = Look(
            at=seconds + micros / 1_000_000,
            seen=seen,
            version=int(config["version"]),
            capacity=int(config["capacity"]),
            admit_per_second=float(config["admit_per_second"]),
            open=config["state"] == "open",
            first=int(head[0][1]) if head else 0,
            passed={name: int(serial) for name, serial in head if name in self._head and serial < turn},
            waiting=waiting,
            held=held,
            inside=inside,
            both=both,
            counts={name: int(state.get(name, 0)) for name in _COUNTS},
            hold_until=int(state.get("hold_until_us", 0)) / 1_000_000,
            admitted_at=int(state.get("turn_us", 0)) / 1_000_000,
            made_at=int(config["made_us"]) / 1_000_000,
        )
        self._head = {name for name, _ in head}
        self.looks.append(look)

    @property
    def most_inside(self) -> int:
        """How many were inside at most."""
        return max((each.inside for each in self.looks), default=0)

    @property
    def admitted(self) -> int:
        """How many had been admitted at the last look. A loss of data may set that back."""
        return self.looks[-1].counts["admitted"] if self.looks else 0

    def longest_gap(self, begin: float = 0.0, end: float = float("inf")) -> float:
        """The longest time in that span in which no look saw an admission, in seconds.

        Without its ends: from the first look to the last admission.
        """
        times = [begin or self.looks[0].seen]
        times += [one.seen for before, one in pairwise(self.looks) if _admitted(before, one) and begin < one.seen < end]
        times += [end] if end < float("inf") else []
        return max((later - earlier for earlier, later in pairwise(times)), default=0.0)


def _admitted(before: Look, after: Look) -> bool:
    return after.counts["admitted"] > before.counts["admitted"]


def resumed_after(looks: Sequence[Look], at: float) -> float:
    """Seconds from `at`, on the history's clock, until a look saw the next admission; infinite when there was none."""
    later = (one.seen - at for before, one in pairwise(looks) if one.seen > at and _admitted(before, one))
    return next(later, float("inf"))


@asynccontextmanager
async def watching(*watches: Watch) -> AsyncIterator[None]:
    """The watches look for the length of the block; raises what has ended one before that."""
    tasks = [asyncio.create_task(watch.run()) for watch in watches]
    try:
        yield
    finally:
        for watch in watches:
            watch.end()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        task.result()


async def last_look(watch: Watch) -> None:
    """Wait for a look that begins after this moment."""
    so_far = len(watch.looks)
    await eventually(lambda: len(watch.looks) > so_far + 1, "a last look")


def looks_hold(looks: Sequence[Look], rules: Rules, *, losses: Losses = (), hold_seconds: float = 0.0) -> list[Check]:
    """What must hold at every look, and from one to the next.

    `rules`: the widest that the room ever had; `hold_seconds`: for how long at least nobody is admitted after a loss.
    """
    pairs = [(one, other) for one, other in pairwise(looks) if not _across(one, other, losses)]
    soon = Check("nobody is admitted soon after a loss", len(losses), list(_too_soon(looks, losses, hold_seconds)))
    return [
        Check("nobody waits and is inside, at every look", len(looks), [f"{each.both}" for each in looks if each.both]),
        Check("nobody is lost in the books, at every look", len(looks), list(_unbalanced(looks))),
        Check("counts only grow", len(pairs), list(_fallen(pairs))),
        Check("occupancy never grows past the capacity of the instant", len(pairs), list(_over(looks, pairs, rules))),
        Check("the rate of the instant in every window", len(looks), list(_too_fast(looks, rules, losses))),
        Check("nobody is admitted before the head of the queue", len(looks), [*_behind(looks), *_passed(pairs)]),
        Check("nobody is admitted while the room is shut, or held", len(pairs), list(_while_shut(pairs))),
        *([soon] if losses else []),
        Check("no room is held without a loss", len(looks), list(_held(looks, losses))),
    ]


def _across(one: Look, other: Look, losses: Losses) -> bool:
    return any(one.at <= end and begin <= other.at for begin, end in losses)


def _unbalanced(looks: Sequence[Look]) -> Iterator[str]:
    for each in looks:
        if lost := missing(each.counts, each.waiting, each.held):
            yield f"{lost} too many came at {each.at:.3f}: {dict(each.counts)}, {each.waiting} wait"


def _fallen(pairs: Sequence[tuple[Look, Look]]) -> Iterator[str]:
    for one, other in pairs:
        for name, count in one.counts.items():
            if other.counts[name] < count:
                yield f"{name} fell from {count} to {other.counts[name]} at {other.at:.3f}"
        if other.version < one.version:
            yield f"version fell from {one.version} to {other.version} at {other.at:.3f}"


def _over(looks: Sequence[Look], pairs: Sequence[tuple[Look, Look]], rules: Rules) -> Iterator[str]:
    for each in looks:
        if 0 < rules.capacity < each.inside:
            yield f"{each.inside} are inside at {each.at:.3f}, capacity was never above {rules.capacity}"
    for one, other in pairs:
        # Of two changes between two looks nobody saw the first: then the highest capacity that ever was is the bound.
        unseen = other.version > one.version + 1
        had = [one.capacity, other.capacity, *([rules.capacity] if unseen else [])]
        if min(had) > 0 and other.inside > max(*had, one.inside):
            yield f"{other.inside} are inside at {other.at:.3f}, before {one.inside}; capacity {other.capacity}"


def _too_fast(looks: Sequence[Look], rules: Rules, losses: Losses) -> Iterator[str]:
    """Within each stretch of looks under the same settings, and by the widest of them in all, whatever the window."""
    for stretch in _stretches(looks, losses):
        yield from _beyond_rate(stretch, rules.admit_per_second)
        for (_, rate), same in groupby(stretch, key=lambda each: (each.version, each.admit_per_second)):
            yield from _beyond_rate(same, rate)


def _stretches(looks: Sequence[Look], losses: Losses) -> Iterator[list[Look]]:
    """The looks without a loss or a step back of the clock between them, and without those at which the room is held:
    a session that is put back after a loss was admitted before it, whatever the count says."""
    stretch: list[Look] = []
    for each in looks:
        if stretch and (each.at < stretch[-1].at or _across(stretch[-1], each, losses)):
            yield stretch
            stretch = []
        if each.at >= each.hold_until:
            stretch.append(each)
    yield stretch


def _beyond_rate(looks: Iterable[Look], rate: float) -> Iterator[str]:
    least = float("inf")
    for each in looks if rate else ():
        surplus = each.counts["admitted"] - rate * each.at
        least = min(least, surplus)
        if surplus - least > 1 + LATENESS_SECONDS * rate:
            yield f"{surplus - least:.2f} admitted beyond {rate:g} per second at {each.at:.3f}"


def _behind(looks: Sequence[Look]) -> Iterator[str]:
    """Where nobody has ever come back, and nothing was lost, each who waits came after all who were admitted."""
    for each in looks:
        turn = each.counts["turn_serial"]
        if each.waiting and each.first <= turn and not each.counts["restored"] and not each.hold_until:
            yield f"{each.first} still waits at {each.at:.3f}, but {turn} was admitted"


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
        if len(other.passed) > max(returned, 0):
            yield f"{other.passed} still wait at {other.at:.3f}, but {turn} was admitted and {returned} came back"


def _while_shut(pairs: Sequence[tuple[Look, Look]]) -> Iterator[str]:
    """Admissions between two looks that both find the room paused, closed or held, under the same settings."""
    for one, other in pairs:
        same = one.version == other.version and one.hold_until == other.hold_until
        shut = not one.open or other.at < other.hold_until
        if same and shut and one.at < other.admitted_at <= other.at:
            yield f"admitted at {other.admitted_at:.3f}: open {other.open}, held until {other.hold_until:.3f}"


def _too_soon(looks: Sequence[Look], losses: Losses, hold_seconds: float) -> Iterator[str]:
    """Visitors have time to come back into their old order, counted from when the room was made again."""
    lost = min((begin for begin, _ in losses), default=float("inf"))
    told = set()
    for each in looks:
        if lost <= each.made_at <= each.admitted_at < each.made_at + hold_seconds and each.made_at not in told:
            told.add(each.made_at)
            yield f"admitted {each.admitted_at - each.made_at:.2f} s after the room was made at {each.made_at:.3f}"


def _held(looks: Sequence[Look], losses: Losses) -> Iterator[str]:
    """A room is held after a loss of data only."""
    lost = min((begin for begin, _ in losses), default=float("inf"))
    for each in looks:
        if each.hold_until and each.at < lost:
            yield f"the room is held until {each.hold_until:.3f} at {each.at:.3f}, though nothing was lost"
            break
