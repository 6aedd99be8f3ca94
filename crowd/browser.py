"""A visitor's browser and event stream, small enough to run thousands of: one connection, one cookie jar, HTTP/1.1."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from crowd.answers import Answer, Jar

#: Seconds after which an answer that did not come fails the test.
_PATIENCE: Final = 30.0

#: Connections opened at the same time: more would only test the machine's accept queue.
_AT_ONCE: Final = 200


class Browser:
    """One visitor's connection to one of several instances; moves on to the next when one dies.

    `tries`: how often a request is sent at most (default: twice to each). `address`: the visitor's own. `patience`:
    seconds that an answer may take.
    """

    def __init__(
        self,
        ports: list[int],
        *,
        tries: int | None = None,
        address: str | None = None,
        patience: float = _PATIENCE,
    ) -> None:
        self._ports = ports
        self._tries = tries or len(ports) * 2
        self._from = (address, 0) if address else None
        self._stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._patience = patience
        self.cookies = Jar()

    async def ask(self, method: str, path: str) -> tuple[int, dict[str, Any]]:
        """The status and JSON document of an answer, whose cookies are kept. Raises ConnectionError."""
        answer = await self.send(method, path, self.cookies.header())
        self.cookies.store(answer.cookies)
        return answer.status, dict(answer.document)

    async def send(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        """Send a request; repeat it at another instance when one is gone.

        Raises ConnectionError when all tries failed.
        """
        for _ in range(self._tries):
            try:
                async with asyncio.timeout(self._patience):
                    return await self._exchange(method, path, headers)
            except (OSError, asyncio.IncompleteReadError):
                await self.close()
                self._ports = self._ports[1:] + self._ports[:1]
        raise ConnectionError(f"no instance answers on any of {self._ports}")

    async def _exchange(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        if self._stream is None:
            self._stream = await asyncio.open_connection("127.0.0.1", self._ports[0], local_addr=self._from)
        reader, writer = self._stream
        lines = [f"{method} {path} HTTP/1.1", "Host: test", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        said = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in rest)]
        known = dict(said)
        body = await reader.readexactly(int(known.get("content-length", 0)))
        cookies = [value for name, value in said if name == "set-cookie"]
        return Answer.read(int(first.split()[1]), body, cookies, known.get("retry-after"))

    async def close(self) -> None:
        """Hang up."""
        if self._stream is not None:
            writer = self._stream[1]
            self._stream = None
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


@asynccontextmanager
async def browsing(number: int, *ports: int) -> AsyncIterator[list[Browser]]:
    """So many browsers, spread over the instances; they hang up at the end."""
    browsers = [Browser([*ports[index % len(ports) :], *ports[: index % len(ports)]]) for index in range(number)]
    try:
        yield browsers
    finally:
        await asyncio.gather(*(browser.close() for browser in browsers))


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
        cookie = browser.cookies.header().get("Cookie", "")
        self._request = f"GET /v1/rooms/{room}/events HTTP/1.1\r\nHost: test\r\nCookie: {cookie}\r\n\r\n".encode()
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
        if self._streams is None:
            return None
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


async def gently(steps: Iterable[Awaitable[object]]) -> None:
    """Take all these steps, some at a time."""
    together = asyncio.Semaphore(_AT_ONCE)

    async def one(step: Awaitable[object]) -> None:
        async with together:
            await step

    await asyncio.gather(*map(one, steps))


@asynccontextmanager
async def all_listen(listeners: Sequence[Listener]) -> AsyncIterator[None]:
    """Everybody has a stream, or was refused one; they hang up at the end."""
    try:
        await gently(listener.open() for listener in listeners)
        yield
    finally:
        await asyncio.gather(*(listener.close() for listener in listeners))
