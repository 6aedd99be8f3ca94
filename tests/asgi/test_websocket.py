"""WebSockets are gated before they are accepted."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, RejectConnection, RejectData, Request, TextMessage

from tests.asgi.apps import Origin, fastapi_origin, starlette_origin
from tests.asgi.running import gated
from tests.web.sites import PATIENCE_SECONDS, Site, running
from waitroom.asgi import WaitroomGate

pytestmark = pytest.mark.usefixtures("unhurried")

Headers = list[tuple[bytes, bytes]]


@dataclass
class Opened:
    """What came of a handshake: the status, the headers, and the echo or the body of the refusal."""

    status: int
    headers: dict[bytes, bytes]
    said: str


def handshake(url: str, path: str, headers: Headers) -> Opened:
    """Open a WebSocket, say hello where it is accepted, and take what comes back."""
    host, _, port = url.removeprefix("http://").partition(":")
    connection = WSConnection(ConnectionType.CLIENT)
    with socket.create_connection((host, int(port)), PATIENCE_SECONDS) as link:
        link.sendall(connection.send(Request(host=host, target=path, extra_headers=headers)))
        opened = Opened(0, {}, "")
        while data := link.recv(65_536):
            connection.receive_data(data)
            for event in connection.events():
                if isinstance(event, AcceptConnection):
                    opened = Opened(101, dict(event.extra_headers), "")
                    link.sendall(connection.send(TextMessage("hello")))
                elif isinstance(event, TextMessage):
                    opened.said = event.data
                    return opened
                elif isinstance(event, RejectConnection):
                    opened = Opened(event.status_code, dict(event.headers), "")
                    if not event.has_body:
                        return opened
                elif isinstance(event, RejectData):
                    opened.said += event.data.decode()
                    if event.body_finished:
                        return opened
    return opened


@dataclass
class World:
    """An application with a WebSocket at /ws, in a room for one."""

    url: str
    room: str
    origin: Origin

    def open(self, path: str = "/ws", **headers: str) -> Opened:
        """Try to open one."""
        given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        return handshake(self.url, path, given)


@pytest.fixture(params=["server", "redis"])
def mode(request: pytest.FixtureRequest) -> str:
    """Whom the middleware asks."""
    return str(request.param)


@pytest.fixture(params=[fastapi_origin, starlette_origin])
def world(request: pytest.FixtureRequest, mode: str, site: Site, new_room: Callable[..., str]) -> Iterator[World]:
    """Such an application."""
    room, origin = new_room(capacity=1), request.param()
    with running(gated(mode, origin.app, room, site, exempt=["/open"])) as url:
        yield World(url, room, origin)


def test_without_a_pass_it_is_refused(world: World, site: Site) -> None:
    """With the whole problem document, where the server can send one; also at waitroom's own addresses."""
    site.pass_of_new(world.room)
    for path in ("/ws", f"/wait/{world.room}", f"/v1/rooms/{world.room}/status", "/open/../ws"):
        refused = world.open(path, Accept="text/html")
        assert refused.status == 401
        assert b"retry-after" in refused.headers
        assert '"urn:waitroom:no-pass"' in refused.said
    assert world.origin.seen == []


def test_with_a_pass_it_is_opened(world: World, site: Site) -> None:
    """The pass in its cookie or its header, which the application does not see."""
    granted = site.pass_of_new(world.room)
    for headers in ({"X_Waitroom_Pass": granted}, {"Cookie": f"waitroom_pass_{world.room}={granted}"}):
        opened = world.open(**headers)
        assert (opened.status, opened.said) == (101, "hello")
        assert "x-waitroom-pass" not in world.origin.headers
    assert len(world.origin.seen) == 2


def test_a_pass_that_was_just_given_comes_with_the_acceptance(world: World) -> None:
    """Straight through: the handshake's answer sets the cookie."""
    opened = world.open()
    assert (opened.status, opened.said) == (101, "hello")
    assert opened.headers[b"set-cookie"].startswith(f"waitroom_pass_{world.room}=".encode())


def test_a_server_that_knows_no_refusal_with_a_body_closes(site: Site, new_room: Callable[..., str]) -> None:
    """It is answered 403 by the server itself."""
    room, origin = new_room(capacity=1), starlette_origin()
    site.pass_of_new(room)
    gate = gated("server", origin.app, room, site)
    with running(_without_extensions(gate)) as url:
        assert handshake(url, "/ws", []).status == 403
    assert origin.seen == []


def _without_extensions(gate: WaitroomGate) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate({**scope, "extensions": None}, receive, send)

    return app
