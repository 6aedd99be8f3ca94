"""Where the primaries are, asked of the servers that know: one question at a time, with pauses between."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from typing import Any, Final

from redis import exceptions
from redis.asyncio import Redis

from waitroom.store.clients import Clients, execute
from waitroom.store.failures import describe
from waitroom.store.url import RedisUrl

#: Part of a call's time within which a Sentinel or a node must say where a primary is.
_ASKING_SHARE: Final = 0.5

#: Seconds between two questions about where the primaries are.
_ASKING_PAUSE_SECONDS: Final = 0.1


class Learner(ABC):
    """Servers whose primaries must be asked for. One question is under way at most, and all calls share its answer."""

    def __init__(self, url: RedisUrl, clients: Clients, *, timeout_seconds: float) -> None:
        self._url = url
        self._clients = clients
        self._asking_seconds = timeout_seconds * _ASKING_SHARE
        #: Why the server that was asked last did not say.
        self._fault = "no answer"
        self._question: asyncio.Task[None] | None = None
        self._asked = 0.0

    def _ask_anew(self) -> asyncio.Task[None]:
        """Ask, unless that is under way."""
        if self._question is None or self._question.done():
            self._question = asyncio.create_task(self._ask_after_pause())
        return self._question

    async def _answer(self) -> None:
        # Shielded: a call that gives up waiting does not take the answer from the others.
        await asyncio.shield(self._ask_anew())

    async def _ask_after_pause(self) -> None:
        await asyncio.sleep(max(0.0, self._asked + _ASKING_PAUSE_SECONDS - time.monotonic()))
        try:
            await self._ask()
        except (LookupError, TypeError, ValueError):
            self._fault = "an answer that makes no sense"
        finally:
            self._asked = time.monotonic()

    @abstractmethod
    async def _ask(self) -> None:
        """Find out where primaries are. Keeps the known ones where no server answers."""

    async def _told(self, client: Redis, *question: str) -> Any:
        """What one server says, None if nothing in time."""
        try:
            async with asyncio.timeout(self._asking_seconds):
                return await execute(client, *question)
        except (exceptions.RedisError, OSError, TimeoutError) as error:
            self._fault = self._url.scrubbed(describe(error))
            return None

    async def aclose(self) -> None:
        """Close every connection."""
        if self._question is not None:
            self._question.cancel()
            await asyncio.gather(self._question, return_exceptions=True)
        await self._clients.aclose()
