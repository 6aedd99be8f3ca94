"""What decides for the middleware and answers visitors' calls: a waitroom server, or an instance in this process.

A keeper has connections and background work, so it belongs to one event loop. It is opened at the application's
startup, or at the first request where no startup is announced, and closed at its end.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from starlette.types import Receive, Scope, Send

from waitroom.cancelling import heed_cancellation
from waitroom.errors import Unavailable
from waitroom.web.gate import Decision

logger = logging.getLogger(__name__)

#: Seconds that a request waits at most until the keeper is open.
_OPENING_SECONDS: Final = 0.45


class Keeper(Protocol):
    """What the middleware asks."""

    async def decide(self, scope: Scope) -> Decision:
        """204, 401 or 403 for a request with these headers. Raises Unavailable."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a visitor's call. Raises Unavailable, and then nothing was sent."""


#: Opens a keeper in the running event loop.
Opening = Callable[[], AbstractAsyncContextManager[Keeper]]


class Keepers:
    """One keeper for each event loop that the middleware is called in."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._open: dict[AbstractEventLoop, _Open] = {}

    async def get(self) -> Keeper:
        """This loop's keeper, opened if it is not. Raises Unavailable where it cannot be, or not soon enough."""
        try:
            async with asyncio.timeout(_OPENING_SECONDS):
                return await self.start()
        except Exception as error:
            raise Unavailable(f"the waiting room is not ready: {type(error).__name__}") from error

    async def start(self) -> Keeper:
        """Open this loop's keeper, however long it takes. Logs an error and raises it."""
        loop = asyncio.get_running_loop()
        held = self._open.get(loop)
        if held is None or held.ended:
            for closed in [other for other in list(self._open) if other.is_closed()]:
                self._open.pop(closed, None)
            held = self._open[loop] = _Open(self._opening)
        # A request that is cancelled must not take the keeper from the others.
        return await asyncio.shield(held.keeper)

    async def stop(self) -> None:
        """Close this loop's keeper and wait until it is."""
        held = self._open.pop(asyncio.get_running_loop(), None)
        if held is not None:
            await held.close()


class _Open:
    """A keeper in the hands of a task of its own, which also closes it when the loop's end cancels all tasks."""

    def __init__(self, opening: Opening) -> None:
        self.keeper: asyncio.Future[Keeper] = asyncio.get_running_loop().create_future()
        self._over = asyncio.Event()
        self._task = asyncio.create_task(self._hold(opening))

    @property
    def ended(self) -> bool:
        """Whether it is closed, or could not be opened."""
        return self._task.done()

    async def close(self) -> None:
        self._over.set()
        await asyncio.wait([self._task])

    async def _hold(self, opening: Opening) -> None:
        try:
            async with opening() as keeper:
                # Else the end of the loop would wait for ever.
                heed_cancellation()
                self.keeper.set_result(keeper)
                await self._over.wait()
        except Exception as error:
            logger.exception("the waiting room cannot be opened or closed")
            if not self.keeper.done():
                self.keeper.set_exception(error)
                # The caller that waited may have gone.
                self.keeper.exception()
        finally:
            self.keeper.cancel()
