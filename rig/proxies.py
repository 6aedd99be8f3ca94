"""Caddy, HAProxy, Envoy and Traefik with the shipped files of deploy/proxies, where this machine has them."""

from __future__ import annotations

import re
import shutil
import socket
from pathlib import Path
from string import Template
from typing import Final

from rig.edits import Edit, exchanged
from rig.machine import program
from rig.origin import ask
from rig.ports import free_port
from rig.process import Process, environment
from rig.waiting import PATIENCE_SECONDS

_SHIPPED: Final = Path(__file__).parent.parent / "deploy" / "proxies"


#: How each is started, and what its shipped files must not have in a test: certificates, nothing outside the folder, no
#: port but the one. Words behind a $ are filled in.
_KINDS: Final[dict[str, tuple[str, dict[str, dict[str, str]]]]] = {
    "caddy": (
        "caddy run --adapter caddyfile --config Caddyfile",
        {
            "Caddyfile": {
                "shop.example.com {": "http://shop.example.com:$port {\n\tbind 127.0.0.1",
                "import waitroom_gate shop": "import waitroom_gate $room",
                "/v1/rooms/shop(": "/v1/rooms/$room(",
                "/wait/(shop|": "/wait/($room|",
                "\n{\n": "\n{\n\tadmin off\n\tauto_https off\n\tpersist_config off\n",
            }
        },
    ),
    "haproxy": (
        "haproxy -db -f haproxy.cfg",
        {
            # The socket's name is the machine's, not the folder's.
            "waitroom.lua": {"waitroom-gate": "waitroom-gate-$port"},
            "haproxy.cfg": {
                "abns@waitroom-gate": "abns@waitroom-gate-$port",
                "/etc/haproxy/waitroom.lua": "$folder/waitroom.lua",
                "bind :80": "bind 127.0.0.1:$port",
                "lua.waitroom shop": "lua.waitroom $room",
                "/v1/rooms/shop(": "/v1/rooms/$room(",
                "/wait/(shop|": "/wait/($room|",
            },
        },
    ),
    "envoy": (
        "envoy --disable-hot-restart --concurrency 1 --config-path envoy.yaml",
        {
            "envoy.yaml": {
                "address: 0.0.0.0, port_value: 80 ": "address: 127.0.0.1, port_value: $port ",
                "/forward-auth/shop": "/forward-auth/$room",
                "/v1/rooms/shop": "/v1/rooms/$room",
                "/wait/(shop|": "/wait/($room|",
                "port_value: 8001 ": "port_value: $one ",
                "port_value: 8002 ": "port_value: $other ",
                "port_value: 9000 ": "port_value: $origin ",
                "port_value: 8099 ": "port_value: $gate ",
            }
        },
    ),
    "traefik": (
        "traefik --configFile=traefik.yaml",
        {
            "traefik.yaml": {
                'address: ":80"': 'address: "127.0.0.1:$port"',
                "127.0.0.1:8099": "127.0.0.1:$gate",
                "/etc/traefik/": "$folder/",
                # It asks nobody outside for newer versions.
                "providers:\n": "global: { checkNewVersion: false, sendAnonymousUsage: false }\n\nproviders:\n",
            },
            "waitroom.yaml": {
                "127.0.0.1:8099/forward-auth/shop": "127.0.0.1:$gate/forward-auth/$room",
                "waitroom_pass_shop": "waitroom_pass_$room",
                "/v1/rooms/shop(": "/v1/rooms/$room(",
                "/wait/(shop|": "/wait/($room|",
            },
        },
    ),
}

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
        self.port, (one, other) = free_port(), instances
        folder = folder.absolute() / f"{kind}-{self.port}"
        shutil.copytree(_SHIPPED / kind, folder)
        meant = {"port": self.port, "one": one, "other": other, "origin": origin, "gate": free_port()}
        moved = {"8001": str(one), "8002": str(other), "9000": str(origin)}
        command, exchanges = _KINDS[kind]
        for path in (path for path in folder.rglob("*") if path.is_file()):
            meanings = exchanges.get(str(path.relative_to(folder)), {})
            text = exchanged(
                path.read_text(),
                {old: Template(new).substitute(meant, room=room, folder=folder) for old, new in meanings.items()},
            )
            text = edit(text) if edit else text
            path.write_text(re.sub(r"(?<=127\.0\.0\.1:)(8001|8002|9000)\b", lambda found: moved[found[0]], text))
        home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        name, *arguments = command.split()
        super().__init__(kind, [program(name), *arguments], folder=folder, variables=environment(**home))

    def start(self) -> None:
        """Run it; returns when it serves."""
        super().start()
        self.until(self._knows_its_site if self.name == "traefik" else self._listens)

    def _listens(self) -> bool:
        socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS).close()
        return True

    def _knows_its_site(self) -> bool:
        """Traefik listens before it has read for which sites, and answers 404 until then. Asks an instance."""
        return ask(self.port, "/wait/_assets/none", host="shop.example.com").body.strip() != b"404 page not found"
