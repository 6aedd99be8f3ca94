"""A stream broker whose workers hold on to the jobs that they have in hand, for as long as they live.

The library's broker gives a message that nobody has acknowledged for its idle time-out to another worker. That is how
jobs survive their worker; but a job may wait in the waiting room for far longer than a dead worker should go unnoticed.
So a worker renews its claim to each message in hand now and then. One that died does not; neither is a message renewed
whose handling broke off, or whose delivery never arrived. And as the library looks for such messages only after it has
read a new one, a worker that sees any sends one that asks for nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakKeyDictionary

from redis.asyncio import Redis
from redis.exceptions import RedisError
from taskiq.exceptions import TaskiqError
from taskiq_redis import RedisStreamBroker

logger = logging.getLogger(__name__)


async def nothing() -> None:
    """The task of a message that only wakes a worker."""


class HeldStreamBroker(RedisStreamBroker):
    """RedisStreamBroker, and `silent_seconds` after which an unheld message goes to another worker."""

    def __init__(self, url: str, *, silent_seconds: float, **options: Any) -> None:
        self._silent_ms = int(silent_seconds * 1000)
        super().__init__(url, idle_timeout=self._silent_ms, **options)
        # The one who handles a message keeps the function that acknowledges it, so in hand is whose function lives.
        self._in_hand: WeakKeyDictionary[Callable[[], Awaitable[None]], str] = WeakKeyDictionary()
        self._wake = self.register_task(nothing, "wake")

    def _ack_generator(self, id: str, queue_name: str) -> Callable[[], Awaitable[None]]:  # noqa: A002 - the library's
        acknowledge = super()._ack_generator(id, queue_name)
        self._in_hand[acknowledge] = id
        return acknowledge

    async def hold(self) -> None:
        """Renew the claims, and see to it that what nobody holds is taken, until cancelled; also without Redis."""
        async with Redis(connection_pool=self.connection_pool) as redis:
            while True:
                try:
                    await self._renew(redis)
                    if await self._is_any_unheld(redis):
                        await self._wake.kiq()
                except (RedisError, TaskiqError) as error:
                    logger.warning("the claims of %d jobs are not renewed: %s", len(self._in_hand), error)
                await asyncio.sleep(self._silent_ms / 4000)

    async def _renew(self, redis: Redis) -> None:
        held: list[bytes | str | int | memoryview[int]] = list(self._in_hand.values())
        if held:
            await redis.xclaim(self.queue_name, self.consumer_group_name, self.consumer_name, 0, held, justid=True)

    async def _is_any_unheld(self, redis: Redis) -> bool:
        group = self.consumer_group_name
        return bool(await redis.xpending_range(self.queue_name, group, "-", "+", 1, idle=self._silent_ms))
