"""The primary that Sentinels name, asked for again after any failure.

(redis-py's own Sentinel client asks one Sentinel after the other, so that one that is silent holds up a call.)
"""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import Redis

from waitroom.errors import Unavailable
from waitroom.store.clients import Clients, execute
from waitroom.store.failures import is_doubtful
from waitroom.store.learner import Learner
from waitroom.store.url import Address, RedisUrl


class Watched(Learner):
    """The primary that Sentinels name: all are asked at once, and a majority's answers are enough."""

    def __init__(self, url: RedisUrl, clients: Clients, *, timeout_seconds: float) -> None:
        super().__init__(url, clients, timeout_seconds=timeout_seconds)
        self._sentinels = Clients(url, timeout_seconds=self._asking_seconds, connections=1, to_sentinels=True)
        self._primary: Address | None = None
        self._sure = False

    async def send(self, _key: str, *command: str | int) -> Any:
        """The reply of the primary to one command."""
        address = await self._current()
        try:
            return await execute(self._clients.at(address), *command)
        except BaseException as error:
            if is_doubtful(error):
                self._sure = False
            raise

    async def primaries(self) -> list[Redis]:
        """The one that is primary now."""
        return [self._clients.at(await self._current())]

    async def states(self, enough: int) -> list[dict[str, Any]]:
        """What the first `enough` Sentinels that answer say of the service, as redis-py reads SENTINEL MASTER.

        `ip` and `port` are of the new primary as soon as a failover has one. Until then `is_sdown` tells.
        """
        questions = [asyncio.create_task(self._state(self._sentinels.at(host))) for host in self._url.hosts]
        answers: list[dict[str, Any]] = []
        try:
            for coming in asyncio.as_completed(questions):
                answer = await coming
                answers += [answer] if answer else []
                if len(answers) == enough:
                    break
        finally:
            for question in questions:
                question.cancel()
            await asyncio.gather(*questions, return_exceptions=True)
        return answers

    async def _state(self, sentinel: Redis) -> dict[str, Any] | None:
        state = await self._told(sentinel, "SENTINEL MASTER", self._url.service)
        primary = await self._told(sentinel, "SENTINEL GET-MASTER-ADDR-BY-NAME", self._url.service) if state else None
        if state is None or primary is None:
            return None
        host, port = primary
        if (host, port) == (state["ip"], state["port"]):
            return dict(state)
        # The failover has promoted a replica, but is not over: what else is said is of the old primary.
        return {**state, "ip": host, "port": port, "is_sdown": False, "is_odown": False}

    async def aclose(self) -> None:
        """Close every connection, also those to the Sentinels."""
        await super().aclose()
        await self._sentinels.aclose()

    async def _current(self) -> Address:
        if not self._sure:
            await self._answer()
        if self._primary is None:
            raise Unavailable(f"no Sentinel names a primary for the service {self._url.service!r}: {self._fault}")
        return self._primary

    async def _ask(self) -> None:
        majority = len(self._url.hosts) // 2 + 1
        named = [it for it in await self.states(majority) if not (it["is_sdown"] or it["is_odown"])]
        if not named:
            return
        # One that has not heard of the failover yet is outvoted by a newer configuration.
        newest = max(named, key=lambda state: int(state["config-epoch"]))
        self._primary = str(newest["ip"]), int(newest["port"])
        self._sure = True
        self._clients.keep([self._primary])
