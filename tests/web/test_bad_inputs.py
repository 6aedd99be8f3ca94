"""Bad inputs, endpoint by endpoint: each is refused in words, nothing hangs, and Redis holds what it held before.

Two things may change with a refused call, and only where a table says so: `seen`, when a waiting visitor was last
heard (the snapshot leaves its times out), and the counts `refused_full` and `refused_closed`.
"""

from __future__ import annotations

import base64
import gzip
import hmac
import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import jwt
import pytest

from tests.web import sites
from tests.web.sites import ADMIN, ADMIN_KEY, SIGNING_KEY, Site, assert_problem, bearer
from waitroom.model import Ticket, Visitor
from waitroom.proofs import keyring
from waitroom.proofs.passes import PassOffice
from waitroom.proofs.tickets import new_visitor
from waitroom.store import keys

SECRET = SIGNING_KEY.partition(":")[2]


@dataclass
class Crowd:
    """A site with a full room: somebody inside, three waiting, one who has left; and a second room."""

    site: Site
    room: str
    other: str
    inside: str
    waiting: list[str]
    left: str
    other_ticket: str
    other_pass: str
    closed: str
    full: str

    def ticket(self) -> Ticket:
        """What the first of the waiting tickets says."""
        ticket = self.site.tickets.verify(self.room, self.waiting[0])
        assert ticket is not None
        return ticket

    def filled(self, path: str) -> str:
        """The path with the room's name in it."""
        return path.replace("{room}", self.room)


@pytest.fixture(scope="module")
def crowd() -> Iterator[Crowd]:
    """A site of its own, so that its Redis changes for no other reason than what a test sends."""
    with sites.own_redis() as (url, redis), sites.serving(redis, sites.settings_for(url)) as site:
        patient: dict[str, Any] = {"capacity": 1, "session_seconds": 7200.0, "abandon_seconds": 3600.0}
        room, other = site.make_room("shop", **patient), site.make_room("other", **patient)
        inside, other_pass = site.pass_of_new(room), site.pass_of_new(other)
        left, *waiting = [site.ticket_of_new(room) for _ in range(4)]
        site.leave(room, left)
        full = site.make_room("full", **patient, max_waiting=1)
        site.pass_of_new(full)
        site.ticket_of_new(full)
        closed = site.make_room("closed", state="closed")
        other_ticket = site.ticket_of_new(other)
        yield Crowd(site, room, other, inside, waiting, left, other_ticket, other_pass, closed, full)


@pytest.fixture
def unchanged(crowd: Crowd) -> Iterator[None]:
    """Whatever the test sends, Redis holds the same afterwards."""
    before = crowd.site.snapshot()
    yield
    assert crowd.site.snapshot() == before


#: Every endpoint with a method that it knows.
ENDPOINTS = [
    ("POST", "/v1/rooms/{room}/enter"),
    ("GET", "/v1/rooms/{room}/status"),
    ("POST", "/v1/rooms/{room}/leave"),
    ("GET", "/v1/rooms/{room}"),
    ("GET", "/gate/{room}"),
    ("GET", "/wait/{room}"),
    ("GET", "/wait/_assets/wait.css"),
    ("GET", "/admin/rooms"),
    ("GET", "/admin/rooms/{room}"),
    ("PUT", "/admin/rooms/{room}"),
    ("PATCH", "/admin/rooms/{room}"),
    ("DELETE", "/admin/rooms/{room}"),
    ("POST", "/admin/rooms/{room}/pause"),
    ("POST", "/admin/rooms/{room}/resume"),
    ("POST", "/admin/rooms/{room}/close"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
]
GATE = "/gate/{room}"
PATHS = sorted({path for _, path in ENDPOINTS})


# Common to all.


@pytest.mark.parametrize("path", [path for path in PATHS if path != GATE])
@pytest.mark.usefixtures("unchanged")
def test_methods_that_an_address_does_not_know(crowd: Crowd, path: str) -> None:
    """Any other method is 405, says which are allowed, and does nothing, whatever X-HTTP-Method-Override asks for."""
    known = {method for method, known_path in ENDPOINTS if known_path == path}
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - known:
        override = {"X-HTTP-Method-Override": next(iter(known))}
        answer = crowd.site.call(method, crowd.filled(path), headers=ADMIN | override)
        assert_problem(answer, 405)
        allowed = set(answer.headers["allow"].split(", ")) - {"HEAD"}
        assert allowed <= known
        assert allowed


@pytest.mark.usefixtures("unchanged")
def test_the_gate_does_not_look_at_the_method(crowd: Crowd) -> None:
    """Some proxies ask with the request's own method: the answer is the same for each (I22)."""
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
        assert crowd.site.call(method, crowd.filled(GATE)).status_code == 401


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.usefixtures("unchanged")
def test_addresses_beside_the_real_ones(crowd: Crowd, path: str) -> None:
    """A slash more, a parameter, a dot or a longer path is another address: 404, never the one beside it."""
    for address in (
        *(path + tail for tail in ("/", "//", ";x", "/.", "/x/y", "%2f", "%00", "%0a", "%20", "%", "%zz")),
        "/" + path,
        path.upper(),
        path.replace("/", "//", 2),
        "/x/.." + path,
    ):
        answer = crowd.site.raw_answer(f"POST {crowd.filled(address)} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert answer is None or 400 <= answer.status < 500, address
        for method in {method for method, known_path in ENDPOINTS if known_path == path} & {"GET", "DELETE"}:
            request = f"{method} {crowd.filled(address)} HTTP/1.1\r\nHost: a\r\nAuthorization: {ADMIN['Authorization']}"
            answer = crowd.site.raw_answer(f"{request}\r\n\r\n".encode())
            assert answer is None or 400 <= answer.status < 500, (method, address)


#: Strange headers that change nothing about what is answered.
STRANGE_HEADERS: dict[str, list[tuple[bytes, bytes]]] = {
    "two cookie headers": [(b"Cookie", b"a=b"), (b"Cookie", b"c=d")],
    "a name twice": [(b"Cookie", b"waitroom_ticket_shop=x; waitroom_ticket_shop=y")],
    "quotes": [(b"Cookie", b'waitroom_ticket_shop="x"; waitroom_pass_shop="')],
    "only equals": [(b"Cookie", b"=; ==; =x; ;;; waitroom_ticket_shop; waitroom_pass_shop==")],
    "not utf-8": [(b"Cookie", b"waitroom_ticket_shop=\xff\xfe; waitroom_pass_shop=\xc3\x28")],
    "a cookie of 30 kB": [(b"Cookie", b"waitroom_ticket_shop=" + b"x" * 30_000)],
    "accept": [(b"Accept", b"*/*;q=nan, \xff")],
    "accept-encoding": [(b"Accept-Encoding", b"gzip;q=2, identity;q=0, *;q=0")],
    "range": [(b"Range", b"bytes=5-1,-0,99999999999999999999-")],
    "conditions": [(b"If-None-Match", b"garbage"), (b"If-Modified-Since", b"yesterday")],
    "upgrade": [(b"Upgrade", b"h2c, websocket"), (b"HTTP2-Settings", b"AAMAAABkAAQAoAAAAAIAAAAA")],
    "forwarded": [(b"X-Forwarded-For", b"';--\xff"), (b"X-Forwarded-Proto", b"javascript"), (b"Forwarded", b"for=;;=")],
    "length of nothing": [(b"Content-Length", b"0")],
}

#: What a request without any proof gets, endpoint by endpoint, where nothing but reading happens.
QUIET = [
    ("GET", "/v1/rooms/{room}/status", 401),
    ("POST", "/v1/rooms/{room}/leave", 401),
    ("GET", "/v1/rooms/{room}", 200),
    ("GET", "/gate/{room}", 401),
    ("GET", "/wait/_assets/wait.css", 200),
    ("GET", "/admin/rooms", 401),
    ("PATCH", "/admin/rooms/{room}", 401),
    ("GET", "/livez", 200),
    ("GET", "/readyz", 200),
    ("GET", "/metrics", 200),
    ("GET", "/openapi.json", 200),
]


@pytest.mark.parametrize("strange", STRANGE_HEADERS)
@pytest.mark.usefixtures("unchanged")
def test_strange_headers_change_nothing(crowd: Crowd, strange: str) -> None:
    """Each endpoint answers as without them."""
    for method, path, status in QUIET:
        answer = crowd.site.call(method, crowd.filled(path), headers=STRANGE_HEADERS[strange])
        assert answer.status_code == status, (method, path)


@pytest.mark.parametrize(
    "authorization",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Basic eDp5",
        b"Bearer \xff\xfe",
        b"Bearer " + b"x" * 1_000_000,
        b"Bearer a.b.c.d",
        b"\t",
    ],
    ids=lambda value: repr(value[:12]),
)
@pytest.mark.usefixtures("unchanged")
def test_strange_authorizations_are_none(crowd: Crowd, authorization: bytes) -> None:
    """What is not a proof is as good as none, for visitors and operators."""
    for method, path in (("GET", "/v1/rooms/shop/status"), ("POST", "/v1/rooms/shop/leave"), ("GET", "/admin/rooms")):
        request = f"{method} {path} HTTP/1.1\r\nHost: a\r\nAuthorization: ".encode() + authorization + b"\r\n\r\n"
        assert crowd.site.raw(request) in (401, 400), path


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.usefixtures("unchanged")
def test_a_body_on_a_reading_call_is_ignored(crowd: Crowd, method: str) -> None:
    """GET and HEAD with a body answer as without, and the connection is good for the next request."""
    for known, path, status in QUIET:
        if known == "GET":
            answer = crowd.site.call(method, crowd.filled(path), content=b"x" * 5000)
            assert answer.status_code == status, path
            assert crowd.site.call("GET", "/livez").status_code == 200


# Malformed HTTP.

_POST = b"POST /v1/rooms/shop/enter HTTP/1.1\r\nHost: a\r\n"

MALFORMED = {
    "no request line": b"\r\n\r\n\r\n\r\nx\r\n\r\n",
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50 + b"\r\n\r\n",
    "unknown method": b"FOO /v1/rooms/shop/enter HTTP/1.1\r\nHost: a\r\n\r\n",
    "lower-case method": b"post /v1/rooms/shop/enter HTTP/1.1\r\nHost: a\r\n\r\n",
    "no address": b"POST HTTP/1.1\r\nHost: a\r\n\r\n",
    "space in the address": b"POST /v1/rooms/shop /enter HTTP/1.1\r\nHost: a\r\n\r\n",
    "raw tab in the address": b"POST /v1/rooms/shop\t/enter HTTP/1.1\r\nHost: a\r\n\r\n",
    "raw nul in the address": b"POST /v1/rooms/shop\x00/enter HTTP/1.1\r\nHost: a\r\n\r\n",
    "raw bytes in the address": b"POST /v1/rooms/sh\xd0\xbep/enter HTTP/1.1\r\nHost: a\r\n\r\n",
    "version 9.9": b"POST /v1/rooms/shop/enter HTTP/9.9\r\nHost: a\r\n\r\n",
    "content-length and transfer-encoding": (
        _POST + b"Content-Type: application/json\r\n"
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    ),
    "two content-lengths": (
        _POST + b"Content-Type: application/json\r\nContent-Length: 2\r\nContent-Length: 4\r\n\r\n{}  "
    ),
    "negative content-length": _POST + b"Content-Length: -1\r\n\r\n",
    "endless content-length": _POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n",
    "content-length in words": _POST + b"Content-Length: two\r\n\r\n{}",
    "unknown transfer-encoding": _POST + b"Transfer-Encoding: xchunked\r\n\r\n{}",
    "bad chunk": _POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "nul in a header": _POST + b"X: a\x00b\r\n\r\n",
    "control in a header": _POST + b"X: a\x07b\r\n\r\n",
    "space in a header's name": _POST + b"X y: a\r\n\r\n",
    "space before the colon": b"POST /v1/rooms/shop/enter HTTP/1.1\r\nHost : a\r\n\r\n",
    "folded header": _POST + b"X: a\r\n b\r\n\r\n",
    "bare newline folding": _POST + b"X: a\n b\r\n\r\n",
    "no colon": _POST + b"X\r\n\r\n",
    "path of 16 kB": b"POST /v1/rooms/" + b"a" * 16_384 + b"/enter HTTP/1.1\r\nHost: a\r\n\r\n",
    "path of 200 kB": b"POST /v1/rooms/" + b"a" * 200_000 + b"/enter HTTP/1.1\r\nHost: a\r\n\r\n",
    "http/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "connect": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
}


@pytest.mark.parametrize("bad", MALFORMED)
@pytest.mark.usefixtures("unchanged")
def test_malformed_http_is_refused(crowd: Crowd, bad: str) -> None:
    """What is not a request is answered 4xx or cut off, at once, and the next client is served."""
    status = crowd.site.raw(MALFORMED[bad])
    assert status is None or 400 <= status < 500
    assert crowd.site.call("GET", "/livez").status_code == 200


#: Requests that are legal but outlandish: the visitor has no proof, so 401 whatever else they say.
OUTLANDISH = {
    "header of 9 kB": b"Host: a\r\nX: " + b"x" * 9_000,
    "header of 1 MB": b"Host: a\r\nX: " + b"x" * 1_000_000,
    "500 headers": b"Host: a\r\n" + b"\r\n".join(b"X-%d: y" % number for number in range(500)),
    "500 cookie headers": b"Host: a\r\n" + b"\r\n".join(b"Cookie: waitroom_ticket_shop=%d" % n for n in range(500)),
    "no host": b"X: y",
    "two hosts": b"Host: a\r\nHost: b",
    "invalid host": b"Host: a b/../;@\xff",
    "evil host": b"Host: evil.example",
    "empty header": b"Host: a\r\nX:",
    "expectation": b"Host: a\r\nExpect: 200-maybe",
}


@pytest.mark.parametrize("strange", OUTLANDISH)
@pytest.mark.usefixtures("unchanged")
def test_outlandish_requests_are_answered(crowd: Crowd, strange: str) -> None:
    """Many, long or contradictory headers get the answer that the request deserves, or 4xx, and nothing more."""
    head = b"GET /v1/rooms/shop/status HTTP/1.1\r\n" + OUTLANDISH[strange] + b"\r\n\r\n"
    status = crowd.site.raw(head)
    assert status is None or 400 <= status < 500
    assert crowd.site.call("GET", "/livez").status_code == 200


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET http://evil.example/gate/shop HTTP/1.1", 401),
        (b"GET http://evil.example/v1/rooms/shop/status HTTP/1.1", 401),
        (b"GET /gate/shop", 401),
        (b"GET /v1/rooms/shop/status", 401),
        (b"GET /gate/shop HTTP/1.0", 401),
        (b"GET /v1/rooms/shop/status HTTP/1.0", 401),
        (b"HEAD /v1/rooms/shop/status HTTP/1.1", 401),
        (b"HEAD /gate/shop HTTP/1.1", 401),
    ],
)
@pytest.mark.usefixtures("unchanged")
def test_other_forms_of_request_are_answered_alike(crowd: Crowd, request_line: bytes, status: int) -> None:
    """Absolute form, HTTP/0.9, HTTP/1.0 and HEAD get what the plain request gets; the Host they name plays no part."""
    assert crowd.site.raw(request_line + b"\r\nHost: b\r\n\r\n") == status


def test_pipelined_requests_are_answered_in_order(crowd: Crowd) -> None:
    """Three requests in one packet get three answers, each its own."""
    paths = ("/livez", "/v1/rooms/shop/status", "/v1/rooms/nowhere")
    with crowd.site.connection() as link:
        link.sendall(b"".join(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for path in paths))
        received = b""
        deadline = time.monotonic() + sites.PATIENCE_SECONDS
        while received.count(b"HTTP/1.1 ") < 3 and time.monotonic() < deadline:
            received += link.recv(65_536)
    assert [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]] == [b"200", b"401", b"404"]


@pytest.mark.usefixtures("unchanged")
def test_a_body_that_never_comes_holds_nobody_else_up(crowd: Crowd) -> None:
    """While fifty clients owe their bodies others are served; when they go, nothing has been entered."""
    head = _POST + b"Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{"
    links = [crowd.site.connection() for _ in range(50)]
    try:
        for link in links:
            link.sendall(head)
        assert crowd.site.status(crowd.room, crowd.waiting[0]).status_code == 200
    finally:
        for link in links:
            link.close()
    assert crowd.site.call("GET", "/livez").status_code == 200


# The room in the path.

BAD_ROOMS = [
    "",
    ".",
    "..",
    "%2e%2e",
    "a/b",
    "a%2fb",
    "{x}",
    "}",
    "{}",
    "%7bshop%7d",
    "*",
    ":",
    "%20",
    "shop%20",
    "%20shop",
    "shop%09",
    "shop%0a",
    "shop%0d%0a",
    "shop%00",
    "%00",
    "a" * 65,
    "a" * 5000,
    "SHOP",
    "Shop",
    quote("sh\u043ep"),
    quote("caf\u00e9"),
    quote("cafe\u0301"),
    quote("\U0001f600"),
    "%ff%fe",
    "__proto__",
    "-",
    "-shop",
    "_shop",
    "shop;x",
    "shop%3bx",
    "shop%23",
    "shop%3f",
    "shop,other",
    "unknown",
    "gone",
]


@pytest.fixture(scope="module")
def gone(crowd: Crowd) -> str:
    """A room that was deleted a moment ago."""
    name = crowd.site.make_room("gone")
    crowd.site.admin("DELETE", f"/{name}")
    return name


@pytest.mark.parametrize("name", BAD_ROOMS, ids=lambda name: repr(name[:20]))
@pytest.mark.usefixtures("gone", "unchanged")
def test_a_room_that_is_none(crowd: Crowd, name: str) -> None:
    """To visitors it is not there, at the gate nobody goes on, and no operator can make one of a name that is none."""
    site = crowd.site
    for method, path in (
        ("POST", f"/v1/rooms/{name}/enter"),
        ("GET", f"/v1/rooms/{name}/status"),
        ("POST", f"/v1/rooms/{name}/leave"),
        ("GET", f"/v1/rooms/{name}"),
        ("GET", f"/wait/{name}"),
    ):
        request = f"{method} {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {crowd.waiting[0]}\r\n\r\n"
        answer = site.raw_answer(request.encode("latin-1"))
        assert answer is None or (answer.status in (400, 404, 405)), (method, path)
        assert answer is None or answer.headers["content-type"] == "application/problem+json"
    assert site.raw(f"GET /gate/{name} HTTP/1.1\r\nHost: a\r\n\r\n".encode("latin-1")) in (403, 404, 400, None)
    if name not in ("unknown", "gone"):
        request = f"PUT /admin/rooms/{name} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ADMIN_KEY}\r\n\r\n"
        assert site.raw(request.encode("latin-1")) in (400, 404, 405, None)
    for method, tail in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/pause")):
        request = f"{method} /admin/rooms/{name}{tail} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ADMIN_KEY}\r\n\r\n"
        if (method, name) != ("GET", ""):
            assert site.raw(request.encode("latin-1")) in (400, 404, 405, None), method


# Bodies of enter and leave.

BAD_BODIES: dict[str, tuple[bytes, str | None]] = {
    "array": (b"[]", "application/json"),
    "null": (b"null", "application/json"),
    "number": (b"1", "application/json"),
    "text": (b'"x"', "application/json"),
    "true": (b"true", "application/json"),
    "cut": (b'{"a":', "application/json"),
    "two documents": (b"{}{}", "application/json"),
    "trailing comma": (b'{"a":1,}', "application/json"),
    "blanks": (b"   ", "application/json"),
    "nan": (b'{"a":NaN}', "application/json"),
    "infinity": (b'{"a":-Infinity}', "application/json"),
    "1e400": (b'{"a":1e400}', "application/json"),
    "2^63": (b'{"a":9223372036854775808}', "application/json"),
    "2^53+1": (b'{"a":9007199254740993}', "application/json"),
    "duplicate keys": (b'{"a":1,"a":2}', "application/json"),
    "deep": (b'{"a":' * 600 + b"1" + b"}" * 600, "application/json"),
    "10,000 deep": (b"[" * 10_000 + b"]" * 10_000, "application/json"),
    "10 MB": (b'{"a":"' + b"x" * 10_000_000 + b'"}', "application/json"),
    "not utf-8": (b'{"a":"\xff"}', "application/json"),
    "utf-16": ('{"a":1}'.encode("utf-16"), "application/json"),
    "byte order mark": (b"\xef\xbb\xbf{}", "application/json"),
    "lone surrogate": (b'{"a":"\\ud800"}', "application/json"),
    "nul": (b"\x00", "application/json"),
    "gzip": (gzip.compress(b'{"a":"' + b"x" * 3_000_000 + b'"}'), "application/json"),
    "own id": (b'{"id":"!aaa"}', "application/json"),
    "own serial": (b'{"serial":-1}', "application/json"),
    "own score": (b'{"score":0,"seq":1,"priority":99}', "application/json"),
    "own visitor": (b'{"visitor":"AAAAAAAAAAAAAAAAAAAAAA"}', "application/json"),
    "return address": (b'{"return":"//evil.example"}', "application/json"),
    "prototype": (b'{"__proto__":{"admin":true}}', "application/json"),
    "long name": (json.dumps({"x" * 3000: 1}).encode(), "application/json"),
    "plain text": (b"{}", "text/plain"),
    "beacon": (b"", "text/plain;charset=UTF-8"),
    "form": (b"a=b", "application/x-www-form-urlencoded"),
    "multipart": (b"--x--", "multipart/form-data; boundary=x"),
    "no type": (b"{}", None),
    "nonsense type": (b"{}", ";;;"),
    "type by half": (b"{}", "application/jsonx"),
}


@pytest.mark.parametrize("bad", BAD_BODIES)
@pytest.mark.parametrize("call", ["enter", "leave"])
@pytest.mark.usefixtures("unchanged")
def test_a_bad_body_is_refused(crowd: Crowd, call: str, bad: str) -> None:
    """Anything but nothing or `{}` is refused, with a good ticket as well; the place stays as it is."""
    body, kind = BAD_BODIES[bad]
    headers = bearer(crowd.waiting[0]) | ({"Content-Type": kind} if kind is not None else {})
    if bad == "gzip":
        headers["Content-Encoding"] = "gzip"
    path = f"/v1/rooms/{crowd.room}/{call}"
    assert_problem(crowd.site.call("POST", path, content=body, headers=headers), 400, 413, 415)


@pytest.mark.parametrize("call", ["enter", "leave"])
@pytest.mark.usefixtures("unchanged")
def test_a_long_body_in_chunks_is_refused(crowd: Crowd, call: str) -> None:
    """A body without a declared length is read no further than its limit."""
    path = f"/v1/rooms/{crowd.room}/{call}"
    headers = bearer(crowd.waiting[0]) | {"Content-Type": "application/json"}
    chunks = (b"x" * 1000 for _ in range(10))
    assert_problem(crowd.site.call("POST", path, content=chunks, headers=headers), 413)


@pytest.mark.parametrize("body", [b"", b"{}", b" {} "])
@pytest.mark.usefixtures("unchanged")
def test_an_empty_document_is_fine(crowd: Crowd, body: bytes) -> None:
    """Nothing and `{}` are the two ways to say nothing."""
    headers = bearer(crowd.waiting[0]) | {"Content-Type": "application/json; charset=utf-8"}
    answer = crowd.site.call("POST", f"/v1/rooms/{crowd.room}/enter", content=body, headers=headers)
    assert (answer.status_code, answer.json()["rank"]) == (202, 1)


# Proofs.


def _last_character(text: str) -> str:
    return text[:-1] + ("A" if text[-1] != "A" else "B")


def bad_tickets(crowd: Crowd) -> dict[str, str]:
    """Everything that looks like a ticket of the room and is none."""
    good, ticket = crowd.waiting[0], crowd.ticket()
    kid, _, body = good.partition(".")
    now_us = crowd.site.now_us()
    return {
        "truncated": good[:-1],
        "longer": good + "A",
        "bit flipped": _last_character(good),
        "first flipped": f"{kid}.{'B' if body[0] != 'B' else 'C'}{body[1:]}",
        "padded": good + "=",
        "quoted": f'"{good}"',
        "other alphabet": good.replace("-", "+").replace("_", "/") + ("" if "-" in good or "_" in good else "+"),
        "unknown key": "k2." + body,
        "key of a path": "../../etc/passwd." + body,
        "key of 10 kB": "k" * 10_000 + "." + body,
        "no key": "." + body,
        "unicode digits": kid + "." + "\u0661" * 88,
        "other room": crowd.other_ticket,
        "pass of other room": crowd.other_pass,
        "random": f"{kid}." + "A" * 88,
        "empty": "",
        "1 MB": "x" * 60_000,
        "expired": crowd.site.forge_ticket(crowd.room, ticket._replace(issued_us=now_us - 3_700_000_000)),
        "issued at zero": crowd.site.forge_ticket(crowd.room, ticket._replace(issued_us=0)),
    }


BAD_TICKETS = [
    "truncated",
    "longer",
    "bit flipped",
    "first flipped",
    "padded",
    "quoted",
    "other alphabet",
    "unknown key",
    "key of a path",
    "key of 10 kB",
    "no key",
    "unicode digits",
    "other room",
    "pass of other room",
    "random",
    "empty",
    "1 MB",
    "expired",
    "issued at zero",
]


@pytest.mark.parametrize("bad", BAD_TICKETS)
@pytest.mark.usefixtures("unchanged")
def test_a_bad_ticket_shows_and_ends_nothing(crowd: Crowd, bad: str) -> None:
    """Status refuses it as bearer and as cookie, and leave does too unless it was signed here."""
    text = bad_tickets(crowd)[bad]
    site, raw = crowd.site, text.encode("utf-8")
    for headers in (
        [(b"Authorization", b"Bearer " + raw if raw else b"Bearer")],
        [(b"Cookie", f"waitroom_ticket_{crowd.room}=".encode() + raw)],
    ):
        assert_problem(site.call("GET", f"/v1/rooms/{crowd.room}/status?id={crowd.waiting[1]}", headers=headers), 401)
        if bad not in ("expired", "issued at zero"):
            assert_problem(site.call("POST", f"/v1/rooms/{crowd.room}/leave", headers=headers), 401)


@pytest.mark.parametrize("bad", [*BAD_TICKETS, "left"])
def test_a_bad_ticket_gives_the_last_place(crowd: Crowd, bad: str) -> None:
    """Entering with it is entering without: behind everybody else, whose places stay what they are (T10, T11)."""
    text = crowd.left if bad == "left" else bad_tickets(crowd)[bad]
    before = crowd.site.waiting(crowd.room)
    headers = [(b"Authorization", b"Bearer " + text.encode() if text else b"Bearer")]
    answer = crowd.site.call("POST", f"/v1/rooms/{crowd.room}/enter", headers=headers)
    assert (answer.status_code, answer.json()["rank"]) == (202, len(before) + 1)
    assert crowd.site.waiting(crowd.room)[:-1] == before
    crowd.site.leave(crowd.room, answer.json()["ticket"])


@pytest.mark.usefixtures("unchanged")
def test_a_used_ticket_is_told_so(crowd: Crowd) -> None:
    """After leaving, status is 410 and leaving again is 204: both without effect."""
    assert_problem(crowd.site.status(crowd.room, crowd.left), 410)


def claims(**changed: Any) -> dict[str, Any]:
    """A pass's claims that are all right, save what is changed; None takes a claim away."""
    now = int(time.time())
    good = {"aud": "waitroom:shop", "sub": str(new_visitor()), "iat": now, "exp": now + 600} | changed
    return {name: value for name, value in good.items() if value is not None}


def signed(payload: dict[str, Any], *, algorithm: str = "HS256", kid: object = "k1", **headers: Any) -> str:
    """A token under the site's own key."""
    secret = "" if algorithm == "none" else SECRET
    return jwt.encode(payload, secret or None, algorithm, headers={"kid": kid, **headers})


def spelled(text: str, *, header: str = "", digest: str = "sha256") -> str:
    """A JSON text as a token's payload, signed; for what a JSON library would not write."""

    def encoded(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    head = header or signed(claims()).split(".")[0]
    body = f"{head}.{encoded(text.encode())}"
    return f"{body}.{encoded(hmac.digest(SECRET.encode(), body.encode(), digest))}"


def _with_exp(number: str) -> str:
    return spelled(json.dumps(claims(exp=None))[:-1] + f', "exp": {number}}}')


BAD_PASSES: dict[str, Callable[[], str | bytes]] = {
    "empty": lambda: "",
    "four parts": lambda: "a.b.c.d",
    "two parts": lambda: signed(claims()).rpartition(".")[0],
    "empty signature": lambda: signed(claims()).rpartition(".")[0] + ".",
    "30 kB": lambda: "x" * 30_000,
    "alg none": lambda: signed(claims(), algorithm="none"),
    "alg HS512": lambda: spelled(json.dumps(claims()), header=_header(alg="HS512"), digest="sha512"),
    "alg hs256": lambda: signed(claims()).replace(signed(claims()).split(".")[0], _header(alg="hs256")),
    "alg RS256": lambda: signed(claims()).replace(signed(claims()).split(".")[0], _header(alg="RS256")),
    "critical": lambda: signed(claims(), crit=["x"], x=1),
    "unknown kid": lambda: signed(claims(), kid="k2"),
    "kid of a path": lambda: signed(claims(), kid="../../etc/passwd"),
    "kid of 10 kB": lambda: signed(claims(), kid="k" * 10_000),
    "other key": lambda: jwt.encode(
        claims(), "another key of at least thirty-two bytes", "HS256", headers={"kid": "k1"}
    ),
    "no exp": lambda: signed(claims(exp=None)),
    "exp text": lambda: spelled(json.dumps(claims(exp="9999999999"))),
    "exp past": lambda: signed(claims(exp=1)),
    "exp negative": lambda: signed(claims(exp=-1)),
    "exp true": lambda: spelled(json.dumps(claims(exp=True))),
    "exp null": lambda: _with_exp("null"),
    "exp list": lambda: _with_exp("[9999999999]"),
    "exp NaN": lambda: _with_exp("NaN"),
    "exp Infinity": lambda: _with_exp("Infinity"),
    "exp 1e400": lambda: _with_exp("1e400"),
    "iat future": lambda: signed(claims(iat=int(time.time()) + 3600)),
    "no iat": lambda: signed(claims(iat=None)),
    "iat text": lambda: spelled(json.dumps(claims(iat="1"))),
    "no sub": lambda: signed(claims(sub=None)),
    "sub number": lambda: spelled(json.dumps(claims(sub=7))),
    "sub of somebody's making": lambda: signed(claims(sub="!aaa")),
    "sub with newline": lambda: signed(claims(sub="A" * 22 + "\n")),
    "aud other": lambda: signed(claims(aud="waitroom:other")),
    "aud list": lambda: signed(claims(aud=["waitroom:shop", "waitroom:other"])),
    "aud missing": lambda: signed(claims(aud=None)),
    "aud bare": lambda: signed(claims(aud="shop")),
    "payload list": lambda: spelled("[]"),
    "payload cut": lambda: spelled('{"aud":'),
    "payload deep": lambda: spelled("[" * 300 + "]" * 300),
    "trailing bytes": lambda: signed(claims()) + "\xa0",
    "trailing newline escaped": lambda: signed(claims()) + "%0A",
    "padded": lambda: signed(claims()) + "=",
    "blank inside": lambda: signed(claims()).replace(".", ". ", 1),
    "last bits": lambda: _other_spelling(signed(claims())),
    "unicode digits": lambda: "\u0661.\u0662.\u0663".encode(),
    "raw bytes": lambda: b"\xff\xfe.\x80.\x81",
}


def _header(**changed: Any) -> str:
    header = {"alg": "HS256", "kid": "k1", "typ": "JWT"} | changed
    return base64.urlsafe_b64encode(json.dumps(header, separators=(",", ":")).encode()).rstrip(b"=").decode()


def _other_spelling(text: str) -> str:
    """The same bytes with other unused last bits: 43 characters leave two bits over."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) ^ 1]


def test_the_forged_passes_would_be_good() -> None:
    """The tables' own starting point is a pass that the key ring accepts: so each case fails for its own reason."""
    office = PassOffice(keyring.parse([SIGNING_KEY]))
    for text in (signed(claims()), spelled(json.dumps(claims())), _with_exp(str(int(time.time()) + 600))):
        assert office.verify("shop", text, now=time.time()) is not None


@pytest.mark.parametrize("bad", BAD_PASSES)
@pytest.mark.parametrize("way", ["cookie", "header"])
@pytest.mark.usefixtures("unchanged")
def test_a_bad_pass_opens_no_gate(crowd: Crowd, way: str, bad: str) -> None:
    """Neither as cookie nor as X-Waitroom-Pass; nor does it show a place at status."""
    text = BAD_PASSES[bad]()
    raw = text.encode("latin-1") if isinstance(text, str) else text
    cookie = (b"Cookie", b"waitroom_pass_shop=" + raw)
    brought = cookie if way == "cookie" else (b"X-Waitroom-Pass", raw)
    answer = crowd.site.call("GET", "/gate/shop", headers=[brought])
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert_problem(crowd.site.call("GET", "/v1/rooms/shop/status", headers=[cookie]), 401)


@pytest.mark.parametrize("text", ["ticket", "other pass", "other ticket"])
@pytest.mark.usefixtures("unchanged")
def test_a_proof_of_another_kind_or_room_opens_no_gate(crowd: Crowd, text: str) -> None:
    """A ticket never passes as a pass, nor does a pass of the room beside (I20)."""
    proof = {"ticket": crowd.waiting[0], "other pass": crowd.other_pass, "other ticket": crowd.other_ticket}[text]
    for headers in ({"Cookie": f"waitroom_pass_shop={proof}"}, {"X-Waitroom-Pass": proof}, bearer(proof)):
        assert crowd.site.call("GET", "/gate/shop", headers=headers).status_code == 401


@pytest.mark.usefixtures("unchanged")
def test_a_body_at_the_gate_is_ignored(crowd: Crowd) -> None:
    """A proxy that hands the body on gets the same answer."""
    headers = {"Cookie": f"waitroom_pass_shop={crowd.inside}"}
    assert crowd.site.call("GET", "/gate/shop", headers=headers, content=b"x" * 100_000).status_code == 204
    assert crowd.site.call("GET", "/gate/shop", content=b"x" * 100_000).status_code == 401


# Rooms that take nobody: the refusal is counted, nothing else changes.


@pytest.mark.parametrize(
    ("room", "status", "count"), [("full", 503, "refused_full"), ("closed", 403, "refused_closed")]
)
def test_a_refused_arrival_is_only_counted(crowd: Crowd, room: str, status: int, count: str) -> None:
    """A hundred arrivals at a full or closed room change one number."""
    before = crowd.site.snapshot()
    with ThreadPoolExecutor(20) as pool:
        request = f"POST /v1/rooms/{room}/enter HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        statuses = set(pool.map(crowd.site.raw, [request] * 100))
    assert statuses == {status}
    after = crowd.site.snapshot()
    state = keys.room_key(room, "state")
    counted = int(after[state].pop(count)) - int(before.setdefault(state, {}).pop(count, 0))
    assert counted == 100
    assert after == before


# The return address.

BAD_RETURNS = [
    "//e.example",
    "/\\e.example",
    "\\\\e",
    "/%5ce",
    "///e",
    "/%2F/e",
    "/.//e",
    "https:e",
    "https:/e",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "http://shop@e",
    "https://shop.example.e.example",
    "https://shop.example%2ee",
    "https://e#shop.example",
    "https://e?shop.example",
    "https://e/https://shop.example/",
    "/\t/e",
    "/%09/e",
    "/%0d%0aSet-Cookie:x=1",
    "/\r\nSet-Cookie:x=1",
    " /x",
    "x",
    "",
    "?x",
    "#x",
    "https://shop.example:443@e",
    "https://shop.example:444/",
    "https://shop.example./",
    "https://SHOP.example/",
    "http://shop.example/",
    "https://[::1]/",
    "https://xn--shp-tna.example/",
    "https://sh\u043ep.example/",
    "/" + "x" * 8192,
    "%252f%252fe",
    "/%252f%252fe",
    "/wait/shop",
    "/wait/shop?return=/wait/shop",
    "/gate/shop",
    "/v1/rooms/shop/leave",
    "/admin/rooms",
    "/../x",
    "/%2e%2e/x",
    "/a\u2028b",
    "/a\x00b",
    '/"><script>alert(1)</script>',
]


@pytest.mark.parametrize("asked", BAD_RETURNS, ids=lambda asked: repr(asked[:30]))
@pytest.mark.parametrize("encoding", ["encoded", "encoded twice", "as it is"])
@pytest.mark.usefixtures("unchanged")
def test_a_bad_return_address_leads_home(crowd: Crowd, asked: str, encoding: str) -> None:
    """Who is inside is sent to `/`, never anywhere that the room does not allow (I26)."""
    query = {
        "encoded": quote(asked, safe=""),
        "encoded twice": quote(quote(asked, safe=""), safe=""),
        # Blanks and line ends cannot stand in a request line.
        "as it is": re.sub(r"[ \t\r\n\0]", lambda found: quote(found[0]), asked).replace("#", "%23"),
    }[encoding]
    request = (
        f"GET /wait/shop?return={query} HTTP/1.1\r\nHost: shop.example\r\n"
        f"Cookie: waitroom_pass_shop={crowd.inside}\r\n\r\n"
    )
    answer = crowd.site.raw_answer(request.encode())
    assert answer is not None
    if answer.status != 400:
        assert (answer.status, answer.headers["location"]) == (303, "/")
        assert "x" not in [cookie.partition("=")[0] for cookie in answer.headers.get_all("set-cookie", [])]


# What operators send.

BAD_SETTINGS: dict[str, str] = {
    "capacity -1": '{"capacity": -1}',
    "capacity 1.5": '{"capacity": 1.5}',
    "capacity text": '{"capacity": "10"}',
    "capacity true": '{"capacity": true}',
    "capacity null": '{"capacity": null}',
    "capacity NaN": '{"capacity": NaN}',
    "capacity Infinity": '{"capacity": Infinity}',
    "capacity 1e400": '{"capacity": 1e400}',
    "capacity 2^31": '{"capacity": 2147483648}',
    "capacity 2^53+1": '{"capacity": 9007199254740993}',
    "capacity 2^64": '{"capacity": 18446744073709551616}',
    "capacity list": '{"capacity": [1]}',
    "capacity object": '{"capacity": {"": 1}}',
    "rate 1e-9": '{"admit_per_second": 1e-9}',
    "rate 1e9": '{"admit_per_second": 1e9}',
    "rate -1": '{"admit_per_second": -1}',
    "rate NaN": '{"admit_per_second": NaN}',
    "rate 1e400": '{"admit_per_second": 1e400}',
    "rate text": '{"admit_per_second": "1"}',
    "rate true": '{"admit_per_second": true}',
    "session 0": '{"session_seconds": 0}',
    "session 1 ms": '{"session_seconds": 0.001}',
    "session 10 years": '{"session_seconds": 315360000}',
    "session text": '{"session_seconds": "5m"}',
    "claim 0": '{"claim_seconds": 0}',
    "claim -1": '{"claim_seconds": -1}',
    "abandon 0": '{"abandon_seconds": 0}',
    "ticket below abandon": '{"abandon_seconds": 100, "ticket_seconds": 99}',
    "ticket 10 years": '{"ticket_seconds": 315360000}',
    "waiting 0": '{"max_waiting": 0}',
    "waiting 10^9": '{"max_waiting": 1000000000}',
    "sliding 1": '{"sliding": 1}',
    "sliding text": '{"sliding": "true"}',
    "state unknown": '{"state": "Open"}',
    "state empty": '{"state": ""}',
    "when_down unknown": '{"when_down": "fail"}',
    "message CRLF": '{"message": "a\\r\\nSet-Cookie: x=1"}',
    "message newline": '{"message": "a\\nb"}',
    "message nul": '{"message": "a\\u0000b"}',
    "message RTL override": '{"message": "abc\\u202edef"}',
    "message line separator": '{"message": "a\\u2028b"}',
    "message surrogate": '{"message": "\\ud800"}',
    "message number": '{"message": 1}',
    "message 501": json.dumps({"message": "x" * 501}),
    "message 1 MB": json.dumps({"message": "x" * 1_000_000}),
    "origins text": '{"return_origins": "https://a.example"}',
    "origin *": '{"return_origins": ["*"]}',
    "origin https://*": '{"return_origins": ["https://*"]}',
    "origin wildcard": '{"return_origins": ["https://*.a.example"]}',
    "origin null": '{"return_origins": ["null"]}',
    "origin none": '{"return_origins": [null]}',
    "origin trailing dot": '{"return_origins": ["https://a.example."]}',
    "origin path": '{"return_origins": ["https://a.example/"]}',
    "origin user": '{"return_origins": ["https://x@a.example"]}',
    "origin port 0": '{"return_origins": ["https://a.example:0"]}',
    "origin port 99999": '{"return_origins": ["https://a.example:99999"]}',
    "origin javascript": '{"return_origins": ["javascript:alert(1)"]}',
    "origin relative": '{"return_origins": ["//a.example"]}',
    "origin newline": '{"return_origins": ["https://a.example\\n"]}',
    "origin homoglyph": '{"return_origins": ["https://\\u0430.example"]}',
    "21 origins": json.dumps({"return_origins": [f"https://a{number}.example" for number in range(21)]}),
    "unknown field": '{"prioritye": 1}',
    "unknown empty field": '{"": 1}',
    "inner field": '{"version": 3}',
    "private field": '{"tickets_after_us": 0}',
    "array": "[]",
    "null": "null",
    "cut": '{"capacity": ',
    "not json": "capacity=5",
    "deep": '{"capacity":' * 1500 + "1" + "}" * 1500,
    "long unknown name": json.dumps({"x" * 10_000: 1}),
}


@pytest.mark.parametrize("bad", BAD_SETTINGS)
@pytest.mark.usefixtures("unchanged")
def test_bad_settings_are_refused(crowd: Crowd, bad: str) -> None:
    """PUT, on a room that exists and on one that does not, and PATCH refuse the whole document."""
    headers = ADMIN | {"Content-Type": "application/json"}
    for method, room in (("PUT", "shop"), ("PUT", "new"), ("PATCH", "shop")):
        answer = crowd.site.call(method, f"/admin/rooms/{room}", content=BAD_SETTINGS[bad], headers=headers)
        detail = assert_problem(answer, 400, 413)["detail"]
        assert len(detail) < 20_000


@pytest.mark.parametrize(
    "message",
    [
        "<script>alert(1)</script>",
        "</script><img src=x onerror=alert(1)>",
        "{{7*7}} {% raw %}",
        "${x} $(x) `x`",
        "\U0001f600",
    ],
)
def test_a_message_is_kept_as_it_is(crowd: Crowd, message: str) -> None:
    """What looks like code is text: it is read back as it was written, and the page shows it escaped."""
    site = crowd.site
    room = site.make_room("spoken", message=message, state="closed")
    assert site.admin("GET", f"/{room}").json()["settings"]["message"] == message
    assert assert_problem(site.enter(room), 403)["detail"] == message
    assert "<script>alert" not in site.call("GET", f"/wait/{room}").text
    site.admin("DELETE", f"/{room}")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
@pytest.mark.usefixtures("unchanged")
def test_an_operators_body_must_be_json(crowd: Crowd, kind: str | None) -> None:
    """A body of another type is 415, for changes and for commands."""
    headers = ADMIN | ({"Content-Type": kind} if kind else {})
    for method, path in (("PUT", "/shop"), ("PATCH", "/shop"), ("POST", "/shop/pause")):
        answer = crowd.site.call(method, f"/admin/rooms{path}", content=b'{"message":"x"}', headers=headers)
        assert_problem(answer, 415)


@pytest.mark.parametrize(
    "body", ['{"message": 1}', '{"message": "a\\nb"}', '{"state": "open"}', "[]", '{"message": null}']
)
@pytest.mark.usefixtures("unchanged")
def test_a_commands_bad_body_is_refused(crowd: Crowd, body: str) -> None:
    """pause, resume and close take a message or nothing."""
    headers = ADMIN | {"Content-Type": "application/json"}
    for command in ("pause", "resume", "close"):
        answer = crowd.site.call("POST", f"/admin/rooms/shop/{command}", content=body, headers=headers)
        assert_problem(answer, 400)


@pytest.mark.parametrize("query", ["limit=-1", "limit=1000000000", "cursor=%00", "limit=nan", "=&&="])
@pytest.mark.usefixtures("unchanged")
def test_a_query_of_the_list_is_ignored(crowd: Crowd, query: str) -> None:
    """The list has no pages: what a query asks for plays no part."""
    listed = crowd.site.admin("GET", f"?{query}")
    assert listed.status_code == 200
    assert {"shop", "other", "full", "closed"} <= {room["room"] for room in listed.json()["rooms"]}


@pytest.mark.usefixtures("unchanged")
def test_an_empty_change_is_refused(crowd: Crowd) -> None:
    """A PATCH that names no setting is a mistake."""
    assert_problem(crowd.site.admin("PATCH", "/shop", json={}), 400)


# Probes.


@pytest.mark.usefixtures("unchanged")
def test_probes_care_for_nothing_that_is_sent(crowd: Crowd) -> None:
    """Queries, proofs and bodies play no part."""
    for path in ("/livez", "/readyz", "/metrics", "/openapi.json"):
        answer = crowd.site.call("GET", f"{path}?x=%00&%ff", headers=bearer("x"), content=b"x" * 70_000)
        assert answer.status_code == 200


# Somebody else's.


@pytest.mark.usefixtures("unchanged")
def test_nobody_acts_for_somebody_else(crowd: Crowd) -> None:
    """Ids in query, header or another room's cookie neither show nor end another's place."""
    visitor: Visitor = crowd.ticket().visitor
    spoof = {
        "X-Visitor": visitor,
        "X-Waitroom-Ticket": crowd.waiting[0],
        "Cookie": f"waitroom_ticket_other={crowd.waiting[0]}; ticket={crowd.waiting[0]}; Waitroom_Ticket_shop=x",
    }
    query = f"?id={visitor}&ticket={crowd.waiting[0]}&visitor={visitor}"
    assert_problem(crowd.site.call("GET", f"/v1/rooms/shop/status{query}", headers=spoof), 401)
    assert_problem(crowd.site.call("POST", f"/v1/rooms/shop/leave{query}", headers=spoof), 401)


@pytest.mark.usefixtures("unchanged")
def test_fast_pollers_change_nothing(crowd: Crowd) -> None:
    """Three hundred polls of one ticket at once keep its place and move nobody."""
    request = f"GET /v1/rooms/shop/status HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {crowd.waiting[1]}\r\n\r\n"
    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(crowd.site.raw, [request.encode()] * 300)) == {200}
    assert crowd.site.status(crowd.room, crowd.waiting[1]).json()["rank"] == 2
