"""One wait for admission, through outages, restarts and refusals."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from typing import Final, Protocol

from waitroom.client.connection import Connection
from waitroom.client.errors import BadAnswer, ClientError, ProofRefused, ServerUnavailable, TurnOver
from waitroom.client.pauses import Pauses
from waitroom.client.places import Admitted, OnProgress, Place, Waiting, usable_until
from waitroom.client.watching import Watch
from waitroom.errors import RoomUnknown

logger = logging.getLogger(__name__)

#: Refusals in a row until a place is taken for lost: one instance may not have heard of a new key or room yet.
DOUBTED_REFUSALS: Final = 5


class Calls(Protocol):
    """The two calls that waiting takes, as a client makes them."""

    async def enter(self, room: str, *, token: str | None = None) -> Place:
        """A new place. Raises what `WaitroomClient.enter` raises."""

    async def status(self, place: Place, *, paced: bool = True) -> Place:
        """Where the place stands now. Raises what `WaitroomClient.status` raises."""


class Wait:
    """One wait for admission: the newest of its place, and what to do after each answer.

    `_own`: it entered by itself, and may again. `_known`: what answers at the address has once been waitroom.
    """

    def __init__(
        self,
        calls: Calls,
        connection: Connection,
        room: str,
        *,
        place: Place | None,
        on_progress: OnProgress | None,
        token: str | None = None,
    ) -> None:
        self.place = place
        self._token = token
        self._calls = calls
        self._connection = connection
        self._room = room
        self._own = place is None
        self._known = place is not None
        self._on_progress = on_progress
        self._pauses = Pauses()
        self._refusals = 0
        self._hurried = False

    async def until_admitted(self) -> Admitted:
        while True:
            try:
                admitted = await self._ask()
            except (ClientError, RoomUnknown) as error:
                self._judge(error)
                await asyncio.sleep(self._pauses.after(error, left=self._left()))
                continue
            if self._pauses.count:
                logger.info("room %s: the server answers again", self._room)
            self._pauses, self._refusals, self._known = Pauses(), 0, True
            if admitted is not None:
                return admitted
            if isinstance(self.place, Waiting):
                await self._report(self.place)

    async def _ask(self) -> Admitted | None:
        """The place inside once it is claimed: what entering gives may be an offer, what a status gives is not."""
        if self.place is None:
            self.place = await self._calls.enter(self._room, token=self._token)
            return None
        watched = isinstance(self.place, Waiting) and await self._watch(self.place)
        self.place = await self._calls.status(self.place, paced=not watched)
        if isinstance(self.place, Waiting):
            return None
        if usable_until(self.place) <= time.monotonic():
            raise TurnOver("the session was over when the news of it came")
        return self.place

    async def _watch(self, place: Waiting) -> bool:
        """Watch the room until the place is to be asked for in person, if that is of use. False: it is to be polled."""
        watch = Watch(self._connection, place, self._report, patient=self._hurried)
        # Once in a row: while the server cannot be reached the pauses say when to ask.
        try:
            return watch.is_worth_it and not self._pauses.count and await watch.until_due()
        finally:
            self._hurried = watch.hurried

    async def _report(self, place: Waiting) -> None:
        if self._on_progress is not None:
            done = self._on_progress(place)
            if inspect.isawaitable(done):
                await done

    def _judge(self, error: ClientError | RoomUnknown) -> None:
        """Go on after this error, with the place or from the start, or raise it."""
        if isinstance(error, ServerUnavailable) or (isinstance(error, BadAnswer) and self._known):
            if self._pauses.count == 0:
                logger.warning("room %s: %s, trying again", self._room, error)
            return
        if isinstance(error, ProofRefused | RoomUnknown) and self._is_doubtful():
            self._refusals += 1
            return
        # Entering says so too: the token's customer has had their turn.
        if isinstance(error, TurnOver | ProofRefused) and self._own and self.place is not None:
            logger.warning("room %s: the place is lost (%s), entering again", self._room, error)
            self.place = None
            return
        raise error

    def _left(self) -> float | None:
        """Seconds to the end of an offer that is to be claimed. None in the queue, where a ticket keeps the place."""
        return self.place.lasts_until - time.monotonic() if isinstance(self.place, Admitted) else None

    def _is_doubtful(self) -> bool:
        """Whether a refusal may be one instance's mistake: not if the place is known to be over."""
        left = self._left()
        return self.place is not None and (left is None or left > 0) and self._refusals < DOUBTED_REFUSALS
