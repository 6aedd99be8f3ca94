"""The room's state in Redis: one typed coroutine per script, and a few plain commands on whole rooms.

No call is repeated here: a call with a lost reply may have been carried out, and every script is made so that the
caller's own repetition does no harm. (A NOSCRIPT is followed by the script itself: nothing was carried out.)
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from redis import exceptions
from redis.asyncio import Redis

from waitroom import metrics
from waitroom.errors import RoomBroken, Unavailable
from waitroom.model import (
    Admission,
    Arrival,
    Expiry,
    Marks,
    Outcome,
    Pass,
    Place,
    Reading,
    Standing,
    Ticket,
    Visitor,
)
from waitroom.store import keys, replies, scripts
from waitroom.store.clock import Clock
from waitroom.store.failures import mapped_errors
from waitroom.store.servers import Servers

#: The version of the keys' content. A room of another version is left alone.
SCHEMA: Final = "1"

#: Visitors that one call of `admit` or entries that one of `expire` may move (500 is the scripts' own bound). Redis
#: answers no other call meanwhile, two milliseconds at most while it also rehashes a large set. More at once would be
#: hardly faster.
MOST_MOVED: Final = 150

#: Revocations that one call of `read` lists at most, as the script has it.
_REVOKED_PER_PAGE: Final = 5000

#: What stands in a call for the ticket that an arrival does not bring.
_NO_TICKET: Final = Ticket(Visitor(""), 0, 0)

#: Scripts with replies that do not tell the time.
_WITHOUT_TIME: Final = ("configure", "lease")


class _Script:
    """A script, and the digest under which a server knows it."""

    def __init__(self, source: scripts.ScriptSource) -> None:
        self.source = source
        self.digest = hashlib.sha1(source.text.encode(), usedforsecurity=False).hexdigest()


class Store:
    """Every atomic transition of every room, as a coroutine. Batches in, one result per visitor out."""

    def __init__(self, servers: Servers, clock: Clock, *, timeout_seconds: float = 0.4) -> None:
        self._servers = servers
        self._clock = clock
        self._timeout = timeout_seconds
        self._scripts = {name: _Script(scripts.load(name)) for name in scripts.NAMES}

    @property
    def clock(self) -> Clock:
        """Redis time, as of the last reply."""
        return self._clock

    async def _call(
        self, name: str, room: str, arguments: Sequence[str | int], *, batch: int | None = None
    ) -> list[Any]:
        """One script call on one room, for a `batch` of visitors. Returns the reply, with its outcome judged."""
        if batch is not None:
            metrics.BATCH_SIZE.labels(name).observe(batch)
        script = self._scripts[name]
        key_list = keys.room_keys(room, script.source.keys) if room else [keys.LEASE]
        started = time.perf_counter()
        try:
            # The time-out spans connecting, sending and reading, which redis-py bounds one by one only.
            with mapped_errors(room):
                async with asyncio.timeout(self._timeout):
                    reply = cast(list[Any], await self._evaluate(script, key_list, arguments))
        except (Unavailable, RoomBroken) as error:
            metrics.SCRIPT_FAILURES.labels(name, type(error).__name__).inc()
            raise
        metrics.SCRIPT_SECONDS.labels(name).observe(time.perf_counter() - started)
        replies.judge(room, reply)
        if name not in _WITHOUT_TIME:
            self._clock.observe(reply[1])
        return reply

    async def _evaluate(self, script: _Script, key_list: list[str], arguments: Sequence[str | int]) -> Any:
        rest = (len(key_list), *key_list, *arguments)
        try:
            return await self._servers.send(key_list[0], "EVALSHA", script.digest, *rest)
        except exceptions.NoScriptError:
            return await self._servers.send(key_list[0], "EVAL", script.source.text, *rest)

    async def enter(self, room: str, arrivals: Sequence[tuple[Visitor, Ticket | None]]) -> list[Place]:
        """A place for each arrival: a fresh visitor id, and the ticket if one was brought.

        The place may belong to the ticket's visitor or to the fresh one: `Place.visitor` says which.
        """
        return replies.arrived(arrivals, await self._call("enter", room, _arguments(arrivals), batch=len(arrivals)))

    async def pass_through(self, room: str, arrivals: Sequence[tuple[Visitor, Ticket | None]]) -> list[Place]:
        """The same at the gate: admits at once or answers MUST_WAIT, and never queues."""
        return replies.arrived(
            arrivals, await self._call("pass_through", room, _arguments(arrivals), batch=len(arrivals))
        )

    async def enter_guarded(self, room: str, arrivals: Sequence[Arrival]) -> list[Place]:
        """A place for each arrival by its ticket, by what it proved, or by what its address and network have left.

        LIMITED where they have nothing left, USED where what was proved has had its turn.
        """
        arguments: list[str | int] = []
        for one in arrivals:
            ticket = one.ticket or _NO_TICKET
            arguments += (one.fresh, ticket.visitor, ticket.serial, ticket.issued_us)
            arguments += (int(one.keyed), int(one.priority), one.address, one.network)
        reply = await self._call("enter_guarded", room, arguments, batch=len(arrivals))
        return replies.arrived([(one.fresh, one.ticket) for one in arrivals], reply)

    async def status(self, room: str, tickets: Sequence[Ticket]) -> list[Place]:
        """Where each ticket's holder stands. Notes that they were heard, and claims their offers."""
        arguments: list[str | int] = []
        for ticket in tickets:
            arguments += (ticket.visitor, ticket.serial, ticket.issued_us)
        reply = await self._call("status", room, arguments, batch=len(tickets))
        return replies.placed(tickets, reply)

    async def look(self, room: str, watching: Sequence[tuple[Visitor, int]]) -> list[Place]:
        """Where each of these visitors, given with their serials, stands: none counts as heard, nothing is claimed.

        WAITING, OFFERED, ADMITTED, or UNKNOWN where they have no place.
        """
        reply = await self._call("look", room, [visitor for visitor, _ in watching], batch=len(watching))
        return replies.placed(watching, reply)

    async def leave(
        self, room: str, visitors: Sequence[Visitor], *, with_pass: Collection[Visitor] = ()
    ) -> list[Standing]:
        """Say goodbye for each: LEFT, or UNKNOWN when they had no place any more.

        Those `with_pass` may hold one although there is no record of them inside: it is withdrawn.
        """
        arguments: list[str | int] = []
        for visitor in visitors:
            arguments += (visitor, "pass" if visitor in with_pass else "ticket")
        return replies.stood(await self._call("leave", room, arguments, batch=len(visitors)))

    async def finish(self, room: str, visitors: Sequence[Visitor]) -> list[Standing]:
        """Note for each that their session has ended, as far as is known: from now on the turn is used.

        LEFT for visitors that waited, else UNKNOWN. A visitor that is inside all the same stays.
        """
        return replies.stood(await self._call("finish", room, visitors, batch=len(visitors)))

    async def extend(self, room: str, passes: Sequence[Pass]) -> list[Place]:
        """Note that each pass was used: claims an offer, lengthens a sliding session.

        ADMITTED with the expiry inside, USED when the turn is over, UNKNOWN when there is no record of it.
        """
        arguments: list[str | int] = []
        for proof in passes:
            arguments += (proof.visitor, int(proof.expires * 1_000_000), "offer" if proof.offer else "session")
        return replies.passed(passes, await self._call("extend", room, arguments, batch=len(passes)))

    async def restore(self, room: str, passes: Sequence[Pass]) -> list[Place]:
        """Put sessions that are remembered back where their record is gone, and no more. Answers as `extend` does."""
        arguments: list[str | int] = []
        for proof in passes:
            arguments += (proof.visitor, int(proof.expires * 1_000_000))
        return replies.passed(passes, await self._call("restore", room, arguments, batch=len(passes)))

    async def admit(self, room: str, *, term: int, most: int = MOST_MOVED) -> Admission:
        """Offer places to the head of the wait queue. Raises TermStale for an old term."""
        reply = await self._call("admit", room, [term, most])
        return Admission(reply[1], reply[2], reply[3], reply[4] == 1, tuple(reply[5:]))

    async def expire(self, room: str, *, term: int, most: int = MOST_MOVED) -> Expiry:
        """Take out the visitors with time that is over. Raises TermStale for an old term."""
        reply = await self._call("expire", room, [term, most])
        return Expiry(reply[2] == 1, *reply[3:7])

    async def waiting(self, rooms: Sequence[str]) -> list[int | None]:
        """How many wait in each of these rooms, asked in one go. None where one server cannot say it of all."""
        with mapped_errors():
            async with asyncio.timeout(self._timeout):
                primaries = await self._servers.primaries()
                if len(primaries) > 1:
                    return [None] * len(rooms)
                pipeline = primaries[0].pipeline(transaction=False)
                for room in rooms:
                    pipeline.zcard(keys.room_key(room, "wait"))
                replies = await pipeline.execute(raise_on_error=False)
        return [reply if isinstance(reply, int) else None for reply in replies]

    async def configure(
        self,
        room: str,
        fields: dict[str, str],
        *,
        expected: int | None,
        marks: Marks | None = None,
        hold_seconds: float = 0.0,
    ) -> int:
        """Create or change a room. Returns its new version.

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
                reading = replies.reading(reply)
            except ValueError as error:
                raise RoomBroken(f"room {room!r}: {error}") from error
            revoked |= reading.revoked
            # A full page: there may be more, from where this one ends.
            last = max(reading.revoked.values(), default=0)
            if len(reading.revoked) < _REVOKED_PER_PAGE or last <= since_us:
                return replace(reading, revoked=revoked)
            since_us = last

    async def lease(self, action: str, owner: str, *, ttl_seconds: float, above: int = 0) -> tuple[Outcome, int]:
        """Hold (acquire or renew) or resign the leadership: what came of it, and the term.

        `above`: the newest term that was seen acting. A holder of the lease under an older one gets a new term.
        """
        reply = await self._call("lease", "", [action, owner, int(ttl_seconds * 1_000_000), above])
        return Outcome(reply[0]), int(reply[1])

    async def register(self, room: str, *, live: bool) -> None:
        """Note in the list of rooms that this one exists, or that it was deleted on purpose."""
        with mapped_errors(room):
            async with asyncio.timeout(self._timeout):
                await self._servers.send(keys.ROOMS, "HSET", keys.ROOMS, room, "live" if live else "deleted")

    async def registered(self) -> dict[str, bool]:
        """Every room that was ever made: True where it lives, False where it was deleted on purpose."""
        with mapped_errors():
            async with asyncio.timeout(self._timeout):
                listed = await self._servers.send(keys.ROOMS, "HGETALL", keys.ROOMS)
        return {str(room): note == "live" for room, note in listed.items()}

    async def note_signer(self, kid: str, fingerprint: str, *, seconds: float) -> str:
        """Note for so long with which key instances sign, unless another is noted. Returns the one that stands."""
        key, milliseconds = keys.signer_key(kid), int(seconds * 1000)
        with mapped_errors():
            async with asyncio.timeout(self._timeout):
                if await self._servers.send(key, "SET", key, fingerprint, "NX", "PX", milliseconds):
                    return fingerprint
                noted = await self._servers.send(key, "GET", key)
                if noted == fingerprint:
                    await self._servers.send(key, "PEXPIRE", key, milliseconds)
        # One that expired in between is not noted any more: the next look notes it again.
        return fingerprint if noted is None else str(noted)

    async def noted_signer(self, kid: str) -> str | None:
        """The fingerprint that stands, if one does."""
        key = keys.signer_key(kid)
        with mapped_errors():
            async with asyncio.timeout(self._timeout):
                noted = await self._servers.send(key, "GET", key)
        return None if noted is None else str(noted)

    async def delete(self, room: str) -> bool:
        """Remove a room with everything in it. False when there was none. Its name stays noted as deleted."""
        with mapped_errors(room):
            async with asyncio.timeout(self._timeout):
                names, send = keys.room_keys(room), self._servers.send
                listed = await send(keys.ROOMS, "HGET", keys.ROOMS, room)
                if listed != "live" and not await send(names[0], "EXISTS", *names):
                    return False
                # Noted first: an instance that misses the keys must know that nothing was lost.
                await send(keys.ROOMS, "HSET", keys.ROOMS, room, "deleted")
                await send(names[0], "UNLINK", *names)
                return True

    async def ping(self) -> list[dict[str, Any]]:
        """INFO's replication, memory and persistence sections of each primary that answers. Raises Unavailable.

        A cluster has several primaries: it is Unavailable when none of them answers.
        """
        with mapped_errors():
            async with asyncio.timeout(self._timeout):
                primaries = await self._servers.primaries()
        answers = await asyncio.gather(*(self._info(primary) for primary in primaries), return_exceptions=True)
        told = [answer for answer in answers if isinstance(answer, dict)]
        if not told:
            raise next(answer for answer in answers if isinstance(answer, BaseException))
        return told

    async def _info(self, primary: Redis) -> dict[str, Any]:
        with mapped_errors():
            async with asyncio.timeout(self._timeout):
                return await primary.info("replication", "memory", "persistence")

    async def close(self) -> None:
        """Close every connection."""
        await self._servers.aclose()


def _arguments(arrivals: Sequence[tuple[Visitor, Ticket | None]]) -> list[str | int]:
    arguments: list[str | int] = []
    for fresh, ticket in arrivals:
        arguments += (fresh, ticket.visitor, ticket.serial, ticket.issued_us) if ticket else (fresh, "", 0, 0)
    return arguments
