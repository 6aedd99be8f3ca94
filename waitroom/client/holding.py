"""Holding a slot: extending its session for as long as a block runs, and stopping the block in time."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from waitroom.client.connection import Connection
from waitroom.client.errors import AdmissionLost, BadAnswer, ProofRefused, ServerUnavailable, TurnOver
from waitroom.client.pauses import FIRST_PAUSE_SECONDS, Pauses, spread
from waitroom.client.places import Admitted, Waiting, usable_until
from waitroom.errors import RoomUnknown

logger = logging.getLogger(__name__)

#: Seconds between two extensions of a held slot at most, however long the session: so that its holder hears soon that
#: it was taken back, and is known again in time by a room that lost its data.
LONGEST_EXTENSION_SECONDS: Final = 10.0

#: Why a slot was lost.
_OUT_OF_TOUCH: Final = "no extension got through in time"
_NOT_SLIDING: Final = "the session is over, and was not extended: the room is not sliding"


class Slot:
    """A held slot: its room, and `place`, the newest of its place inside, which every extension renews.

    Any thread may look at it.
    """

    def __init__(self, place: Admitted) -> None:
        self.place = place
        self.lost_because = _OUT_OF_TOUCH
        self._lost = False

    @property
    def room(self) -> str:
        """The room's name."""
        return self.place.room

    @property
    def proof(self) -> str:
        """The newest pass, as the gate takes it in `X-Waitroom-Pass`."""
        return self.place.proof

    @property
    def seconds_left(self) -> float:
        """Seconds that the block may still run if no extension gets through any more, negative once they are over."""
        return usable_until(self.place) - time.monotonic()

    @property
    def lost(self) -> bool:
        """Whether the slot is lost, by the newest word of the server and by the clock. Once lost it stays so."""
        self._lost = self._lost or self.seconds_left <= 0
        return self._lost

    def raise_if_lost(self) -> None:
        """Raises AdmissionLost once the slot is lost."""
        if self.lost:
            raise AdmissionLost(self.room, self.lost_because)

    def _lose(self, reason: str) -> None:
        """Make the slot lost, for that reason."""
        self.lost_because = reason
        self._lost = True

    def __repr__(self) -> str:
        return f"Slot({self.place!r})"


class Keeper:
    """What extends a slot. `not_sliding` are the rooms that were warned of."""

    def __init__(self, connection: Connection, slot: Slot, *, not_sliding: set[str]) -> None:
        self._connection = connection
        self._slot = slot
        self._not_sliding = not_sliding

    async def keep(self, fuse: asyncio.Timeout) -> None:
        """Extend the slot for as long as it is held, and the fuse with it. Let the fuse go off when the slot is lost.

        However this ends, the fuse stays, and goes off when the slot as last extended ends.
        """
        slot = self._slot
        try:
            while (extended := await self._extended()) is not None:
                lengthened = extended.expires_at > slot.place.expires_at
                slot.lost_because = _OUT_OF_TOUCH if lengthened else _NOT_SLIDING
                if not lengthened:
                    self._warn_of_sessions(slot.room)
                slot.place = extended
                _set_off(fuse, slot.seconds_left)
        except (TurnOver, RoomUnknown) as error:
            slot._lose(str(error))
            _set_off(fuse, 0)
        except Exception:
            logger.exception("room %s: a slot is not extended any more", slot.room)

    async def _extended(self) -> Admitted | None:
        """The slot's place after the next extension that gets through. None if the slot is lost before.

        Raises TurnOver, RoomUnknown.
        """
        slot, pauses = self._slot, Pauses()
        await asyncio.sleep(_until_extension(slot))
        while not slot.lost:
            try:
                # A silent instance must not use up the time in which another might answer.
                place = await self._connection.place(
                    "GET", slot.room, "status", slot.proof, seconds=slot.seconds_left / 3
                )
            except (ServerUnavailable, BadAnswer, ProofRefused) as error:
                if pauses.count == 0:
                    logger.warning("room %s: a slot cannot be extended (%s), trying again", slot.room, error)
                await asyncio.sleep(pauses.after(error, left=slot.seconds_left))
                continue
            if isinstance(place, Waiting):
                raise TurnOver("the place inside has become one in the queue")
            return None if slot.lost else place
        return None

    def _warn_of_sessions(self, room: str) -> None:
        if room not in self._not_sliding:
            self._not_sliding.add(room)
            logger.warning("room %s does not extend sessions (it is not sliding): a block ends after one", room)


def _until_extension(slot: Slot) -> float:
    """Seconds until the next extension: a third of the session, spread, or sooner where less is left of it."""
    session = slot.place.session_seconds
    usual = min(session / 3, LONGEST_EXTENSION_SECONDS) * spread(0.8, 1.0)
    return max(min(usual, slot.seconds_left / 2), min(session / 10, FIRST_PAUSE_SECONDS))


def _set_off(fuse: asyncio.Timeout, seconds: float) -> None:
    """Let the fuse go off after so long, unless it has already."""
    if not fuse.expired():
        fuse.reschedule(asyncio.get_running_loop().time() + seconds)
