"""Caddy, HAProxy, Envoy and Traefik with the shipped files of deploy/proxies, where this machine has them."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rig.edits import Edit, exchanged
from rig.machine import program
from rig.origin import ask
from rig.ports import free_port
from rig.process import Process, environment
from rig.waiting import PATIENCE_SECONDS

_SHIPPED: Final = Path(__file__).parent.parent / "deploy" / "proxies"


@dataclass(frozen=True)
class _Ports:
    """Where everything is: the proxy listens on `own`."""

    own: int
    instances: tuple[int, int]
    origin: int


_Configure = Callable[[Path, str, _Ports], list[str]]


def _caddy(folder: Path, room: str, ports: _Ports) -> list[str]:
    text = exchanged(
        (_SHIPPED / "caddy" / "Caddyfile").read_text(),
        {
            "shop.example.com {": f"http://shop.example.com:{ports.own} {{\n\tbind 127.0.0.1",
            "import waitroom_gate shop": f"import waitroom_gate {room}",
            # What an example must not have: no certificates, nothing outside the folder, no port but the one.
            "\n{\n": "\n{\n\tadmin off\n\tauto_https off\n\tpersist_config off\n",
        },
    )
    (folder / "Caddyfile").write_text(text)
    return [program("caddy"), "run", "--adapter", "caddyfile", "--config", "Caddyfile"]


def _haproxy(folder: Path, room: str, ports: _Ports) -> list[str]:
    # The socket's name is the machine's, not the folder's.
    own = f"waitroom-gate-{ports.own}"
    lua = folder / "waitroom.lua"
    lua.write_text(exchanged((_SHIPPED / "haproxy" / "waitroom.lua").read_text(), {"waitroom-gate": own}))
    text = exchanged(
        (_SHIPPED / "haproxy" / "haproxy.cfg").read_text(),
        {
            "abns@waitroom-gate": f"abns@{own}",
            "/etc/haproxy/waitroom.lua": str(lua),
            "bind :80": f"bind 127.0.0.1:{ports.own}",
            "lua.waitroom shop": f"lua.waitroom {room}",
        },
    )
    (folder / "haproxy.cfg").write_text(text)
    return [program("haproxy"), "-db", "-f", "haproxy.cfg"]


def _envoy(folder: Path, room: str, ports: _Ports) -> list[str]:
    moved = ((8001, ports.instances[0]), (8002, ports.instances[1]), (9000, ports.origin))
    text = exchanged(
        (_SHIPPED / "envoy" / "envoy.yaml").read_text(),
        {
            "address: 0.0.0.0, port_value: 80 ": f"address: 127.0.0.1, port_value: {ports.own} ",
            "/forward-auth/shop": f"/forward-auth/{room}",
            **{f"port_value: {theirs} ": f"port_value: {ours} " for theirs, ours in moved},
        },
    )
    (folder / "envoy.yaml").write_text(text)
    return [program("envoy"), "--disable-hot-restart", "--concurrency", "1", "--config-path", "envoy.yaml"]


def _traefik(folder: Path, room: str, ports: _Ports) -> list[str]:
    shutil.copytree(_SHIPPED / "traefik", folder, dirs_exist_ok=True)
    static, dynamic = folder / "traefik.yaml", folder / "waitroom.yaml"
    gate = f"127.0.0.1:{free_port()}"
    text = exchanged(
        static.read_text(),
        {
            'address: ":80"': f'address: "127.0.0.1:{ports.own}"',
            "127.0.0.1:8099": gate,
            "/etc/traefik/waitroom.yaml": str(dynamic),
        },
    )
    # It asks nobody outside for newer versions.
    static.write_text(text + "\nglobal: { checkNewVersion: false, sendAnonymousUsage: false }\n")
    text = exchanged(
        dynamic.read_text(),
        {
            "127.0.0.1:8099/forward-auth/shop": f"{gate}/forward-auth/{room}",
            "waitroom_pass_shop": f"waitroom_pass_{room}",
        },
    )
    dynamic.write_text(text)
    return [program("traefik"), "--configFile=traefik.yaml"]


_KINDS: Final[dict[str, _Configure]] = {"caddy": _caddy, "haproxy": _haproxy, "envoy": _envoy, "traefik": _traefik}

#: The names of all.
PROXIES: Final = tuple(_KINDS)


def with_free_path(text: str) -> str:
    """A shipped file as its operator edits it to free /robots.txt."""
    return text.replace("#free ", "")


class ForeignProxy(Process):
    """One of PROXIES on a port of its own, which gates a room before two instances and an origin at those ports."""

    def __init__(
        self, kind: str, folder: Path, *, room: str, instances: tuple[int, int], origin: int, edit: Edit | None = None
    ) -> None:
        """`edit` changes each of its files. Raises Missing."""
        ports = _Ports(free_port(), instances, origin)
        self.port = ports.own
        folder = folder.absolute() / f"{kind}-{self.port}"
        folder.mkdir(parents=True)
        command = _KINDS[kind](folder, room, ports)
        for path in (path for path in folder.rglob("*") if path.is_file()):
            path.write_text(_placed(edit(path.read_text()) if edit else path.read_text(), ports))
        home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        super().__init__(kind, command, folder=folder, variables=environment(**home))

    def start(self) -> None:
        """Run it; returns when it serves."""
        super().start()
        self.until(self._knows_its_site if self.name == "traefik" else self._listens)

    def _listens(self) -> bool:
        socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS).close()
        return True

    def _knows_its_site(self) -> bool:
        """Traefik listens before it has read for which sites, and answers 404 until then. Asks an instance."""
        return ask(self.port, "/wait/", host="shop.example.com").body.strip() != b"404 page not found"


def _placed(text: str, ports: _Ports) -> str:
    """A shipped file with the instances' and the origin's addresses put in."""
    moved = {"8001": ports.instances[0], "8002": ports.instances[1], "9000": ports.origin}
    return re.sub(r"127\.0\.0\.1:(8001|8002|9000)\b", lambda found: f"127.0.0.1:{moved[found[1]]}", text)
