"""The room's state in Redis: one typed coroutine per script, and the one place where redis-py's errors become ours.

    redis-py                                     waitroom
    OutOfMemoryError, MISCONF                    Full
    WRONGTYPE, other ResponseError               RoomBroken
    connection, time-out, BUSY, LOADING,         Unavailable
    READONLY, MASTERDOWN, NOREPLICAS, CLUSTERDOWN

No call is repeated here: a call whose reply was lost may have been carried out, and every script is made so that the
caller's own repetition does no harm. (A NOSCRIPT is repeated by redis-py: nothing was carried out.)
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, cast

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript

from waitroom import keys, metrics, scripts
from waitroom.clock import Clock
from waitroom.errors import Full, RoomBroken, RoomUnknown, TermStale, Unavailable, VersionConflict
from waitroom.model import Admission, Counts, Expiry, Marks, Outcome, Pass, Place, Reading, Standing, Ticket, Visitor

#: The version of what the keys hold; a room of another one is left alone.
SCHEMA: Final = "1"

#: Visitors that one call of `admit` or entries that one of `expire` may move (500 is also the scripts' own bound).
MOST_PER_CALL: Final = 500

#: Revocations that one call of `read` lists at most, as the script has it.
_REVOKED_PER_PAGE: Final = 5000

_STANDINGS: Final = {standing.value: standing for standing in Standing}

#: Beginnings of error replies that mean "not now" rather than "never".
_PASSING: Final = (
    "BUSY",
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "NOREPLICAS",
    "CLUSTERDOWN",
    "ERR max number of clients",
)


def connect(url: str, *, timeout_seconds: float, connections: int = 64) -> Redis:
    """A client without retries, whose every wait is bounded, also the wait for a free connection."""
    pool = BlockingConnectionPool.from_url(
        url,
        timeout=timeout_seconds,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        max_connections=connections,
        decode_responses=True,
        protocol=2,
    )
    return Redis.from_pool(pool)


def masked(url: str) -> str:
    """The URL without user, password, options and fragment, fit for logs."""
    scheme, _, rest = url.partition("://")
    # Cut at the last @: a password that was pasted unescaped may hold any of the characters that end an address.
    return f"{scheme}://" + re.split("[?#]", rest.rpartition("@")[2])[0]


@contextmanager
def mapped_errors(room: str = "") -> Iterator[None]:
    """Turn what redis-py raises into the most specific error of ours."""
    try:
        yield
    except exceptions.OutOfMemoryError as error:
        raise Full("Redis is out of memory") from error
    except (exceptions.ConnectionError, exceptions.TimeoutError, TimeoutError, OSError) as error:
        raise Unavailable(f"Redis did not answer: {type(error).__name__}") from error
    except (exceptions.ClusterDownError, exceptions.TryAgainError, exceptions.ReadOnlyError) as error:
        # redis-py takes the code off these texts; MASTERDOWN comes as a ClusterDownError.
        raise Unavailable(f"Redis refused: {type(error).__name__}") from error
    except UnicodeDecodeError as error:
        raise RoomBroken(f"room {room!r}: a field is not text") from error
    except exceptions.ResponseError as error:
        text = str(error)
        if text.startswith(("OOM", "MISCONF")):
            raise Full("Redis cannot write: " + text.split(".")[0]) from error
        if text.startswith(_PASSING):
            raise Unavailable("Redis refused: " + text.split(".")[0]) from error
        raise RoomBroken(f"room {room!r}: {text.split(' script:')[0]}") from error
    except exceptions.RedisError as error:
        raise Unavailable(f"Redis failed: {type(error).__name__}") from error


class Store:
    """Every atomic transition of every room, as a coroutine. Batches in, one result per visitor out."""

    def __init__(self, redis: Redis, clock: Clock, *, timeout_seconds: float = 0.4) -> None:
        self._redis = redis
        self._clock = clock
        self._timeout = timeout_seconds
        self._scripts: dict[str, tuple[AsyncScript, tuple[str, ...]]] = {}
        for name in scripts.NAMES:
            source = scripts.load(name)
            self._scripts[name] = (redis.register_script(source.text), source.keys)

    @property
    def clock(self) -> Clock:
        """Redis time, as of the last reply."""
        return self._clock

    async def _call(self, name: str, room: str, arguments: Sequence[str | int]) -> list[Any]:
        """One script call on one room; the reply after its outcome word was judged."""
        script, names = self._scripts[name]
        key_list = keys.room_keys(room, names) if room else [keys.LEASE]
        started = time.perf_counter()
        try:
            # The time-out spans connecting, sending and reading, which redis-py bounds one by one only.
            with mapped_errors(room):
                async with asyncio.timeout(self._timeout):
                    reply = cast(list[Any], await script(keys=key_list, args=arguments))
        except (Unavailable, RoomBroken) as error:
            metrics.SCRIPT_FAILURES.labels(name, type(error).__name__).inc()
            raise
        metrics.SCRIPT_SECONDS.labels(name).observe(time.perf_counter() - started)
        _judge(room, reply)
        return reply

    async def enter(
        self, room: str, arrivals: Sequence[tuple[Visitor, Ticket | None]], *, direct: bool = False
    ) -> list[Place]:
        """A place for each arrival: a fresh visitor id, and the ticket if one was brought.

        The place may belong to the ticket's visitor or to the fresh one; `Place.visitor` says which. `direct` admits
        at once or answers MUST_WAIT, and never queues.
        """
        arguments: list[str | int] = ["direct" if direct else "queue"]
        for fresh, ticket in arrivals:
            arguments += (fresh, ticket.visitor, ticket.serial, ticket.issued_us) if ticket else (fresh, "", 0, 0)
        metrics.BATCH_SIZE.labels("enter").observe(len(arrivals))
        reply = await self._call("enter", room, arguments)
        now_us = self._observed(reply[1])
        places = []
        for (fresh, ticket), word, serial, number in zip(arrivals, reply[2::3], reply[3::3], reply[4::3], strict=True):
            standing = _STANDINGS[word]
            visitor = ticket.visitor if ticket and ticket.serial == serial else fresh
            rank, expires = (number, 0) if standing is Standing.WAITING else (0, number)
            places.append(Place(standing, now_us, visitor, serial, rank, expires))
        return places

    async def status(self, room: str, tickets: Sequence[Ticket]) -> list[Place]:
        """Where each ticket's holder stands. Notes that they were heard; claims what was offered to them."""
        arguments: list[str | int] = []
        for ticket in tickets:
            arguments += (ticket.visitor, ticket.serial, ticket.issued_us)
        metrics.BATCH_SIZE.labels("status").observe(len(tickets))
        reply = await self._call("status", room, arguments)
        now_us = self._observed(reply[1])
        places = []
        for ticket, word, number in zip(tickets, reply[2::2], reply[3::2], strict=True):
            standing = _STANDINGS[word]
            rank, expires = (number, 0) if standing is Standing.WAITING else (0, number)
            places.append(Place(standing, now_us, ticket.visitor, ticket.serial, rank, expires))
        return places

    async def leave(self, room: str, visitors: Sequence[Visitor]) -> list[Standing]:
        """Say goodbye for each: LEFT, or UNKNOWN when they had no place any more."""
        metrics.BATCH_SIZE.labels("leave").observe(len(visitors))
        reply = await self._call("leave", room, visitors)
        self._observed(reply[1])
        return [_STANDINGS[word] for word in reply[2:]]

    async def extend(self, room: str, passes: Sequence[Pass]) -> list[Place]:
        """Note that each pass was used: claims an offer, lengthens a sliding session.

        ADMITTED with the expiry inside, USED when the turn is over, UNKNOWN when there is no record of it.
        """
        arguments: list[str | int] = []
        for proof in passes:
            arguments += (proof.visitor, int(proof.expires * 1_000_000))
        metrics.BATCH_SIZE.labels("extend").observe(len(passes))
        reply = await self._call("extend", room, arguments)
        now_us = self._observed(reply[1])
        return [
            Place(_STANDINGS[word], now_us, proof.visitor, expires_us=expires)
            for proof, word, expires in zip(passes, reply[2::2], reply[3::2], strict=True)
        ]

    async def admit(self, room: str, *, term: int, most: int = MOST_PER_CALL) -> Admission:
        """Offer places to the head of the wait queue. Raises TermStale for an old term."""
        reply = await self._call("admit", room, [term, most])
        now_us = self._observed(reply[1])
        return Admission(now_us, reply[2], reply[3], reply[4] == 1, tuple(reply[5:]))

    async def expire(self, room: str, *, term: int, most: int = MOST_PER_CALL) -> Expiry:
        """Take out who is over. Raises TermStale for an old term."""
        reply = await self._call("expire", room, [term, most])
        self._observed(reply[1])
        return Expiry(reply[2] == 1, *reply[3:7])

    async def configure(
        self,
        room: str,
        fields: dict[str, str],
        *,
        expected: int | None,
        marks: Marks | None = None,
        hold_seconds: float = 0.0,
    ) -> int:
        """Create or change a room; returns its new version.

        `expected` is the version it must have (0: must not exist, None: any). `marks` and `hold_seconds` serve the
        re-creation after a loss of data. Raises VersionConflict, RoomUnknown, RoomBroken (a value of the wrong kind).
        """
        marks = marks or Marks()
        arguments: list[str | int] = [
            "*" if expected is None else expected,
            marks.last,
            marks.turn_serial,
            marks.turn_us,
            marks.version,
            int(hold_seconds * 1_000_000),
        ]
        for name, value in fields.items():
            arguments += (name, value)
        return int((await self._call("configure", room, arguments))[1])

    async def read(self, room: str, *, since_us: int = 0) -> Reading:
        """The whole of a room at one instant, with the revocations since `since_us`."""
        revoked: dict[Visitor, int] = {}
        while True:
            reply = await self._call("read", room, [since_us])
            try:
                reading = self._reading(reply)
            except ValueError as error:
                raise RoomBroken(f"room {room!r}: {error}") from error
            revoked |= reading.revoked
            # A full page: there may be more, from where this one ends.
            last = max(reading.revoked.values(), default=0)
            if len(reading.revoked) < _REVOKED_PER_PAGE or last <= since_us:
                return replace(reading, revoked=revoked)
            since_us = last

    def _reading(self, reply: list[Any]) -> Reading:
        now_us = self._observed(reply[1])
        config, state = _pairs(reply[5]), _pairs(reply[6])

        def number(name: str) -> int:
            return int(state.get(name, 0))

        version = int(config.pop("version", 0))
        return Reading(
            now_us=now_us,
            waiting=reply[2],
            occupancy=reply[3],
            offered=reply[4],
            version=version,
            schema=config.pop("schema", ""),
            settings=config,
            counts=Counts(**{name: number(name) for name in Counts.__dataclass_fields__}),
            marks=Marks(number("last"), number("turn_serial"), number("turn_us"), version),
            hold_until_us=number("hold_until_us"),
            longest_session_seconds=float(config.pop("longest_session_seconds", 0)),
            passes_after_us=int(config.pop("passes_after_us", 0)),
            pace_admitted=float(state.get("pace_admitted", 0)),
            pace_us=float(state.get("pace_us", 0)),
            pace_ended=float(state.get("pace_ended", 0)),
            pace_stay_us=float(state.get("pace_stay_us", 0)),
            releases_us=tuple(reply[8]),
            revoked={Visitor(visitor): int(when) for visitor, when in _pairs(reply[7]).items()},
        )

    async def lease(self, action: str, owner: str, *, ttl_seconds: float) -> tuple[Outcome, int]:
        """Hold (acquire or renew) or resign the leadership: what came of it, and the term."""
        reply = await self._call("lease", "", [action, owner, int(ttl_seconds * 1_000_000)])
        return Outcome(reply[0]), int(reply[1])

    async def register(self, room: str, *, live: bool) -> None:
        """Note in the list of rooms that this one exists, or that it was deleted on purpose."""
        with mapped_errors(room):
            async with asyncio.timeout(self._timeout):
                await self._redis.hset(keys.ROOMS, room, "live" if live else "deleted")

    async def registered(self) -> dict[str, bool]:
        """Every room that was ever made: True where it lives, False where it was deleted on purpose."""
        with mapped_errors():
            async with asyncio.timeout(self._timeout):
                listed = await self._redis.hgetall(keys.ROOMS)
        return {str(room): note == "live" for room, note in listed.items()}

    async def delete(self, room: str) -> bool:
        """Remove a room with everything in it; False when there was none. Its name stays noted as deleted."""
        with mapped_errors(room):
            async with asyncio.timeout(self._timeout):
                names = keys.room_keys(room)
                if not await self._redis.exists(*names) and await self._redis.hget(keys.ROOMS, room) != "live":
                    return False
                # Noted first: an instance that misses the keys must know that nothing was lost.
                await self._redis.hset(keys.ROOMS, room, "deleted")
                await self._redis.unlink(*names)
                return True

    async def ping(self) -> dict[str, Any]:
        """INFO's replication, memory and persistence sections; raises Unavailable."""
        with mapped_errors():
            async with asyncio.timeout(self._timeout):
                return await self._redis.info("replication", "memory", "persistence")

    async def close(self) -> None:
        """Close every connection."""
        await self._redis.aclose()

    def _observed(self, now_us: int) -> int:
        self._clock.observe(now_us)
        return now_us


def _judge(room: str, reply: list[Any]) -> None:
    """Raise what a reply's outcome word stands for, unless it is a good one."""
    outcome = Outcome(reply[0])
    if outcome is Outcome.MISSING:
        raise RoomUnknown(f"no room {room!r}")
    if outcome is Outcome.BROKEN:
        raise RoomBroken(f"room {room!r}: the setting {reply[1]!r} is missing or not of its kind")
    if outcome is Outcome.STALE:
        raise TermStale(f"room {room!r}: a leader of term {reply[1]} has acted")
    if outcome is Outcome.CONFLICT:
        raise VersionConflict(room, int(reply[1]))


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
