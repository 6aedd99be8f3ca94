"""What a client asks of a foreign proxy with its shipped files, and the room of a real instance behind it."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import httpx

from rig.edits import Edit
from rig.instance import ADMIN_KEY
from rig.nginx import Nginx
from rig.origin import Answer, Stub, answering
from rig.proxies import ForeignProxy

#: Seconds within which a proxy must answer, whatever happens.
DEADLINE_SECONDS: Final = 20.0

#: What a browser sends when it opens a page.
PAGE: Final = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@dataclass(frozen=True)
class Told:
    """What a client was told; header names in lower case, one entry per line."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return next((value for key, value in self.headers if key == name), None)

    def cookies(self) -> dict[str, str]:
        """The cookies that are set, by name."""
        lines = [value for key, value in self.headers if key == "set-cookie"]
        return dict(line.partition(";")[0].partition("=")[::2] for line in lines)


@dataclass
class World:
    """A proxy that gates `room`, in front of a stub origin."""

    proxy: ForeignProxy | Nginx
    room: str
    origin: Stub

    @property
    def port(self) -> int:
        """Where visitors come."""
        return self.proxy.port

    def ask(self, path: str | bytes, *, method: str = "GET", body: str | bytes = b"", **headers: str) -> Told:
        """What is answered to one request."""
        told = self.ask_raw(request_of(path, method=method, body=body, **headers), head=method == "HEAD")
        assert told is not None, f"no answer to {method} {path!r}"
        return told

    def ask_raw(self, request: bytes, *, head: bool = False) -> Told | None:
        """What is answered to these bytes; None where the connection ends without an answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_SECONDS) as link:
            answer = http.client.HTTPResponse(link, method="HEAD" if head else "GET")
            try:
                link.sendall(request)
                answer.begin()
                body = answer.read()
            except (http.client.HTTPException, ConnectionError):
                return None
            return Told(answer.status, [(name.lower(), value) for name, value in answer.getheaders()], body)


def request_of(path: str | bytes, *, method: str = "GET", body: str | bytes = b"", **headers: str) -> bytes:
    """A request with the target as it is; underscores in header names become dashes."""
    target, content = (text.encode("latin-1") if isinstance(text, str) else text for text in (path, body))
    lines = {"Host": "shop.example.com", "Connection": "close"}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    if content:
        lines["Content-Length"] = str(len(content))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return method.encode() + b" " + target + b" HTTP/1.1\r\n" + head.encode("latin-1") + b"\r\n" + content


def shop(_request: object) -> Answer:
    """What the origin answers; it sets a cookie of its own."""
    return Answer(200, {"X-Origin": "stub", "Cache-Control": "public", "Set-Cookie": "basket=1"}, b"shop")


class Room:
    """One room of a real instance, seen from the inside: for what a test brings about. Gone at the end of the block."""

    def __init__(self, instance_port: int, name: str, **settings: object) -> None:
        self.name = name
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{instance_port}", timeout=DEADLINE_SECONDS)
        self._admin("PUT", json=settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._admin("DELETE")
        self._http.close()

    def change(self, **settings: object) -> None:
        """An operator's change."""
        self._admin("PATCH", json=settings)

    def pass_of_new(self) -> str:
        """The claimed pass of a newcomer who gets in at once."""
        offer = self._call("POST", "enter").json()["pass"]
        return str(self._call("GET", "status", offer).json()["pass"])

    def leave(self, granted: str) -> None:
        """A goodbye, which withdraws the pass."""
        assert self._call("POST", "leave", granted).status_code == 204

    def _admin(self, method: str, **more: Any) -> None:
        bearer = {"Authorization": f"Bearer {ADMIN_KEY}"}
        self._http.request(method, f"/admin/rooms/{self.name}", headers=bearer, **more).raise_for_status()

    def _call(self, method: str, verb: str, proof: str = "") -> httpx.Response:
        self._http.cookies.clear()
        headers = {"Authorization": f"Bearer {proof}"} if proof else {}
        return self._http.request(method, f"/v1/rooms/{self.name}/{verb}", headers=headers)


@contextmanager
def running(
    proxy: str, folder: Path, room: str, instances: tuple[int, int], *, origin: int = 0, edit: Edit | None = None
) -> Iterator[World]:
    """That proxy with its shipped configuration, each file edited, and a stub behind it where no origin is given."""
    with ExitStack() as stack:
        behind = stack.enter_context(answering(shop))
        own = ForeignProxy(proxy, folder, room=room, instances=instances, origin=origin or behind.port, edit=edit)
        # Ended before the stub is: the stub's connections end with it.
        yield World(stack.enter_context(own), room, behind)
