"""Servers of tests in the test's own loop, which leave no connection behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from waitroom.cancelling import cancelled

Take = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def accepting(take: Take, **how: Any) -> AsyncIterator[int]:
    """The port of a server that serves each connection so; what is still open at the end is cut off."""
    serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await take(reader, writer)
        finally:
            writer.close()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        serving[task] = writer
        task.add_done_callback(serving.pop)

    server = await asyncio.start_server(begin, "127.0.0.1", 0, **how)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        # asyncio makes the transport of a connection a round of the loop after it has accepted it. Where the server was
        # closed meanwhile that fails, and the connection stays open until the garbage collector finds it.
        for listening in server.sockets:
            asyncio.get_running_loop().remove_reader(listening.fileno())
        for _ in range(3):  # transport, protocol, what serves
            await asyncio.sleep(0)
        server.close()
        cut = dict(serving)
        await cancelled(*cut)
        for writer in cut.values():
            writer.transport.abort()
        await asyncio.sleep(0)  # what is cut off is closed a round later
