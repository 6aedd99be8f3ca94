"""The gate: 204, 401 or 403, from the room, the pass, the time and the revocations alone (I22, I24)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from rig.clockwork import arguments
from rig.line import Line
from rig.waiting import until
from tests.web import sites
from tests.web.sites import Site, set_cookies
from waitroom.model import Pass, Visitor
from waitroom.proofs.tickets import new_visitor
from waitroom.serve.assemble import assemble
from waitroom.store import keys
from waitroom.web import gate as gates
from waitroom.web.app import Application
from waitroom.web.gate import Gate
from waitroom.web.instance import Instance

NewRoom = Callable[..., str]


def occupied(site: Site, new_room: NewRoom, **settings: Any) -> tuple[str, str]:
    """A room whose one place is taken, and the pass of who is inside."""
    room = new_room(capacity=1, **settings)
    return room, site.pass_of_new(room)


def in_state(site: Site, room: str, state: str) -> None:
    """Bring the room into that state, and wait until this instance's gate knows."""
    site.admin("PATCH", f"/{room}", json={"state": state})


# The decision.


@pytest.mark.parametrize(
    ("state", "without", "with_pass"),
    [("open", 401, 204), ("paused", 401, 204), ("closed", 403, 204), ("bypass", 204, 204)],
)
def test_the_state_decides_about_those_without_a_pass(
    site: Site, new_room: NewRoom, state: str, without: int, with_pass: int
) -> None:
    """Full: whoever has a pass goes on in every state; without one it is the state that says."""
    room, granted = occupied(site, new_room)
    in_state(site, room, state)
    assert site.gate(room).status_code == without
    assert site.gate(room, granted).status_code == with_pass


@pytest.mark.parametrize("state", ["open", "paused", "closed"])
@pytest.mark.parametrize("proof", ["ticket", "other room", "expired", "garbage", "empty", "bit flipped"])
def test_what_is_not_a_pass_of_this_room_is_none(site: Site, new_room: NewRoom, state: str, proof: str) -> None:
    """A ticket, another room's pass, an expired or altered one count for nothing, and queue nobody."""
    room, granted = occupied(site, new_room)
    _, elsewhere = occupied(site, new_room)
    text = {
        "ticket": site.ticket_of_new(room),
        "other room": elsewhere,
        "expired": site.forge_pass(room, new_visitor(), seconds=-1),
        "garbage": "a.b.c.d",
        "empty": "",
        "bit flipped": granted[:-2] + ("A" if granted[-2] != "A" else "B") + granted[-1],
    }[proof]
    in_state(site, room, state)
    before = site.snapshot()
    assert site.gate(room, text).status_code == (403 if state == "closed" else 401)
    assert site.snapshot() == before


def test_an_unknown_room_is_forbidden(site: Site, new_room: NewRoom) -> None:
    """A proxy that names a room which does not exist lets nobody through."""
    _, granted = occupied(site, new_room)
    answer = site.call("GET", "/gate/nowhere", headers={"Cookie": f"waitroom_pass_nowhere={granted}"})
    assert answer.status_code == 403


def test_an_unknown_room_is_warned_of_once_a_minute(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """By name: the commonest first mistake. What cannot be a room's name is not written into the log."""
    now = 0.0

    def warned() -> list[str]:
        told = [line.getMessage() for line in caplog.records if line.name == gates.__name__]
        caplog.clear()
        return told

    def of(name: str) -> str:
        return f"gate: no room {name}, every request is refused"

    asked = Gate(assemble(sites.settings_for("unix:///nowhere")))
    asked._clock = SimpleNamespace(now=lambda: now)  # type: ignore[assignment]
    for name in ("lost", "lost", "lost-too", "Lost"):
        asked._warn_of_unknown(name)
    assert warned() == [of("lost"), of("lost-too")]
    now = 61.0
    for number in range(200):
        asked._warn_of_unknown(f"lost-{number}")
    assert len(warned()) == 100
    site.gate("nowhere-at-all")
    site.call("GET", "/forward-auth/nowhere-else", headers={"Accept": "text/html"})
    assert warned() == [of("nowhere-at-all"), of("nowhere-else")]


def test_nothing_else_about_the_request_matters(site: Site, new_room: NewRoom) -> None:
    """Query, spoofed addresses, methods asked for by header and rooms named by the client change no decision (I22)."""
    room, granted = occupied(site, new_room)
    other = new_room()
    spoofed = {
        "X-Original-URI": f"/gate/{other}",
        "X-Room": other,
        "X-Waitroom-Room": other,
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Host": "localhost",
        "X-HTTP-Method-Override": "OPTIONS",
        "X-Original-Method": "OPTIONS",
        "User-Agent": "ELB-HealthChecker/2.0",
        "Host": "localhost",
        "Authorization": f"Bearer {granted}",
    }
    for path in (f"/gate/{room}", f"/gate/{room}?room={other}", f"/gate/{room}?x=/style.css"):
        assert site.call("GET", path, headers=spoofed).status_code == 401
        cookie = {"Cookie": f"waitroom_pass_{room}={granted}"}
        assert site.call("GET", path, headers=spoofed | cookie).status_code == 204


def test_any_pass_that_verifies_counts(site: Site, new_room: NewRoom) -> None:
    """A bad one hides no good one, wherever it stands, and the header is read beside as many cookies as are."""
    room, granted = occupied(site, new_room)
    bad, name = "x.y.z", f"waitroom_pass_{room}"

    def decision(**headers: str) -> int:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return site.call("GET", f"/gate/{room}", headers=given).status_code

    assert decision(x_waitroom_pass=granted) == 204
    assert decision(x_waitroom_pass=granted, cookie=f"{name}={bad}") == 204
    assert decision(x_waitroom_pass=granted, cookie="; ".join(f"{name}={number}" for number in range(100))) == 204
    assert decision(x_waitroom_pass=bad, cookie=f"{name}={bad}; {name}=a.b.c") == 401
    assert decision(x_waitroom_pass=bad, cookie=f"{name}={granted}") == 204
    assert decision(cookie=f"{name}={granted}; {name}={bad}") == 204
    assert decision(cookie=f"{name}={bad}; {name}={granted}") == 204


def test_answers_are_bare_and_not_stored(site: Site, new_room: NewRoom) -> None:
    """No answer of the gate has a body or may be cached; 401 says when to look again."""
    room, granted = occupied(site, new_room)
    for answer in (site.gate(room), site.gate(room, granted), site.gate("nowhere")):
        assert answer.content == b""
        assert answer.headers["cache-control"] == "no-store"
    assert int(site.gate(room).headers["retry-after"]) > 0


# Straight through.


def test_straight_through_where_there_is_room(site: Site, new_room: NewRoom) -> None:
    """With a free place and nobody waiting a request without a pass goes on with an offer, as cookie and header."""
    room = new_room(capacity=5, claim_seconds=30.0)
    answer = site.gate(room)
    assert answer.status_code == 204
    ((name, (value, attributes)),) = set_cookies(answer).items()
    assert (name, value) == (f"waitroom_pass_{room}", answer.headers["x-waitroom-pass"])
    assert attributes.keys() == {"max-age", "path", "httponly", "samesite"}
    counts = site.admin("GET", f"/{room}").json()
    assert (counts["occupancy"], counts["offered"]) == (1, 1)


def test_the_offer_is_claimed_at_the_second_contact(site: Site, new_room: NewRoom) -> None:
    """The request that brings the offer back gets the pass of the session; the one after it gets nothing new."""
    room = new_room(claim_seconds=30.0, session_seconds=900.0)
    offer = site.gate(room).headers["x-waitroom-pass"]
    claimed = site.gate(room, offer)
    session = claimed.headers["x-waitroom-pass"]
    assert (claimed.status_code, set_cookies(claimed)[f"waitroom_pass_{room}"][0]) == (204, session)
    assert 898 <= int(set_cookies(claimed)[f"waitroom_pass_{room}"][1]["max-age"]) <= 900
    third = site.gate(room, session)
    assert third.status_code == 204
    assert "set-cookie" not in third.headers
    assert "x-waitroom-pass" not in third.headers
    counts = site.admin("GET", f"/{room}").json()
    assert (counts["occupancy"], counts["offered"], counts["counts"]["claimed"]) == (1, 0, 1)


def test_the_head_of_the_queue_goes_first(site: Site, new_room: NewRoom) -> None:
    """While somebody waits nobody gets straight through, though a place is free (rule 3)."""
    room = new_room(capacity=5, state="paused")
    site.ticket_of_new(room)
    # So slow a rate that the one who waits stays the next for the whole test.
    site.admin("PATCH", f"/{room}", json={"state": "open", "admit_per_second": 0.001, "abandon_seconds": 3600.0})
    until(lambda: site.waiting(room) == [], what="admission")
    site.ticket_of_new(room)
    before = site.snapshot()
    assert [site.gate(room).status_code for _ in range(3)] == [401, 401, 401]
    assert site.snapshot() == before


def test_straight_through_stops_at_capacity(site: Site, new_room: NewRoom) -> None:
    """Forty requests at once without a pass: exactly as many go on as there are places."""
    room = new_room(capacity=3)
    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(lambda _: httpx.get(f"{site.url}/gate/{room}").status_code, range(40)))
    assert sorted(statuses) == [204] * 3 + [401] * 37


# A pass's end.


def test_leaving_revokes_the_pass(site: Site, new_room: NewRoom) -> None:
    """Within two seconds of the goodbye the pass is worth nothing at the gate."""
    room, granted = occupied(site, new_room)
    assert site.gate(room, granted).status_code == 204
    site.leave(room, granted)
    until(lambda: site.gate(room, granted).status_code == 403, what="revocation")


def test_leaving_revokes_the_pass_on_other_instances(site: Site, new_room: NewRoom) -> None:
    """An instance that heard nothing of the goodbye refuses the pass as well."""
    with sites.own_redis() as (url, redis), sites.serving(redis, sites.settings_for(url)) as one:
        room = one.make_room()
        granted = one.pass_of_new(room)
        with sites.serving(redis, sites.settings_for(url)) as other:
            assert other.gate(room, granted).status_code == 204
            one.leave(room, granted)
            until(lambda: other.gate(room, granted).status_code == 403, what="revocation")


def test_a_pass_ends_with_its_session(site: Site, new_room: NewRoom) -> None:
    """A pass is good until its expiry and not longer, also one that the gate remembers."""
    room = new_room(capacity=1, session_seconds=1.0)
    granted = site.pass_of_new(room)
    assert site.gate(room, granted).status_code == 204
    site.admin("PATCH", f"/{room}", json={"state": "paused"})
    until(lambda: site.gate(room, granted).status_code == 401, what="expiry")


@pytest.mark.parametrize("sliding", [True, False])
def test_a_sliding_session_is_lengthened(site: Site, new_room: NewRoom, sliding: bool) -> None:
    """A request in a sliding session puts its end off and gets the longer pass; a fixed one ends when it ends."""
    room = new_room(sliding=sliding, session_seconds=100.0)
    granted = site.pass_of_new(room)
    visitor = visitor_of(site, room, granted)
    site.redis.eval(*arguments(room, 40))
    older = site.forge_pass(room, visitor, seconds=60)
    answer = site.gate(room, older)
    assert answer.status_code == 204
    assert ("x-waitroom-pass" in answer.headers) == sliding
    end = float(site.redis.zscore(keys.room_key(room, "active"), visitor) or 0)
    left = end / 1_000_000 - site.now_us() / 1_000_000
    assert (95 < left <= 100) if sliding else (55 < left <= 60)


def visitor_of(site: Site, room: str, granted: str) -> Visitor:
    """Whom a pass is for."""
    proof = site.passes.verify(room, granted, now=site.now_us() / 1_000_000)
    assert proof is not None
    return proof.visitor


def test_when_down_closed_asks_at_every_request(site: Site, new_room: NewRoom) -> None:
    """With `closed` a pass whose place is gone is refused at once, not a second later."""
    room, granted = occupied(site, new_room, when_down="closed")
    assert site.gate(room, granted).status_code == 204
    site.redis.zrem(keys.room_key(room, "active"), visitor_of(site, room, granted))
    site.redis.zadd(keys.room_key(room, "used"), {visitor_of(site, room, granted): site.now_us()})
    assert site.gate(room, granted).status_code in (401, 403)


def test_a_strict_room_refuses_at_once_everywhere() -> None:
    """In a strict room an instance that heard nothing of a goodbye refuses the pass at the very next request."""
    with sites.own_redis() as (url, redis), sites.serving(redis, sites.settings_for(url)) as one:
        room = one.make_room(strict=True)
        with sites.serving(redis, sites.settings_for(url)) as other:
            for _ in range(5):
                granted = one.pass_of_new(room)
                assert other.gate(room, granted).status_code == 204
                one.leave(room, granted)
                assert other.gate(room, granted).status_code in (401, 403)


def test_a_strict_room_lets_in_nobody_without_a_record(site: Site, new_room: NewRoom) -> None:
    """A pass whose session is lost, while somebody else has the place, opens a strict room no more than `status`."""
    room = new_room(capacity=1, strict=True)
    granted = site.pass_of_new(room)
    site.redis.delete(keys.room_key(room, "active"))
    other = site.pass_of_new(room)
    assert site.gate(room, other).status_code == 204
    assert site.gate(room, granted).status_code == 401


# Bound to one client.

_PHONE, _LAPTOP = {"User-Agent": "phone/1"}, {"User-Agent": "laptop/2"}


def seen_by(site: Site, room: str, granted: str, client: dict[str, str]) -> int:
    """What the gate says to a pass from that client."""
    return site.call("GET", f"/gate/{room}", headers={"X-Waitroom-Pass": granted} | client).status_code


def test_a_bound_pass_is_good_for_one_user_agent(site: Site, new_room: NewRoom) -> None:
    """In a room that binds proofs a pass or ticket shown by another User-Agent counts for nothing (T8)."""
    room = new_room(capacity=1, bind_user_agent=True)
    offer = site.call("POST", f"/v1/rooms/{room}/enter", headers=_PHONE).json()["pass"]
    status = f"/v1/rooms/{room}/status"
    granted = site.call("GET", status, headers=_PHONE | sites.bearer(offer)).json()["pass"]
    for _ in range(2):  # the second time the gate remembers the pass
        assert seen_by(site, room, granted, _PHONE) == 204
        assert seen_by(site, room, granted, _LAPTOP) == 401
        assert seen_by(site, room, granted, {"User-Agent": ""}) == 401
    assert site.call("GET", status, headers=_LAPTOP | sites.bearer(granted)).status_code == 401
    ticket = site.call("POST", f"/v1/rooms/{room}/enter", headers=_PHONE).json()["ticket"]
    assert site.call("GET", status, headers=_PHONE | sites.bearer(ticket)).json()["rank"] == 1
    assert site.call("GET", status, headers=_LAPTOP | sites.bearer(ticket)).status_code == 401
    entered = site.call("POST", f"/v1/rooms/{room}/enter", headers=_LAPTOP | sites.bearer(ticket))
    assert entered.json()["rank"] == 2


def test_an_offer_given_at_the_gate_is_bound_too(site: Site, new_room: NewRoom) -> None:
    """What the gate hands out and what it makes of an offer is good for the client that asked."""
    room = new_room(bind_user_agent=True)
    offer = site.call("GET", f"/gate/{room}", headers=_PHONE).headers["x-waitroom-pass"]
    claimed = site.call("GET", f"/gate/{room}", headers={"X-Waitroom-Pass": offer} | _PHONE).headers["x-waitroom-pass"]
    site.admin("PATCH", f"/{room}", json={"state": "paused"})
    for granted in (offer, claimed):
        assert seen_by(site, room, granted, _PHONE) == 204
        assert seen_by(site, room, granted, _LAPTOP) == 401


def test_binding_begins_and_ends_without_harm(site: Site, new_room: NewRoom) -> None:
    """Proofs from before a room binds stay good, and bound ones are good for everybody once it has stopped."""
    room = new_room(capacity=1)
    before, ticket = site.pass_of_new(room), site.ticket_of_new(room)
    site.admin("PATCH", f"/{room}", json={"bind_user_agent": True, "sliding": True})
    assert seen_by(site, room, before, _LAPTOP) == 204
    renewed = site.call("GET", f"/v1/rooms/{room}/status", headers=_PHONE | sites.bearer(ticket)).json()["ticket"]
    assert site.call("GET", f"/v1/rooms/{room}/status", headers=_LAPTOP | sites.bearer(renewed)).status_code == 401
    site.admin("PATCH", f"/{room}", json={"bind_user_agent": False})
    answer = site.call("GET", f"/v1/rooms/{room}/status", headers=_LAPTOP | sites.bearer(renewed))
    assert answer.json()["rank"] == 1


# While Redis is down.


@pytest.mark.parametrize("kind", sites.OUTAGES)
def test_while_redis_is_down(cut_site: tuple[Site, Line], kind: str) -> None:
    """`static` and `open` honour passes already given, `closed` does not; only `open` lets in who has none (I24)."""
    site, line = cut_site
    rooms = {mode: site.make_room(when_down=mode, capacity=100) for mode in ("static", "closed", "open")}
    passes = {mode: site.pass_of_new(room) for mode, room in rooms.items()}
    decisions: dict[tuple[str, bool], int] = {}
    with sites.hurried(site), sites.OUTAGES[kind](site, line):
        for mode, room in rooms.items():
            for text in (None, passes[mode]):
                decisions[mode, text is not None] = site.gate(room, text).status_code
    assert decisions == {
        ("static", False): 401,
        ("static", True): 204,
        ("closed", False): 401,
        ("closed", True): 401,
        ("open", False): 204,
        ("open", True): 204,
    }
    for mode, room in rooms.items():
        until(lambda room=room, mode=mode: site.gate(room, passes[mode]).status_code == 204, what="recovery")  # type: ignore[misc]


def test_open_passes_are_few_short_and_counted(cut_site: tuple[Site, Line]) -> None:
    """With `open` passes come at the room's rate, live a minute at most, and each is counted."""
    site, line = cut_site
    room = site.make_room(when_down="open", admit_per_second=0.01, session_seconds=900.0)
    with line.cut("refuse"):
        answers = [site.gate(room) for _ in range(5)]
        given = [answer for answer in answers if answer.status_code == 204]
        assert len(given) == 1
        assert int(set_cookies(given[0])[f"waitroom_pass_{room}"][1]["max-age"]) <= 60
        assert site.gate(room, given[0].headers["x-waitroom-pass"]).status_code == 204
        counted = f'waitroom_open_passes_total{{room="{room}"}} 1.0'
        assert counted in site.call("GET", "/metrics").text


@pytest.mark.parametrize("when_down", ["static", "closed", "open"])
@pytest.mark.parametrize("key", ["config", "active", "wait"])
def test_a_broken_room_lets_nobody_new_in(site: Site, new_room: NewRoom, when_down: str, key: str) -> None:
    """A key of the wrong kind is not an outage: whatever `when_down` says, nobody without a pass goes on (T37)."""
    room = new_room(when_down=when_down)
    name = keys.room_key(room, key)
    site.redis.delete(name)
    site.redis.set(name, "broken")
    try:
        assert site.gate(room).status_code == 401
    finally:
        site.redis.delete(name)


def test_a_full_memory_is_no_outage(cut_site: tuple[Site, Line]) -> None:
    """A Redis that is out of memory is up: `open` lets nobody past the limits, and who is inside goes on (F9)."""
    site, _ = cut_site
    room = site.make_room(when_down="open", capacity=100)
    granted = site.pass_of_new(room)
    site.redis.config_set("maxmemory", 1)
    try:
        assert site.gate(room).status_code == 401
        assert site.gate(room, granted).status_code == 204
    finally:
        site.redis.config_set("maxmemory", 0)
    until(lambda: site.gate(room).status_code == 204, what="recovery")


# Faults of its own.


@pytest.fixture
async def inside_out() -> AsyncIterator[tuple[Instance, httpx.AsyncClient]]:
    """An instance whose parts a test can break, and a client of its application."""
    with sites.own_redis() as (url, _):
        instance = assemble(sites.settings_for(url, rooms={"shop": {"capacity": 10, "when_down": "open"}}))
        await instance.rooms.refresh()
        try:
            transport = httpx.ASGITransport(Application(instance))
            async with httpx.AsyncClient(transport=transport, base_url="http://site") as client:
                yield instance, client
        finally:
            await instance.rooms.close()
            await instance.store.close()


@pytest.mark.parametrize("error", [ValueError, KeyError, TypeError, RuntimeError, MemoryError, AssertionError])
@pytest.mark.parametrize("part", ["passes.verify", "rooms.get", "store._call", "passes.issue"])
async def test_an_unexpected_failure_lets_nobody_in(
    inside_out: tuple[Instance, httpx.AsyncClient],
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    error: type[Exception],
) -> None:
    """Whatever breaks inside, the answer is 401 and nobody goes on, also with `when_down` open (T37)."""
    instance, client = inside_out

    def fail(*_: object, **__: object) -> None:
        raise error("made to fail")

    owner, _, name = part.partition(".")
    monkeypatch.setattr(getattr(instance, owner), name, fail)
    answer = await client.get("/gate/shop", headers={"Cookie": "waitroom_pass_shop=x.y.z"})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


async def test_passes_that_are_over_are_not_remembered(inside_out: tuple[Instance, httpx.AsyncClient]) -> None:
    """Nor are more than so many: what the gate knows by heart does not grow with those who were ever inside."""
    instance, _ = inside_out
    gate, room, office = Gate(instance), instance.rooms.get("shop"), instance.passes
    now = instance.clock.now()

    def verified(at: float) -> None:
        instance.clock.observe(round(at * 1_000_000))
        text = office.issue("shop", Pass(new_visitor(), at + 60), now=at)
        assert gate._verified(room, text) is not None

    for at in (now, now + 61):
        for _ in range(20):
            verified(at)
    assert len(gate._known) == 20


def test_a_deleted_rooms_pass_opens_no_room_of_its_name(site: Site, new_room: Callable[..., str]) -> None:
    """A room made again under an old name owes nothing to the passes of the old one."""
    name = new_room(capacity=1)
    granted = site.pass_of_new(name)
    assert site.gate(name, granted).status_code == 204
    assert site.admin("DELETE", f"/{name}").status_code == 204
    assert site.admin("PUT", f"/{name}", json={"capacity": 1}).status_code == 201
    assert site.gate(name, granted).status_code == 403
