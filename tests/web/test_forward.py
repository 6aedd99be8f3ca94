"""Forward-auth: the gate's decision in the form that a proxy can hand on (I22-I26, T3, T17)."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest
from prometheus_client import REGISTRY

from rig.line import Line
from rig.waiting import until
from tests.test_returns import BAD, GOOD, OWN
from tests.web import sites
from tests.web.declared import assert_declared
from tests.web.sites import Site, assert_problem, set_cookies
from waitroom.proofs.tickets import new_visitor
from waitroom.returns import HOME
from waitroom.serve.assemble import assemble
from waitroom.web.app import Application
from waitroom.web.page.assets import ASSET_PATH

NewRoom = Callable[..., str]

#: What a browser sends when it opens a page.
NAVIGATION = {
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
}

#: What clients may claim, and proxies may say: none of it is a reason to let somebody in, or to keep somebody out.
SPOOFS = {
    "X-Forwarded-Uri": "/robots.txt",
    "X-Forwarded-Method": "OPTIONS",
    "X-Forwarded-Host": "localhost",
    "X-Forwarded-For": "127.0.0.1",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Prefix": "/gate/other",
    "X-Original-URI": "/robots.txt",
    "X-Original-URL": "/robots.txt",
    "X-Original-Method": "OPTIONS",
    "X-Rewrite-URL": "/robots.txt",
    "X-HTTP-Method-Override": "OPTIONS",
    "X-Real-IP": "127.0.0.1",
    "X-Room": "other",
    "X-Waitroom-Room": "other",
    "X-Envoy-Original-Path": "/robots.txt",
    "Forwarded": "for=127.0.0.1;host=localhost",
    "User-Agent": "ELB-HealthChecker/2.0",
    "Authorization": "Bearer x.y.z",
    "Host": "localhost",
}


def ask(site: Site, room: str, granted: str | None = None, *, below: str = "", **headers: str) -> httpx.Response:
    """What a proxy asks: with a pass as cookie or none; underscores in header names become dashes."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if granted is not None:
        sent["Cookie"] = f"waitroom_pass_{room}={granted}"
    return site.call("GET", f"/forward-auth/{room}{below}", headers=sent)


def occupied(site: Site, new_room: NewRoom, **settings: Any) -> tuple[str, str]:
    """A room whose one place is taken, and the pass of who is inside."""
    room = new_room(capacity=1, **settings)
    return room, site.pass_of_new(room)


@pytest.fixture(scope="module")
def full_room(site: Site) -> Iterator[str]:
    """A room without a free place, for tests that change nothing."""
    room = site.make_room(capacity=1, session_seconds=3600.0)
    site.pass_of_new(room)
    yield room
    site.admin("DELETE", f"/{room}")


def sent_back_to(answer: httpx.Response) -> str:
    """The return address of a redirect to the waiting page."""
    assert answer.status_code == 303, answer.text
    parts = urlsplit(answer.headers["location"])
    assert (parts.scheme, parts.netloc, parts.path.startswith("/wait/"), parts.fragment) == ("", "", True, "")
    assert re.fullmatch(r"return=[A-Za-z0-9%._~-]+", parts.query)
    return parse_qs(parts.query)["return"][0]


# The decision is the gate's.


@pytest.mark.parametrize("state", ["open", "paused", "closed", "bypass"])
@pytest.mark.parametrize("proof", ["none", "pass", "ticket", "other room", "expired", "garbage", "empty"])
def test_it_decides_as_the_gate_does(site: Site, new_room: NewRoom, state: str, proof: str) -> None:
    """Whoever the gate lets on goes on with 200, everybody else gets the gate's status."""
    room, granted = occupied(site, new_room)
    text = {
        "none": None,
        "pass": granted,
        "ticket": site.ticket_of_new(room),
        "other room": site.pass_of_new(new_room()),
        "expired": site.forge_pass(room, new_visitor(), seconds=-1),
        "garbage": "a.b.c.d",
        "empty": "",
    }[proof]
    site.admin("PATCH", f"/{room}", json={"state": state})
    answer = ask(site, room, text)
    decided = site.gate(room, text).status_code
    assert answer.status_code == {204: 200}.get(decided, decided)
    assert_declared(answer, "/forward-auth/{room}")


def test_yes_is_200_with_nothing_in_it(site: Site, new_room: NewRoom) -> None:
    """Envoy wants 200; there is no body that a proxy could hand on, and no cache may keep it."""
    room, granted = occupied(site, new_room)
    answer = ask(site, room, granted)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers
    assert "x-waitroom-pass" not in answer.headers


def test_straight_through_and_claimed_at_the_second_contact(site: Site, new_room: NewRoom) -> None:
    """A pass given or claimed comes as one cookie and as the header; later requests bring nothing new."""
    room = new_room(capacity=5, claim_seconds=30.0, session_seconds=900.0)
    first = ask(site, room, **NAVIGATION)
    offer = first.headers["x-waitroom-pass"]
    assert set_cookies(first).keys() == {f"waitroom_pass_{room}"}
    second = ask(site, room, offer)
    session = second.headers["x-waitroom-pass"]
    name, attributes = set_cookies(second)[f"waitroom_pass_{room}"]
    assert (first.status_code, second.status_code, name) == (200, 200, session)
    assert 898 <= int(attributes["max-age"]) <= 900
    third = ask(site, room, session)
    assert third.status_code == 200
    assert "set-cookie" not in third.headers
    assert site.gate(room, session).status_code == 204
    counts = site.admin("GET", f"/{room}").json()
    assert (counts["occupancy"], counts["counts"]["claimed"]) == (1, 1)


def test_the_pass_may_come_in_its_header(site: Site, new_room: NewRoom) -> None:
    """Clients without cookies bring the pass as at the gate."""
    room, granted = occupied(site, new_room)
    assert ask(site, room, X_Waitroom_Pass=granted).status_code == 200
    assert ask(site, room, X_Waitroom_Pass=granted, Cookie=f"waitroom_pass_{room}=x.y.z").status_code == 200


def test_it_never_queues_and_never_lets_past_the_queue(site: Site, new_room: NewRoom) -> None:
    """A redirect gives no place, and with a free one nobody overtakes who waits."""
    room = new_room(capacity=5, state="paused")
    site.ticket_of_new(room)
    before = site.snapshot()
    assert ask(site, room, **NAVIGATION).status_code == 303
    assert ask(site, room).status_code == 401
    assert site.snapshot() == before


@pytest.mark.parametrize("name", SPOOFS)
def test_what_is_said_of_a_request_changes_no_decision(
    site: Site, full_room: str, new_room: NewRoom, name: str
) -> None:
    """No header opens the gate, and none shuts it (I22)."""
    room, granted = occupied(site, new_room)
    assert site.call("GET", f"/forward-auth/{full_room}", headers={name: SPOOFS[name]}).status_code == 401
    headers = {name: SPOOFS[name], "Cookie": f"waitroom_pass_{room}={granted}"}
    assert site.call("GET", f"/forward-auth/{room}", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "below",
    [
        "/",
        "/x",
        "//",
        "//x",
        "/x.css",
        "/robots.txt",
        "/gate/other",
        "/../other",
        "/%2e%2e/other",
        "/..%2fother",
        "/a%0a",
        "/%0a/x",
        "/%00",
        "/%ff",
        "/x?room=other",
        "?room=other",
        "/wait/other",
        "/v1/rooms/other/enter",
        "/" + "x" * 8000,
        "/%zz",
        "/;x",
        "/*",
    ],
)
def test_the_path_below_changes_no_decision(site: Site, full_room: str, new_room: NewRoom, below: str) -> None:
    """Envoy's path is the visitor's to choose, so it decides nothing, whatever stands in it."""
    room, granted = occupied(site, new_room)
    cookie = f"Cookie: waitroom_pass_{room}={granted}\r\n"
    for name, more, status in ((full_room, "", 401), (room, "", 401), (room, cookie, 200)):
        request = f"GET /forward-auth/{name}{below} HTTP/1.1\r\nHost: a\r\n{more}\r\n"
        assert site.raw(request.encode()) == status


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_any_method_with_any_body_is_decided_alike(site: Site, full_room: str, new_room: NewRoom, method: str) -> None:
    """Some proxies ask with the method of the request itself, and some send its length along."""
    room, granted = occupied(site, new_room)
    body = b"x" * 100_000 if method == "PUT" else b""
    cookie = {"Cookie": f"waitroom_pass_{room}={granted}"}
    for path in ("", "/x"):
        assert site.call(method, f"/forward-auth/{full_room}{path}", content=body).status_code == 401
        assert site.call(method, f"/forward-auth/{room}{path}", headers=cookie, content=body).status_code == 200


@pytest.mark.parametrize(
    "name",
    ["nowhere", "Shop", "-", "_", "a" * 65, "%22%3E%3Cscript%3E", "x%0d%0aa:b", "%00", "*", "{x}", "..", "%ff"],
)  # fmt: skip
def test_what_is_no_room_is_forbidden(site: Site, new_room: NewRoom, name: str) -> None:
    """A proxy that names a room which does not exist lets nobody through, and is told nothing back in markup."""
    _, granted = occupied(site, new_room)
    request = f"GET /forward-auth/{name} HTTP/1.1\r\nHost: a\r\nCookie: waitroom_pass_nowhere={granted}\r\n\r\n"
    answer = site.raw_answer(request.encode("latin-1", "replace"))
    assert answer is not None
    assert answer.status == 403
    assert answer.getheader("set-cookie") is None


@pytest.mark.parametrize("path", ["/forward-auth", "/forward-auth/", "/forward-auth//x", "/Forward-Auth/shop"])
def test_without_a_room_there_is_nothing(site: Site, path: str) -> None:
    """An address without a room is none of ours: 404 keeps everybody out."""
    assert_problem(site.call("GET", path), 404)


# The form of a no.


@pytest.mark.parametrize(
    "headers",
    [
        NAVIGATION,
        {"Accept": "text/html"},
        {"Accept": "TEXT/HTML, */*;q=0.1"} | {"Sec-Fetch-Mode": "navigate"},
        NAVIGATION | {"X-Forwarded-Method": "HEAD"},
        NAVIGATION | {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_browser_that_navigates_is_sent_to_the_waiting_page(
    site: Site, full_room: str, headers: dict[str, str]
) -> None:
    """303, no body, nothing to keep; the page behind it gives the visitor a place and the way back."""
    answer = ask(site, full_room, **headers, X_Forwarded_Uri="/cart?item=1&size=xl#no")
    assert sent_back_to(answer) == "/cart?item=1&size=xl#no"
    assert (answer.content, answer.headers["cache-control"]) == (b"", "no-store")
    assert "accept" in answer.headers["vary"]
    assert "set-cookie" not in answer.headers
    assert_declared(answer, "/forward-auth/{room}")
    page = site.call("GET", answer.headers["location"])
    assert page.status_code == 200
    assert 'data-return="/cart?item=1&amp;size=xl#no"' in page.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Accept": "*/*"},
        {"Accept": "application/json"},
        {"Accept": "text/css,*/*;q=0.1"},
        NAVIGATION | {"X-Forwarded-Method": "PUT"},
        NAVIGATION | {"X-Forwarded-Method": "get"},
        NAVIGATION | {"X-Forwarded-Method": ""},
        NAVIGATION | {"Sec-Fetch-Mode": "cors"},
        NAVIGATION | {"Sec-Fetch-Mode": "same-origin"},
        NAVIGATION | {"Sec-Purpose": "prefetch"},
        NAVIGATION | {"Sec-Fetch-Dest": "iframe"},
        {"Accept": "text/html, */*; q=0.01", "X-Requested-With": "XMLHttpRequest"},
    ],
)
def test_every_other_client_is_told_where_to_queue(site: Site, full_room: str, headers: dict[str, str]) -> None:
    """401 with a problem document, a time to come back, and the room's addresses."""
    answer = ask(site, full_room, **headers, X_Forwarded_Uri="/cart")
    document = assert_problem(answer, 401)
    assert document["type"] == "urn:waitroom:no-pass"
    assert (document["room"], document["enter"]) == (full_room, f"/v1/rooms/{full_room}/enter")
    assert document["page"] == f"/wait/{full_room}"
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["cache-control"] == "no-store"
    assert "accept" in answer.headers["vary"]
    assert "location" not in answer.headers
    assert_declared(answer, "/forward-auth/{room}")
    assert site.call("POST", document["enter"]).status_code == 202


@pytest.mark.parametrize(("method", "status"), [("GET", 303), ("HEAD", 303), ("POST", 401), ("OPTIONS", 401)])
def test_without_a_forwarded_method_the_own_one_counts(site: Site, full_room: str, method: str, status: int) -> None:
    """Envoy asks with the method of the request itself."""
    assert site.call(method, f"/forward-auth/{full_room}/x", headers=NAVIGATION).status_code == status


@pytest.mark.parametrize("revoked", [True, False])
def test_forbidden_says_why_in_both_forms(site: Site, new_room: NewRoom, revoked: bool) -> None:
    """A pass that was withdrawn, or a closed room: a visit goes to the page that tells it, a form gets a page here."""
    room, granted = occupied(site, new_room)
    if revoked:
        site.leave(room, granted)
        until(lambda: ask(site, room, granted).status_code == 403, what="revocation")
    else:
        site.admin("PATCH", f"/{room}", json={"state": "closed"})
        granted = "x.y.z"
    assert sent_back_to(ask(site, room, granted, **NAVIGATION, X_Forwarded_Uri="/cart")) == "/cart"
    problem, page = ask(site, room, granted), ask(site, room, granted, **NAVIGATION, X_Forwarded_Method="POST")
    assert assert_problem(problem, 403)["type"] == "urn:waitroom:no-entry"
    assert page.status_code == 403
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert f'href="/wait/{room}' in page.text
    for answer in (problem, page):
        assert answer.headers["cache-control"] == "no-store"
        assert_declared(answer, "/forward-auth/{room}")


# The return address.


#: RELIABILITY's corpus, but for blanks at the ends: HTTP takes them off a header's value.
HOSTILE = [address for address in BAD + OWN if address == address.strip(" \t")]


@pytest.mark.parametrize("address", GOOD)
def test_a_good_address_comes_back_whole(site: Site, full_room: str, address: str) -> None:
    """A path is returned to as it was sent; an address on a host is the visitor's claim, and leads home."""
    answer = ask(site, full_room, **NAVIGATION, X_Forwarded_Uri=address)
    wanted = address if address.startswith("/") else HOME
    assert sent_back_to(answer) == wanted
    page = site.call("GET", answer.headers["location"]).text
    assert f'data-return="{wanted}"' in html.unescape(page)


@pytest.mark.parametrize("address", HOSTILE, ids=lambda address: repr(address)[:40])
def test_a_hostile_address_leads_home(site: Site, full_room: str, address: str) -> None:
    """In X-Forwarded-Uri nobody is sent to another host, in circles, or to an operators' door (T17, I26)."""
    request = f"GET /forward-auth/{full_room} HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\nX-Forwarded-Uri: "
    answer = site.raw_answer(request.encode() + address.encode() + b"\r\n\r\n")
    assert answer is not None
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", address):
        # Such bytes cannot be in a header: it is refused, or the header ends before them.
        assert answer.status in (303, 400)
    else:
        assert answer.status == 303
    assert answer.getheader("location") == (f"/wait/{full_room}?return=%2F" if answer.status == 303 else None)
    assert answer.getheader("set-cookie") is None


@pytest.mark.parametrize(
    ("below", "wanted"),
    [
        ("/", "/"),
        ("/?a=1", "/?a=1"),
        ("/cart", "/cart"),
        ("/cart/", "/cart/"),
        ("/cart?item=1&size=xl", "/cart?item=1&size=xl"),
        ("/cart?", "/cart"),
        ("/search?q=a//b", "/search?q=a//b"),
        ("/a%20b/%E2%82%AC", "/a%20b/%E2%82%AC"),
        ("/a%2fb", "/a%2fb"),
        ("/go?to=https://e.example/", "/go?to=https://e.example/"),
        ("//e.example/x", "/"),
        ("/%2fe.example", "/"),
        ("/%5ce.example", "/"),
        ("/a/..%2f..", "/a/..%2f.."),
        ("/a/%2e%2e/x", "/"),
        ("/%0d%0aSet-Cookie:x=1", "/"),
        ("/wait/shop", "/"),
        ("/admin/rooms", "/admin/rooms"),
        ("/http://e.example/", "/http://e.example/"),
        ("/%ff", "/%ff"),
    ],
)
def test_the_path_below_is_the_return_address(site: Site, full_room: str, below: str, wanted: str) -> None:
    """What Envoy appends is where the visitor goes back to, as it was sent; no header from outside replaces it."""
    request = f"GET /forward-auth/{full_room}{below} HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n"
    for more in ("", "X-Forwarded-Uri: /elsewhere\r\n"):
        answer = site.raw_answer(f"{request}{more}\r\n".encode())
        assert answer is not None
        assert (answer.status, unquote(str(answer.getheader("location")))) == (
            303,
            f"/wait/{full_room}?return={wanted}",
        )


def test_the_query_of_the_proxys_own_address_is_no_return_address(site: Site, full_room: str) -> None:
    """Where the proxy names the visitor's address in a header, the query is the configuration's."""
    answer = ask(site, full_room, below="?return=/x", **NAVIGATION)
    assert sent_back_to(answer) == HOME


# While Redis is down.


@pytest.mark.parametrize("kind", sites.OUTAGES)
def test_while_redis_is_down(cut_site: tuple[Site, Line], kind: str) -> None:
    """Each `when_down` as at the gate, in both forms; browsers find the page that tries again."""
    site, line = cut_site
    rooms = {mode: site.make_room(when_down=mode, admit_per_second=0.01) for mode in ("static", "closed", "open")}
    passes = {mode: site.pass_of_new(room) for mode, room in rooms.items()}
    told: dict[tuple[str, str], int] = {}
    with sites.hurried(site), sites.OUTAGES[kind](site, line):
        for mode, room in rooms.items():
            for who, text, headers in (
                ("browser", None, NAVIGATION),
                ("client", None, {}),
                ("inside", passes[mode], NAVIGATION),
            ):
                told[mode, who] = ask(site, room, text, **headers).status_code
        assert site.call("GET", f"/wait/{rooms['static']}").status_code == 503
    assert told == {
        ("static", "browser"): 303,
        ("static", "client"): 401,
        ("static", "inside"): 200,
        ("closed", "browser"): 303,
        ("closed", "client"): 401,
        ("closed", "inside"): 303,
        ("open", "browser"): 200,
        ("open", "client"): 401,  # such passes come at the room's rate
        ("open", "inside"): 200,
    }
    for mode, room in rooms.items():
        until(lambda room=room, mode=mode: ask(site, room, passes[mode]).status_code == 200, what="recovery")  # type: ignore[misc]


async def test_before_the_rooms_were_read_nobody_goes_on() -> None:
    """An instance that never reached Redis sends browsers to the page and tells others to wait; odd names are none."""
    instance = assemble(sites.settings_for("unix:///nowhere", rooms={"shop": {"state": "bypass"}}))
    transport = httpx.ASGITransport(Application(instance))
    async with httpx.AsyncClient(transport=transport, base_url="http://site") as client:
        assert (
            (await client.get("/forward-auth/shop", headers=NAVIGATION)).headers["location"].startswith("/wait/shop?")
        )
        assert_problem(await client.get("/forward-auth/shop"), 401)
        odd = await client.get("/forward-auth/%22%3E%3Cscript%3E", headers=NAVIGATION)
        assert "script" not in assert_problem(odd, 403)
        assert "script" not in odd.text
    await instance.store.close()


async def test_whatever_goes_wrong_inside_nobody_goes_on() -> None:
    """A fault of our own is a no, also for who has a pass (T37)."""
    with sites.own_redis() as (url, _):
        instance = assemble(sites.settings_for(url, rooms={"shop": {"capacity": 10, "when_down": "open"}}))
        await instance.rooms.refresh()
        transport = httpx.ASGITransport(Application(instance), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://site") as client:
            granted = (await client.get("/forward-auth/shop")).headers["x-waitroom-pass"]
            instance.rooms.get = lambda name: 1 / 0  # type: ignore[method-assign, assignment, return-value]
            before = _gate_faults()
            cookie = {"Cookie": f"waitroom_pass_shop={granted}"}
            for headers in ({}, NAVIGATION, cookie):
                assert (await client.get("/forward-auth/shop", headers=headers)).status_code in (303, 401)
            assert _gate_faults() == before + 3
        await instance.rooms.close()
        await instance.store.close()


def _gate_faults() -> float:
    return REGISTRY.get_sample_value("waitroom_gate_faults_total") or 0.0


def test_its_files_are_within_reach() -> None:
    """The path that proxies pass to the instances covers the page's files."""
    assert ASSET_PATH.startswith("/wait/")
