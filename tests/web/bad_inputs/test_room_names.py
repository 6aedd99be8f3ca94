"""The room in the path."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.web.bad_inputs.crowd import Crowd
from tests.web.sites import ADMIN_KEY

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
        page = path in ("/wait/unknown", "/wait/gone")
        kind = "text/html; charset=utf-8" if page else "application/problem+json"
        assert answer is None or answer.headers["content-type"] == kind
    assert site.raw(f"GET /gate/{name} HTTP/1.1\r\nHost: a\r\n\r\n".encode("latin-1")) in (403, 404, 400, None)
    if name not in ("unknown", "gone"):
        request = f"PUT /admin/rooms/{name} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ADMIN_KEY}\r\n\r\n"
        assert site.raw(request.encode("latin-1")) in (400, 404, 405, None)
    for method, tail in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/pause")):
        request = f"{method} /admin/rooms/{name}{tail} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ADMIN_KEY}\r\n\r\n"
        if (method, name) != ("GET", ""):
            assert site.raw(request.encode("latin-1")) in (400, 404, 405, None), method
