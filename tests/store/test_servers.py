"""What the servers of every kind of URL have in common."""

from __future__ import annotations

import asyncio

import pytest

from rig.raw import accepting
from tests.store.opening import stored
from waitroom.errors import Unavailable
from waitroom.store.cluster import Cluster
from waitroom.store.sentinel import Watched
from waitroom.store.servers import connect


@pytest.mark.parametrize("url", ["redis+cluster://127.0.0.1:{}", "redis+sentinel://127.0.0.1:{}/main"])
@pytest.mark.parametrize("answer", [b"+OK\r\n", b":1\r\n", b"*1\r\n*1\r\n:0\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_an_answer_that_makes_no_sense_is_an_outage(url: str, answer: bytes) -> None:
    """Whatever answers there, no other error comes out of it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            writer.write(answer)

    async with accepting(serve) as port, stored(url.format(port)) as store:
        for _ in range(2):
            with pytest.raises(Unavailable):
                await store.registered()


@pytest.mark.parametrize("kind", [Cluster, Watched])
async def test_closing_is_harmless_at_any_time(kind: type[Cluster | Watched]) -> None:
    """Also while the question where the primaries are is under way."""
    scheme = "cluster" if kind is Cluster else "sentinel"
    made = connect(f"redis+{scheme}://127.0.0.1:1/{'' if kind is Cluster else 'x'}", timeout_seconds=1)
    assert isinstance(made, kind)
    calls = [asyncio.create_task(made.send("x", "PING")) for _ in range(3)]
    await asyncio.sleep(0)
    await made.aclose()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, Unavailable | asyncio.CancelledError) for result in results)
