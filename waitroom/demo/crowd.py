"""The demo's crowd: simulated visitors that queue, shop, leave and come back, over real HTTP through nginx."""

from __future__ import annotations

import asyncio
import random
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import httpx

#: Seconds over which the crowd arrives at the start.
ARRIVAL_SECONDS: Final = 8.0

#: Pages a visitor looks at, and seconds spent on each: least and most.
PAGES: Final = (2, 5)
THINK_SECONDS: Final = (1.0, 3.5)

#: Seconds until a visitor that left comes back as a new one: least and most.
PAUSE_SECONDS: Final = (6.0, 16.0)

#: Share of visitors that close the window without a goodbye. Their sessions end by themselves.
SILENT_SHARE: Final = 0.1

#: Loopback addresses that the crowd comes from, as visitors come from many: nginx limits what one address may ask for.
#: Linux has them all. Where there is only 127.0.0.1, all visitors come from there, like an office.
SOURCES: Final = tuple(f"127.0.0.{number}" for number in range(101, 121))

#: Connections that the crowd holds from one address at most, and keeps open between requests.
CONNECTIONS: Final = httpx.Limits(max_connections=20, max_keepalive_connections=10)

_PATHS: Final = ("/", "/products/mug", "/products/lamp", "/products/plant", "/products/book")
_BROWSER: Final = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
_CALLER: Final = {"Accept": "application/json"}


@dataclass
class Tally:
    """What the crowd has seen so far."""

    visits: int = 0
    pages: int = 0
    errors: int = 0
    last_error: str = ""

    def failed(self, error: BaseException) -> None:
        """Count an error and keep its text."""
        self.errors += 1
        self.last_error = f"{type(error).__name__}: {error}"[:200]


class Surprise(Exception):
    """An answer that a visitor should not get."""


class Crowd:
    """`size` visitors of a room at `url`. `run` keeps them going until it is cancelled."""

    def __init__(self, url: str, room: str, *, size: int, seed: int = 1) -> None:
        self.tally = Tally()
        self._url = url
        self._room = room
        self._size = size
        self._random = random.Random(seed)  # a crowd is random on purpose # nosec B311

    async def run(self) -> None:
        """Let everybody arrive and come back for ever."""
        async with AsyncExitStack() as stack:
            transports = [await stack.enter_async_context(transport) for transport in _transports()]
            async with asyncio.TaskGroup() as visitors:
                for number in range(self._size):
                    visitors.create_task(self._come_and_go(transports[number % len(transports)]))

    async def _come_and_go(self, transport: httpx.AsyncHTTPTransport) -> None:
        await asyncio.sleep(self._random.uniform(0, ARRIVAL_SECONDS))
        while True:
            # One client is one cookie jar is one visitor. It is never closed: that would close what all share.
            client = httpx.AsyncClient(base_url=self._url, transport=transport, timeout=10, trust_env=False)
            try:
                await Visit(client, self._room, tally=self.tally, dice=self._random).make()
            except (httpx.HTTPError, Surprise, ValueError, KeyError) as error:
                self.tally.failed(error)
            await asyncio.sleep(self._random.uniform(*PAUSE_SECONDS))


class Visit:
    """One visitor's way from the first request to the goodbye."""

    def __init__(self, client: httpx.AsyncClient, room: str, *, tally: Tally, dice: random.Random) -> None:
        self._client = client
        self._room = f"/v1/rooms/{room}"
        self._tally = tally
        self._dice = dice

    async def make(self) -> None:
        """Queue if need be, shop, and mostly say goodbye. Raises Surprise, httpx.HTTPError."""
        first = await self._client.get("/", headers=_BROWSER)
        if first.is_redirect:
            await self._queue(first.headers["Location"])
        still_inside = await self._shop()
        self._tally.visits += 1
        if still_inside and self._dice.random() >= SILENT_SHARE:
            _expect(await self._client.post(f"{self._room}/leave", headers=_CALLER), 204)

    async def _queue(self, waiting_page: str) -> None:
        # The page enters for its visitor and answers an admitted one with the way back.
        _expect(await self._client.get(waiting_page, headers=_BROWSER), 200, 302, 303)
        document = await self._enter()
        while document["state"] == "waiting":
            await asyncio.sleep(float(document["poll_after_seconds"]))
            answer = await self._client.get(f"{self._room}/status", headers=_CALLER)
            document = _document(answer) or document | {"poll_after_seconds": _retry_after(answer)}

    async def _enter(self) -> dict[str, Any]:
        while True:
            answer = await self._client.post(f"{self._room}/enter", headers=_CALLER)
            document = _document(answer)
            if document is not None:
                return document
            await asyncio.sleep(_retry_after(answer))

    async def _shop(self) -> bool:
        """Look at some pages. Whether the session lasted as long."""
        for _ in range(self._dice.randint(*PAGES)):
            page = await self._client.get(self._dice.choice(_PATHS), headers=_BROWSER)
            if page.is_redirect:
                return False
            _expect(page, 200)
            if page.headers.get("X-Origin") != "demo":
                raise Surprise(f"{page.request.url.path} did not come from the shop")
            self._tally.pages += 1
            await asyncio.sleep(self._dice.uniform(*THINK_SECONDS))
        return True


def _transports() -> list[httpx.AsyncHTTPTransport]:
    """One way to the site for each address that this machine can send from. Many visitors share it."""
    if not can_send_from(SOURCES[-1]):
        office = httpx.Limits(max_connections=200, max_keepalive_connections=100)
        return [httpx.AsyncHTTPTransport(limits=office)]
    return [httpx.AsyncHTTPTransport(limits=CONNECTIONS, local_address=source) for source in SOURCES]


def can_send_from(address: str) -> bool:
    """Whether this machine can send from that loopback address: Linux has all of 127.0.0.0/8, macOS the first."""
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True


def _document(answer: httpx.Response) -> dict[str, Any] | None:
    """The visitor's document. None if there is none now: the room is full or out of reach, or too much was asked."""
    if answer.status_code in (429, 503):
        return None
    _expect(answer, 200, 202)
    document: dict[str, Any] = answer.json()
    return document


def _retry_after(answer: httpx.Response) -> float:
    return float(answer.headers.get("Retry-After", "5"))


def _expect(answer: httpx.Response, *codes: int) -> None:
    if answer.status_code not in codes:
        request = answer.request
        raise Surprise(f"{request.method} {request.url.path} answered {answer.status_code}: {answer.text[:100]}")
