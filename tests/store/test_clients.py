"""Connections to one address: what comes of one that breaks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvloop
from redis.exceptions import ConnectionError as RedisConnectionError

from tests import servers
from tests.store.opening import opened


@pytest.mark.parametrize("closed", ["by the other side", "by the pool"])
def test_a_connection_that_broke_since_it_was_taken_is_an_outage(closed: str) -> None:
    """Under uvloop, as instances run: no error but redis-py's own comes out of it."""

    async def scene(url: str) -> None:
        async with opened(url, timeout_seconds=10) as made:
            (client,) = await made.primaries()
            pool: Any = client.connection_pool
            connection = await pool.get_connection()
            if closed == "by the other side":
                connection._writer.transport.abort()
                await asyncio.sleep(0)
            sending = asyncio.create_task(connection.send_command("PING"))
            if closed == "by the pool":
                await asyncio.sleep(0)  # it is on its way, in a task of redis-py's own
                await connection.disconnect(nowait=True)
            with pytest.raises(RedisConnectionError):
                await sending
            await pool.release(connection)
            assert await made.send("x", "PING")

    with servers.running(servers.any_binary()) as url:
        uvloop.run(scene(url))
