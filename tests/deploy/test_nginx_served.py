"""Real nginx before a real instance: the headers that caches and browsers go by, whose addresses, and bodies."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from rig.edits import Edit, replaced
from rig.instance import Instance, serving
from rig.nginx import TRUSTED, Nginx
from rig.origin import Answer, Seen, Stub, answering, ask
from tests.deploy.worlds import PAGE, Builder

#: As Debian's nginx.conf has it, and worse.
COMPRESSES: Final[Edit] = lambda example: (  # noqa: E731 - as the other edits
    "gzip on; gzip_proxied any; gzip_types *; gzip_min_length 1; gzip_vary on;\n" + example
)

YEAR: Final = "public, max-age=31536000, immutable"

#: What a cache or a browser goes by.
MATTER: Final = (
    *("cache-control", "vary", "etag", "content-encoding", "content-type", "expires", "pragma", "last-modified"),
    *("referrer-policy", "content-security-policy", "x-content-type-options", "x-frame-options", "permissions-policy"),
    *("cdn-cache-control", "surrogate-control"),
)


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A real instance with an open room, one where visitors wait, and a closed one."""
    rooms = {"open": {"capacity": 500}, "shop": {"state": "paused"}, "shut": {"state": "closed"}}
    with serving(tmp_path_factory.mktemp("instance"), rooms=rooms) as served:
        yield served


def public(_request: Seen) -> Answer:
    """An origin whose answers each cache may keep."""
    kept = dict.fromkeys(("Cache-Control", "CDN-Cache-Control", "Surrogate-Control"), "public, max-age=3600")
    return Answer(200, {**kept, "Expires": "Fri, 01 Jan 2100 00:00:00 GMT", "Content-Type": "text/html"}, b"shop")


@pytest.fixture
def origin() -> Iterator[Stub]:
    """The origin."""
    with answering(public) as stub:
        yield stub


def matter(answer: Answer) -> dict[str, str]:
    """Its headers that matter."""
    return {name: answer.headers[name] for name in MATTER if name in answer.headers}


def test_every_header_that_matters(binary: Path, tmp_path: Path, instance: Instance, origin: Stub) -> None:
    """Page, files, status, public document, and each "no"; what an instance says comes through as it is."""
    with Nginx(
        tmp_path, COMPRESSES, instances=[instance.port], origin=origin.port, files=TRUSTED, program=binary
    ) as nginx:
        packs: dict[str, Any] = {"accept": PAGE, "accept_encoding": "gzip, deflate, br"}
        page = ask(nginx.port, "/wait/shop?return=/cart", **packs)
        assert page.status == 200
        assert page.headers["cache-control"] == "no-store"
        assert matter(page) == matter(ask(instance.port, "/wait/shop?return=/cart", **packs))
        assert "content-encoding" not in page.headers, "a stranger chooses a part of it: BREACH"

        wire = _files_of(nginx.port, page.body.decode()) + len(page.body)
        assert wire < 24_000, wire

        cookie = page.headers["set-cookie"].partition(";")[0]
        status = ask(nginx.port, "/v1/rooms/shop/status", cookie=cookie, **packs)
        assert (status.status, status.headers["cache-control"]) == (200, "no-store")
        assert "content-encoding" not in status.headers
        document = ask(nginx.port, "/v1/rooms/shop", **packs)
        assert (document.status, document.headers["cache-control"]) == (200, "public, max-age=1")
        assert not {"set-cookie", "content-encoding", "vary"} & set(document.headers)
        for path in ("/v1/rooms/none", "/wait/none", "/wait/_assets/none.js?v=0123456789abcdef"):
            absent = ask(nginx.port, path, **packs)
            assert (absent.status, absent.headers["cache-control"]) == (404, "no-store"), path

        for accept, right in ((PAGE, 303), ("*/*", 401)):
            refused = ask(nginx.port, "/cart", accept=accept)
            assert (refused.status, refused.headers["cache-control"]) == (right, "no-store")
            assert not {"etag", "expires", "last-modified"} & set(refused.headers)
        assert origin.seen == []


def _files_of(port: int, page: str) -> int:
    """Look at each file of the page, and return how much they are on the wire."""
    urls = re.findall(r'(?:src|href)="(/wait/_assets/[^"]+)"', page)
    assert len(urls) >= 3
    wire = 0
    for url in urls:
        plain, packed = (ask(port, url, accept_encoding=coding) for coding in ("identity", "x, gzip;q=0.5"))
        assert gzip.decompress(packed.body) == plain.body
        assert packed.headers["content-encoding"] == "gzip"
        assert "content-encoding" not in plain.headers
        assert packed.headers["etag"] != plain.headers["etag"]
        for answer in (plain, packed):
            assert answer.headers["cache-control"] == YEAR
            assert answer.headers["vary"] == "Accept-Encoding"
            assert "set-cookie" not in answer.headers
            kept = ask(
                port, url, accept_encoding="gzip" if answer is packed else "", if_none_match=answer.headers["etag"]
            )
            assert (kept.status, kept.headers["etag"], kept.headers["cache-control"]) == (
                304,
                answer.headers["etag"],
                YEAR,
            )
            assert kept.headers["vary"] == "Accept-Encoding"
        bare = url.partition("?")[0]
        for other in ("", "?v=0123456789abcdef", "?v=", "?x=1", f"?v={'0' * 900}", "?v=%30"):
            made_up = ask(port, bare + other)
            assert (made_up.body, made_up.headers["cache-control"]) == (plain.body, "no-cache"), other
        assert "content-encoding" not in ask(port, url, accept_encoding="gzip;q=0, br").headers
        wire += len(packed.body)
    return wire


def test_no_made_up_address_fills_the_cache(binary: Path, tmp_path: Path, instance: Instance, origin: Stub) -> None:
    """Two copies of a file, plain and compressed, whatever stands behind the ? and in the headers."""
    with Nginx(tmp_path, instances=[instance.port], origin=origin.port, files=TRUSTED, program=binary) as nginx:
        for number in range(40):
            coding = ("gzip", "identity", f"gzip, x{number}", f"x{number}", "GZIP", f"gzip;q=0.{number}1")[number % 6]
            more: dict[str, Any] = {"accept_encoding": coding, "cookie": f"a={number}", "accept": f"x/{number}"}
            for path in (f"/wait/_assets/wait.css?v={number}", f"/v1/rooms/shop?{number}"):
                assert ask(nginx.port, path, **more).status == 200
        kept = [path for path in (nginx.main.parent / "cache").rglob("*") if path.is_file()]
    assert 1 <= len(kept) <= 4


def test_no_cache_may_keep_an_answer_that_hands_out_a_pass(
    binary: Path, tmp_path: Path, instance: Instance, origin: Stub
) -> None:
    """Also where the origin calls it public, in each header that a cache goes by; RFC 9111 and RFC 9213."""
    with Nginx(
        tmp_path, instances=[instance.port], origin=origin.port, room="open", files=TRUSTED, program=binary
    ) as nginx:
        handed = ask(nginx.port, "/", accept=PAGE)
        assert handed.body == b"shop"
        cookie = handed.headers["set-cookie"].partition(";")[0]
        assert "no-store" in handed.headers["cache-control"]
        assert handed.headers["cdn-cache-control"] == handed.headers["surrogate-control"] == "no-store"
        claimed = ask(nginx.port, "/", accept=PAGE, cookie=cookie)
        cookie = claimed.headers["set-cookie"].partition(";")[0]
        plain = ask(nginx.port, "/", accept=PAGE, cookie=cookie)
        assert "set-cookie" not in plain.headers
        names = ("cache-control", "cdn-cache-control", "surrogate-control")
        assert {plain.headers[name] for name in names} == {"public, max-age=3600"}, "the origin's own"


#: Addresses of the origin that look like ours.
THEIRS: Final = (
    *("/v1", "/v1/", "/v1/orders", "/v1/orders/7?x=1", "/v1/rooms", "/v1/rooms/", "/v1/rooms/shop/", "/v1/rooms/Shop"),
    *("/v1/rooms/shop/beds", "/v1/rooms/shop/enter/", "/v1/rooms/shop/status/x", "/v1/rooms/_x", "/v1/roomsx", "/v1x"),
    *(
        "/v1/rooms/shop/enterx",
        "/v1/rooms/a.b",
        f"/v1/rooms/{'a' * 65}",
        "/v1/rooms/shop%0a",
        "/V1/rooms/shop",
        "/v2/rooms/shop",
    ),
    *("/wait", "/wait/", "/wait-list", "/waiting", "/wait/shop/", "/wait/shop/x", "/wait/Shop", "/wait/shop.html"),
    *("/wait/_assets", "/wait/_assets/", "/wait/_assets/a/b.js", "/wait/_assets/x", "/wait/_other"),
    *(
        "/_waitroom",
        "/_waitroom/",
        "/_waitroom/x",
        "/x/v1/rooms/shop",
        "/shop/wait/shop",
        "/wait;/shop",
        "/v1;x/rooms/shop",
    ),
)


def test_what_is_not_waitrooms_is_gated_and_reaches_the_origin_as_it_was_sent(build: Builder) -> None:
    world = build()
    for path in THEIRS:
        for method in ("GET", "POST"):
            assert ask(world.port, path, method=method, accept=PAGE).status == (303 if method == "GET" else 401), path
    assert world.origin.seen == []
    assert {seen.path for seen in world.asked()} == {"/gate/shop"}
    world.gate = Answer(204)
    for path in THEIRS:
        assert ask(world.port, path).headers["x-origin"] == "stub", path
    assert world.origin.paths() == list(THEIRS)


def test_only_the_rooms_of_the_site_are_taken_where_the_page_says_how(build: Builder) -> None:
    """A hotel has rooms of its own: the pattern of names is narrowed, as the page says."""
    docs = Path(__file__).parents[2] / "docs" / "how-to" / "nginx.md"
    (old, new) = re.findall(
        r"^sed 's/(.+)/(.+)/' deploy/nginx/waitroom-locations\.conf", docs.read_text(), re.MULTILINE
    )[0]
    shipped = (Path(__file__).parents[2] / "deploy" / "nginx" / "waitroom-locations.conf").read_text()
    plain = re.sub(r"\\([\[\]{}().*])", r"\1", old)
    assert shipped.count(plain) >= 5
    world = build(files={"waitroom-locations.conf": shipped.replace(plain, new)})
    world.gate = Answer(204)
    for path in ("/v1/rooms/12", "/v1/rooms/12/status", "/wait/12"):
        assert ask(world.port, path).headers["x-origin"] == "stub"
    for path in ("/v1/rooms/shop", "/v1/rooms/shop/status", "/wait/shop"):
        assert ask(world.port, path).headers["x-from"] == "waitroom"


def test_an_upload_of_20_mb_gets_through_with_the_line_of_the_example(build: Builder) -> None:
    """And 413 without it. The gate is asked without the body."""
    body = b"x" * 20_000_000
    without = build()
    without.gate = Answer(204)
    assert ask(without.port, "/upload", method="POST", body=body).status == 413
    world = build(replaced("# client_max_body_size 20m;", "client_max_body_size 20m;"))
    assert ask(world.port, "/upload", method="POST", body=body).status == 401
    world.gate = Answer(204)
    assert ask(world.port, "/upload", method="POST", body=body).status == 200
    (seen,) = world.origin.seen
    assert len(seen.body) == len(body)
    assert {asked.body for asked in world.asked()} == {b""}
    too_large = ask(world.port, "/v1/rooms/shop/enter", method="POST", body=b"x" * 17_000)
    assert too_large.status == 413
