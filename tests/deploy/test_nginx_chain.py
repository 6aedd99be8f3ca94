"""What nginx tells the origin of scheme, host and port: as the visitor used them, also behind another proxy."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import pytest

from rig.edits import Edit, replaced
from rig.machine import missing
from rig.nginx import believed, command, variant
from rig.origin import Answer, Seen
from rig.ports import free_port
from rig.secured import Authority
from rig.served import Served
from rig.waiting import until
from tests.deploy.free_paths import over_http2
from tests.deploy.worlds import Builder, World
from waitroom.demo.crowd import can_send_from
from waitroom.demo.nginx import user

#: Where the proxy in front connects from, and a client that claims to be one.
PROXY, ELSEWHERE = "127.0.0.9", "127.0.0.10"

NAME: Final = "shop.example.com"


@pytest.fixture(autouse=True)
def _other_addresses() -> None:
    if not can_send_from(PROXY):
        missing(f"the loopback address {PROXY}")


@pytest.fixture(params=["example", "behind-cdn"])
def behind(request: pytest.FixtureRequest, build: Builder) -> World:
    """nginx that believes one proxy, and lets everybody in."""
    edits: list[Edit] = [] if request.param == "example" else [variant("behind-cdn")]
    world = build(*edits, files=believed(f"{PROXY}/32"))
    world.gate = Answer(204)
    return world


def send(port: int, request: bytes, source: str = ELSEWHERE) -> bytes:
    """The answer to these bytes, sent from a loopback address."""
    with socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0)) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


def told(world: World, request: bytes, source: str = ELSEWHERE) -> dict[str, str | None]:
    """What the origin and an instance are told, which is the same."""
    seen = []
    for path, stubs in ((b"/x", (world.origin,)), (b"/v1/rooms/shop/status", world.instances)):
        for stub in stubs:
            stub.seen.clear()
        send(world.port, request.replace(b"/x ", path + b" ", 1), source)
        (asked,) = [each for stub in stubs for each in stub.seen if not each.path.startswith("/gate/")]
        assert asked.path == path.decode()
        names = ("host", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-for")
        seen.append({name: asked.headers.get(name) for name in names})
    assert seen[0] == seen[1]
    return seen[0]


def request(host: str = NAME, *lines: str, target: str = "/x", version: str = "1.1") -> bytes:
    """One GET with these header lines; without Host where it is empty."""
    head = [f"GET {target} HTTP/{version}", *([f"Host: {host}"] if host else []), *lines, "Connection: close", "", ""]
    return "\r\n".join(head).encode("latin-1")


#: What stands in X-Forwarded-Proto, and the scheme that the origin is told after it came from the trusted proxy.
SCHEMES: Final = {
    "https": "https",
    "http": "http",
    "HTTPS": "https",
    "Http": "http",
    "wss": "https",  # Traefik's word for a WebSocket
    "ws": "http",
    "https, https": "https",
    "https,http": "http",  # which of them is the visitor's?
    "http, https": "http",
    "": "http",
    "ftp": "http",
    "https;x": "http",
    "httpsx": "http",
    "xhttps": "http",
    "https https": "http",
    "https,": "http",
    '"https"': "http",
    "javascript": "http",
    "https\t": "https",
}


def test_the_scheme_is_what_a_trusted_proxy_says_and_nobody_else(behind: World) -> None:
    seen = {}
    for said in SCHEMES:
        line = f"X-Forwarded-Proto: {said}"
        seen[said] = told(behind, request(NAME, line, "X-Forwarded-For: 203.0.113.5"), PROXY)["x-forwarded-proto"]
    assert seen == SCHEMES
    without = told(behind, request(NAME, "X-Forwarded-Proto: https"), PROXY)
    assert (without["x-forwarded-proto"], without["x-forwarded-for"]) == ("https", PROXY)


#: A host as it is asked for (and the version of HTTP), and as the origin is told.
HOSTS: Final = {
    (NAME, "1.1"): NAME,
    (f"{NAME}:18080", "1.1"): f"{NAME}:18080",
    (f"{NAME}:18080", "1.0"): f"{NAME}:18080",
    ("SHOP.Example.com:8443", "1.1"): f"{NAME}:8443",
    (f"{NAME}.:18080", "1.1"): f"{NAME}:18080",
    (f"{NAME}:80", "1.1"): NAME,
    (f"{NAME}:443", "1.1"): f"{NAME}:443",
    (f"{NAME}:65535", "1.1"): f"{NAME}:65535",
    ("127.0.0.1:18080", "1.1"): "127.0.0.1:18080",
    ("[::1]", "1.1"): "[::1]",
    ("[::1]:18080", "1.1"): "[::1]:18080",
    ("[2001:DB8::7]:18080", "1.1"): "[2001:db8::7]:18080",
    ("xn--caf-dma.example:18080", "1.1"): "xn--caf-dma.example:18080",
    ("", "1.0"): None,  # the name of the server, which has none here
}

#: What is no host. nginx refuses it, or the origin is told a name without a port.
NO_HOSTS: Final = (
    *(f"{NAME}:{port}" for port in ("", "0", "65536", "99999", "123456", "x", "80:80", "-1", "+80", "8o", "80 81")),
    *(f"{NAME}{rest}" for rest in ("/x:80", "@evil.example:80", ":80@evil.example", ":80/x", "?:80", "\x00", " a:1")),
    *("[::1", "[::1]x:80", "::1:80", "a b:80", f"evil.example, {NAME}:80"),
)


def test_host_and_port_are_those_that_the_visitor_used(build: Builder) -> None:
    """Whatever port nginx listens on."""
    world = build(files=believed(f"{PROXY}/32"))
    world.gate = Answer(204)
    for (host, version), right in HOSTS.items():
        seen = told(world, request(host, version=version))
        assert (seen["host"], seen["x-forwarded-host"]) == (right or "", right) or right is None, host
        assert seen["x-forwarded-port"] is None
    for host in NO_HOSTS:
        for stub in (world.origin, *world.instances):
            stub.seen.clear()
        send(world.port, request(host))
        for seen_there in world.origin.seen:
            assert not re.search(r"[^:]:\d+\Z", seen_there.headers["host"]), host
    # In the request line the host counts, whatever the header says.
    for target, header, right in (
        (f"http://{NAME}:18080/x", NAME, f"{NAME}:18080"),
        (f"http://{NAME}:18080/x", f"{NAME}:99", f"{NAME}:18080"),
        (f"http://{NAME}/x", f"{NAME}:99", NAME),
        (f"http://{NAME}:18080/x", "outlet.example.com:99", f"{NAME}:18080"),
        ("http://[::1]:18080/x", NAME, "[::1]:18080"),
    ):
        assert told(world, request(header, target=target))["host"] == right, (target, header)


def test_over_http2_too(build: Builder) -> None:
    """The name comes as :authority there, and there is no Host."""
    port = free_port()
    world = build(
        replaced("    listen 80;\n    # listen 443 ssl;", f"    listen 80;\n    listen 127.0.0.1:{port} http2;")
    )
    world.gate = Answer(204)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(over_http2(b"GET", b"/x", host=f"{NAME}:18080".encode()))
        until(lambda: len(world.origin.seen) == 1, "the request at the origin")
    (seen,) = world.origin.seen
    assert (seen.headers["host"], seen.headers["x-forwarded-host"]) == (f"{NAME}:18080",) * 2


def test_the_port_of_a_trusted_proxy_counts_for_the_same_name_only(behind: World) -> None:
    """Many proxies pass on what a client says in X-Forwarded-Host: it can name no other site."""
    for said, scheme, right in (
        (f"{NAME}:18080", "http", f"{NAME}:18080"),
        (f"{NAME}:443", "https", NAME),
        (f"{NAME}:443", "http", f"{NAME}:443"),
        (f"{NAME}:80", "https", f"{NAME}:80"),
        (NAME, "https", NAME),
        ("evil.example", "https", NAME),
        ("evil.example:18080", "https", NAME),
        (f"evil.example, {NAME}:18080", "https", NAME),
        (f"{NAME}:18080, evil.example", "https", NAME),
        (f"x{NAME}:18080", "https", NAME),
        (f"{NAME}:18080x", "https", NAME),
    ):
        lines = (f"X-Forwarded-Host: {said}", f"X-Forwarded-Proto: {scheme}", "X-Forwarded-Port: 99")
        seen = told(behind, request(NAME, *lines), PROXY)
        assert (seen["host"], seen["x-forwarded-host"], seen["x-forwarded-port"]) == (right, right, None), said


#: What a client claims of itself.
CLAIMS: Final = (
    "X-Forwarded-Proto: https",
    "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: https",
    f"X-Forwarded-Host: {NAME}:18080",
    f" X-Forwarded-Host: {NAME}:18080",
    "X_Forwarded_Proto: https",
    "X-Forwarded-Port: 443",
    f"Forwarded: for={PROXY};proto=https;host={NAME}:18080",
    f"X-Forwarded-For: {PROXY}\r\nX-Forwarded-Proto: https",
    f"X-Real-IP: {PROXY}\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: {NAME}:18080",
    "X-Forwarded-Ssl: on\r\nFront-End-Https: on\r\nX-Url-Scheme: https",
)


def test_what_anybody_else_says_goes_no_further(build: Builder) -> None:
    world = build(files=believed(f"{PROXY}/32"))
    world.gate = Answer(204)
    plain = told(world, request())
    for claim in CLAIMS:
        if claim.startswith(" "):  # a folded line, which nginx refuses
            continue
        assert told(world, request(NAME, claim)) == plain, claim
    assert plain["x-forwarded-proto"] == "http"


# --- a whole chain

_OUTER: Final = """\
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr error;
{user}
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path client_body_temp;
    proxy_temp_path proxy_temp;
    fastcgi_temp_path fastcgi_temp;
    uwsgi_temp_path uwsgi_temp;
    scgi_temp_path scgi_temp;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        location / {{
            proxy_pass http://127.0.0.1:{behind};
            proxy_bind {source};
            {headers}
        }}
    }}
}}
"""

#: What stands in front commonly says.
OUTER: Final = {
    "the host as it came": "proxy_set_header Host $http_host;",
    "the name only, the host beside it": "proxy_set_header Host $host; proxy_set_header X-Forwarded-Host $http_host;",
}


class _Outer(Served):
    """Another nginx, which writes its process id when it listens."""

    def ready(self) -> bool:
        return (self.folder / "nginx.pid").is_file()


def strict(request: Seen) -> Answer:
    """An origin that sends http to https, and takes a form only from its own address, as Django 5 does."""
    scheme, host = request.headers.get("x-forwarded-proto", ""), request.headers["host"]
    if scheme != "https":
        return Answer(301, {"Location": f"https://{host}{request.path}"})
    if request.method == "POST" and request.headers.get("origin") != f"{scheme}://{host}":
        return Answer(403, {}, b"CSRF verification failed")
    if request.path == "/account":
        return Answer(302, {"Location": f"{scheme}://{host}/account/"})
    return Answer(200, {"X-Origin": "stub"}, b"shop")


@pytest.mark.parametrize("kind", OUTER)
def test_a_form_and_a_redirect_behind_another_nginx_by_https(kind: str, build: Builder, tmp_path: Path) -> None:
    """On a port of its own, by name and by an IPv6 literal; a visitor that goes round it is no better off."""
    world = build(files=believed(f"{PROXY}/32"))
    world.gate = Answer(204)
    world.origin.answer = strict
    port, folder = free_port(), tmp_path / "outer"
    folder.mkdir()
    authority = Authority(folder)
    certificate, key = authority.certificate("site", f"DNS:{NAME}")
    headers = (
        OUTER[kind] + " proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;"
    )
    text = _OUTER.format(
        user=user(), port=port, certificate=certificate, key=key, behind=world.port, source=PROXY, headers=headers
    )
    (folder / "nginx.conf").write_text(text)
    command_line = command(folder / "nginx.conf", build.program)
    with (
        _Outer("outer", command_line, folder=folder, port=port),
        httpx.Client(verify=False, trust_env=False, base_url=f"https://127.0.0.1:{port}") as visitor,  # noqa: S501
    ):
        for host in (f"{NAME}:{port}", f"[2001:db8::7]:{port}"):
            origin = f"https://{host}"
            assert visitor.get("/", headers={"Host": host}).status_code == 200
            sent = visitor.post("/buy", headers={"Host": host, "Origin": origin}, data={"a": "1"})
            assert (sent.status_code, sent.text) == (200, "shop")
            location = visitor.get("/account", headers={"Host": host}).headers["location"]
            assert urlsplit(location)[:3] == ("https", host, "/account/")
            foreign = visitor.post("/buy", headers={"Host": host, "Origin": f"https://{NAME}"}, data={"a": "1"})
            assert foreign.status_code == 403
    round_it = send(world.port, request(f"{NAME}:{port}", "X-Forwarded-Proto: https"))
    assert round_it.startswith(b"HTTP/1.1 301")
