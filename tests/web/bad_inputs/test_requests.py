"""Methods, addresses, headers and bodies beside what an endpoint knows."""

from __future__ import annotations

import pytest

from tests.web.bad_inputs.crowd import Crowd
from tests.web.sites import ADMIN, assert_problem, bearer

#: Every endpoint with a method that it knows.
ENDPOINTS = [
    ("POST", "/v1/rooms/{room}/enter"),
    ("GET", "/v1/rooms/{room}/status"),
    ("POST", "/v1/rooms/{room}/leave"),
    ("GET", "/v1/rooms/{room}"),
    ("GET", "/gate/{room}"),
    ("GET", "/wait/{room}"),
    ("POST", "/wait/{room}"),
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


@pytest.mark.usefixtures("unchanged")
def test_probes_care_for_nothing_that_is_sent(crowd: Crowd) -> None:
    """Queries, proofs and bodies play no part."""
    for path in ("/livez", "/readyz", "/metrics", "/openapi.json"):
        answer = crowd.site.call("GET", f"{path}?x=%00&%ff", headers=bearer("x"), content=b"x" * 70_000)
        assert answer.status_code == 200
