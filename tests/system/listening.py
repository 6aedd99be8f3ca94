"""Visitors who listen to a room's events, small enough to run thousands of."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from tests.system.http import Browser

#: Seconds after which an event that did not come fails the test.
_PATIENCE: Final = 30.0

#: Connections opened at the same time: more would only test the machine's accept queue.
_AT_ONCE: Final = 200


@dataclass(frozen=True)
class Told:
    """One event: its name and data, and the milliseconds after which a browser would come back, where it says so."""

    name: str
    data: Any
    retry_ms: int | None


class Listener:
    """One stream. `told` are its events so far; `status` is 0 until the answer's head is there."""

    def __init__(self, port: int, room: str, browser: Browser, *, host: str = "127.0.0.1") -> None:
        self.status = 0
        self.told: list[Told] = []
        self.whole = False
        self._host, self._port = host, port
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        self._request = f"GET /v1/rooms/{room}/events HTTP/1.1\r\nHost: test\r\nCookie: {cookies}\r\n\r\n".encode()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> None:
        """Ask for the events, and wait for the first."""
        async with asyncio.timeout(_PATIENCE):
            reader, writer = self._streams = await asyncio.open_connection(self._host, self._port)
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
            self.status = int(head.split()[1])
            if self.status == 200:
                await self.next()

    async def next(self) -> Told | None:
        """The next event; None where the stream has ended, `whole` or cut off."""
        assert self._streams is not None
        reader, text = self._streams[0], ""
        try:
            async with asyncio.timeout(_PATIENCE):
                while not text.endswith("\n\n"):
                    size = int(await reader.readuntil(b"\r\n"), 16)
                    text += (await reader.readexactly(size + 2))[:-2].decode()
                    if not size:
                        self.whole = True
                        return None
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        # nginx may send several events in one piece.
        found = [_told(event) for event in text.split("\n\n") if event.strip(":\n")]
        self.told += found
        return found[-1] if found else await self.next()

    async def end(self) -> list[str]:
        """Listen to the end; the names of all events."""
        while await self.next() is not None:
            pass
        return [event.name for event in self.told]

    async def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            writer = self._streams[1]
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def _told(text: str) -> Told:
    fields = dict(re.findall(r"^(\w+): (.*)$", text, re.MULTILINE))
    retry = fields.get("retry")
    return Told(fields["event"], json.loads(fields["data"]), None if retry is None else int(retry))


@asynccontextmanager
async def all_listen(listeners: Sequence[Listener]) -> AsyncIterator[None]:
    """Everybody has a stream, or was refused one; they hang up at the end."""
    together = asyncio.Semaphore(_AT_ONCE)

    async def one(listener: Listener) -> None:
        async with together:
            await listener.open()

    try:
        await asyncio.gather(*map(one, listeners))
        yield
    finally:
        await asyncio.gather(*(listener.close() for listener in listeners))
