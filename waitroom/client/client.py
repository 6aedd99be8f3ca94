"""The client: single calls, waiting for a turn, holding a slot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import httpx

from waitroom.client.connection import TIMEOUT_SECONDS, Connection
from waitroom.client.entering import enter
from waitroom.client.errors import AdmissionLost, NotAdmitted
from waitroom.client.goodbyes import GOODBYE_SECONDS, give_back, leave, see_through, undo
from waitroom.client.holding import Keeper, Slot
from waitroom.client.places import Admitted, OnProgress, Place, Waiting
from waitroom.client.waiting import Wait


class WaitroomClient:
    """A client of the server at `url`, for any number of places at once.

    ```python
    import asyncio

    from waitroom.client import Waiting, WaitroomClient


    def show(place: Waiting) -> None:
        print(f"{place.rank} of {place.room_waiting}, about {place.eta_seconds} s to go")


    async def main() -> None:
        async with WaitroomClient("http://127.0.0.1:8000") as client:
            async with client.admission("reports", on_progress=show) as slot:
                print("inside; while this block runs, one of the room's places is taken")
                await asyncio.sleep(0.1)


    asyncio.run(main())
    ```

    `timeout_seconds` is the longest that one answer may take. `http` is an httpx client of the caller's own (with its
    certificates, proxies or limits), which the caller closes. Its cookies are not sent, for they would make one
    visitor of all. Without it there are at most 100 connections. Raises ValueError for a `url` that is none.
    """

    def __init__(
        self, url: str, *, timeout_seconds: float = TIMEOUT_SECONDS, http: httpx.AsyncClient | None = None
    ) -> None:
        self._connection = Connection(url, timeout_seconds=timeout_seconds, http=http)
        self._not_sliding: set[str] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the client, as the end of an `async with` block does. A call that is under way has 5 s to end."""
        await self._connection.aclose(seconds=GOODBYE_SECONDS)

    # Single calls.

    async def enter(self, room: str, *, proof: str | None = None, token: str | None = None) -> Place:
        """A new place, or that place again with its proof while it is still good.

        `proof` is the ticket or pass of a place. `token` is an enqueue token of the site. Work that the room asks for
        is done, in a thread, up to a challenge of 24 bits: half a minute of one core on average.

        If the answer is lost (ServerUnavailable) there may be a place that no visitor holds: in the queue it stops
        counting after the room's `abandon_seconds`, offered a slot after its `claim_seconds`. Cancelled without a
        proof, it gives back what it was about to get, which takes 5 s at most.

        Raises RoomUnknown, RoomClosed, RoomFull, TokenRequired, ChallengeSet, ServerUnavailable, BadAnswer. Raises
        TurnOver where the token's customer has had their turn, ProofRefused for a `proof` and ValueError for a `token`
        that cannot be one.
        """
        asking = asyncio.create_task(enter(self._connection, room, proof, token))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            if proof is None:
                await see_through(undo(self._connection, asking), GOODBYE_SECONDS)
            else:
                asking.cancel()
            raise

    async def status(self, place: Place, *, paced: bool = True) -> Place:
        """Where the place stands now. Claims an offer, and lengthens a sliding session.

        With `paced` a place in the queue is asked for when the server wants it (`poll_after_seconds` after the last
        answer), otherwise at once. Raises TurnOver, ProofRefused, RoomUnknown, ServerUnavailable, BadAnswer.
        """
        if paced and isinstance(place, Waiting):
            await asyncio.sleep(min(place.due - time.monotonic(), place.poll_after_seconds * 2))
        return await self._connection.place("GET", place.room, "status", place.proof)

    async def leave(self, place: Place) -> None:
        """Give the place up, also if it is gone already. Raises ServerUnavailable, BadAnswer."""
        await leave(self._connection, place)

    async def wait_until_admitted(
        self,
        room: str,
        *,
        place: Place | None = None,
        on_progress: OnProgress | None = None,
        timeout_seconds: float | None = None,
        token: str | None = None,
    ) -> Admitted:
        """Wait for one's turn, and claim it: the session has begun.

        With a `place` it waits for that place, which stays the caller's. Without one it enters, with the `token`, and
        the place is its own. It enters again, at the back, if the turn passed while the server could not be reached. It
        gives the place back when it ends with an error or is cancelled, which takes 5 s at most.

        Outages, restarts and answers that say to try again are ridden out, with pauses that grow to 15 s (60 s where
        the server asks for it), for as long as `timeout_seconds` allows (None: for ever): the ticket keeps the place. A
        closed or paused room keeps its visitors waiting. In a long wait the client asks in person rarely, and watches
        the room's document, which caches answer. `on_progress` gets every answer while waiting, and the place as the
        document tells it in between. It is awaited if need be, and what it raises ends the wait.

        Raises NotAdmitted once `timeout_seconds` are over. On entering it raises RoomClosed, TokenRequired and, where
        the token's customer has had their turn, TurnOver, and ValueError for a `token` that cannot be one. For a given
        place it raises TurnOver, ProofRefused, and ValueError if it is in another room. In both cases it raises
        RoomUnknown, and BadAnswer before the first good answer.
        """
        if place is not None and place.room != room:
            raise ValueError(f"the place is in room {place.room!r}, not in {room!r}")
        wait = Wait(self, self._connection, room, place=place, on_progress=on_progress, token=token)
        scope = asyncio.timeout(timeout_seconds)
        try:
            async with scope:
                return await wait.until_admitted()
        except (Exception, asyncio.CancelledError) as error:
            if place is None and wait.place is not None:
                await give_back(self._connection, wait.place)
            if isinstance(error, TimeoutError) and scope.expired() and timeout_seconds is not None:
                raise NotAdmitted(room, timeout_seconds, wait.place if place else None) from None
            raise

    @asynccontextmanager
    async def admission(
        self,
        room: str,
        *,
        on_progress: OnProgress | None = None,
        timeout_seconds: float | None = None,
        token: str | None = None,
    ) -> AsyncIterator[Slot]:
        """Hold a slot of the room for the length of a block: at most `capacity` at a time, on any number of machines.

        Enters, waits and claims as `wait_until_admitted` does, and raises what it raises. While the block runs, the
        session is extended every third of it, and every 10 s at least: so the room should be `sliding`. In one that is
        not, the slot is lost at the end of its session. When the block ends, however that comes about, the slot is
        given back, which takes 5 s at most. The slot of a process that dies comes back after `session_seconds`.

        If the slot is lost (no extension got through in time, or the server took it back), the block is cancelled, and
        AdmissionLost raised. That happens before another visitor is let in, so that the block has time to stop: a tenth
        of the session before its end by this process's own monotonic clock (at least 0.25 s and at most 10 s, never
        more than a third of the session). A block must let itself be cancelled and must not keep the event loop from
        running. It has to stop its own threads and processes by itself. All this rests on the memory of Redis:
        a failover that loses its last writes, and a room in `bypass`, may let in more.
        """
        admitted = await self.wait_until_admitted(
            room, on_progress=on_progress, timeout_seconds=timeout_seconds, token=token
        )
        slot = Slot(admitted)
        keeper: asyncio.Task[None] | None = None
        fuse = asyncio.timeout(slot.seconds_left)
        try:
            async with fuse:
                keeper = asyncio.create_task(Keeper(self._connection, slot, not_sliding=self._not_sliding).keep(fuse))
                try:
                    yield slot
                finally:
                    keeper.cancel()
        except TimeoutError as error:
            if not fuse.expired():
                raise
            raise AdmissionLost(room, slot.lost_because) from error
        else:
            # The block ran on though it was cancelled, or kept the event loop from cancelling it.
            slot.raise_if_lost()
        finally:
            await give_back(self._connection, slot.place, keeper)
