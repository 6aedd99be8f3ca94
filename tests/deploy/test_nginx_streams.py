"""Event streams through real nginx: at once, for long, so many per address, and gone when the visitor is."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from crowd.browser import Listener, all_listen, browsing
from rig.accounting import family
from rig.instance import serving
from rig.nginx import Nginx
from rig.raw import accepting
from rig.waiting import PATIENCE_SECONDS as DEADLINE_SECONDS
from rig.waiting import eventually
from waitroom.demo.nginx import configuration_folder

_PATH: Final = "/v1/rooms/shop/events"

_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass
class Streams:
    """An instance that streams: each stream's writing end, in order of arrival, and the requests' heads."""

    port: int = 0
    heads: list[bytes] = field(default_factory=list)
    ends: list[asyncio.StreamWriter] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def say(self, number: int, text: bytes) -> None:
        """Send an event on a stream."""
        self.ends[number].write(b"%x\r\n%s\r\n" % (len(text), text))


@asynccontextmanager
async def _streaming() -> AsyncIterator[Streams]:
    streams = Streams()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        streams.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(_HEAD)
        streams.ends.append(writer)
        streams.arrived.set()
        with suppress(ConnectionError):
            await reader.read()
        streams.gone.set()

    async with accepting(serve) as streams.port:
        yield streams


@asynccontextmanager
async def _nginx(program: Path, folder: Path, streams: Streams, *edits: tuple[str, str]) -> AsyncIterator[Nginx]:
    """nginx in front of the streaming instance; `edits` are made in waitroom-locations.conf."""
    locations = (configuration_folder() / "waitroom-locations.conf").read_text()
    for old, new in edits:
        assert old in locations
        locations = locations.replace(old, new)
    files = {"waitroom-locations.conf": locations}
    with Nginx(folder, instances=[streams.port], origin=streams.port, files=files, program=program) as nginx:
        yield nginx


@asynccontextmanager
async def _listening(port: int) -> AsyncIterator[asyncio.StreamReader]:
    """A visitor's connection that has asked for the events."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {_PATH}?a=1 HTTP/1.1\r\nHost: shop\r\nCookie: a=1\r\nLast-Event-ID: 7\r\n\r\n".encode())
    try:
        yield reader
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def _until(reader: asyncio.StreamReader, text: bytes) -> bytes:
    async with asyncio.timeout(DEADLINE_SECONDS):
        return await reader.readuntil(text)


async def test_an_event_arrives_before_the_next_is_said(binary: Path, tmp_path: Path) -> None:
    """Nothing waits for a buffer to fill; and the stream may be silent for longer than other answers."""
    async with _streaming() as streams:
        soon = ("proxy_read_timeout 5s;", "proxy_read_timeout 500ms;")
        async with _nginx(binary, tmp_path, streams, soon) as nginx, _listening(nginx.port) as visitor:
            head = await _until(visitor, b"\r\n\r\n")
            assert b"text/event-stream" in head
            for number in range(3):
                streams.say(0, b"data: %d\n\n" % number)
                await _until(visitor, b"data: %d\n\n" % number)
            await asyncio.sleep(1.2)
            streams.say(0, b"data: late\n\n")
            await _until(visitor, b"data: late\n\n")
            assert streams.heads[0].startswith(f"GET {_PATH}?a=1 HTTP/1.1\r\n".encode())
            assert b"\r\nLast-Event-ID: 7\r\n" in streams.heads[0]
            assert b"\r\nCookie: a=1\r\n" in streams.heads[0]


async def test_a_stream_ends_at_the_instance_when_the_visitor_goes(binary: Path, tmp_path: Path) -> None:
    async with _streaming() as streams, _nginx(binary, tmp_path, streams) as nginx:
        async with _listening(nginx.port) as visitor:
            await _until(visitor, b"\r\n\r\n")
        async with asyncio.timeout(DEADLINE_SECONDS):
            await streams.gone.wait()


async def test_one_address_holds_so_many_streams_and_no_more(binary: Path, tmp_path: Path) -> None:
    fewer = ("limit_conn waitroom_streams 500;", "limit_conn waitroom_streams 2;")
    async with _streaming() as streams, _nginx(binary, tmp_path, streams, fewer) as nginx:
        async with _listening(nginx.port) as first, _listening(nginx.port) as second:
            for visitor in (first, second):
                assert b" 200 " in await _until(visitor, b"\r\n\r\n")
            async with _listening(nginx.port) as third:
                head = await _until(third, b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 429 ")
                assert b"Retry-After: " in head
                assert b"application/problem+json" in head
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:  # nginx notices a moment later that they are gone
                async with _listening(nginx.port) as again:
                    if b" 200 " in await _until(again, b"\r\n\r\n"):
                        return


async def test_a_visitor_who_does_not_read_holds_little(binary: Path, tmp_path: Path) -> None:
    """What is said piles up at the instance, which can tell and hang up, and not in a file of nginx's."""
    async with _streaming() as streams, _nginx(binary, tmp_path, streams) as nginx, _listening(nginx.port) as visitor:
        await _until(visitor, b"\r\n\r\n")
        event = b"data: " + b"x" * 65_000 + b"\n\n"
        said = 0
        with suppress(TimeoutError):
            while said < 64 << 20:
                streams.say(0, event)
                said += len(event)
                async with asyncio.timeout(1):
                    await streams.ends[0].drain()
        assert said < 64 << 20
        assert _files(tmp_path, "nginx-*/proxy_temp/**/*") == []


async def test_an_instances_own_stream(binary: Path, tmp_path: Path) -> None:
    """A real instance behind it: the place at once, the admission within a tick or two, and the end."""
    folder = tmp_path / "instance"
    with (
        serving(folder, rooms={"shop": {"capacity": 1}}) as served,
        Nginx(tmp_path, instances=[served.port], origin=served.port, program=binary) as nginx,
    ):
        async with browsing(2, nginx.port) as browsers:
            for browser in browsers:
                await browser.ask("POST", "/v1/rooms/shop/enter")
            listener = Listener(nginx.port, "shop", browsers[1])
            async with all_listen([listener]):
                assert [event.name for event in listener.told] == ["place"]
                assert (await browsers[0].ask("POST", "/v1/rooms/shop/leave"))[0] == 204
                assert (await listener.end())[-1] == "admitted"
                assert listener.whole
            status, document = await browsers[1].ask("GET", "/v1/rooms/shop/status")
    assert (status, document["state"]) == (200, "admitted")


def _files(folder: Path, pattern: str) -> list[Path]:
    return [path for path in folder.glob(pattern) if path.is_file()]


async def test_a_reload_ends_no_stream(binary: Path, tmp_path: Path) -> None:
    """The worker of before goes on for who listens, and a new one answers who comes (F29)."""
    async with _streaming() as streams, _nginx(binary, tmp_path, streams) as nginx:
        before = set(family(nginx.pid))
        async with _listening(nginx.port) as visitor:
            await _until(visitor, b"\r\n\r\n")
            nginx.signal(signal.SIGHUP)
            await eventually(lambda: set(family(nginx.pid)) - before, "a new worker")
            streams.say(0, b"data: after\n\n")
            await _until(visitor, b"data: after\n\n")
            async with _listening(nginx.port) as another:
                assert b" 200 " in await _until(another, b"\r\n\r\n")
