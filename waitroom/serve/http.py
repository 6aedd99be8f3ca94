"""uvicorn's HTTP protocol, with what an answer consists of sent in one piece.

uvicorn writes an answer's head and its body one after the other, and uvloop sends each at once: two system calls, and
often two packets, where one would do. A system call costs as much as all that `enter` does with JSON. An application
that has its whole answer at hand can also say so, and spares itself the two messages in which ASGI tells it.
"""

from __future__ import annotations

import asyncio
import fcntl
import sys
import termios
from collections import deque
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

#: Once a connection is to be closed, seconds within which its client has to read some more of the rest, and all of it.
LINGER_SECONDS: Final = 5.0
LONGEST_LINGER_SECONDS: Final = 60.0

#: Pieces of an answer that are joined at most: beyond, the client's pace is what counts.
_PIECES: Final = 16

#: Requests that may wait on a connection for the answers to those before them. Each costs 2.4 KB, and clients that mean
#: well send a few at most.
_MOST_QUEUED: Final = 100

#: What may stand in no header (RFC 9110, 5.5), but as the end of its line.
_CONTROLS: Final = bytes([*range(9), *range(10, 32), 127])


class WholeAnswers(HttpToolsProtocol):
    """What `serve` gives to uvicorn."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Talk to the client through a transport that joins what is written."""
        super().connection_made(_Joining(transport, self.loop))
        self._earlier: deque[RequestResponseCycle] = deque()
        self.app = _Sending(self.app)

    def on_headers_complete(self) -> None:
        """Note the requests that are not answered yet when the next comes: uvicorn knows the newest only."""
        if len(self.pipeline) >= _MOST_QUEUED:
            self.transport.abort()
            return
        before = self.cycle
        super().on_headers_complete()
        while self._earlier and self._earlier[0].response_complete:
            self._earlier.popleft()
        if before is not None and before is not self.cycle and not before.response_complete:
            self._earlier.append(before)

    def on_response_complete(self) -> None:
        """Read no more than uvicorn holds already, for a client that sends requests and reads no answers."""
        super().on_response_complete()
        if self.pipeline:
            self.flow.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell all that answer: a stream with another request behind it would go on for no reader."""
        super().connection_lost(exc)
        # uvicorn does so only where the client said goodbye. A timer keeps the protocol, and all that belongs to it.
        self._unset_keepalive_if_required()
        for cycle in self._earlier:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self._earlier.clear()


class _Sending:
    """An application that is given a `send` which takes whole answers, too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self._app(scope, receive, _WholeSend(send))


class _WholeSend:
    """uvicorn's `send`, and `whole` beside it."""

    __slots__ = ("_cycle", "_send")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._cycle: RequestResponseCycle = send.__self__  # type: ignore[attr-defined]

    def __call__(self, message: Message) -> Awaitable[None]:
        return self._send(message)

    def whole(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
        """Send an answer whose headers tell its length, if it has one. False where that takes the two messages.

        Raises ValueError for a header that would not be one line.
        """
        cycle = self._cycle
        if (
            cycle.response_started
            or cycle.disconnected
            or not cycle.keep_alive
            or cycle.flow.write_paused
            or cycle.access_log
            or cycle.scope["method"] == "HEAD"
        ):
            return False
        fields = [*cycle.default_headers, *headers]
        pieces = [STATUS_LINE[status]]
        for name, value in fields:
            pieces += (name, b": ", value, b"\r\n")
        pieces.append(b"\r\n")
        head = b"".join(pieces)
        # The status, the fields and an empty line. Each ends with two.
        if len(head) - len(head.translate(None, _CONTROLS)) != 2 * (len(fields) + 2):
            raise ValueError("a header holds a control character")
        cycle.transport.write(head + body)
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.message_event.set()
        cycle.on_response()
        return True


class _Joining(asyncio.Transport):
    """A transport that sends what was written within one round of the event loop together, at the round's end."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._written: list[bytes] = []
        # What is only handed on need not pass through here.
        self.is_closing = transport.is_closing  # type: ignore[method-assign]
        self.get_extra_info = transport.get_extra_info  # type: ignore[method-assign]
        self.pause_reading = transport.pause_reading  # type: ignore[method-assign]
        self.resume_reading = transport.resume_reading  # type: ignore[method-assign]
        self.abort = transport.abort  # type: ignore[method-assign]

    def write(self, data: Any) -> None:
        """Send that soon."""
        if not self._written:
            self._loop.call_soon(self._send)
        self._written.append(data)
        if len(self._written) >= _PIECES:
            self._send()

    def _send(self) -> None:
        if self._written:
            data, self._written = b"".join(self._written), []
            if not self._transport.is_closing():
                self._transport.write(data)

    def close(self) -> None:
        """Send what was written, then close: soon, also where the client does not read."""
        self._send()
        self._transport.close()
        # Otherwise a client that reads nothing would keep the connection, and all that it was sent, for good.
        if self._transport.get_write_buffer_size():
            self._linger(self._unread(), self._loop.time() + LONGEST_LINGER_SECONDS)

    def _linger(self, unread: int, until: float) -> None:
        """Break off if the client reads none of what is unread, or not all of it until then."""

        def look() -> None:
            if not self._transport.get_write_buffer_size():
                return  # the kernel has the rest
            still = self._unread()
            if still >= unread or self._loop.time() >= until:
                self._transport.abort()
            else:
                self._linger(still, until)

        self._loop.call_later(LINGER_SECONDS, look)

    def _unread(self) -> int:
        """Bytes that the client has not acknowledged, or where the kernel does not say, those it has not taken."""
        held = bytearray(4)
        with suppress(OSError, AttributeError):
            fcntl.ioctl(self._transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, held)
        return self._transport.get_write_buffer_size() + int.from_bytes(held, sys.byteorder)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand what comes in to another protocol."""
        self._transport.set_protocol(protocol)
