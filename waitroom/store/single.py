"""One server, by its address or its socket."""

from __future__ import annotations

import math
import time
from typing import Any, Final

from redis import exceptions
from redis.asyncio import Redis

from waitroom.store.clients import Clients, execute
from waitroom.store.failures import is_doubtful
from waitroom.store.url import RedisUrl

#: Seconds between two times that the connections to a server that takes no writes are given up.
_HANG_UP_PAUSE_SECONDS: Final = 1.0


class Single:
    """One server."""

    def __init__(self, url: RedisUrl, clients: Clients) -> None:
        self._clients = clients
        self._client = clients.at(url.hosts[0] if url.hosts else ("", 0))
        self._hung_up = -math.inf

    async def send(self, _key: str, *command: str | int) -> Any:
        """The reply to one command."""
        try:
            return await execute(self._client, *command)
        except exceptions.ResponseError as error:
            now = time.monotonic()
            if is_doubtful(error) and now - self._hung_up > _HANG_UP_PAUSE_SECONDS:
                # A name may lead to the new primary by now: the next call looks it up again. Not at each error: what is
                # read is served all the same, and would be disturbed.
                self._hung_up = now
                await self._client.connection_pool.disconnect(inuse_connections=False)
            raise

    async def primaries(self) -> list[Redis]:
        """The one."""
        return [self._client]

    async def aclose(self) -> None:
        """Close every connection."""
        await self._clients.aclose()
