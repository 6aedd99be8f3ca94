"""Giving a place back, in bounded time, also through errors and cancellations."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

from waitroom.client.connection import Connection
from waitroom.client.errors import BadAnswer, ProofRefused, ServerUnavailable, TurnOver
from waitroom.client.pauses import Pauses
from waitroom.client.places import Admitted, Place
from waitroom.errors import RoomUnknown, WaitroomError

logger = logging.getLogger(__name__)

#: Seconds that giving a place back may hold up its caller: at most, and at least.
GOODBYE_SECONDS: Final = 5.0
SHORTEST_GOODBYE_SECONDS: Final = 1.0


async def leave(connection: Connection, place: Place) -> None:
    """Give the place up, also if it is gone already."""
    with suppress(TurnOver, ProofRefused, RoomUnknown):
        await connection.ask("POST", place.room, "leave", place.proof)


async def give_back(connection: Connection, place: Place, keeper: asyncio.Task[None] | None = None) -> None:
    """Leave for good, bounded and not to be cancelled. `keeper` has been told to end."""
    seconds = GOODBYE_SECONDS
    if isinstance(place, Admitted):
        # After its end it comes back by itself.
        seconds = max(min(seconds, place.lasts_until - time.monotonic()), SHORTEST_GOODBYE_SECONDS)

    async def goodbye() -> None:
        if keeper is not None:
            await asyncio.wait({keeper})
        await _leave_at_last(connection, place)

    if not await see_through(goodbye(), seconds):
        logger.warning("room %s: a place could not be given back, it comes back by itself", place.room)


async def undo(connection: Connection, asking: asyncio.Task[Place]) -> None:
    """Give back the place of an answer after its caller has gone."""
    with suppress(WaitroomError):
        await _leave_at_last(connection, await asking)


async def _leave_at_last(connection: Connection, place: Place) -> None:
    pauses = Pauses()
    while True:
        try:
            return await leave(connection, place)
        except (ServerUnavailable, BadAnswer) as error:
            await asyncio.sleep(pauses.after(error))


async def see_through(work: Coroutine[Any, Any, None], seconds: float) -> bool:
    """Whether the work came to its end within so many seconds. A cancelled caller is told afterwards."""

    async def bounded() -> bool:
        try:
            async with asyncio.timeout(seconds):
                await work
        except TimeoutError:
            return False
        except Exception:
            logger.exception("a place could not be given back")
            return False
        return True

    task = asyncio.create_task(bounded())
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return not task.cancelled() and task.result()
