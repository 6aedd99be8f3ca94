"""A visitor's browser, small enough to run thousands of: one connection, one cookie jar, HTTP/1.1."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import orjson

#: Seconds after which an answer that did not come fails the test.
_PATIENCE: Final = 30.0


class Browser:
    """One visitor's connection to one of several instances; moves on to the next when one dies.

    `tries`: how often a request is sent at most (default: twice to each). `address`: the visitor's own. `patience`:
    seconds that an answer may take. `retry_after` is what the last answer said of that, in seconds.
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
        self.cookies: dict[str, str] = {}
        self.retry_after: float | None = None

    async def ask(self, method: str, path: str) -> tuple[int, dict[str, Any]]:
        """The status and JSON document of an answer; repeats the request at another instance when one is gone.

        Raises ConnectionError when all tries failed.
        """
        for _ in range(self._tries):
            try:
                async with asyncio.timeout(self._patience):
                    return await self._exchange(method, path)
            except (OSError, asyncio.IncompleteReadError):
                await self.close()
                self._ports = self._ports[1:] + self._ports[:1]
        raise ConnectionError(f"no instance answers on any of {self._ports}")

    async def _exchange(self, method: str, path: str) -> tuple[int, dict[str, Any]]:
        if self._stream is None:
            self._stream = await asyncio.open_connection("127.0.0.1", self._ports[0], local_addr=self._from)
        reader, writer = self._stream
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        lines = [f"{method} {path} HTTP/1.1", "Host: test", *([f"Cookie: {cookies}"] if cookies else [])]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        length = self._read_headers(head[1:])
        body = await reader.readexactly(length) if length else b""
        return int(head[0].split()[1]), orjson.loads(body) if body.startswith(b"{") else {}

    def _read_headers(self, lines: list[str]) -> int:
        length, self.retry_after = 0, None
        for line in lines:
            name, _, value = line.partition(":")
            if name.lower() == "content-length":
                length = int(value)
            elif name.lower() == "retry-after":
                self.retry_after = float(value)
            elif name.lower() == "set-cookie":
                cookie, _, attributes = value.strip().partition(";")
                key, _, text = cookie.partition("=")
                if "Max-Age=0" in attributes:
                    self.cookies.pop(key, None)
                else:
                    self.cookies[key] = text
        return length

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
