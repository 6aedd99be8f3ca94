"""Connections to one address: what comes of one that breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from redis.exceptions import ConnectionError as RedisConnectionError

from rig import servers
from rig.line import Line
from rig.waiting import eventually
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


def has_ended(connection: Any) -> bool:
    """Whether this side has heard that the other one ended it."""
    return bool(connection._writer.is_closing() or connection._reader.at_eof())


@pytest.mark.parametrize("run", [uvloop.run, asyncio.run], ids=["uvloop", "asyncio"])
def test_connections_that_were_reset_in_the_pool_fail_no_call(
    run: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    """As after an outage of Redis: each is connected anew before it carries a call."""

    async def scene(url: str) -> None:
        async with Line(url) as line, opened(line.url) as made:
            (client,) = await made.primaries()
            pool: Any = client.connection_pool
            connections = [await pool.get_connection() for _ in range(5)]
            for connection in connections:
                await pool.release(connection)
            line.mode = "refuse"
            await eventually(lambda: all(map(has_ended, connections)), "the resets")
            line.mode = "open"
            assert await asyncio.gather(*(made.send("x", "PING") for _ in range(5))) == [True] * 5

    with servers.running() as url:
        run(scene(url))
