"""The return address."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest

from tests.web.bad_inputs.crowd import Crowd

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
    "/v1/rooms/shop/leave",
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
