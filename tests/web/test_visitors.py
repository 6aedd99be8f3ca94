"""The life of a visitor over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from rig.clockwork import arguments
from rig.waiting import until
from tests.web import sites
from tests.web.sites import Site, assert_problem, bearer, set_cookies
from waitroom.store import keys

NewRoom = Callable[..., str]

WAITING_FIELDS = {
    "room",
    "state",
    "rank",
    "serial",
    "waiting",
    "eta_seconds",
    "eta_low_seconds",
    "eta_high_seconds",
    "poll_after_seconds",
    "latest_poll_seconds",
    "entered_at",
    "as_of",
    "room_state",
    "message",
    "ticket",
}
ADMITTED_FIELDS = {"room", "state", "pass", "expires_at", "session_seconds"}
PUBLIC_FIELDS = {
    "room",
    "state",
    "waiting",
    "occupancy",
    "capacity",
    "admit_per_second",
    "admitted_per_second",
    "eta_seconds",
    "eta_low_seconds",
    "eta_high_seconds",
    "message",
    "ladder",
    "lost_at",
    "refresh_after_seconds",
    "as_of",
}


@pytest.fixture
def full_room(site: Site, new_room: NewRoom) -> str:
    """A room whose one place is taken, so that whoever comes has to wait."""
    name = new_room(capacity=1)
    site.pass_of_new(name)
    return name


@pytest.fixture(scope="module")
def https_site() -> Iterator[Site]:
    """An instance whose visitors come by https."""
    with sites.own_redis() as (url, redis):
        settings = sites.settings_for(url, public_url="https://shop.example")
        with sites.serving(redis, settings) as running:
            yield running


# Getting in.


def test_a_newcomer_gets_in_at_once_where_there_is_room(site: Site, new_room: NewRoom) -> None:
    """With a free place and nobody waiting, enter answers 200 with the admitted document."""
    room = new_room(session_seconds=120.0)
    answer = site.enter(room)
    assert answer.status_code == 200
    document = answer.json()
    assert document.keys() == ADMITTED_FIELDS
    assert (document["room"], document["state"], document["session_seconds"]) == (room, "admitted", 120)


def test_a_newcomer_waits_where_there_is_none(site: Site, full_room: str) -> None:
    """Without a free place enter answers 202 with the waiting document and its Retry-After."""
    answer = site.enter(full_room)
    assert answer.status_code == 202
    document = answer.json()
    assert document.keys() == WAITING_FIELDS
    assert (document["room"], document["state"], document["room_state"]) == (full_room, "waiting", "open")
    assert (document["rank"], document["waiting"], document["message"]) == (1, 1, "")
    assert document["eta_low_seconds"] <= document["eta_seconds"] <= document["eta_high_seconds"]
    assert 0 <= int(answer.headers["retry-after"]) - document["poll_after_seconds"] < 1


def test_times_are_utc_to_the_millisecond(site: Site, full_room: str) -> None:
    """entered_at and as_of are RFC 3339 in UTC with three digits, and entering is not later than the answer."""
    document = site.enter(full_room).json()
    for name in ("entered_at", "as_of"):
        assert datetime.strptime(document[name], "%Y-%m-%dT%H:%M:%S.%fZ")
        assert len(document[name]) == len("2026-01-02T03:04:05.678Z")
    assert document["entered_at"] <= document["as_of"]


def test_ranks_follow_arrival(site: Site, full_room: str) -> None:
    """Each newcomer stands behind all who came before."""
    assert [site.enter(full_room).json()["rank"] for _ in range(4)] == [1, 2, 3, 4]


@pytest.mark.parametrize("how", ["bearer", "cookie"])
def test_the_same_ticket_gives_the_same_place(site: Site, full_room: str, how: str) -> None:
    """Entering again with the ticket, by either way, changes nothing: same rank, same arrival."""
    first = site.enter(full_room).json()
    site.enter(full_room)
    ticket = first["ticket"]
    before = site.snapshot()
    headers = bearer(ticket) if how == "bearer" else {"Cookie": f"waitroom_ticket_{full_room}={ticket}"}
    answer = site.call("POST", f"/v1/rooms/{full_room}/enter", headers=headers)
    assert answer.status_code == 202
    assert (answer.json()["rank"], answer.json()["entered_at"]) == (1, first["entered_at"])
    assert site.snapshot() == before


def test_a_bearer_goes_before_the_cookie(site: Site, full_room: str) -> None:
    """A client that names its proof is not overruled by a cookie of another place."""
    mine, other = site.ticket_of_new(full_room), site.ticket_of_new(full_room)
    headers = bearer(other) | {"Cookie": f"waitroom_ticket_{full_room}={mine}"}
    assert site.call("GET", f"/v1/rooms/{full_room}/status", headers=headers).json()["rank"] == 2


def test_many_at_once_with_one_ticket_are_one_visitor(site: Site, full_room: str) -> None:
    """A hundred parallel enters with the same ticket hold one place."""
    ticket = site.ticket_of_new(full_room)
    with ThreadPoolExecutor(20) as pool:
        answers = list(
            pool.map(lambda _: site.http.post(f"/v1/rooms/{full_room}/enter", headers=bearer(ticket)), range(100))
        )
    assert {(answer.status_code, answer.json()["rank"]) for answer in answers} == {(202, 1)}
    assert len(site.waiting(full_room)) == 1


def test_a_pass_gives_the_place_inside(site: Site, new_room: NewRoom) -> None:
    """Entering again with the pass answers 200 for the same visitor and takes no second place."""
    room = new_room(capacity=5)
    granted = site.pass_of_new(room)
    again = site.enter(room, granted)
    assert again.status_code == 200
    assert site.admin("GET", f"/{room}").json()["occupancy"] == 1


def test_an_offer_at_first_contact_that_lapses_costs_no_place(site: Site, new_room: NewRoom) -> None:
    """Who was let in at once, and could not come back in time, is no newcomer: the ticket puts them first."""
    room = new_room(capacity=1, claim_seconds=0.3, abandon_seconds=60.0)
    entered = site.enter(room)
    ticket = set_cookies(entered)[f"waitroom_ticket_{room}"][0]
    until(lambda: site.admin("GET", f"/{room}").json()["counts"]["no_show"] == 1, what="the offer to lapse")
    site.pass_of_new(room)
    later = site.enter(room).json()
    again = site.enter(room, ticket).json()
    assert (again["rank"], later["rank"]) == (1, 1)
    assert again["serial"] < later["serial"]


@pytest.mark.parametrize(("strict", "statuses"), [(False, (200, 200)), (True, (410, 202))])
def test_a_pass_without_a_record_is_taken_at_its_word(
    site: Site, new_room: NewRoom, strict: bool, statuses: tuple[int, int]
) -> None:
    """Data loss took the record, and the room is full again: the pass is good until it ends, as at the gate."""
    room = new_room(capacity=1, strict=strict)
    granted = site.status(room, site.pass_of_new(room)).json()["pass"]
    active = keys.room_key(room, "active")
    site.redis.delete(active)
    site.redis.zadd(active, {"somebody-else": 4e15})
    answers = site.status(room, granted), site.enter(room, granted)
    assert tuple(answer.status_code for answer in answers) == statuses
    assert site.gate(room, granted).status_code == (401 if strict else 204)
    if not strict:
        assert {answer.json()["state"] for answer in answers} == {"admitted"}


def test_waiting_and_admitted_answers_are_not_stored(site: Site, full_room: str) -> None:
    """Every personal answer is no-store, problems among them."""
    entered = site.enter(full_room)
    ticket = entered.json()["ticket"]
    answers = [entered, site.status(full_room, ticket), site.status(full_room), site.leave(full_room, ticket)]
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}


# Waiting.


def test_status_needs_a_proof(site: Site, full_room: str) -> None:
    """Without ticket or pass status answers 401 with a challenge."""
    answer = site.status(full_room)
    assert_problem(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_status_tells_the_place_and_renews_the_ticket(site: Site, full_room: str) -> None:
    """Status answers 200 with the waiting document; its ticket is good for the same place."""
    first = site.enter(full_room).json()
    answer = site.status(full_room, first["ticket"])
    assert answer.status_code == 200
    assert answer.json().keys() == WAITING_FIELDS
    assert answer.json()["entered_at"] == first["entered_at"]
    assert site.status(full_room, answer.json()["ticket"]).json()["rank"] == 1


def test_a_ticket_is_good_for_its_room_only(site: Site, full_room: str, new_room: NewRoom) -> None:
    """A ticket of another room is as good as none."""
    other = new_room(capacity=1)
    site.enter(other)
    assert_problem(site.status(other, site.ticket_of_new(full_room)), 401)


def test_a_place_survives_silence(site: Site, full_room: str) -> None:
    """Who was silent too long is taken out of the queue, and is back at their old place with the ticket."""
    ticket = site.ticket_of_new(full_room)
    site.redis.eval(*arguments(full_room, 130))
    until(lambda: site.waiting(full_room) == [], what="abandonment")
    site.enter(full_room)
    assert site.status(full_room, ticket).json()["rank"] == 1


def test_a_ticket_of_long_ago_is_worthless(site: Site, full_room: str) -> None:
    """Older than ticket_seconds it gives nothing back: status 401, enter a new place at the end."""
    now_us = site.now_us()
    document = site.enter(full_room).json()
    fresh = site.tickets.verify(full_room, document["ticket"])
    assert fresh is not None
    old = site.forge_ticket(full_room, type(fresh)(fresh.visitor, fresh.serial, now_us - 3_601_000_000))
    assert_problem(site.status(full_room, old), 401)
    assert site.enter(full_room, old).json()["rank"] == 2


# Being admitted.


def test_an_offer_is_claimed_by_status(site: Site, full_room: str) -> None:
    """When a place gets free the head of the queue is offered it, and the next status makes it a session."""
    ticket = site.ticket_of_new(full_room)
    site.admin("PATCH", f"/{full_room}", json={"capacity": 2})
    until(lambda: site.waiting(full_room) == [], what="admission")
    assert site.admin("GET", f"/{full_room}").json()["offered"] == 1
    answer = site.status(full_room, ticket)
    assert (answer.status_code, answer.json().keys()) == (200, ADMITTED_FIELDS)
    room = site.admin("GET", f"/{full_room}").json()
    assert (room["offered"], room["occupancy"], room["counts"]["claimed"]) == (0, 2, 2)


def test_an_offer_ends_sooner_than_a_session(site: Site, new_room: NewRoom) -> None:
    """First contact gives an offer of claim_seconds, the second the session of session_seconds."""
    room = new_room(claim_seconds=30.0, session_seconds=900.0)
    offer = site.enter(room).json()
    session = site.status(room, offer["pass"]).json()
    earlier, later = (datetime.fromisoformat(document["expires_at"]) for document in (offer, session))
    assert 860 < (later - earlier).total_seconds() < 875


def test_claiming_twice_is_claiming_once(site: Site, new_room: NewRoom) -> None:
    """Parallel claims of one offer yield one session with one end."""
    room = new_room()
    offer = site.enter(room).json()["pass"]
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: site.http.get(f"/v1/rooms/{room}/status", headers=bearer(offer)), range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["expires_at"] for answer in answers}) == 1
    assert site.admin("GET", f"/{room}").json()["counts"]["claimed"] == 1


def test_after_admission_the_ticket_tells_of_the_place_inside(site: Site, full_room: str) -> None:
    """The ticket of somebody inside is answered with a pass, not with a second place."""
    ticket = site.ticket_of_new(full_room)
    site.admin("PATCH", f"/{full_room}", json={"capacity": 2})
    until(lambda: site.waiting(full_room) == [], what="admission")
    assert site.enter(full_room, ticket).json()["state"] == "admitted"
    assert site.admin("GET", f"/{full_room}").json()["occupancy"] == 2


# Leaving.


def test_leaving_is_204_also_twice(site: Site, full_room: str) -> None:
    """Goodbye frees the place at once and may be repeated; both cookies are cleared."""
    ticket = site.ticket_of_new(full_room)
    answer = site.leave(full_room, ticket)
    assert (answer.status_code, answer.content) == (204, b"")
    assert {attributes["max-age"] for _, attributes in set_cookies(answer).values()} == {"0"}
    assert set_cookies(answer).keys() == {f"waitroom_{kind}_{full_room}" for kind in ("ticket", "pass")}
    assert site.waiting(full_room) == []
    assert site.leave(full_room, ticket).status_code == 204
    assert site.admin("GET", f"/{full_room}").json()["counts"]["left"] == 1


def test_after_leaving_the_ticket_is_spent(site: Site, full_room: str) -> None:
    """Status answers 410, and entering again starts at the end."""
    gone, other = site.ticket_of_new(full_room), site.ticket_of_new(full_room)
    site.leave(full_room, gone)
    assert_problem(site.status(full_room, gone), 410)
    assert site.enter(full_room, gone).json()["rank"] == 2
    assert site.status(full_room, other).json()["rank"] == 1


def test_after_leaving_the_pass_is_spent(site: Site, new_room: NewRoom) -> None:
    """Who left from inside has no place there any more."""
    room = new_room()
    granted = site.pass_of_new(room)
    assert site.leave(room, granted).status_code == 204
    assert_problem(site.status(room, granted), 410)
    assert site.admin("GET", f"/{room}").json()["occupancy"] == 0


def test_leaving_without_a_proof_is_refused(site: Site, full_room: str) -> None:
    """Nobody can be thrown out by who does not hold their proof."""
    site.ticket_of_new(full_room)
    assert_problem(site.leave(full_room), 401)
    assert len(site.waiting(full_room)) == 1


# What the room says.


def test_a_full_queue_answers_503_and_when_to_come_back(site: Site, new_room: NewRoom) -> None:
    """Beyond max_waiting nobody is queued: 503 "full" with Retry-After, counted."""
    room = new_room(capacity=1, max_waiting=1)
    site.pass_of_new(room)
    site.ticket_of_new(room)
    answer = site.enter(room)
    assert assert_problem(answer, 503)["type"] == "urn:waitroom:full"
    assert int(answer.headers["retry-after"]) > 0
    assert len(site.waiting(room)) == 1
    assert site.admin("GET", f"/{room}").json()["counts"]["refused_full"] == 1


def test_a_closed_room_takes_nobody_and_says_why(site: Site, new_room: NewRoom) -> None:
    """enter answers 403 with the operator's message."""
    room = new_room(state="closed", message="Sold out.")
    document = assert_problem(site.enter(room), 403)
    assert (document["type"], document["detail"]) == ("urn:waitroom:closed", "Sold out.")


def test_a_closed_room_keeps_the_places_of_who_waits(site: Site, full_room: str) -> None:
    """Closing refuses newcomers only."""
    ticket = site.ticket_of_new(full_room)
    site.admin("POST", f"/{full_room}/close")
    assert site.status(full_room, ticket).json()["room_state"] == "closed"
    assert site.enter(full_room, ticket).json()["rank"] == 1


def test_a_paused_room_queues_and_admits_nobody(site: Site, new_room: NewRoom) -> None:
    """Paused, newcomers wait though there is room, are told so, and no eta is made up."""
    room = new_room(state="paused", message="Back at noon.")
    document = site.enter(room).json()
    assert (document["state"], document["room_state"], document["message"]) == ("waiting", "paused", "Back at noon.")
    assert {document[name] for name in document if name.startswith("eta")} == {None}
    site.admin("POST", f"/{room}/resume")
    until(lambda: site.status(room, document["ticket"]).json()["state"] == "admitted", what="admission")


def test_bypass_lets_everybody_in(site: Site, new_room: NewRoom) -> None:
    """In bypass capacity does not hold anybody up."""
    room = new_room(capacity=1, state="bypass")
    assert [site.enter(room).status_code for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize("call", ["enter", "status", "leave", "public"])
def test_an_unknown_room_is_404(site: Site, call: str) -> None:
    """A room that nobody made is not there, with a proof or without."""
    method, path = {
        "enter": ("POST", "/enter"),
        "status": ("GET", "/status"),
        "leave": ("POST", "/leave"),
        "public": ("GET", ""),
    }[call]
    assert_problem(site.call(method, f"/v1/rooms/nowhere{path}"), 404)


def test_whoever_waits_stands_on_the_ladder(site: Site, full_room: str) -> None:
    """The public document has the ranks and serials that the visitors were told, a second later at most."""
    told = [site.enter(full_room).json() for _ in range(3)]
    mine = [[place["rank"], place["serial"]] for place in told]
    until(lambda: site.call("GET", f"/v1/rooms/{full_room}").json()["ladder"] == mine, what="the ladder")
    assert all(place["poll_after_seconds"] <= place["latest_poll_seconds"] + 0.01 for place in told)
    site.leave(full_room, told[0]["ticket"])
    moved = [[1, mine[1][1]], [2, mine[2][1]]]
    until(lambda: site.call("GET", f"/v1/rooms/{full_room}").json()["ladder"] == moved, what="the queue to move")


def test_the_public_room_is_cacheable(site: Site, full_room: str) -> None:
    """Anybody may read a room's state, a second old at most, and caches may keep it for one."""
    site.ticket_of_new(full_room)

    def read() -> dict[str, object]:
        answer = site.call("GET", f"/v1/rooms/{full_room}")
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "public, max-age=1")
        assert "set-cookie" not in answer.headers
        document: dict[str, object] = answer.json()
        return document

    assert read().keys() == PUBLIC_FIELDS
    until(lambda: (read()["waiting"], read()["occupancy"], read()["capacity"]) == (1, 1, 1), what="the reading")


# Cookies.


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(site: Site, full_room: str, new_room: NewRoom) -> None:
    """Both proofs come as HttpOnly, SameSite=Lax cookies of the whole site, as old as they are good, below 1 KB."""
    entered, admitted = site.enter(full_room), site.enter(free := new_room(claim_seconds=60.0))
    for answer, name, document_field, seconds in (
        (entered, f"waitroom_ticket_{full_room}", "ticket", 3600),
        (admitted, f"waitroom_pass_{free}", "pass", 60),
    ):
        value, attributes = set_cookies(answer)[name]
        assert value == answer.json()[document_field]
        assert attributes.keys() == {"max-age", "path", "httponly", "samesite"}
        assert (attributes["path"], attributes["samesite"]) == ("/", "Lax")
        assert seconds - 1 <= int(attributes["max-age"]) <= seconds
        assert len(value) + len(name) < 1024


def test_a_claimed_pass_takes_the_ticket_cookie_away(site: Site, new_room: NewRoom) -> None:
    """Inside, the ticket has done its work and is removed from the browser."""
    room = new_room()
    answer = site.status(room, site.enter(room).json()["pass"])
    assert set_cookies(answer)[f"waitroom_ticket_{room}"][1]["max-age"] == "0"


def test_under_https_cookies_are_host_bound_and_secure(https_site: Site) -> None:
    """With an https public_url names begin with __Host-, cookies are Secure and have no Domain."""
    room = https_site.make_room(capacity=1)
    entered = https_site.enter(room)
    (name, (value, attributes)), *_ = set_cookies(entered).items()
    assert name == f"__Host-waitroom_pass_{room}"
    assert attributes.keys() == {"max-age", "path", "httponly", "samesite", "secure"}
    assert attributes["path"] == "/"
    plain = https_site.call("GET", f"/v1/rooms/{room}/status", headers={"Cookie": f"waitroom_pass_{room}={value}"})
    assert plain.status_code == 401, "a cookie that a subdomain could have planted counts for nothing"
    good = https_site.call("GET", f"/v1/rooms/{room}/status", headers={"Cookie": f"{name}={value}"})
    assert good.status_code == 200


# Other sites.


@pytest.mark.parametrize("call", ["enter", "leave"])
def test_another_site_may_not_act_for_its_visitor(site: Site, full_room: str, call: str) -> None:
    """A cross-site request is refused and changes nothing."""
    ticket = site.ticket_of_new(full_room)
    before = site.snapshot()
    headers = bearer(ticket) | {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    assert_problem(site.call("POST", f"/v1/rooms/{full_room}/{call}", headers=headers), 403)
    assert site.snapshot() == before


def test_an_allowed_origin_may_enter(site: Site, new_room: NewRoom) -> None:
    """A page on one of return_origins may call enter across sites."""
    room = new_room(return_origins=["https://shop.example"])
    headers = {"Sec-Fetch-Site": "cross-site", "Origin": "https://shop.example"}
    assert site.call("POST", f"/v1/rooms/{room}/enter", headers=headers).status_code == 200
