"""The line itself: what each mode does to one client's calls, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Broken
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as Silent

from tests.faults.proxy import Proxy, proxying

#: Seconds after which a client gives up waiting.
PATIENCE_SECONDS: Final = 3.0


@pytest.fixture
async def proxy(engine: str) -> AsyncIterator[Proxy]:
    """A line to the real server."""
    async with proxying(engine) as line:
        yield line


@pytest.fixture
async def client(proxy: Proxy, redis: Redis) -> AsyncIterator[Redis]:
    """A client at this end of the line, without tries; the server is empty."""
    # driver_info: nothing is asked before the first command.
    once: dict[str, Any] = {"driver_info": None, "socket_timeout": PATIENCE_SECONDS, "retry": Retry(NoBackoff(), 0)}
    async with Redis(port=proxy.port, decode_responses=True, protocol=2, **once) as client:
        yield client


async def count(client: Redis) -> int:
    """One more."""
    return int(await client.incr("n"))


async def test_an_open_line_carries_everything(proxy: Proxy, client: Redis) -> None:
    """Long values too, over several connections at once."""
    long = "x" * 1_000_000
    await client.set("long", long)
    assert await client.get("long") == long
    assert sorted(await asyncio.gather(*(count(client) for _ in range(20)))) == list(range(1, 21))
    assert proxy.did["connections"] > 1
    assert proxy.did["replies"] >= 22


async def test_a_refusing_line_resets_and_refuses(proxy: Proxy, client: Redis) -> None:
    """Connections that are open break, new ones are refused; then the same port serves again."""
    assert await count(client) == 1
    proxy.mode = "refuse"
    for _ in range(3):
        with pytest.raises(Broken):
            await count(client)
    proxy.mode = "open"
    assert await count(client) == 2


@pytest.mark.parametrize(("mode", "done"), [("blackhole", 1), ("deaf", 2)])
async def test_what_was_held_arrives_late(proxy: Proxy, client: Redis, redis: Redis, mode: Any, done: int) -> None:
    """Nothing comes back; a deaf line has carried the request out, a black hole does so when it opens."""
    assert await count(client) == 1
    proxy.mode = mode
    with pytest.raises(Silent):
        await count(client)
    assert await redis.get("n") == str(done)
    proxy.mode = "open"
    async with asyncio.timeout(5):
        while await redis.get("n") != "2":
            await asyncio.sleep(0.01)
    assert await count(client) == 3
    assert proxy.did[mode] > 0


@pytest.mark.parametrize(("mode", "error"), [("drop", Silent), ("reset", Broken), ("truncate", Broken)])
async def test_a_reply_is_lost_once(proxy: Proxy, client: Redis, mode: Any, error: type[RedisError]) -> None:
    """Only the one to the request that was meant; its effect stands, and no other call gets a piece of it."""
    assert await count(client) == 1
    proxy.once(mode, of="INCR")
    assert await client.ping()
    assert proxy.did[mode] == 0
    with pytest.raises(error):
        await count(client)
    assert not proxy.pending
    assert await count(client) == 3
    assert proxy.did[mode] == 1


async def test_every_reply_is_lost_while_the_mode_lasts(proxy: Proxy, client: Redis) -> None:
    """Each call was carried out."""
    proxy.mode = "reset"
    for _ in range(3):
        with pytest.raises(Broken):
            await count(client)
    proxy.mode = "open"
    assert await count(client) == 4


async def test_slow_and_trickling_replies_are_whole(proxy: Proxy, client: Redis) -> None:
    """They take their time, and nothing is lost."""
    proxy.mode = "trickle"
    assert await count(client) == 1
    proxy.mode, proxy.delay_seconds = "slow", (0.0, 0.05)
    assert sorted(await asyncio.gather(*(count(client) for _ in range(20)))) == list(range(2, 22))
    assert proxy.did["slow"] >= 20


async def test_once_is_for_replies(proxy: Proxy) -> None:
    """What cannot be done to a single reply is refused."""
    with pytest.raises(ValueError, match="refuse"):
        proxy.once("refuse")
