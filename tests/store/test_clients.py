"""Connections to one address: what comes of one that breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from redis.exceptions import ConnectionError as RedisConnectionError

from rig import servers
from tests.store.opening import opened


async def asked(connection: Any) -> Any:
    """The reply to a call on one connection."""
    await connection.send_command("PING")
    return await connection.read_response()


@pytest.mark.parametrize("run", [uvloop.run, asyncio.run], ids=["uvloop", "asyncio"])
@pytest.mark.parametrize("closed", ["by the other side", "by the other side just now", "by the pool"])
def test_a_connection_that_broke_since_it_was_taken_is_an_outage(
    closed: str, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    """Under either event loop redis-py's own error comes at once, and the connections after it are answered."""

    async def scene(url: str) -> None:
        async with opened(url, timeout_seconds=10) as made:
            (client,) = await made.primaries()
            pool: Any = client.connection_pool
            connection = await pool.get_connection()
            if closed == "by the other side":
                connection._writer.transport.abort()
                await asyncio.sleep(0)
            asking = asyncio.create_task(asked(connection))
            if closed == "by the other side just now":
                connection._writer.transport.abort()
            if closed == "by the pool":
                await asyncio.sleep(0)  # the call is on its way
                await connection.disconnect(nowait=True)
            with pytest.raises(RedisConnectionError):
                await asking
            await pool.release(connection)
            for _ in range(3):
                assert await made.send("x", "PING")

    with servers.running() as url:
        run(scene(url))
