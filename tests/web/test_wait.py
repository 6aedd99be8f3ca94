"""The waiting page's address."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import quote

import httpx
import pytest

from rig.waiting import until
from tests.web import sites
from tests.web.listeners import listening
from tests.web.sites import Site, assert_problem, set_cookies
from waitroom.web.page.assets import PAGE_HEADERS, assets
from waitroom.web.page.wording import Wording

NewRoom = Callable[..., str]


def visit(site: Site, room: str, *, query: str = "", **cookies: str) -> httpx.Response:
    """GET the page as a browser with these proofs does."""
    pairs = "; ".join(f"waitroom_{kind}_{room}={text}" for kind, text in cookies.items())
    return site.call("GET", f"/wait/{room}{query}", headers={"Cookie": pairs} if pairs else {})


def situation(answer: httpx.Response) -> str:
    """What the page tells."""
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    found = re.search(r'data-situation="([a-z]+)"', answer.text)
    assert found is not None
    return found[1]


@pytest.fixture
def full_room(site: Site, new_room: NewRoom) -> str:
    """A room whose one place is taken."""
    name = new_room(capacity=1)
    site.pass_of_new(name)
    return name


def test_who_waits_gets_the_page_and_a_place(site: Site, full_room: str) -> None:
    """The page is 200 HTML under the strict headers, with the ticket as its cookie."""
    answer = visit(site, full_room)
    assert (answer.status_code, situation(answer)) == (200, "waiting")
    for name, value in PAGE_HEADERS.items():
        assert answer.headers.get_list(name) == [value]
    ticket, attributes = set_cookies(answer)[f"waitroom_ticket_{full_room}"]
    assert attributes.keys() == {"max-age", "path", "httponly", "samesite"}
    assert site.status(full_room, ticket).json()["rank"] == 1
    assert ticket not in answer.text, "a proof in the page could be read by scripts"


def test_the_page_is_told_of_streams_only_where_there_are_any(site: Site, full_room: str) -> None:
    """So that no browser asks in vain where there are none, or all are taken."""
    assert 'data-streams="yes"' in visit(site, full_room).text
    with (
        sites.own_redis() as (url, redis),
        sites.serving(redis, sites.settings_for(url, max_streams=1)) as small,
    ):
        room = small.make_room(capacity=1)
        small.pass_of_new(room)
        assert 'data-streams="yes"' in visit(small, room).text
        with listening(small, room, small.ticket_of_new(room)) as visitor:
            assert visitor.status == 200
            assert 'data-streams="no"' in visit(small, room).text


def test_a_reload_keeps_the_place(site: Site, full_room: str) -> None:
    """With the cookie the page shows the same place again, also when others have come."""
    ticket, _ = set_cookies(visit(site, full_room))[f"waitroom_ticket_{full_room}"]
    visit(site, full_room)
    before = site.snapshot()
    again = visit(site, full_room, ticket=ticket)
    assert site.snapshot() == before
    renewed, _ = set_cookies(again)[f"waitroom_ticket_{full_room}"]
    assert site.status(full_room, renewed).json()["rank"] == 1


def test_who_is_admitted_is_sent_on(site: Site, new_room: NewRoom) -> None:
    """With room inside the answer is 303 to the return address, with the pass as its cookie."""
    room = new_room()
    answer = visit(site, room, query="?return=/basket?step=2")
    assert (answer.status_code, answer.headers["location"]) == (303, "/basket?step=2")
    assert answer.headers["cache-control"] == "no-store"
    granted, _ = set_cookies(answer)[f"waitroom_pass_{room}"]
    assert site.gate(room, granted).status_code == 204


def test_whose_turn_has_come_is_sent_on(site: Site, full_room: str) -> None:
    """A visitor whose offer stands gets the session's pass at the next load, and loses the ticket."""
    ticket = site.ticket_of_new(full_room)
    site.admin("PATCH", f"/{full_room}", json={"capacity": 2})
    until(lambda: site.waiting(full_room) == [], what="admission")
    answer = visit(site, full_room, ticket=ticket)
    assert answer.status_code == 303
    assert set_cookies(answer)[f"waitroom_ticket_{full_room}"][1]["max-age"] == "0"


def test_who_is_inside_takes_no_second_place(site: Site, new_room: NewRoom) -> None:
    """With a pass in the cookie the page sends on and admits nobody else."""
    room = new_room()
    granted = site.pass_of_new(room)
    assert visit(site, room, **{"pass": granted}).status_code == 303
    assert site.admin("GET", f"/{room}").json()["occupancy"] == 1


def test_looking_is_not_entering(site: Site, full_room: str) -> None:
    """HEAD gives no place, sets no cookie and shows the same headers."""
    before = site.snapshot()
    answer = site.call("HEAD", f"/wait/{full_room}")
    assert site.snapshot() == before
    assert (answer.status_code, answer.content) == (200, b"")
    assert "set-cookie" not in answer.headers
    assert answer.headers["content-security-policy"] == PAGE_HEADERS["Content-Security-Policy"]
    # RFC 9110, 8.6: a length that GET would not have must not be told.
    assert answer.headers.get("content-length") != "0"


def test_a_full_queue_has_its_page(site: Site, new_room: NewRoom) -> None:
    """503 with Retry-After and words."""
    room = new_room(capacity=1, max_waiting=1)
    site.pass_of_new(room)
    site.ticket_of_new(room)
    answer = visit(site, room)
    assert (answer.status_code, situation(answer)) == (503, "full")
    assert int(answer.headers["retry-after"]) > 0
    assert "set-cookie" not in answer.headers


def test_a_closed_room_has_its_page(site: Site, new_room: NewRoom) -> None:
    """403 with the operator's message."""
    answer = visit(site, new_room(state="closed", message="Sold out & gone."))
    assert (answer.status_code, situation(answer)) == (403, "closed")
    assert "Sold out &amp; gone." in answer.text


def test_a_paused_room_queues(site: Site, new_room: NewRoom) -> None:
    """Paused, the page shows the place and why nothing moves."""
    answer = visit(site, new_room(state="paused"))
    assert (answer.status_code, situation(answer)) == (200, "waiting")
    assert Wording()["notice_paused"] in answer.text


def test_a_broken_room_has_its_page(site: Site, new_room: NewRoom) -> None:
    """A room that cannot be served shows that the queue cannot be reached: 503, not a traceback."""
    room = new_room()
    site.redis.hset(f"waitroom:{{{room}}}:config", "capacity", "many")
    try:
        answer = visit(site, room)
        assert (answer.status_code, situation(answer)) == (503, "unavailable")
    finally:
        site.redis.hset(f"waitroom:{{{room}}}:config", "capacity", "1")
        until(lambda: site.call("GET", "/readyz").status_code == 200, what="readiness")


def test_an_unknown_room_has_none(site: Site) -> None:
    """A page that says so, for the visitor and the site's owner."""
    answer = site.call("GET", "/wait/nowhere")
    assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store")
    assert "There is no such queue" in answer.text


# The return address.


@pytest.mark.parametrize("encode", [False, True])
@pytest.mark.parametrize("address", ["/", "/a/b?c=d&e=f#g", "/caf%C3%A9", "https://shop.example/a?b=c"])
def test_a_good_return_address_is_honoured(site: Site, new_room: NewRoom, address: str, encode: bool) -> None:
    """A path here and an address on an allowed origin come back as they were asked for."""
    room = new_room(return_origins=["https://shop.example"])
    text = quote(address, safe="") if encode else address.replace("#g", "")
    request = f"GET /wait/{room}?return={text} HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = site.raw_answer(request.encode())
    assert answer is not None
    assert (answer.status, answer.headers["location"]) == (303, address if encode else text)


def test_an_origin_must_be_allowed_by_the_room(site: Site, new_room: NewRoom) -> None:
    """What one room allows another does not."""
    new_room(return_origins=["https://shop.example"])
    assert visit(site, new_room(), query="?return=https://shop.example/").headers["location"] == "/"


def test_the_page_keeps_the_return_address(site: Site, full_room: str) -> None:
    """Who waits is sent on later to where they wanted to go, and a bad address is not shown."""
    assert (
        'data-return="/basket?a=1&amp;b=2"'
        in visit(site, full_room, query="?return=/basket?a=1%26b=2".replace("%26", "&")).text
    )
    assert "evil.example" not in visit(site, full_room, query="?return=//evil.example").text


def test_the_page_names_only_files_that_exist(site: Site, full_room: str) -> None:
    """Every script and style of the page is served."""
    addresses = re.findall(r'(?:src|href|data-work)="(/wait/_assets/[^"]+)"', visit(site, full_room).text)
    assert len(addresses) == len(assets(Wording()))
    answers = [site.call("GET", address) for address in addresses]
    assert {answer.status_code for answer in answers} == {200}
    assert all("immutable" in answer.headers["cache-control"] for answer in answers)


# Whose visit it is.


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Dest": "image"}, {"Sec-Fetch-Dest": "iframe"}, {"Sec-Purpose": "prefetch;prerender"}],
    ids=lambda headers: str(*headers.values()),
)
def test_only_a_visit_enters(site: Site, full_room: str, headers: dict[str, str]) -> None:
    """A picture in another page, a frame or a browser that fetches ahead takes no place."""
    before = site.snapshot()
    assert_problem(site.call("GET", f"/wait/{full_room}", headers=headers), 403)
    assert site.snapshot() == before


@pytest.mark.parametrize("foreign", ["Basic dTpw", "Bearer the-origins-own", "Bearer"])
def test_the_origins_authorization_hides_no_cookie(site: Site, full_room: str, foreign: str) -> None:
    """What a browser or client sends for the origin in every request does not cost the place."""
    ticket, _ = set_cookies(visit(site, full_room))[f"waitroom_ticket_{full_room}"]
    cookies = {"Cookie": f"waitroom_ticket_{full_room}={ticket}", "Authorization": foreign}
    assert site.call("GET", f"/v1/rooms/{full_room}/status", headers=cookies).json()["rank"] == 1
    assert site.call("POST", f"/v1/rooms/{full_room}/enter", headers=cookies).json()["rank"] == 1


def test_a_sibling_host_may_not_leave_for_a_visitor(site: Site, full_room: str) -> None:
    """A page of another host of the same site shares the cookies, but not the say."""
    ticket, _ = set_cookies(visit(site, full_room))[f"waitroom_ticket_{full_room}"]
    headers = {
        "Cookie": f"waitroom_ticket_{full_room}={ticket}",
        "Sec-Fetch-Site": "same-site",
        "Origin": "https://evil.shop.example",
    }
    assert_problem(site.call("POST", f"/v1/rooms/{full_room}/leave", headers=headers), 403)
    assert site.status(full_room, ticket).json()["rank"] == 1


@pytest.mark.parametrize("status", [503, 429])
def test_crawlers_are_told_by_the_status(site: Site, new_room: NewRoom, status: int) -> None:
    """HEAD and GET of the waiting page have the room's status and Retry-After. The page is the same."""
    room = new_room(state="paused", page_status=status)
    for method in ("HEAD", "GET"):
        answer = site.call(method, f"/wait/{room}")
        assert answer.status_code == status
        assert int(answer.headers["retry-after"]) > 0
    assert situation(answer) == "waiting"
    assert f"waitroom_ticket_{room}" in set_cookies(answer)


@pytest.fixture(scope="module")
def shared_cookies() -> Iterator[Site]:
    """An instance whose cookies come along with other sites' requests."""
    with sites.own_redis() as (url, redis):
        settings = sites.settings_for(url, public_url="https://shop.example", same_site="none")
        with sites.serving(redis, settings) as running:
            yield running


def test_proofs_come_along_with_another_sites_form(shared_cookies: Site) -> None:
    """Ticket and pass are SameSite=None, and Secure."""
    room = shared_cookies.make_room(capacity=1)
    for kind in ("pass", "ticket"):
        answer = shared_cookies.call("POST", f"/v1/rooms/{room}/enter")
        _, attributes = set_cookies(answer)[f"__Host-waitroom_{kind}_{room}"]
        assert (attributes["samesite"], "secure" in attributes) == ("None", True)


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://bank.example"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Origin": "https://bank.example"}, True),
        ({"Origin": "null"}, True),
        ({"Origin": "http://shop.example"}, True),
        ({"Origin": "https://shop.example"}, False),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://shop.example"}, False),
        ({}, False),
    ],
    ids=str,
)
def test_what_acts_by_such_a_cookie_asks_where_it_comes_from(
    shared_cookies: Site, headers: dict[str, str], refused: bool
) -> None:
    """Enter, leave, status and the button of an invitation. Browsers without Sec-Fetch-Site are judged by Origin."""
    room = shared_cookies.make_room(state="paused")
    name = f"__Host-waitroom_ticket_{room}"
    ticket, _ = set_cookies(shared_cookies.call("POST", f"/v1/rooms/{room}/enter"))[name]
    before = shared_cookies.snapshot()
    for method, path in (
        ("POST", f"/v1/rooms/{room}/enter"),
        ("GET", f"/v1/rooms/{room}/status"),
        ("POST", f"/wait/{room}"),
        ("POST", f"/v1/rooms/{room}/leave"),
    ):
        answer = shared_cookies.call(method, path, headers={"Cookie": f"{name}={ticket}", **headers})
        assert (answer.status_code == 403) is refused, (method, path, answer)
    if refused:
        assert shared_cookies.snapshot() == before
