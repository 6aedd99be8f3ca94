"""Programs that answer HTTP on a port, each on a core: nginx with the shipped files, an origin, any other."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from rig.cores import OTHER_CORE, pinned
from rig.ports import free_port
from rig.process import Process
from waitroom.demo.nginx import Site, nginx_binary, nginx_command, write_configuration

#: An origin that costs next to nothing, so that what it takes to get there stands out.
_ORIGIN: Final = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile 8192;
pid nginx.pid;
error_log stderr error;
{user}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path client_body_temp;
    proxy_temp_path proxy_temp;
    fastcgi_temp_path fastcgi_temp;
    uwsgi_temp_path uwsgi_temp;
    scgi_temp_path scgi_temp;
    keepalive_requests 1000000000;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ default_type application/json; return 200 '{{"origin":true}}'; }}
    }}
}}
"""


class Served(Process):
    """Such a program; as a context manager it answers `path` with 200. {port} in its command is filled in."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        folder: Path,
        at_core: int,
        port: int = 0,
        path: str = "/",
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """`port`: by default a free one."""
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._path = path
        words = [str(word).format(port=self.port) for word in command]
        super().__init__(name, [*pinned(at_core), *words], folder=folder, variables=variables)

    def __enter__(self) -> Self:
        try:
            self.start()
            self.until(lambda: self.status(self._path) == 200)
        except BaseException:
            self.kill()
            raise
        return self

    def status(self, path: str) -> int:
        """The status that a GET is answered with; 0 if there is no answer."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0


def nginx(folder: Path, *, instances: Sequence[int], origin: int, room: str, at_core: int = OTHER_CORE) -> Served:
    """nginx with the shipped configuration before instances and an origin on these ports; without limits for us.

    It has room for as many connections as a crowd makes.
    """
    port = free_port()
    site = Site(port=port, room=room, instances=tuple(instances), origin=origin)
    main = write_configuration(folder / f"nginx-{port}", site)
    text = main.read_text(encoding="ascii").replace("worker_connections 4096", "worker_connections 16384")
    main.write_text(text.replace("worker_rlimit_nofile 8192", "worker_rlimit_nofile 20000"), encoding="ascii")
    (main.parent / "waitroom-trusted.conf").write_text("127.0.0.0/8  trusted;\n", encoding="ascii")
    command = nginx_command(main, binary=nginx_binary())
    return Served("nginx", command, folder=main.parent, at_core=at_core, port=port, path=f"/v1/rooms/{room}")


def constant_origin(folder: Path) -> Served:
    """Another nginx with a constant answer."""
    port = free_port()
    main = folder / f"origin-{port}" / "nginx.conf"
    main.parent.mkdir(parents=True)
    main.write_text(_ORIGIN.format(port=port, user="user root;" if os.geteuid() == 0 else ""), encoding="ascii")
    command = nginx_command(main, binary=nginx_binary())
    return Served("origin", command, folder=main.parent, at_core=OTHER_CORE, port=port)
