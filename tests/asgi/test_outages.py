"""A server or a Redis that is dead, silent or frozen: answers come, and nobody gets past (I24, T37).

How soon they come: test_in_time.py.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from rig.line import Line, Mode, in_thread
from rig.waiting import until
from tests.asgi.apps import Origin, bare_origin
from tests.asgi.running import fetch, gated, told, visiting
from tests.web import sites
from tests.web.sites import SIGNING_KEY, Site, running
from waitroom.asgi import WaitroomGate, remote
from waitroom.asgi.instance import OwnInstance
from waitroom.asgi.keeper import Keeper, Keepers


def asked(url: str, path: str = "/x", **headers: str) -> int:
    """The status of an answer; it comes before a caller's patience ends."""
    return fetch("GET", f"{url}{path}", headers=headers).status_code


# A server.


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port that does that with each connection, in a thread."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)

        def accept() -> None:
            with ExitStack() as taken:
                while not over.is_set():
                    try:
                        answer(taken.enter_context(listener.accept()[0]))
                    except OSError:
                        continue

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            thread.join()


def hanging_up(link: socket.socket) -> None:
    """Closes without a word."""
    link.close()


def silent(_link: socket.socket) -> None:
    """Says nothing."""


def endless(link: socket.socket) -> None:
    """Begins to say yes, and never comes to an end: each byte in time, the whole never."""

    def trickle() -> None:
        try:
            for byte in b"HTTP/1.1 204 No Content\r\nX-More: " + b"x" * 1000:
                link.sendall(bytes([byte]))
                time.sleep(0.05)
        except OSError:
            pass

    threading.Thread(target=trickle, daemon=True).start()


def huge(link: socket.socket) -> None:
    """Says more than anybody wants to know."""
    with link:
        link.sendall(b"HTTP/1.1 204 No Content\r\nX-More: " + b"x" * 500_000)


@pytest.mark.parametrize("fault", [hanging_up, silent, endless, huge])
def test_a_server_that_gives_no_answer(fault: Callable[[socket.socket], None]) -> None:
    """503, one by one and in a crowd; what is exempt and admitted before is not asked for."""
    origin = bare_origin()
    with listening(fault) as port:
        gate = WaitroomGate(origin.app, room="shop", server=f"http://127.0.0.1:{port}", exempt=["/healthz"])
        with running(gate) as url:
            assert asked(url) == 503
            with ThreadPoolExecutor(30) as pool:
                assert set(pool.map(asked, [url] * 30)) == {503}
            assert origin.seen == []
            assert asked(url, "/healthz") == 200


def test_a_server_that_is_not_there() -> None:
    """Refused, or not to be found by name: 503; a visitor's call too, as a page where a page is wanted."""
    origin = bare_origin()
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    for server in (f"http://127.0.0.1:{port}", "http://waitroom.invalid:8000"):
        with running(WaitroomGate(origin.app, room="shop", server=server)) as url, visiting(url) as visitor:
            assert visitor.get("/x").status_code == 503
            assert visitor.get("/wait/shop").headers["content-type"] == "text/html; charset=utf-8"
            answer = visitor.post("/v1/rooms/shop/enter", headers={"Accept": "application/json"})
            assert answer.status_code == answer.json()["status"] == 503
            assert int(answer.headers["retry-after"]) > 0
    assert origin.seen == []


def test_a_server_that_freezes_and_thaws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """503, also while calls hang on it; afterwards all is as before, and no connection is lost for good."""
    # While the server lives a busy machine has as long for the gate as for a visitor's call.
    monkeypatch.setattr(remote, "_GATE_SECONDS", remote._CALL_SECONDS)
    origin = bare_origin()
    with sites.own_redis() as (redis_url, redis), sites.program(redis, redis_url, folder=tmp_path) as site:
        room = site.make_room(capacity=1)
        granted = site.pass_of_new(room)
        with running(gated("server", origin.app, room, site)) as url:
            assert asked(url, **{"X-Waitroom-Pass": granted}) == 200
            os.kill(site.pid, signal.SIGSTOP)
            try:
                with ThreadPoolExecutor(60) as pool:
                    calls = [pool.submit(asked, url, f"/v1/rooms/{room}") for _ in range(30)]
                    gates = [pool.submit(asked, url, **{"X-Waitroom-Pass": granted}) for _ in range(30)]
                    assert {call.result() for call in gates + calls} == {503}
            finally:
                os.kill(site.pid, signal.SIGCONT)
            until(lambda: asked(url, **{"X-Waitroom-Pass": granted}) == 200, what="recovery")
            assert asked(url) == 401
            assert asked(url, f"/v1/rooms/{room}") == 200
    assert len(origin.seen) == 2


# A Redis.


@dataclass
class Cut:
    """An application on a Redis whose line can be cut, and the pass of who is inside."""

    url: str
    site: Site
    line: Line
    origin: Origin
    granted: str


@pytest.fixture(scope="module")
def cut() -> Iterator[Cut]:
    """Such an application; its room is full."""
    origin = bare_origin()
    with (
        sites.own_redis() as (redis_url, redis),
        in_thread(redis_url) as line,
        sites.serving(redis, sites.settings_for(redis_url)) as site,
    ):
        granted = site.pass_of_new(site.make_room("shop", capacity=1))
        gate = WaitroomGate(origin.app, room="shop", redis_url=line.url, signing_keys=[SIGNING_KEY])
        with running(gate) as url:
            yield Cut(url, site, line, origin, granted)


OUTAGES: dict[str, Callable[[Cut], AbstractContextManager[None]]] = {
    "refused": lambda cut: cut.line.cut("refuse"),
    "silent": lambda cut: cut.line.cut("blackhole"),
    "frozen": lambda cut: sites.frozen(cut.site.redis),
}


@pytest.mark.parametrize("kind", OUTAGES)
def test_a_redis_that_gives_no_answer(cut: Cut, kind: str) -> None:
    """Who has a pass goes on (`when_down` is static), nobody else does, and visitors' calls say 503."""
    cut.origin.seen.clear()
    brought = {"X-Waitroom-Pass": cut.granted}
    with OUTAGES[kind](cut):
        for path, headers, wanted in (
            ("/x", {}, 401),
            ("/x", {"Accept": "text/html"}, 303),
            ("/x", brought, 200),
            ("/wait/shop", {"Accept": "text/html"}, 503),
            ("/v1/rooms/shop/status", brought, 401),
        ):
            assert (path, asked(cut.url, path, **headers)) == (path, wanted)
        assert fetch("POST", f"{cut.url}/v1/rooms/shop/enter").status_code == 503
    assert len(cut.origin.seen) == 1
    until(lambda: fetch("POST", f"{cut.url}/v1/rooms/shop/enter").status_code == 202, what="recovery")


@pytest.mark.parametrize(("mode", "lifespan"), [("refuse", "auto"), ("blackhole", "off")])
def test_a_start_without_redis(mode: Mode, lifespan: str) -> None:
    """The application starts, nobody gets in, and when Redis comes the room is there."""
    origin = bare_origin()
    with sites.own_redis() as (redis_url, _), in_thread(redis_url) as line:
        line.set_mode(mode)
        gate = WaitroomGate(
            origin.app, room="shop", redis_url=line.url, signing_keys=[SIGNING_KEY], rooms={"shop": {"capacity": 5}}
        )
        with running(gate, lifespan=lifespan) as url:
            for _ in range(3):
                assert asked(url) in (401, 503)
            assert origin.seen == []
            line.set_mode("refuse")
            line.set_mode("open")
            until(lambda: asked(url) == 200, what="the room")


# Bugs (T37).


@pytest.mark.parametrize("error", [ValueError, KeyError, RuntimeError, OSError, AssertionError, TimeoutError])
async def test_an_unexpected_failure_is_a_no(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """Whatever goes wrong on the way to a decision, the application does not hear of the request."""

    async def failing(*_: object) -> None:
        raise error("made up")

    monkeypatch.setattr(OwnInstance, "decide", failing)
    origin = bare_origin()
    gate = gated("redis", origin.app, "shop", site)
    assert (await told(gate))[0]["status"] == 503
    assert origin.seen == []


@pytest.mark.usefixtures("unhurried")
async def test_a_keeper_that_cannot_be_opened_is_a_no(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the gate and for visitors' calls; and it is tried again."""

    def failing(*_: object) -> None:
        raise ValueError("made up")

    origin = bare_origin()
    gate = gated("redis", origin.app, site.make_room("opened"), site)
    with monkeypatch.context() as broken:
        broken.setattr("waitroom.asgi.instance.assemble", failing)
        assert (await told(gate))[0]["status"] == 503
        assert (await told(gate, path="/v1/rooms/opened"))[0]["status"] == 503
    assert origin.seen == []
    assert (await told(gate))[0]["status"] == 200


def test_a_loop_that_ends_while_a_keeper_opens_comes_to_its_end() -> None:
    """Also where opening loses the cancellation, as `asyncio.wait_for` of Python 3.11 can."""
    closed = []

    @asynccontextmanager
    async def opening() -> AsyncIterator[Keeper]:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        try:
            yield cast(Keeper, None)
        finally:
            closed.append(True)

    async def run() -> None:
        starting = asyncio.create_task(Keepers(opening).start())
        await asyncio.wait([starting], timeout=0.01)

    asyncio.run(run())
    assert closed == [True]


async def test_what_is_neither_request_nor_websocket_is_not_let_through(site: Site) -> None:
    """A kind of connection that nobody has thought of."""
    origin = bare_origin()
    with pytest.raises(ValueError, match=r"unknown type 'webtransport'"):
        await told(gated("redis", origin.app, "shop", site), type="webtransport")
    assert origin.seen == []
