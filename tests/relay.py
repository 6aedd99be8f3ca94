"""A relay between a client and an instance that a test can make misbehave, and that remembers what it was asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, Literal

import httpx

from tests.accepting import accepting

#: What happens to a request: `cut`: the connection is closed, unread; `lost`: it is carried out, but the answer is
#: lost; `held`: the same, but the connection stays open and silent. Bytes are the answer of somebody in between.
Mishap = Literal["cut", "lost", "held"] | bytes


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    line: str
    headers: dict[str, str]
    at: float


class Relay:
    """Takes a request, asks the instance at `port`, and hands back the answer. One request per connection.

    `mishap` says what happens to each request instead; it is given the request line.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: list[Asked] = []
        self.mishap: Callable[[str], Mishap | None] = lambda line: None
        self.url = ""

    def lines(self, word: str) -> list[Asked]:
        """The requests with that word in their line."""
        return [asked for asked in self.asked if word in asked.line]

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with suppress(OSError, asyncio.IncompleteReadError):
            await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The client's requests have no body.
        line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in lines)}
        self.asked.append(Asked(line, headers, time.monotonic()))
        mishap = self.mishap(line)
        if mishap == "cut":
            return
        answer = mishap if isinstance(mishap, bytes) else await self._ask(line, headers)
        if mishap == "held":
            await reader.read()
        if mishap not in ("lost", "held"):
            writer.write(answer)
            await writer.drain()

    async def _ask(self, line: str, headers: dict[str, str]) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            lines = [line, *(f"{name}: {value}" for name, value in (headers | {"connection": "close"}).items())]
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
            return await reader.read()
        finally:
            writer.close()


@asynccontextmanager
async def relaying(url: str) -> AsyncIterator[Relay]:
    """A relay to the instance at that URL."""
    relay = Relay(httpx.URL(url).port or 80)
    async with accepting(relay.take) as port:
        relay.url = f"http://127.0.0.1:{port}"
        yield relay


_REASONS: Final = {200: "OK", 302: "Found", 404: "Not Found", 429: "Too Many Requests", 502: "Bad Gateway"}


def answer(status: int, body: bytes = b"", *, kind: str = "text/html", **headers: str) -> bytes:
    """An answer that is not waitroom's; underlines in header names become hyphens."""
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}", f"content-type: {kind}", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join([*lines, "connection: close"]) + "\r\n\r\n").encode() + body
