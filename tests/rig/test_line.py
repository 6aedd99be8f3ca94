"""The line itself: what each mode does to one client's calls, on a real server."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Broken
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as Silent

from rig.line import Line, in_thread
from rig.waiting import eventually


@pytest.fixture
async def line(engine: str) -> AsyncIterator[Line]:
    """A line to the real server."""
    async with Line(engine) as made:
        yield made


@pytest.fixture
async def client(line: Line, redis: Redis) -> AsyncIterator[Redis]:
    """A client at this end of the line, without tries; the server is empty."""
    # driver_info: nothing is asked before the first command.
    once: dict[str, Any] = {"driver_info": None, "socket_timeout": 3, "retry": Retry(NoBackoff(), 0)}
    async with Redis(port=line.port, decode_responses=True, protocol=2, **once) as client:
        yield client


async def count(client: Redis) -> int:
    """One more."""
    return int(await client.incr("n"))


async def test_long_values_over_several_connections(line: Line, client: Redis) -> None:
    """An open line carries everything."""
    long = "x" * 1_000_000
    await client.set("long", long)
    assert await client.get("long") == long
    assert sorted(await asyncio.gather(*(count(client) for _ in range(20)))) == list(range(1, 21))
    assert line.did["connections"] > 1
    assert line.did["replies"] >= 22


@pytest.mark.parametrize("mode", ["refuse", "reset"])
async def test_a_broken_line_is_whole_again(line: Line, client: Redis, mode: Any) -> None:
    """Every call breaks while it lasts, carried out where its reply is reset; then the same port serves again."""
    assert await count(client) == 1
    line.mode = mode
    for _ in range(3):
        with pytest.raises(Broken):
            await count(client)
    line.mode = "open"
    assert await count(client) == (5 if mode == "reset" else 2)


@pytest.mark.parametrize(("mode", "done"), [("blackhole", 1), ("deaf", 2)])
async def test_what_was_held_arrives_late(line: Line, client: Redis, redis: Redis, mode: Any, done: int) -> None:
    """Nothing comes back; a deaf line has carried the request out, a black hole does so when it opens."""
    assert await count(client) == 1
    line.mode = mode
    with pytest.raises(Silent):
        await count(client)
    assert await redis.get("n") == str(done)
    line.mode = "open"

    async def arrived() -> bool:
        return bool(await redis.get("n") == "2")

    await eventually(arrived, "what was held")
    assert await count(client) == 3
    assert line.did[mode] > 0


@pytest.mark.parametrize(("mode", "error"), [("drop", Silent), ("reset", Broken), ("truncate", Broken)])
async def test_a_reply_is_lost_once(line: Line, client: Redis, mode: Any, error: type[RedisError]) -> None:
    """Only the one to the request that was meant; its effect stands, and no other call gets a piece of it."""
    assert await count(client) == 1
    line.once(mode, of="INCR")
    assert await client.ping()
    assert line.did[mode] == 0
    with pytest.raises(error):
        await count(client)
    assert not line.pending
    assert await count(client) == 3
    assert line.did[mode] == 1


async def test_slow_and_trickling_replies_are_whole(line: Line, client: Redis) -> None:
    """They take their time, and nothing is lost."""
    line.mode = "trickle"
    assert await count(client) == 1
    line.mode, line.delay_seconds = "slow", (0.0, 0.05)
    assert sorted(await asyncio.gather(*(count(client) for _ in range(20)))) == list(range(2, 22))
    assert line.did["slow"] >= 20


def test_a_line_that_is_cut_while_connections_come_leaves_none_open(engine: str) -> None:
    """Its loop was held up, so that they and the cut come to it in the same round."""
    with in_thread(engine) as line:
        held, over = threading.Event(), threading.Event()
        line.loop.call_soon_threadsafe(held.set)
        line.loop.call_soon_threadsafe(over.wait, 30)
        assert held.wait(30)
        clients = [socket.create_connection(("127.0.0.1", line.port)) for _ in range(3)]
        threading.Timer(0.05, over.set).start()
        with line.cut("refuse"):
            gc.collect()  # an open connection is a ResourceWarning, which fails the test
        for client in clients:
            client.close()
    gc.collect()
