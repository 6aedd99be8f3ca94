"""Guarded rooms over HTTP: limits per address, enqueue tokens, the challenge, and the ways out."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import httpx
import jwt
import pytest

from rig.waiting import until
from tests.web import sites
from tests.web.sites import Site, assert_problem, bearer, set_cookies
from waitroom.client.entering import solve
from waitroom.store import keys

SECRET: Final = "an-enqueue-key-made-up-for-the-tests-0123456789"

#: Nobody is admitted: who gets a place waits.
HELD: Final[dict[str, Any]] = {"state": "paused"}

BITS: Final = 4

NewRoom = Callable[..., str]


@pytest.fixture(scope="module")
def behind() -> Iterator[Site]:
    """An instance that knows who is in front, this machine, and takes tokens of one site."""
    with sites.own_redis() as (url, redis):
        settings = sites.settings_for(url, trusted_proxies=["127.0.0.0/8"], enqueue_keys=[f"shop:{SECRET}"])
        with sites.serving(redis, settings) as running:
            yield running


@pytest.fixture
def guarded(behind: Site) -> NewRoom:
    """Makes rooms on it."""
    return behind.make_room


def enter(site: Site, room: str, address: str = "", proof: str | None = None, **headers: str) -> httpx.Response:
    """POST enter as the proxy sends it for a visitor of that address."""
    sent = {"X-Forwarded-For": address} if address else {}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return site.call("POST", f"/v1/rooms/{room}/enter", headers={**bearer(proof), **sent})


def visit(site: Site, room: str, query: str = "", address: str = "", **cookies: str) -> httpx.Response:
    """GET the waiting page."""
    headers = {"X-Forwarded-For": address} if address else {}
    if cookies:
        headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return site.call("GET", f"/wait/{room}{query}", headers=headers)


def token(site: Site, room: str, customer: str, **claims: Any) -> str:
    """A token of the site for a customer."""
    now = site.now_us() / 1_000_000
    given = {"aud": f"waitroom:{room}:enqueue", "sub": customer, "exp": now + 60}
    return jwt.encode(given | claims, SECRET, "HS256", headers={"kid": "shop"})


def situation(answer: httpx.Response) -> str:
    """What the page tells."""
    found = re.search(r'data-situation="([a-z]+)"', answer.text)
    assert found is not None, answer
    return found[1]


def entered(site: Site, room: str) -> int:
    """How many places the room has given."""
    return int(site.admin("GET", f"/{room}").json()["counts"]["entered"])


# Limits per address and network.


def test_an_address_has_its_places(behind: Site, guarded: NewRoom) -> None:
    """One more is told 429, when the next may be had, and how it is counted; others are not harmed."""
    room = guarded(**HELD, places_per_address=2)
    assert [enter(behind, room, "198.51.100.7").status_code for _ in range(3)] == [202, 202, 429]
    answer = enter(behind, room, "198.51.100.7")
    problem = assert_problem(answer, 429)
    assert problem["type"] == "urn:waitroom:too-many-places"
    # Half of an hour, less the moments since.
    assert 1700 < int(answer.headers["retry-after"]) <= 1800
    assert not {"challenge", "enqueue_url"} & problem.keys()
    assert enter(behind, room, "198.51.100.8").status_code == 202
    line = f'waitroom_refused_total{{reason="limited",room="{room}"}} 2.0'
    until(lambda: line in behind.call("GET", "/metrics").text, what="the count")


def test_what_the_visitor_writes_is_not_believed(behind: Site, guarded: NewRoom) -> None:
    """Addresses that stand before the proxy's own word change nothing."""
    room = guarded(**HELD, places_per_address=1)
    lines = [f"203.0.113.{number}, 198.51.100.7" for number in range(3)]
    assert [enter(behind, room, line).status_code for line in lines] == [202, 429, 429]


def test_a_network_has_its_places(behind: Site, guarded: NewRoom) -> None:
    """A farm with many addresses of one network; the neighbour network is not harmed."""
    room = guarded(**HELD, places_per_address=2, places_per_network=3)
    addresses = [f"198.51.100.{number}" for number in range(5)]
    assert [enter(behind, room, address).status_code for address in addresses] == [202, 202, 202, 429, 429]
    assert enter(behind, room, "198.51.101.1").status_code == 202


def test_an_ipv6_line_is_one_address(behind: Site, guarded: NewRoom) -> None:
    """Whoever has a /64 has not 2^64 times the places."""
    room = guarded(**HELD, places_per_address=1)
    assert enter(behind, room, "2001:db8:1:2::1").status_code == 202
    assert enter(behind, room, "2001:db8:1:2:ffff::9").status_code == 429
    assert enter(behind, room, "2001:db8:1:3::1").status_code == 202


def test_fifty_tabs_are_one_place(behind: Site, guarded: NewRoom) -> None:
    """One browser's ticket gives one place back, however many tabs ask and however few places the address has."""
    room = guarded(**HELD, places_per_address=1)
    ticket = enter(behind, room, "198.51.100.7").json()["ticket"]
    answers = [enter(behind, room, "198.51.100.7", ticket) for _ in range(50)]
    assert {(answer.status_code, answer.json()["serial"]) for answer in answers} == {(202, answers[0].json()["serial"])}
    assert entered(behind, room) == 1


def test_fifty_cookie_jars_are_capped(behind: Site, guarded: NewRoom) -> None:
    """At once and from one address: as many places as it has, not one more."""
    room = guarded(**HELD, places_per_address=5)

    def one(_: int) -> int:
        headers = {"X-Forwarded-For": "198.51.100.7"}
        return httpx.post(f"{behind.url}/v1/rooms/{room}/enter", headers=headers, timeout=20).status_code

    with ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(one, range(50)))
    assert sorted(statuses) == [202] * 5 + [429] * 45


def test_redis_sees_no_address(behind: Site, guarded: NewRoom) -> None:
    """What is counted there is disguised."""
    room = guarded(**HELD, places_per_address=9, places_per_network=9)
    enter(behind, room, "198.51.100.7")
    held = behind.redis.zrange(f"waitroom:{{{room}}}:sources", 0, -1)
    assert isinstance(held, list)
    assert len(held) == 2
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{16}", str(member)) for member in held)


def test_where_nobody_is_known_nobody_is_limited(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Behind an unknown proxy all would share its places: the limits rest, and the log says so once."""
    room = site.make_room(**HELD, places_per_address=1)
    assert [enter(site, room, "198.51.100.7").status_code for _ in range(3)] == [202] * 3
    said = [record.getMessage() for record in caplog.records if room in record.getMessage()]
    assert said == [f"room {room}: places_per_address and places_per_network do nothing until trusted_proxies is set"]


def test_where_nothing_is_limited_nothing_rests(
    behind: Site, guarded: NewRoom, caplog: pytest.LogCaptureFixture
) -> None:
    """A room that is guarded by something else does not speak of limits that it has not."""
    room = guarded(**HELD, enqueue_tokens="accepted")
    assert enter(behind, room).status_code == 202
    assert not [record for record in caplog.records if room in record.getMessage()]


def test_a_proxy_that_does_not_say_for_whom(behind: Site, guarded: NewRoom) -> None:
    """A request of the proxy's own is nobody's."""
    room = guarded(**HELD, places_per_address=1)
    assert [enter(behind, room).status_code for _ in range(3)] == [202] * 3


def test_the_gate_sends_to_the_page(behind: Site, guarded: NewRoom) -> None:
    """A free place is not given at the gate, which must not look at addresses; the page gives it at once."""
    room = guarded(places_per_address=1, capacity=5)
    assert behind.gate(room).status_code == 401
    answer = visit(behind, room, "?return=/basket", "198.51.100.7")
    assert answer.status_code == 303
    granted = set_cookies(answer)[f"waitroom_pass_{room}"][0]
    answer = behind.call("GET", answer.headers["location"], headers={"Cookie": f"waitroom_pass_{room}={granted}"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/basket")
    assert entered(behind, room) == 1
    assert behind.gate(room, granted).status_code == 204


def test_the_page_says_so(behind: Site, guarded: NewRoom) -> None:
    """A browser gets a page, with the same status and time, that tries again by itself."""
    room = guarded(**HELD, places_per_address=1)
    visit(behind, room, address="198.51.100.7")
    answer = visit(behind, room, address="198.51.100.7")
    assert (answer.status_code, answer.headers["content-type"]) == (429, "text/html; charset=utf-8")
    assert int(answer.headers["retry-after"]) > 1000
    assert "All places for your network are taken" in answer.text
    assert 'http-equiv="refresh"' in answer.text


# The challenge.


def test_work_is_a_way_out_for_who_is_over_the_limit(behind: Site, guarded: NewRoom) -> None:
    """Somebody behind a shared address proves that they are one more."""
    room = guarded(**HELD, places_per_address=1, challenge="limited", challenge_bits=BITS)
    assert enter(behind, room, "198.51.100.7").status_code == 202
    refused = enter(behind, room, "198.51.100.7")
    challenge = assert_problem(refused, 429)["challenge"]
    assert challenge["bits"] == BITS
    solution = solve(challenge["text"], BITS)
    answers = [enter(behind, room, "198.51.100.7", X_Waitroom_Challenge=solution) for _ in range(3)]
    assert {(answer.status_code, answer.json()["rank"]) for answer in answers} == {(202, 2)}
    assert entered(behind, room) == 2


def test_every_new_place_takes_work(behind: Site, guarded: NewRoom) -> None:
    """With `always` the first visit is asked already; a solution is one place, and a place is held by its ticket."""
    room = guarded(**HELD, challenge="always", challenge_bits=BITS)
    problem = assert_problem(enter(behind, room), 403)
    assert problem["type"] == "urn:waitroom:challenge-required"
    solution = solve(problem["challenge"]["text"], BITS)
    first = enter(behind, room, X_Waitroom_Challenge=solution)
    assert first.status_code == 202
    ticket = first.json()["ticket"]
    assert enter(behind, room, proof=ticket).json()["rank"] == 1
    assert behind.status(room, ticket).json()["rank"] == 1
    assert entered(behind, room) == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: solve(text, BITS)[:-1] + "x",
        lambda text: text + ".",
        lambda text: f"{text}.999999999999",
        lambda text: solve(text[:-1] + ("A" if text[-1] != "A" else "B"), BITS),
        lambda text: "",
        lambda text: "x" * 5000,
    ],
)
def test_no_work_no_place(behind: Site, guarded: NewRoom, spoil: Callable[[str], str]) -> None:
    """What is no solution is as good as none: a new challenge, and no place."""
    # Six more bits, so that a number taken at random solves it once in a thousand times.
    room = guarded(**HELD, challenge="always", challenge_bits=BITS + 6)
    text = assert_problem(enter(behind, room), 403)["challenge"]["text"]
    again = assert_problem(enter(behind, room, X_Waitroom_Challenge=spoil(text)), 403)
    assert again["challenge"]["text"] != text
    assert entered(behind, room) == 0


def test_a_solution_of_another_room_or_of_less_work(behind: Site, guarded: NewRoom) -> None:
    """Each room sets its own, and what was set smaller is no longer good."""
    easy = guarded(**HELD, challenge="always", challenge_bits=1)
    solution = solve(assert_problem(enter(behind, easy), 403)["challenge"]["text"], 1)
    other = guarded(**HELD, challenge="always", challenge_bits=1)
    assert_problem(enter(behind, other, X_Waitroom_Challenge=solution), 403)
    behind.admin("PATCH", f"/{easy}", json={"challenge_bits": 2})
    assert_problem(enter(behind, easy, X_Waitroom_Challenge=solution), 403)


@pytest.mark.long
def test_a_solution_does_not_outlive_the_mark_of_its_turn(behind: Site, guarded: NewRoom) -> None:
    """Where tickets are short, so are solutions: else one would be good for turn after turn."""
    times = {"ticket_seconds": 3.0, "abandon_seconds": 2.0, "session_seconds": 0.3, "claim_seconds": 0.3}
    room = guarded(capacity=5, challenge="always", challenge_bits=1, **times)
    solution = solve(assert_problem(enter(behind, room), 403)["challenge"]["text"], 1)
    first = enter(behind, room, X_Waitroom_Challenge=solution).json()
    behind.status(room, first["pass"])
    statuses = []
    until = time.monotonic() + 7
    while time.monotonic() < until:
        statuses.append(enter(behind, room, X_Waitroom_Challenge=solution).status_code)
        time.sleep(0.2)
    assert statuses[-1] == 403
    assert entered(behind, room) == 1


def test_a_solution_is_one_turn(behind: Site, guarded: NewRoom) -> None:
    """Who left has had what the work was good for."""
    room = guarded(**HELD, challenge="always", challenge_bits=BITS)
    solution = solve(assert_problem(enter(behind, room), 403)["challenge"]["text"], BITS)
    ticket = enter(behind, room, X_Waitroom_Challenge=solution).json()["ticket"]
    assert behind.leave(room, ticket).status_code == 204
    assert assert_problem(enter(behind, room, X_Waitroom_Challenge=solution), 410)["type"] == "urn:waitroom:turn-over"
    # The ticket of it gives nothing back, and no new place without new work.
    assert "challenge" in assert_problem(enter(behind, room, proof=ticket), 403)


@pytest.mark.parametrize("state", ["closed", "bypass"])
def test_a_closed_or_open_door_asks_for_nothing(behind: Site, guarded: NewRoom, state: str) -> None:
    """Nobody works for a room that takes nobody, or everybody."""
    room = guarded(state=state, challenge="always", capacity=5)
    answer = enter(behind, room)
    if state == "closed":
        assert assert_problem(answer, 403)["type"] == "urn:waitroom:closed"
    else:
        assert answer.status_code == 200


def test_the_page_of_a_challenge(behind: Site, guarded: NewRoom) -> None:
    """It carries the work, and a sentence for who has no JavaScript."""
    room = guarded(**HELD, challenge="always", challenge_bits=BITS)
    answer = visit(behind, room)
    assert answer.status_code == 403
    assert 'data-situation="challenge"' in answer.text
    assert "This check needs JavaScript" in answer.text


# Enqueue tokens.


def test_a_customer_has_one_place(behind: Site, guarded: NewRoom) -> None:
    """On every device and with every token; another customer has another."""
    room = guarded(**HELD, enqueue_tokens="required")
    one = [enter(behind, room, X_Waitroom_Enqueue=token(behind, room, "17", jti=str(number))) for number in range(3)]
    assert {(answer.status_code, answer.json()["serial"], answer.json()["rank"]) for answer in one} == {
        (202, one[0].json()["serial"], 1)
    }
    assert enter(behind, room, X_Waitroom_Enqueue=token(behind, room, "18")).json()["rank"] == 2
    assert entered(behind, room) == 2


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": 1}, "it expired "),
        ({"aud": "waitroom:other:enqueue"}, "its aud is not "),
        ({"sub": ""}, "sub is not "),
    ],
)
def test_without_a_good_token_no_place(behind: Site, guarded: NewRoom, claims: dict[str, Any], reason: str) -> None:
    """Where it is required; the answer says what is wrong with one that was brought, and where another is to be had."""
    room = guarded(**HELD, enqueue_tokens="required", enqueue_url="/login", challenge="limited")
    for headers in ({}, {"X_Waitroom_Enqueue": token(behind, room, "17", **claims)}):
        problem = assert_problem(enter(behind, room, **headers), 403)
        assert problem["type"] == "urn:waitroom:token-required"
        assert problem["enqueue_url"] == "/login"
        assert "challenge" not in problem
        wrong = f"the token is not good: {reason}" if headers else "bring a token of the site"
        assert problem["detail"].startswith(wrong)
    assert entered(behind, room) == 0


def test_a_server_without_keys_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """A room may need tokens, by another server's word, where this one has no key to verify them: loud, and once."""
    with sites.own_redis() as (url, redis), sites.serving(redis, sites.settings_for(url)) as site:
        room = site.make_room(**HELD)
        redis.hset(keys.room_key(room, "config"), "enqueue_tokens", "required")
        until(lambda: enter(site, room).status_code == 403, what="the setting")
        assert "no enqueue_keys" in assert_problem(enter(site, room, X_Waitroom_Enqueue="x.y.z"), 403)["detail"]
        said = [record.getMessage() for record in caplog.records if room in record.getMessage()]
    assert said == [
        f"room {room}: enqueue_tokens is 'required', and this server has no enqueue_keys, so no token is good"
    ]


def test_a_ticket_is_no_way_around_the_token(behind: Site, guarded: NewRoom) -> None:
    """It gives the place back while that is good, and nothing afterwards."""
    room = guarded(**HELD, enqueue_tokens="required")
    ticket = enter(behind, room, X_Waitroom_Enqueue=token(behind, room, "17")).json()["ticket"]
    assert enter(behind, room, proof=ticket).json()["rank"] == 1
    behind.leave(room, ticket)
    assert_problem(enter(behind, room, proof=ticket), 403)
    answer = enter(behind, room, X_Waitroom_Enqueue=token(behind, room, "17"))
    assert assert_problem(answer, 410)["type"] == "urn:waitroom:turn-over"


def test_a_token_goes_past_limits_and_challenge(behind: Site, guarded: NewRoom) -> None:
    """Whom the site knows is not taken for a robot."""
    room = guarded(**HELD, enqueue_tokens="accepted", places_per_address=1, challenge="always", challenge_bits=BITS)
    for customer in ("17", "18", "19"):
        answer = enter(behind, room, "198.51.100.7", X_Waitroom_Enqueue=token(behind, room, customer))
        assert answer.status_code == 202
    assert_problem(enter(behind, room, "198.51.100.7"), 403)


def test_where_tokens_are_off_they_are_nothing(behind: Site, guarded: NewRoom) -> None:
    """Each visit is a place of its own."""
    room = guarded(**HELD)
    brought = token(behind, room, "17", priority=True)
    assert [enter(behind, room, X_Waitroom_Enqueue=brought).json()["rank"] for _ in range(2)] == [1, 2]


def test_the_priority_lane(behind: Site, guarded: NewRoom) -> None:
    """In front of all that have none; they are told the truth about when they came."""
    room = guarded(**HELD, enqueue_tokens="accepted")
    common = enter(behind, room).json()
    ahead = enter(behind, room, X_Waitroom_Enqueue=token(behind, room, "17", priority=True)).json()
    assert (common["rank"], ahead["rank"]) == (1, 1)
    assert behind.status(room, common["ticket"]).json()["rank"] == 2
    assert ahead["entered_at"] > common["entered_at"]
    behind.admin("PATCH", f"/{room}", json={"state": "open", "capacity": 1})
    until(lambda: behind.status(room, ahead["ticket"]).json()["state"] == "admitted", what="admission")
    assert behind.status(room, common["ticket"]).json()["rank"] == 1


def test_a_token_in_the_address_goes_out_of_it(behind: Site, guarded: NewRoom) -> None:
    """The page comes again without the token, which gets into no history, log or Referer. It waits in a cookie."""
    room = guarded(**HELD, enqueue_tokens="required")
    brought = token(behind, room, "17")
    answer = visit(behind, room, f"?enqueue={brought}&return=/basket?a=1")
    assert answer.status_code == 303
    assert re.fullmatch(rf"/wait/{room}\?kept=[0-9]+&return=%2Fbasket%3Fa%3D1", answer.headers["location"])
    assert answer.headers["referrer-policy"] == "no-referrer"
    kept, attributes = set_cookies(answer)[f"waitroom_invite_{room}"]
    assert kept == brought
    assert (set(attributes), attributes["samesite"]) == ({"max-age", "path", "httponly", "samesite"}, "Lax")
    page = behind.call("GET", answer.headers["location"], headers={"Cookie": f"waitroom_invite_{room}={kept}"})
    assert (page.status_code, situation(page)) == (200, "invited")
    assert brought not in page.text


def pressed(site: Site, room: str, brought: str, **headers: str) -> httpx.Response:
    """POST the button of an invitation whose link was opened."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    cookie = {"Cookie": f"waitroom_invite_{room}={brought}", "Content-Type": "application/x-www-form-urlencoded"}
    return site.call("POST", f"/wait/{room}?return=%2Fbasket", headers={**cookie, **sent})


def test_a_scanner_that_opens_a_link_uses_no_turn(behind: Site, guarded: NewRoom) -> None:
    """HEAD and GET with cookies, through every redirect, change nothing. The customer presses the button, once or
    twice, and has the place."""
    room = guarded(capacity=5, enqueue_tokens="required")
    brought = token(behind, room, "17")
    before = behind.snapshot()
    for _ in range(2):
        with httpx.Client(base_url=behind.url, follow_redirects=True) as scanner:
            link = f"/wait/{room}?enqueue={brought}&return=/basket"
            assert scanner.head(link).status_code == 200
            assert [situation(scanner.get(link)) for _ in range(2)] == ["invited"] * 2
            assert scanner.post(f"/v1/rooms/{room}/enter").status_code == 403, "its script has no place either"
    assert behind.snapshot() == before
    answers = [pressed(behind, room, brought) for _ in range(2)]
    assert {(answer.status_code, answer.headers["location"]) for answer in answers} == {
        (303, f"/wait/{room}?return=%2Fbasket")
    }
    cookies = set_cookies(answers[0])
    assert cookies[f"waitroom_invite_{room}"][1]["max-age"] == "0"
    assert cookies[f"waitroom_enqueue_{room}"][0] == brought
    assert behind.snapshot() == before, "the page that comes now enters, by GET as ever"
    answer = visit(behind, room, "?return=/basket", **{f"waitroom_enqueue_{room}": brought})
    assert answer.status_code == 303
    assert f"waitroom_pass_{room}" in set_cookies(answer)
    assert entered(behind, room) == 1


@pytest.mark.parametrize(
    ("fetch", "status"), [("same-origin", 303), ("none", 303), ("cross-site", 403), ("same-site", 403)]
)
def test_only_the_page_presses_its_button(behind: Site, guarded: NewRoom, fetch: str, status: int) -> None:
    """A form on another site, or on a sibling host, does not use the invitation."""
    room = guarded(**HELD, enqueue_tokens="required")
    answer = pressed(behind, room, token(behind, room, "17"), Sec_Fetch_Site=fetch, Origin="https://evil.example")
    assert answer.status_code == status


@pytest.mark.parametrize("state", ["paused", "closed"])
def test_an_invitation_to_a_room_that_admits_nobody(behind: Site, guarded: NewRoom, state: str) -> None:
    """It is shown and accepted as ever. Then the page tells the room's state."""
    room = guarded(state=state, enqueue_tokens="required", message="Back at noon.")
    brought = token(behind, room, "17")
    page = visit(behind, room, **{f"waitroom_invite_{room}": brought})
    assert (situation(page), "Back at noon." in page.text) == ("invited", True)
    page = visit(behind, room, **{f"waitroom_enqueue_{room}": brought})
    assert situation(page) == ("closed" if state == "closed" else "waiting")


def test_an_invitation_that_was_used_or_has_ended(behind: Site, guarded: NewRoom) -> None:
    """A used one says so after the button. One that has ended, or is another room's, is told at once."""
    room = guarded(**HELD, enqueue_tokens="accepted", enqueue_url="/login")
    brought = token(behind, room, "17")
    behind.leave(room, enter(behind, room, X_Waitroom_Enqueue=brought).json()["ticket"])
    assert pressed(behind, room, brought).status_code == 303
    page = visit(behind, room, **{f"waitroom_enqueue_{room}": brought})
    assert (page.status_code, situation(page)) == (410, "had")
    before = behind.snapshot()
    for bad in (token(behind, room, "18", exp=behind.now_us() / 1_000_000 - 60), token(behind, "another", "18")):
        with httpx.Client(base_url=behind.url, follow_redirects=True) as customer:
            page = customer.get(f"/wait/{room}?enqueue={bad}&return=/basket")
        assert (page.status_code, situation(page)) == (403, "refused")
        assert bad not in str(page.url) + page.text
        assert 'href="/login"' in page.text
    assert behind.snapshot() == before


# Browsers that keep no cookies.

NO_COOKIES: Final = [
    {"enqueue_tokens": "accepted"},
    {"places_per_address": 5},
    {"places_per_network": 5, "page_status": 503},
    {"enqueue_tokens": "accepted", "strict": True},
    {"enqueue_tokens": "accepted", "state": "paused"},
]


@pytest.mark.parametrize("settings", NO_COOKIES, ids=str)
def test_without_cookies_there_is_one_place_at_most(behind: Site, guarded: NewRoom, settings: dict[str, Any]) -> None:
    """The page says after one redirect, or at its next refresh without script, that no place can be kept."""
    room = guarded(**{"capacity": 50} | settings)
    answer = visit(behind, room, "?return=/basket", "198.51.100.7")
    for _ in range(3):
        refresh = re.search(r'http-equiv="refresh" content="[0-9]+; url=([^"]+)"', answer.text)
        onward = html.unescape(refresh[1]) if refresh else answer.headers.get("location")
        if onward is None:
            break
        assert onward.startswith(f"/wait/{room}?kept=")
        answer = behind.call("GET", onward, headers={"X-Forwarded-For": "198.51.100.7"})
    assert (answer.status_code, situation(answer)) == (settings.get("page_status", 200), "cookie")
    assert "refresh" not in answer.text, "a page that comes again by itself would ask in vain"
    assert entered(behind, room) == 1


def test_without_cookies_a_link_gives_no_place(behind: Site, guarded: NewRoom) -> None:
    """The page says why, instead of asking for an invitation that was brought."""
    room = guarded(capacity=5, enqueue_tokens="required")
    answer = visit(behind, room, f"?enqueue={token(behind, room, '17')}")
    page = behind.call("GET", answer.headers["location"])
    assert (page.status_code, situation(page), entered(behind, room)) == (200, "cookie", 0)


def test_a_jar_that_takes_no_new_pass_ends_the_way(behind: Site, guarded: NewRoom) -> None:
    """The jar keeps no pass, or an old one for ever: no redirect leads back and forth."""
    room = guarded(capacity=1, enqueue_tokens="accepted", claim_seconds=60)
    old = enter(behind, room).json()["pass"]
    behind.call("POST", f"/v1/rooms/{room}/leave", headers=bearer(old))
    assert situation(visit(behind, room, "?return=/basket", **{f"waitroom_pass_{room}": old})) == "away"
    answer = visit(behind, room, "?return=/basket")
    assert answer.status_code == 303
    for jar, told in (("", "cookie"), (old, "away")):
        page = behind.call("GET", answer.headers["location"], headers={"Cookie": f"waitroom_pass_{room}={jar}"})
        assert situation(page) == told


def test_an_old_address_is_a_visit_as_any(behind: Site, guarded: NewRoom) -> None:
    """The cookie of a bookmark's address may have ended since, and a stranger may have made one up."""
    room = guarded(**HELD, enqueue_tokens="accepted")
    now = behind.now_us() // 1_000_000
    for kept in (now - 1, now + 10**9, "1e9", "-5", ""):
        assert situation(visit(behind, room, f"?kept={kept}&return=/")) == "waiting"


@pytest.mark.parametrize("text", ["x", "a.b.c", "%0d%0aSet-Cookie:a=b", "x" * 5000, "a;Domain=e"])
def test_what_is_no_token_goes_out_of_the_address_too(behind: Site, guarded: NewRoom, text: str) -> None:
    """And into no cookie."""
    room = guarded(**HELD, enqueue_tokens="required")
    answer = visit(behind, room, f"?enqueue={text}&return=/basket")
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        f"/wait/{room}?invitation=refused&return=%2Fbasket",
    )
    assert not set_cookies(answer)


@pytest.mark.parametrize("how", ["cookie", "header", "address"])
@pytest.mark.parametrize("priority", [False, True])
def test_a_token_takes_no_place_that_is_held(behind: Site, guarded: NewRoom, how: str, priority: bool) -> None:
    """Whoever waits by a ticket of their own keeps the place, whatever token comes, be it by another's link."""
    room = guarded(**HELD, enqueue_tokens="accepted")
    ticket = enter(behind, room).json()["ticket"]
    enter(behind, room)
    brought = token(behind, room, "17", priority=priority)
    if how == "header":
        found = enter(behind, room, proof=ticket, X_Waitroom_Enqueue=brought).json()
        assert (found["rank"], entered(behind, room)) == (1, 2)
        return
    cookies = {f"waitroom_ticket_{room}": ticket}
    if how == "address":
        answer = visit(behind, room, f"?enqueue={brought}", **cookies)
        assert f"waitroom_ticket_{room}" not in set_cookies(answer)
    page = visit(behind, room, **cookies, **{f"waitroom_enqueue_{room}": brought})
    assert page.status_code == 200
    assert behind.status(room, set_cookies(page)[f"waitroom_ticket_{room}"][0]).json()["rank"] == 1
    assert entered(behind, room) == 2


def test_a_token_gives_a_place_to_whose_own_is_over(behind: Site, guarded: NewRoom) -> None:
    """A ticket that gives nothing back does not stand in its way; nor does a spent token in a held one's."""
    room = guarded(**HELD, enqueue_tokens="accepted")
    ticket = enter(behind, room).json()["ticket"]
    behind.leave(room, ticket)
    brought = token(behind, room, "17")
    mine = enter(behind, room, proof=ticket, X_Waitroom_Enqueue=brought)
    assert mine.status_code == 202
    behind.leave(room, mine.json()["ticket"])
    held = enter(behind, room).json()["ticket"]
    assert enter(behind, room, proof=held, X_Waitroom_Enqueue=brought).json()["rank"] == 1


def test_what_is_missing_is_counted(behind: Site, guarded: NewRoom) -> None:
    """An operator sees how many come without."""
    room = guarded(**HELD, enqueue_tokens="required")
    enter(behind, room)
    line = f'waitroom_demands_total{{missing="token",room="{room}"}} 1.0'
    assert line in behind.call("GET", "/metrics").text


def test_the_sites_own_cookie_is_a_token(behind: Site, guarded: NewRoom) -> None:
    """A site under the same host need put nothing into addresses."""
    room = guarded(**HELD, enqueue_tokens="required")
    page = visit(behind, room, **{f"waitroom_enqueue_{room}": token(behind, room, "17")})
    assert page.status_code == 200
    assert f"waitroom_ticket_{room}" in set_cookies(page)


def test_pages_for_who_has_none_and_for_who_had_a_turn(behind: Site, guarded: NewRoom) -> None:
    """Each says what it is, and the first where a token is to be had."""
    room = guarded(**HELD, enqueue_tokens="required", enqueue_url="https://shop.example/login?next=queue")
    page = visit(behind, room)
    assert page.status_code == 403
    assert "You need an invitation" in page.text
    assert 'href="https://shop.example/login?next=queue"' in page.text
    brought = token(behind, room, "17")
    ticket = enter(behind, room, X_Waitroom_Enqueue=brought).json()["ticket"]
    behind.leave(room, ticket)
    page = visit(behind, room, **{f"waitroom_enqueue_{room}": brought})
    assert page.status_code == 410
    assert "You have had your turn" in page.text


def test_no_other_proof_is_a_token(behind: Site, guarded: NewRoom) -> None:
    """A ticket or a pass of the room opens no place, and a token no gate."""
    room = guarded(**HELD, enqueue_tokens="required")
    ticket = enter(behind, room, X_Waitroom_Enqueue=token(behind, room, "17")).json()["ticket"]
    assert_problem(enter(behind, room, X_Waitroom_Enqueue=ticket), 403)
    behind.admin("PATCH", f"/{room}", json={"state": "open"})
    assert behind.gate(room, token(behind, room, "18")).status_code == 401
    assert_problem(behind.status(room, token(behind, room, "18")), 401)
