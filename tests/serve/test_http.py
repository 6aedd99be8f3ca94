"""The web server's protocol: what an answer consists of goes out in one piece, in order, and nothing is lost."""

from __future__ import annotations

import asyncio
import gc
import re
import socket
import struct
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import pytest
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rig.waiting import PATIENCE_SECONDS as DEADLINE_SECONDS
from waitroom.serve import http
from waitroom.serve.http import WholeAnswers
from waitroom.web.wire import respond

_LARGE: Final = b"0123456789abcdef" * 65_536

#: Set when /stream has been told that its client is gone.
_gone = asyncio.Event()


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    """/large answers a megabyte, /parts three parts one by one, /late its body later than its head, others `short`.

    /endless answers more than any buffer holds and breaks off, /huge 8 MB, /torrent as much as is read, /stream a word
    now and then until its client is gone.
    """
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    path = scope["path"]
    if path == "/parts":
        for part in (b"one", b"two", b"three"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
            await asyncio.sleep(0.01)
        await send({"type": "http.response.body", "body": b""})
        return
    if path == "/endless":
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                while True:
                    await send({"type": "http.response.body", "body": _LARGE, "more_body": True})
        return
    if path == "/stream":
        while not _gone.is_set():
            await send({"type": "http.response.body", "body": b"more", "more_body": True})
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    _gone.set()
        return
    if path == "/torrent":
        while (await receive())["type"] != "http.disconnect":
            await send({"type": "http.response.body", "body": _LARGE, "more_body": True})
        return
    if path == "/late":
        await receive()
        await asyncio.sleep(0.05)
    bodies = {"/large": _LARGE, "/huge": 8 * _LARGE}
    await send({"type": "http.response.body", "body": bodies.get(path, b"short")})


@asynccontextmanager
async def _serving(http: type[WholeAnswers] = WholeAnswers, app: ASGIApp = _app) -> AsyncIterator[int]:
    config = uvicorn.Config(app, http=http, lifespan="off", log_level="warning", access_log=False, ws="none")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                while not server.started:
                    await asyncio.sleep(0.01)
                yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            await serving


async def _told(port: int, *paths: str, last: bool = True) -> bytes:
    """All that is answered on one connection to requests that are sent at once; the last asks to close it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heads = [f"GET {path} HTTP/1.1\r\nHost: x\r\n" for path in paths]
    ends = ["\r\n"] * (len(paths) - 1) + ["Connection: close\r\n\r\n" if last else "\r\n"]
    writer.write("".join(head + end for head, end in zip(heads, ends, strict=True)).encode())
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await reader.read() if last else await reader.read(1 << 16)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_head_and_body_are_written_in_one_piece() -> None:
    """One write to the socket for each short answer."""
    writes: list[bytes] = []

    class Watched(WholeAnswers):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            write = transport.write

            def noted(data: bytes) -> None:
                writes.append(bytes(data))
                write(data)

            transport.write = noted  # type: ignore[assignment, method-assign]
            super().connection_made(transport)

    async with _serving(Watched) as port:
        for _ in range(3):
            answer = await _told(port, "/", last=False)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.endswith(b"\r\n\r\n5\r\nshort\r\n0\r\n\r\n")
            assert writes.pop() == answer
            assert writes == []


@pytest.mark.parametrize("path", ["/parts", "/late", "/"])
async def test_an_answer_in_parts_is_whole(path: str) -> None:
    """What is said later comes later, in order, and before the connection closes."""
    async with _serving() as port:
        body = (await _told(port, path)).partition(b"\r\n\r\n")[2]
        wanted = b"3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n" if path == "/parts" else b"5\r\nshort\r\n0\r\n\r\n"
        assert body == wanted


async def test_a_large_answer_is_whole() -> None:
    """A megabyte to a client that reads slowly is not cut, also where the connection closes behind it."""
    async with _serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = bytearray()
        async with asyncio.timeout(DEADLINE_SECONDS):
            while piece := await reader.read(16_384):
                received += piece
                await asyncio.sleep(0)
        assert _LARGE in bytes(received)
        writer.close()
        await writer.wait_closed()


async def test_who_reads_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is to be closed is gone after a while, with what its client has not read."""
    monkeypatch.setattr(http, "LINGER_SECONDS", 0.2)
    gone = asyncio.Event()

    class Watched(WholeAnswers):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            gone.set()

    async with _serving(Watched) as port:
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", port))
            deaf.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            async with asyncio.timeout(DEADLINE_SECONDS):
                await gone.wait()


async def test_who_reads_slowly_gets_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is to be closed stays for as long as its client reads on."""
    monkeypatch.setattr(http, "LINGER_SECONDS", 0.2)
    async with _serving() as port:
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            slow.connect(("127.0.0.1", port))
            slow.setblocking(False)
            loop, received = asyncio.get_running_loop(), bytearray()
            await loop.sock_sendall(slow, b"GET /huge HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            async with asyncio.timeout(DEADLINE_SECONDS):
                while piece := await loop.sock_recv(slow, 1 << 20):
                    received += piece
                    await asyncio.sleep(0.002)
            assert len(received) > 8 * len(_LARGE)
            assert _LARGE * 8 in bytes(received)


async def test_who_reads_for_ever_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is an end to it, however little is read each time."""
    monkeypatch.setattr(http, "LINGER_SECONDS", 0.1)
    monkeypatch.setattr(http, "LONGEST_LINGER_SECONDS", 0.5)
    async with _serving() as port:
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", port))
            slow.setblocking(False)
            loop, received = asyncio.get_running_loop(), 0
            await loop.sock_sendall(slow, b"GET /huge HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            with suppress(ConnectionError):
                async with asyncio.timeout(DEADLINE_SECONDS):
                    while piece := await loop.sock_recv(slow, 16_384):
                        received += len(piece)
                        await asyncio.sleep(0.02 if received < 1 << 20 else 0)
            assert received < 8 * len(_LARGE)


async def test_all_whose_client_is_gone_are_told() -> None:
    """Also an answer behind which another request waits already."""
    async with _serving() as port:
        for behind in (b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
            _gone.clear()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n" + behind)
            await reader.readuntil(b"more")
            writer.transport.abort()
            async with asyncio.timeout(DEADLINE_SECONDS):
                await _gone.wait()


async def test_an_application_is_held_to_the_clients_pace() -> None:
    """Who says much in one go waits as soon as the client does not read on: nothing piles up."""
    async with _serving() as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /torrent HTTP/1.1\r\nHost: x\r\n\r\n")
        # The application never gives way by itself: were it not held, nobody else would be answered any more.
        assert (await _told(port, "/")).endswith(b"short\r\n0\r\n\r\n")
        writer.transport.abort()


async def test_answers_keep_the_order_of_requests_sent_at_once() -> None:
    """Pipelined requests are answered one after the other, slow ones too."""
    async with _serving() as port:
        answer = await _told(port, "/late", "/parts", "/")
        assert [answer.count(part) for part in (b"HTTP/1.1 200 OK", b"short", b"three")] == [3, 2, 1]
        assert answer.index(b"short") < answer.index(b"three") < answer.rindex(b"short")


async def test_a_client_that_goes_leaves_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    """Clients that hang up before their answer make no noise, and others are served."""
    async with _serving() as port:
        for _ in range(20):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n")
            await writer.drain()
            writer.transport.abort()
        assert (await _told(port, "/")).endswith(b"short\r\n0\r\n\r\n")
    assert caplog.records == []


async def _whole(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as waitroom does: whole where the server takes that; /split puts a header of two lines in."""
    value = b"a\r\nSet-Cookie: b=c" if scope["path"] == "/split" else b"a"
    headers = ((b"x-said", value), (b"set-cookie", b"d=e; Path=/"))
    await respond(
        send, 204 if scope["path"] == "/empty" else 200, b"" if scope["path"] == "/empty" else b"{}", headers=headers
    )


async def _plain(scope: Scope, receive: Receive, send: Send) -> None:
    """The same in ASGI's two messages."""

    async def only(message: Message) -> None:
        await send(message)

    await _whole(scope, receive, only)


@pytest.mark.parametrize(
    "request_head",
    [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /empty HTTP/1.1\r\nHost: x\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /empty HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ids=["get", "204", "head", "close", "1.0", "pipelined", "expects"],
)
async def test_a_whole_answer_is_what_uvicorn_would_have_sent(request_head: str) -> None:
    """Byte for byte, but for the time. Where the connection stays, a last request ends it."""
    answers = []
    for app in (_whole, _plain):
        async with _serving(app=app) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request_head.encode())
            async with asyncio.timeout(DEADLINE_SECONDS):
                answer = await reader.read(1 << 16)
                if "close" not in request_head and "HTTP/1.1" in request_head:
                    writer.write(b"GET /empty HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer += await reader.read()
            answers.append(re.sub(rb"(?im)^date: .*\r\n", b"", answer))
            writer.close()
            await writer.wait_closed()
    assert answers[0] == answers[1]
    assert b"x-said: a\r\n" in answers[0]


async def test_a_header_of_two_lines_is_not_sent(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever could put a line break into a value would write the visitor's next cookie."""
    async with _serving(app=_whole) as port:
        answer = await _told(port, "/split", last=False)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"b=c" not in answer
    assert "control character" in capsys.readouterr().err


@pytest.mark.parametrize("control", [*range(9), *range(10, 32), 127])
async def test_no_control_character_is_sent(control: int) -> None:
    """Of all that HTTP forbids in a value, none goes out."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await respond(send, 200, b"{}", headers=((b"x-said", b"a" + bytes([control]) + b"b"),))

    async with _serving(app=app) as port:
        assert (await _told(port, "/", last=False)).startswith(b"HTTP/1.1 500 ")


async def test_what_is_in_order_is_sent_whole() -> None:
    """waitroom's answers do take the short way: one that asks for nothing else is never told in messages."""
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        whole = send.whole  # type: ignore[attr-defined]

        class Watched:
            def whole(self, *answer: object) -> bool:
                told.append("whole" if whole(*answer) else "refused")
                return told[-1] == "whole"

            async def __call__(self, message: Message) -> None:
                told.append(message["type"])
                await send(message)

        await _whole(scope, receive, Watched())

    async with _serving(app=app) as port:
        await _told(port, "/", "/empty", last=False)
        assert told[0] == "whole"
        told.clear()
        await _told(port, "/")
        assert told == ["refused", "http.response.start", "http.response.body"]


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_a_connection_that_is_over_leaves_nothing(reset: bool) -> None:
    """Not even until the garbage collector comes, which it does after tens of thousands of objects."""
    made: list[weakref.ref[WholeAnswers]] = []

    class Watched(WholeAnswers):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            made.append(weakref.ref(self))

    gc.collect()
    gc.disable()
    try:
        async with _serving(Watched) as port:
            for _ in range(3):
                client = socket.create_connection(("127.0.0.1", port))
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert await asyncio.to_thread(client.recv, 1)
                if reset:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
            async with asyncio.timeout(DEADLINE_SECONDS):
                while any(left() is not None for left in made):
                    await asyncio.sleep(0.01)
    finally:
        gc.enable()
    assert len(made) == 3


async def test_what_was_answered_is_forgotten() -> None:
    """A connection holds no more of its requests than wait for an answer, however many it has had."""
    connections: list[WholeAnswers] = []

    class Watched(WholeAnswers):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            connections.append(self)

    async with _serving(Watched) as port, asyncio.timeout(DEADLINE_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(30):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
            for _ in range(20):
                await reader.readuntil(b"0\r\n\r\n")
            assert len(connections[0]._earlier) <= 20
        writer.close()
        await writer.wait_closed()


async def _pour(writer: asyncio.StreamWriter, requests: bytes) -> None:
    """Send them for ever."""
    while True:
        writer.write(requests)
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("body", [False, True])
async def test_who_sends_and_never_reads_is_broken_off(body: bool) -> None:
    """Requests that wait for others on one connection are few: more of them, and it ends."""
    queued: list[int] = []

    class Watched(WholeAnswers):
        def on_headers_complete(self) -> None:
            super().on_headers_complete()
            queued.append(len(self.pipeline))

    request = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"
    if body:
        request = b"POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    async with _serving(Watched) as port, asyncio.timeout(DEADLINE_SECONDS):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        with pytest.raises(ConnectionError):
            await _pour(writer, request * 500)
        assert max(queued) == http._MOST_QUEUED
        writer.transport.abort()
