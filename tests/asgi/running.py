"""A gated application under a real uvicorn, and the visitor who comes to it."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import httpx
from starlette.types import ASGIApp, Message

from tests.web.sites import PATIENCE_SECONDS, SIGNING_KEY, Site
from waitroom.asgi import WaitroomGate

PAGE: Final = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}

#: Reading all certificates for each client takes most of a test's time.
_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def gated(mode: str, app: ASGIApp, room: str, site: Site, **more: Any) -> WaitroomGate:
    """The application behind a gate: in mode "server" against the site's instance, in "redis" on its Redis."""
    if mode == "server":
        return WaitroomGate(app, room=room, server=site.url, **more)
    more = {"redis_timeout_seconds": 5.0, "tick_seconds": 0.05, "signing_keys": [SIGNING_KEY], **more}
    return WaitroomGate(app, room=room, redis_url=redis_url(site), **more)


def redis_url(site: Site) -> str:
    """The site's Redis."""
    return f"unix://{site.redis.connection_pool.connection_kwargs['path']}"


@contextmanager
def visiting(url: str, **headers: str) -> Iterator[httpx.Client]:
    """A browser with a cookie jar that follows nothing by itself."""
    with httpx.Client(base_url=url, headers=PAGE | headers, timeout=PATIENCE_SECONDS, verify=_NO_TLS) as visitor:
        yield visitor


def fetch(method: str, url: str, **more: Any) -> httpx.Response:
    """One request of somebody who is no browser and keeps nothing."""
    with httpx.Client(timeout=PATIENCE_SECONDS, verify=_NO_TLS) as client:
        return client.request(method, url, **more)


def status_of(port: int, method: bytes, path: bytes, *lines: bytes) -> int:
    """The status of the answer to a request sent byte for byte; 0 where the connection is closed without one."""
    head = b"\r\n".join([method + b" " + path + b" HTTP/1.1", b"Host: a", b"Connection: close", *lines])
    answer = b""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as link, suppress(ConnectionError):
        link.sendall(head + b"\r\n\r\n")
        answer = b"".join(iter(lambda: link.recv(65_536), b""))
    found = re.match(rb"HTTP/1.1 ([0-9]{3}) ", answer)
    return int(found[1]) if found else 0


async def told(app: ASGIApp, **scope: Any) -> list[Message]:
    """What the application sends to a server that hands it this scope; for what no real server lets through."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    given = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [], **scope}
    await app(given, receive, send)
    return sent
