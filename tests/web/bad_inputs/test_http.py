"""HTTP that is malformed, outlandish, or never ends."""

from __future__ import annotations

import time

import pytest

from tests.web import sites
from tests.web.bad_inputs.crowd import Crowd

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
