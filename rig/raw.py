"""HTTP servers in the caller's own loop, byte by byte: an origin that notes requests, a relay before an instance."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

from waitroom.cancelling import cancelled

Take = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

#: What stands in the origin's answers and nowhere else.
MARK: Final = b"here is the origin"

#: How far a request is: before the instance has it; answered; answered with the headers handed on; over.
Part = Literal["request", "answer", "body", "over"]

#: What happens to a request: `cut`: the connection is closed, unread; `lost`: it is carried out, but the answer is
#: lost; `held`: the same, but the connection stays open and silent. Bytes are the answer of somebody in between. A
#: function is awaited at each part, and cuts the connection by raising ConnectionError.
Mishap = Literal["cut", "lost", "held"] | bytes | Callable[[Part], Awaitable[None]]


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


@dataclass
class Arrived:
    """A request as it came, and when."""

    method: bytes
    target: bytes
    headers: list[tuple[str, str]]
    body: bytes = b""
    at: float = field(default_factory=time.monotonic)

    def all(self, name: str) -> list[str]:
        """Every value of that header."""
        return [value for key, value in self.headers if key == name]

    @property
    def line(self) -> str:
        """Its first line."""
        return f"{self.method.decode('latin-1')} {self.target.decode('latin-1')} HTTP/1.1"

    @property
    def is_ambiguous(self) -> bool:
        """Whether others may read it differently."""
        lengths = self.all("content-length") + self.all("transfer-encoding")
        return len(lengths) > 1 or len(self.all("host")) != 1 or bool(self.all("x-waitroom-pass"))


def marked(request: Arrived) -> bytes:
    """What an origin says to a request that should not have come."""
    body = b"" if request.method == b"HEAD" else MARK
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(MARK), body)


class Origin:
    """A server on `port` that notes every request in `asked`; as an asynchronous context manager."""

    def __init__(self, says: Callable[[Arrived], bytes] = marked) -> None:
        self.port = 0
        self.asked: list[Arrived] = []
        self.connections = 0
        self._says = says

    async def __aenter__(self) -> Self:
        self._accepting = accepting(self._take, limit=1 << 20, backlog=2048)
        self.port = await self._accepting.__aenter__()
        return self

    async def __aexit__(self, *fault: Any) -> None:
        await self._accepting.__aexit__(*fault)

    @property
    def targets(self) -> list[bytes]:
        """The addresses asked for, in order."""
        return [request.target for request in self.asked]

    @property
    def ambiguous(self) -> list[Arrived]:
        """The requests that others may read differently."""
        return [request for request in self.asked if request.is_ambiguous]

    async def answer(self, request: Arrived) -> AsyncGenerator[bytes, None]:
        """The answer, in pieces; ConnectionError ends the connection."""
        yield self._says(request)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                self.asked.append(request := await _read(reader))
                async with aclosing(self.answer(request)) as pieces:
                    async for piece in pieces:
                        writer.write(piece)
                        await writer.drain()


class Relay(Origin):
    """Takes a request, asks the instance at the URL `target`, and hands back the answer.

    `mishap` says what happens to each request instead; it is given the request line.
    """

    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target
        self.mishap: Callable[[str], Mishap | None] = lambda line: None

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self.port}"

    def lines(self, word: str) -> list[Arrived]:
        """The requests with that word in their line."""
        return [asked for asked in self.asked if word in asked.line]

    def fate(self, request: Arrived) -> Mishap | None:
        """What happens to a request."""
        return self.mishap(request.line)

    async def answer(self, request: Arrived) -> AsyncGenerator[bytes, None]:
        fate = self.fate(request)
        if isinstance(fate, bytes):
            yield fate
            return
        try:
            await _at("request", fate)
            head, end, body = (await self._ask(request)).partition(b"\r\n\r\n")
            await _at("answer", fate)
            yield head + end
            await _at("body", fate)
            yield body
        finally:
            await _at("over", fate)

    async def _ask(self, request: Arrived) -> bytes:
        target = urlsplit(self.target)
        reader, writer = await asyncio.open_connection(target.hostname, target.port)
        try:
            lines = [f"{name}: {value}" for name, value in request.headers if name != "connection"]
            head = "\r\n".join([request.line, *lines, "connection: close"])
            writer.write(head.encode("latin-1") + b"\r\n\r\n" + request.body)
            return await reader.read()
        finally:
            writer.close()


def answer(status: int, body: bytes = b"", *, kind: str = "text/html", **headers: str) -> bytes:
    """An answer, by default the last of its connection; underlines in header names become hyphens."""
    lines = {"content-type": kind, "content-length": str(len(body)), "connection": "close", **headers}
    first = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"
    told = [first, *(f"{name.replace('_', '-')}: {value}" for name, value in lines.items())]
    return ("\r\n".join(told) + "\r\n\r\n").encode() + body


async def _read(reader: asyncio.StreamReader) -> Arrived:
    first, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
    method, _, rest = first.partition(b" ")
    pairs = [line.decode("latin-1").partition(":") for line in lines]
    headers = [(name.lower(), value.strip()) for name, _, value in pairs]
    request = Arrived(method, rest.rpartition(b" ")[0], headers)
    request.body = await reader.readexactly(sum(map(int, request.all("content-length")[:1])))
    return request


async def _at(part: Part, fate: Mishap | None) -> None:
    if callable(fate):
        await fate(part)
    elif (part, fate) in (("request", "cut"), ("answer", "lost")):
        raise ConnectionError(fate)
    elif (part, fate) == ("answer", "held"):
        await asyncio.Event().wait()
