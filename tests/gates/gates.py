"""The gates that the table is tried against, each before the same room of a real instance and the same origin."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from rig.instance import KEYS
from rig.nginx import BINARIES, TRUSTED, Nginx, binary
from rig.proxies import PROXIES, ForeignProxy
from tests.gates.table import Row
from tests.web.sites import running
from waitroom.asgi import WaitroomGate

#: Where each request goes.
PATH: Final = "/cart?item=1&size=xl"

#: What the origin says of itself, also where an answer has no body.
SIGN: Final = b"x-origin: here"

#: A request as bytes: of which room, with which headers more.
Ask = Callable[[Row, str, dict[str, str]], bytes]


@dataclass(frozen=True)
class Gate:
    """A gate at a port. `yes` is what lets a request on."""

    port: int
    ask: Ask
    yes: bytes = SIGN


@dataclass(frozen=True)
class World:
    """What stands behind every gate."""

    folder: Path
    room: str
    instance: int
    origin: int
    redis_url: str


def lines(method: str, path: str, version: str, headers: dict[str, str]) -> bytes:
    """A request."""
    told = {"Host": "shop.example.com", "Connection": "close", **headers}
    if method in ("POST", "PUT", "PATCH"):
        told["Content-Length"] = "0"
    head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"{method} {path} HTTP/{version}\r\n{head}\r\n".encode("latin-1")


def as_sent(row: Row, _room: str, more: dict[str, str]) -> bytes:
    """The visitor's request itself."""
    return lines(row.method, PATH, row.version, {**row.headers, **more})


def as_traefik_asks(row: Row, room: str, more: dict[str, str]) -> bytes:
    """The question of a proxy that names method and address in headers."""
    told = {"X-Forwarded-Method": row.method, "X-Forwarded-Uri": PATH}
    return lines("GET", f"/forward-auth/{room}", "1.1", {**_without_upgrade(row), **more, **told})


def as_envoy_asks(row: Row, room: str, more: dict[str, str]) -> bytes:
    """The question of a proxy that asks with the visitor's own method and path."""
    return lines(row.method, f"/forward-auth/{room}{PATH}", "1.1", {**_without_upgrade(row), **more})


def _without_upgrade(row: Row) -> dict[str, str]:
    return {name: value for name, value in row.headers.items() if name not in ("Connection", "Upgrade")}


async def origin(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that says that it is reached."""
    sign = [tuple(SIGN.split(b": "))]
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept", "headers": sign})
        await send({"type": "websocket.close"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": sign})
        await send({"type": "http.response.body", "body": b""})


@contextmanager
def _nginx(world: World, name: str) -> Iterator[Gate]:
    behind = [world.instance, world.instance]
    program = binary(name)
    how: dict[str, Any] = {
        "instances": behind,
        "origin": world.origin,
        "room": world.room,
        "files": TRUSTED,
        "program": program,
    }
    with Nginx(world.folder, **how) as nginx:
        yield Gate(nginx.port, as_sent)


@contextmanager
def _proxy(world: World, kind: str) -> Iterator[Gate]:
    instances = (world.instance, world.instance)
    with ForeignProxy(kind, world.folder, room=world.room, instances=instances, origin=world.origin) as proxy:
        yield Gate(proxy.port, as_sent)


@contextmanager
def _middleware(app: WaitroomGate) -> Iterator[Gate]:
    with running(app) as url:
        yield Gate(int(url.rpartition(":")[2]), as_sent)


@contextmanager
def opened(name: str, world: World) -> Iterator[Gate]:
    """One of GATES."""
    kind, _, which = name.partition(" ")
    if kind == "nginx":
        with _nginx(world, which) as gate:
            yield gate
    elif kind == "forward-auth":
        yield Gate(world.instance, as_envoy_asks if which else as_traefik_asks, b"HTTP/1.1 200 ")
    elif name == "middleware with a server":
        with _middleware(WaitroomGate(origin, room=world.room, server=f"http://127.0.0.1:{world.instance}")) as gate:
            yield gate
    elif kind == "middleware":
        with _middleware(
            WaitroomGate(origin, room=world.room, redis_url=world.redis_url, signing_keys=[KEYS], rooms={})
        ) as gate:
            yield gate
    else:
        with _proxy(world, name) as gate:
            yield gate


GATES: Final = (
    *(f"nginx {name}" for name in BINARIES),
    *PROXIES,
    "forward-auth",
    "forward-auth by path",
    "middleware",
    "middleware with a server",
)


async def answers(gate: Gate, requests: list[bytes], *, at_once: int = 8) -> list[bytes]:
    """What is answered to each."""
    free = asyncio.Semaphore(at_once)

    async def one(request: bytes) -> bytes:
        async with free, asyncio.timeout(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
            try:
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                # A connection that was to become a WebSocket does not end by itself.
                length = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
                kept = b"\r\nUpgrade: " in request
                return head + await (reader.readexactly(int(length[1]) if length else 0) if kept else reader.read())
            finally:
                writer.close()

    return await asyncio.gather(*map(one, requests))
