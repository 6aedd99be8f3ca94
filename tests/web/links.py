"""A line between an instance and its Redis that a test can cut, clog or stretch."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal
from urllib.parse import urlsplit

from tests.accepting import closed

#: What the line does. refused: nobody listens; silent: connections are taken, nothing comes back.
Mode = Literal["open", "refused", "silent"]


class Link:
    """A TCP port of this machine that leads to a server's unix socket; `delay_seconds` holds each reply up."""

    def __init__(self, target_url: str) -> None:
        self.port = 0
        self.delay_seconds = 0.0
        self._path = urlsplit(target_url).path
        self._mode: Mode = "open"
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = False

    @property
    def url(self) -> str:
        """The Redis URL at this end of the line."""
        return f"redis://127.0.0.1:{self.port}"

    def set_mode(self, mode: Mode) -> None:
        """Change what the line does, also to the connections that exist."""
        asyncio.run_coroutine_threadsafe(self._change(mode), self._loop).result(30)

    def call_soon(self, call: Callable[..., object], *arguments: object) -> None:
        """Have that done in the thread that serves."""
        self._loop.call_soon_threadsafe(call, *arguments)

    def run(self) -> None:
        """Serve in this thread until `stop`."""
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._change("open"))
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    def stop(self) -> None:
        """End `run`."""
        self.call_soon(self._loop.stop)

    async def _change(self, mode: Mode) -> None:
        self._mode = mode
        if mode == "refused":
            await self._close()
        elif self._server is None:
            self._server = await asyncio.start_server(self._take, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await closed(server)
        writers, self._writers = self._writers, set()
        for writer in writers:
            writer.transport.abort()

    async def _end(self) -> None:
        self._over = True
        await self._close()
        # Who is just being taken has a task, of ours or of the loop's, and is cut off as soon as it is taken.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(others)
            await self._close()
        await asyncio.sleep(0)  # what is cut off is closed a round later

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            there_reader, there = await asyncio.open_unix_connection(self._path)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(there)
        if self._over:
            await self._close()
            return
        for source, target, slow in ((reader, there, False), (there_reader, writer, True)):
            task = asyncio.create_task(self._carry(source, target, slow=slow))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, slow: bool) -> None:
        with suppress(OSError):
            while chunk := await source.read(65_536):
                if self._mode == "silent":
                    continue
                if slow and self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                target.write(chunk)
                await target.drain()
        # Still one of ours: what it has not sent may never be taken.
        target.close()


@contextmanager
def linked(target_url: str) -> Iterator[Link]:
    """A line to that server, in a thread of its own."""
    link = Link(target_url)
    thread = threading.Thread(target=link.run)
    thread.start()
    try:
        while not link.port:
            thread.join(0.005)
        yield link
    finally:
        link.stop()
        thread.join()
