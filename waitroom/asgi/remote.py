"""A waitroom server, asked over HTTP. Nothing is repeated, and every wait is bounded."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote_from_bytes

from starlette.types import Receive, Scope, Send

from waitroom.errors import Unavailable
from waitroom.web.answers import Problem
from waitroom.web.events import poll_instead
from waitroom.web.gate import Decision
from waitroom.web.headers import Header
from waitroom.web.visits import HEADERS
from waitroom.web.wire import VISITOR_BODY, whole_body

try:
    import httpx
except ImportError as error:
    raise ImportError("server=… needs httpx, which is not installed: pip install 'waitroom[asgi]'") from error

#: Seconds that the gate may take, from the wish for a connection to the last byte.
_GATE_SECONDS: Final = 0.45

#: Seconds that the server may take for a visitor's call. A live one takes less than half a second, also when Redis
#: fails.
_CALL_SECONDS: Final = 3.0

#: Seconds after which a client that is told to poll may do so. The answers say how often.
_POLL_SECONDS: Final = 1.0

#: Bytes of an answer at most. The waiting page and its files have less than 64 KB each.
_MOST_BYTES: Final = 1024 * 1024

#: Idle connections are closed after so many seconds: sooner than the server closes its own (75 s).
_LIMITS: Final = httpx.Limits(max_connections=200, max_keepalive_connections=50, keepalive_expiry=30.0)

_DECISIONS: Final = frozenset({204, 401, 403})

#: Of the gate's answer. What else it says is for a proxy.
_OF_THE_GATE: Final = frozenset({b"set-cookie", b"retry-after"})

#: What a waitroom server reads of a visitor's call. Everything else that a client says of itself stays here.
_PASSED_ON: Final = frozenset(
    {
        b"accept-language",
        b"authorization",
        b"content-type",
        b"cookie",
        b"if-none-match",
        b"origin",
        b"user-agent",
        *(name.encode() for name in HEADERS),
    }
)

#: What belongs to the connection to the server, or what this application's server says itself.
_KEPT_BACK: Final = frozenset(
    {
        b"connection",
        b"date",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-connection",
        b"server",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

#: A header's value as HTTP allows it (RFC 9110, 5.5).
_VALUE: Final = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t \x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")

#: Printable ASCII, of which a query consists. A byte beyond it is percent-encoded.
_PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: list[Header]
    body: bytes


class RemoteServer:
    """A keeper that asks."""

    def __init__(self, url: httpx.URL, room: str) -> None:
        self._url = url
        self._room = room
        # Not an httpx client: that would keep the cookies of one visitor for the next. Two pools, so that calls which
        # hang do not take the gate's connections.
        tls = httpx.create_ssl_context() if url.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._gate_pool = httpx.AsyncHTTPTransport(limits=_LIMITS, verify=tls)
        self._call_pool = httpx.AsyncHTTPTransport(limits=_LIMITS, verify=tls)

    async def decide(self, scope: Scope) -> Decision:
        """The decision of the server's gate. Raises Unavailable where it gives none in time."""
        headers = [*_sendable(scope), (b"x-forwarded-method", scope["method"].encode("latin-1"))]
        request = httpx.Request("GET", self._url.copy_with(path=f"/gate/{self._room}"), headers=headers)
        answer = await _answer(self._gate_pool, request, seconds=_GATE_SECONDS)
        if answer.status not in _DECISIONS:
            raise Unavailable(f"the gate answered {answer.status}")
        return Decision(answer.status, tuple(_only(answer.headers, _OF_THE_GATE)))

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Relay the call. Raises Problem for one that is too large, Unavailable where no answer comes in time.

        Answers are relayed whole, so there are no event streams.
        """
        if scope["path"].endswith("/events"):
            raise poll_instead(_POLL_SECONDS, "the application passes no streams on")
        request = httpx.Request(
            scope["method"],
            self._address(scope),
            headers=_only(_sendable(scope), _PASSED_ON),
            content=await whole_body(receive, VISITOR_BODY),
        )
        answer = await _answer(self._call_pool, request, seconds=_CALL_SECONDS)
        headers = [line for line in answer.headers if line[0] not in _KEPT_BACK]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def _address(self, scope: Scope) -> httpx.URL:
        query = quote_from_bytes(scope["query_string"], safe=_PRINTABLE)
        try:
            return self._url.copy_with(raw_path=f"{scope['path']}{'?' if query else ''}{query}".encode())
        except httpx.InvalidURL:
            raise Problem(414, "address-too-long", "Address too long") from None

    async def close(self) -> None:
        """Close every connection."""
        await self._gate_pool.aclose()
        await self._call_pool.aclose()


@asynccontextmanager
async def remote_server(url: str, room: str) -> AsyncIterator[RemoteServer]:
    """The server at that address, in the running event loop."""
    server = RemoteServer(httpx.URL(url), room)
    try:
        yield server
    finally:
        await server.close()


async def _answer(pool: httpx.AsyncHTTPTransport, request: httpx.Request, *, seconds: float) -> _Answer:
    request.extensions = {"timeout": httpx.Timeout(seconds).as_dict()}
    try:
        # Over the whole exchange: httpx bounds the wait for a connection, for each write and each read one by one.
        async with asyncio.timeout(seconds):
            response = await pool.handle_async_request(request)
            try:
                body = await _whole(response)
            finally:
                await response.aclose()
    except (httpx.HTTPError, TimeoutError) as error:
        raise Unavailable(f"the waitroom server did not answer: {type(error).__name__}") from error
    return _Answer(response.status_code, [(name.lower(), value) for name, value in response.headers.raw], body)


async def _whole(response: httpx.Response) -> bytes:
    chunks, size = [], 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > _MOST_BYTES:
            raise Unavailable("the waitroom server's answer is too long")
        chunks.append(chunk)
    return b"".join(chunks)


def _only(headers: Iterable[Header], names: Collection[bytes]) -> list[Header]:
    return [line for line in headers if line[0] in names]


def _sendable(scope: Scope) -> list[Header]:
    """The headers without those that httpx refuses to send: a client's odd cookie must not look like an outage."""
    return [line for line in scope["headers"] if _VALUE.fullmatch(line[1])]
