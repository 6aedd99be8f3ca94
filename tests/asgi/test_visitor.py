"""A visitor's whole way, before real applications under a real server, against a server and on a Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from rig.waiting import until
from tests.asgi.apps import CACHING, ORIGINS, Origin
from tests.asgi.running import fetch, gated, visiting
from tests.web.sites import Site, bearer, running, set_cookies

pytestmark = pytest.mark.usefixtures("unhurried")

NewRoom = Callable[..., str]


@pytest.fixture(params=["server", "redis"])
def mode(request: pytest.FixtureRequest) -> str:
    """Whom the middleware asks."""
    return str(request.param)


@pytest.fixture(params=ORIGINS)
def origin(request: pytest.FixtureRequest) -> Origin:
    """The application under each framework."""
    return ORIGINS[request.param]()


@pytest.fixture
def room(new_room: NewRoom) -> str:
    """A room for one."""
    return new_room(capacity=1)


@pytest.fixture
def inside(site: Site, room: str) -> str:
    """The pass of who is inside, so that the room is full."""
    return site.pass_of_new(room)


@pytest.fixture
def url(mode: str, origin: Origin, room: str, site: Site) -> Iterator[str]:
    """The application's address."""
    with running(gated(mode, origin.app, room, site)) as address:
        yield address


@pytest.fixture
def visitor(url: str) -> Iterator[httpx.Client]:
    """A browser before it."""
    with visiting(url) as browser:
        yield browser


def test_the_whole_way(url: str, room: str, inside: str, origin: Origin, visitor: httpx.Client) -> None:
    """Sent to the waiting page, shown the rank, admitted, sent back, served; gone after leaving."""
    away = visitor.get("/cart?a=1&b=%20x")
    assert away.status_code == 303
    assert away.headers["location"] == f"/wait/{room}?return=%2Fcart%3Fa%3D1%26b%3D%2520x"
    assert away.headers["cache-control"] == "no-store"
    page = visitor.get(away.headers["location"])
    assert page.status_code == 200
    assert "You are number" in page.text
    assert page.headers["content-security-policy"]
    assert len(page.headers.get_list("date")) == 1
    asset = visitor.get("/wait/_assets/wait.js")
    assert asset.headers["content-type"].startswith("text/javascript")
    assert visitor.get("/wait/_assets/wait.js", headers={"If-None-Match": asset.headers["etag"]}).status_code == 304
    standing = visitor.get(f"/v1/rooms/{room}/status").json()
    assert (standing["state"], standing["rank"]) == ("waiting", 1)
    assert visitor.get(f"/v1/rooms/{room}").json()["capacity"] == 1
    assert visitor.get(f"/v1/rooms/{room}/events").json()["type"] == "urn:waitroom:poll-instead"
    assert origin.seen == []

    left = fetch("POST", f"{url}/v1/rooms/{room}/leave", headers=bearer(inside))
    assert left.status_code == 204
    until(lambda: visitor.get(away.headers["location"]).status_code == 303, what="the admission")
    back = visitor.get(away.headers["location"])
    assert back.headers["location"] == "/cart?a=1&b=%20x"
    served = visitor.post(back.headers["location"], content="hello")
    assert served.json() == {"path": "/cart", "body": "hello"}
    assert origin.seen == [("POST", "/cart")]

    assert visitor.get("/teapot").status_code == 418
    granted = visitor.cookies[f"waitroom_pass_{room}"]
    brought = fetch("GET", f"{url}/bag", headers={"X-Waitroom-Pass": granted})
    assert brought.status_code == 200
    assert "x-waitroom-pass" not in origin.headers
    assert visitor.post(f"/v1/rooms/{room}/leave").status_code == 204
    known = {"Cookie": f"waitroom_pass_{room}={granted}"}
    until(lambda: visitor.post("/bag", headers=known).status_code == 403, what="the refusal")
    reached = len(origin.seen)
    assert visitor.post("/bag", headers=known).headers["content-type"].startswith("text/html")
    assert visitor.get("/bag", headers=known).headers["location"] == f"/wait/{room}?return=%2Fbag"
    refused = visitor.get("/bag", headers={**known, "Accept": "application/json"})
    assert refused.json()["type"] == "urn:waitroom:no-entry"
    assert len(origin.seen) == reached


def test_straight_through_when_nobody_waits(url: str, room: str, origin: Origin, visitor: httpx.Client) -> None:
    """The first answer brings an offer, the second request claims it, the third is as the application gave it."""
    until(lambda: visitor.get(f"/v1/rooms/{room}").status_code == 200, what="the room")
    offered = visitor.get("/a")
    assert offered.json()["path"] == "/a"
    assert f"waitroom_pass_{room}" in set_cookies(offered)
    assert offered.headers.get_list("cache-control") == ["private, no-store"]
    claimed = visitor.get("/b")
    assert f"waitroom_pass_{room}" in set_cookies(claimed)
    plain = visitor.get("/c")
    assert set_cookies(plain) == {}
    assert plain.headers["cache-control"] == CACHING
    assert [path for _, path in origin.seen] == ["/a", "/b", "/c"]
    # The next one has no part in the first one's pass.
    other = fetch("GET", f"{url}/d", headers={"Accept": "application/json"})
    assert other.status_code == 401
    assert len(origin.seen) == 3


def test_what_other_clients_are_told(room: str, inside: str, origin: Origin, visitor: httpx.Client) -> None:
    """No redirect for what is not a visit, whatever the method."""
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
        answer = visitor.request(method, "/cart", headers={"Accept": "application/json"})
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["cache-control"] == "no-store"
    document = visitor.post("/cart", content=b"x" * 100_000, headers={"Accept": "application/json"}).json()
    assert document["enter"] == f"/v1/rooms/{room}/enter"
    assert document["page"] == f"/wait/{room}"
    assert visitor.head("/cart").status_code == 303
    for more in ({"Sec-Fetch-Mode": "cors"}, {"Sec-Fetch-Dest": "iframe"}, {"X-Requested-With": "XMLHttpRequest"}):
        assert visitor.get("/cart", headers=more).status_code == 401
    assert origin.seen == []


def test_a_closed_room(site: Site, room: str, origin: Origin, visitor: httpx.Client) -> None:
    """Who has a pass goes on; nobody else does."""
    granted = site.pass_of_new(room)
    site.admin("PATCH", f"/{room}", json={"state": "closed"})
    until(lambda: visitor.post("/").status_code == 403, what="the closing")
    assert visitor.get("/").headers["location"] == f"/wait/{room}?return=%2F"
    assert f'href="/wait/{room}"' in visitor.post("/").text
    assert origin.seen == []
    assert visitor.get("/", headers={"X-Waitroom-Pass": granted}).status_code == 200


def test_the_applications_own_matters_are_left_alone(
    site: Site, room: str, inside: str, url: str, origin: Origin
) -> None:
    """Its errors are its own, its streams are not held back, and its addresses beside the room's are its own too."""
    with visiting(url, **{"X-Waitroom-Pass": inside}) as visitor:
        assert fetch("GET", f"{url}/boom", headers={"X-Waitroom-Pass": inside}).status_code == 500
        assert visitor.get("/teapot").status_code == 418
        for path in ("/v1/rooms/other", "/v1/items", "/wait/other", "/gate/" + room, "/admin/rooms", "/metrics"):
            assert visitor.get(path).json()["path"] == path
        with visitor.stream("GET", "/stream") as answer:
            parts = answer.iter_raw()
            assert next(parts) == b"first "
            origin.go_on.set()
            assert b"".join(parts) == b"second"
