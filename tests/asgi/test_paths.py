"""Complete mediation (I23): nothing but exempt paths reaches the application without a pass, however it is written."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.asgi.apps import Origin, bare_origin
from tests.asgi.running import gated, status_of
from tests.deploy.corpus import ADDRESSES
from tests.web.sites import Site, running
from waitroom.asgi.paths import ExemptPaths, OwnPaths, plain_path

pytestmark = pytest.mark.usefixtures("unhurried")

EXACT = ("/healthz", "/.well-known/security.txt")
FOLDERS = ("/static/", "/docs")

#: What looks like an exemption, or like one of waitroom's own addresses.
_LIKENESSES = rb"""
/shop%20 /shop%09/ /shop/x/..%00/ http://evil.example/shop/x %EF%BC%8Fshop /shop/x.css /shop/x;.css /shop/x%0a / *
/healthz/ //healthz /healthz// /./healthz /healthz/. /healthz/../shop /HEALTHZ /Healthz /healthz;x /healthz;/x
/;/healthz /healthz%00 /healthz%20 /healthz%0a /healthz%2f /%68ealthz /healthz%3f /healthz%23 /healthz\x /healthz/x
/x/healthz /healthz.. /healthz. /healthz%E2%80%8B /healthz%ff /shop?/healthz /shop#/healthz /a/../healthz
/shop/..;/healthz /static /static.. /static/../shop /static/./x /static//x //static/x /static/%2e%2e/shop
/static/..%2fshop /static%2f /static%2fx /static/..;/shop /static;/x /static/x;.css /static/..\shop /static\..\shop
/static/x%00 /statics /statics/x /Static/x /STATIC/x /static/%73hop /static/..%5cshop /static/%252e%252e/shop
/static/... /static/..%c0%afshop /static/.%2e/shop /static/%2e/shop /static/x/../../shop
/static/x/%2e%2e/%2e%2e/shop /static/\xff /static/x%20y /docs.. /docs../shop /docs/../shop /docs%2f..%2fshop
/docs//x /docsx /doc /docs;/x /docs/%2e%2e/shop /.well-known /.well-known/security.txt/
/.well-known/../.well-known/security.txt /.Well-Known/security.txt http:///healthz /gate/ROOM /gate/ROOM/ /admin
/admin/rooms /metrics /readyz /livez /openapi.json /forward-auth/ROOM /v1 /v1/ /v1/rooms /v1/rooms/other
/v1/rooms/other/enter /v1/../admin/rooms /v1/rooms/../../admin/rooms /v1/rooms/ROOM/../../../admin
/v1/rooms/ROOM%2fenter /v1/rooms/ROOM/ /v1/rooms/ROOM/a/b /V1/rooms/ROOM /v1//rooms/ROOM /v1/rooms/ROOM;x /wait
/wait/ /wait/other /wait/ROOM/ /wait/ROOM/x /wait/../gate/ROOM /wait/..;/admin /wait%2fROOM /wait/_assets
/wait/_assets/ /wait/_assets/../../admin /wait/_assets/..%2f..%2fadmin /wait/_assets/../wait.js /WAIT/ROOM
/wait//ROOM
"""

#: The ways to write an address that nginx is tested with too (RELIABILITY.md, section 4), and these.
CORPUS = (*ADDRESSES, *_LIKENESSES.split(), b"/static/\xff", b"/healthz\xff", b"/static\xc0\xafx")

#: Exempt, as they are written.
OPEN = (
    b"/healthz /healthz?x=/../shop /.well-known/security.txt /static/x /static/App-1.B2.js "
    b"/static/a/b/ /static/ /static/~x /static/..x /docs /docs/ /docs/x"
).split()

#: Method and Accept.
FORMS = (
    (b"GET", b"text/html"),
    (b"HEAD", b"*/*"),
    (b"POST", b"text/html"),
    (b"OPTIONS", b"*/*"),
    (b"PROPFIND", b"*/*"),
)


@pytest.fixture(params=["server httptools", "redis httptools", "redis h11"])
def world(request: pytest.FixtureRequest, site: Site, new_room: Callable[..., str]) -> Iterator[World]:
    """An application that answers everything, behind the gate of a full room: whom that asks, who reads for uvicorn."""
    mode, parser = request.param.split()
    room, origin = new_room(capacity=1), bare_origin()
    site.pass_of_new(room)
    gate = gated(mode, origin.app, room, site, exempt=EXACT, exempt_prefixes=FOLDERS)
    with running(gate, http=parser) as url:
        yield World(int(url.rpartition(":")[2]), room, origin)


class World:
    """The application and the way to it, byte for byte."""

    def __init__(self, port: int, room: str, origin: Origin) -> None:
        self.room = room
        self.origin = origin
        self._port = port

    def ask(self, method: bytes, path: bytes, *lines: bytes) -> int:
        """The status of the answer; 0 for a connection that is closed without one."""
        return status_of(self._port, method, path, *lines)


def test_however_a_path_is_written_nobody_gets_past(world: World) -> None:
    """The count of requests that reach the application ungated, over the whole corpus: 0."""
    for path in CORPUS:
        for method, accept in FORMS:
            status = world.ask(method, path.replace(b"ROOM", world.room.encode()), b"Accept: " + accept)
            assert status in (303, 401, 400, 0), (method, path)
    assert world.origin.seen == []


def test_what_a_client_says_of_itself_opens_nothing(world: World) -> None:
    """Headers that other software takes for the address, the method or the client (T3, T4)."""
    claims = """
        X-Original-URI: /healthz|X-Original-URL: /healthz|X-Rewrite-URL: /healthz|X-Forwarded-Uri: /healthz
        X-Forwarded-Prefix: /static|X-HTTP-Method-Override: OPTIONS|X-Forwarded-For: 127.0.0.1|X-Real-IP: 127.0.0.1
        X-Forwarded-Host: localhost|Forwarded: for=127.0.0.1|User-Agent: Googlebot|X-Waitroom-Room: other
        X-Room: other|Authorization: Bearer x|X-Waitroom-Pass: x|Connection: cookie, x-waitroom-pass|X-Waitroom-Pass:
    """
    for line in re.split(r"[|\n]", claims):
        if line.strip():
            assert world.ask(b"GET", b"/shop", line.strip().encode()) == 401, line
    assert world.origin.seen == []


def test_exempt_paths_need_no_pass(world: World) -> None:
    """Exactly, or below a folder; with any method, and without the pass that somebody brings."""
    for path in OPEN:
        assert world.ask(b"GET", path) == 200, path
        assert world.ask(b"POST", path, b"Content-Length: 0", b"X-Waitroom-Pass: abc") == 200, path
        assert "x-waitroom-pass" not in world.origin.headers
    assert len(world.origin.seen) == 2 * len(OPEN)


PIECES = st.sampled_from(
    [
        "/",
        "//",
        ".",
        "..",
        "static",
        "healthz",
        "shop",
        "%2e",
        "%2f",
        "%5c",
        "\\",
        ";",
        "%00",
        "x",
        "S",
        "%",
        "?",
        " ",
        "é",
    ]
)


@given(st.lists(PIECES, max_size=8), st.sampled_from(["", "/static", "/shop"]), st.booleans())
def test_what_counts_as_exempt_is_so_in_every_reading(pieces: list[str], root: str, tells: bool) -> None:
    """A path that passes for exempt still is after decoding and normalising, once and twice, and below the root."""
    sent = root + "/" + "".join(pieces)
    known = sent if tells else unquote(sent)
    path = plain_path({"path": unquote(sent), "root_path": root, "raw_path": sent.encode() if tells else None})
    exempt = ExemptPaths(EXACT, FOLDERS)
    if path is None or path not in exempt:
        return
    for reading in (known, unquote(known), unquote(unquote(known))):
        normal = posixpath.normpath(reading.lower().replace("\\", "/").split(";")[0].split("?")[0])
        assert normal.removeprefix(root) + ("/" if normal.endswith("/static") else "") in exempt


@pytest.mark.parametrize(
    ("path", "root", "raw", "below"),
    [
        ("/x", "", b"/x", "/x"),
        ("/app/x", "/app", b"/app/x", "/x"),
        ("/app", "/app", b"/app", "/app"),
        ("/x", "/app", b"/app/x", "/x"),
        ("/x", "/app", b"/x", "/x"),
        ("/app/x", "/app", b"/x", None),
        ("/apps/x", "/app", b"/apps/x", "/apps/x"),
        ("/x", "", None, "/x"),
        ("/x/../y", "", None, None),
        ("/x", "", b"/%78", None),
        ("/é", "", "/é".encode(), None),
        ("", "", b"", None),
        ("x", "", b"x", None),
    ],
)
def test_the_path_below_the_root(path: str, root: str, raw: bytes | None, below: str | None) -> None:
    """Servers and mounts differ in whether the root stands in the path; a path that is not as it was sent is none."""
    assert plain_path({"path": path, "root_path": root, "raw_path": raw}) == below


def test_own_addresses_are_the_rooms_alone() -> None:
    """Calls of this room and the page's files; not what is below, beside or above them."""
    own = OwnPaths("shop")
    wanted = "/v1/rooms/shop /v1/rooms/shop/enter /v1/rooms/shop/events /wait/shop /wait/_assets/wait.js"
    assert all(path in own for path in wanted.split())
    refused = (
        "/v1/rooms/shops /v1/rooms/sho /v1/rooms/shop/ /v1/rooms/shop/a/b /wait/shop/ /wait/_assets/.. /wait/_assets/"
    )
    assert not any(path in own for path in refused.split())
