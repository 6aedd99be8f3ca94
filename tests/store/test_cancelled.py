"""A call that is cancelled at any moment leaves no connection behind (I28)."""

from __future__ import annotations

import asyncio
import gc
import os
import signal

import pytest

from tests.web import sites
from waitroom.cancelling import cancelled
from waitroom.store.servers import connect


@pytest.mark.parametrize("database", [0, 1], ids=["no handshake", "a handshake"])
@pytest.mark.parametrize("frozen", [False, True], ids=["answering", "frozen"])
async def test_nothing_stays_behind(database: int, frozen: bool) -> None:
    """However many rounds the loop has made since the call; an open connection is a warning, which fails the test."""
    with sites.own_redis() as (url, redis):
        pid = int(redis.info("server")["process_id"])
        for rounds in range(20):
            servers = connect(f"{url}?db={database}", timeout_seconds=10)
            if frozen:
                os.kill(pid, signal.SIGSTOP)
            calls = [asyncio.create_task(servers.send("key", "GET", "key")) for _ in range(3)]
            for _ in range(rounds):
                await asyncio.sleep(0)
            await cancelled(*calls)
            os.kill(pid, signal.SIGCONT)
            assert await servers.send("key", "GET", "key") is None
            await servers.aclose()
            await asyncio.sleep(0)
    del servers, calls
    gc.collect()
