"""One real server that turns into a replica: calls look its address up again, and reading goes on."""

from __future__ import annotations

import pytest

from rig import servers
from tests.store.opening import opened


async def test_a_readonly_answer_costs_the_connection() -> None:
    """Behind a name that moves to the new primary: the connection to the old one is not used again."""
    with servers.running() as url:
        async with opened(url, timeout_seconds=10) as made:
            first = await made.send("x", "CLIENT ID")
            assert await made.send("x", "CLIENT ID") == first
            await made.send("x", "REPLICAOF", "127.0.0.1", "1")
            with pytest.raises(Exception, match="read only"):
                await made.send("x", "SET", "x", "1")
            assert await made.send("x", "CLIENT ID") != first


async def test_reading_goes_on_beside_writes_that_are_refused() -> None:
    """Connections are given up for the first refusal, and not for each of many: what is read does not suffer."""
    with servers.running() as url:
        async with opened(url, timeout_seconds=10) as made:
            await made.send("x", "REPLICAOF", "127.0.0.1", "1")

            async def refused() -> None:
                with pytest.raises(Exception, match="read only"):
                    await made.send("x", "SET", "x", "1")

            await refused()
            first = await made.send("x", "CLIENT ID")
            await refused()
            assert await made.send("x", "CLIENT ID") == first
