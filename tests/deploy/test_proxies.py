"""The configurations of deploy/proxies: Caddy and HAProxy for real, in front of a real instance."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from rig import servers
from rig.instance import ADMIN_KEY, Instance, serving
from rig.origin import Answer, answering
from rig.ports import free_port
from rig.raw import MARK, Origin
from rig.waiting import until
from tests.deploy import corpus, proxies
from tests.deploy.proxies import PAGE, Room, World, request_of

#: Ways to write an address, with ours among them.
ADDRESSES = (*corpus.ADDRESSES, b"/forward-auth/x", b"/forward-auth/x/y", b"/v1/../forward-auth/x", b"/wait/..%2flivez")

SPOOFS = {
    "X_Forwarded_Uri": "/v1/x",
    "X_Forwarded_Method": "OPTIONS",
    "X_Forwarded_For": "127.0.0.1",
    "X_Forwarded_Host": "evil.example",
    "X_Forwarded_Proto": "https",
    "X_Forwarded_Prefix": "/wait",
    "X_Original_URI": "/wait/x",
    "X_Original_URL": "/wait/x",
    "X_Original_Method": "OPTIONS",
    "X_Rewrite_URL": "/wait/x",
    "X_HTTP_Method_Override": "OPTIONS",
    "X_Real_IP": "127.0.0.1",
    "Forwarded": "for=127.0.0.1;host=evil.example",
    "X_Waitroom_Room": "other",
    "Authorization": f"Bearer {ADMIN_KEY}",
    "User_Agent": "Googlebot",
    "Range": "bytes=0-1",
}

_numbers = itertools.count(1)

NewWorld = Callable[..., tuple[World, Room]]


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """One real instance."""
    with (
        servers.running() as url,
        serving(tmp_path_factory.mktemp("instance"), rooms={"other": {}}, redis_url=url) as served,
    ):
        yield served


@pytest.fixture(params=("caddy", "haproxy"))
def proxy(request: pytest.FixtureRequest) -> str:
    """Each proxy in turn whose gate does all of this."""
    return str(request.param)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is entered here is left at the end of the test."""
    with ExitStack() as entered:
        yield entered


@pytest.fixture
def new_world(proxy: str, instance: Instance, tmp_path: Path) -> Iterator[NewWorld]:
    """A room with these settings behind the proxy; of its two instances one does not exist."""
    with ExitStack() as stack:

        def make(**settings: object) -> tuple[World, Room]:
            room = stack.enter_context(Room(instance.port, f"room-{next(_numbers)}", **settings))
            ports = (instance.port, free_port())
            return stack.enter_context(proxies.running(proxy, tmp_path, room.name, ports)), room

        yield make


def cookie(world: World, granted: str) -> str:
    """The Cookie header with a pass."""
    return f"a=1; waitroom_pass_{world.room}={granted}; b=2"


# Who goes on.


def test_straight_through_then_claimed_then_bare(new_world: NewWorld) -> None:
    """A free place: no page is seen. The pass's cookie arrives beside the origin's own, past caches, and is claimed."""
    world, room = new_world(capacity=5)
    name = f"waitroom_pass_{room.name}"
    first = world.ask("/cart?x=1", accept=PAGE)
    second = world.ask("/cart", accept=PAGE, cookie=f"{name}={first.cookies()[name]}")
    third = world.ask("/style.css", cookie=f"{name}={second.cookies()[name]}")
    for answer in (first, second):
        assert (answer.status, answer.body, answer.header("x-origin")) == (200, b"shop", "stub")
        assert answer.cookies().keys() == {name, "basket"}
        assert "no-store" in (answer.header("cache-control") or "")
    assert (third.status, third.cookies(), third.header("cache-control")) == (200, {"basket": "1"}, "public")
    assert first.cookies()[name] != second.cookies()[name]
    assert world.origin.paths() == ["/cart?x=1", "/cart", "/style.css"]


def test_who_must_wait_gets_the_page_and_in_the_end_in(new_world: NewWorld) -> None:
    """303, the page, its files, a place in the queue; admitted, claimed at the gate, and back at the address."""
    world, room = new_world(capacity=1)
    room.pass_of_new()
    sent = world.ask("/cart?item=1&size=xl", accept=PAGE, sec_fetch_mode="navigate", sec_fetch_dest="document")
    location = sent.header("location") or ""
    assert (sent.status, urlsplit(location).path) == (303, f"/wait/{room.name}")
    assert parse_qs(urlsplit(location).query) == {"return": ["/cart?item=1&size=xl"]}
    assert sent.header("cache-control") == "no-store"
    page = world.ask(location, accept=PAGE)
    assert page.status == 200
    assert b'data-return="/cart?item=1&amp;size=xl"' in page.body
    style = re.search(rb'href="(/wait/_assets/[^"]+)"', page.body)
    assert style is not None
    assert world.ask(style[1]).status == 200
    ticket = page.cookies()[f"waitroom_ticket_{room.name}"]
    told = world.ask(f"/v1/rooms/{room.name}/status", cookie=f"waitroom_ticket_{room.name}={ticket}")
    assert (told.status, json.loads(told.body)["rank"]) == (200, 1)
    assert world.origin.seen == []
    room.change(capacity=2)
    jar = {f"waitroom_ticket_{room.name}": ticket}

    def admitted() -> bool:
        answer = world.ask(location, accept=PAGE, cookie="; ".join(f"{name}={text}" for name, text in jar.items()))
        jar.update(answer.cookies())
        return answer.status == 303 and answer.header("location") == "/cart?item=1&size=xl"

    until(admitted, "admission")
    inside = world.ask("/cart?item=1&size=xl", accept=PAGE, cookie=f"{_pass_of(jar)}")
    assert (inside.status, inside.body) == (200, b"shop")


def _pass_of(jar: dict[str, str]) -> str:
    return "; ".join(f"{name}={text}" for name, text in jar.items() if "pass" in name)


def test_the_request_reaches_the_origin_whole(new_world: NewWorld) -> None:
    """Method, body, query, headers and cookies; but not the pass's header."""
    world, room = new_world(capacity=1)
    granted = room.pass_of_new()
    body = b"x=1&" * 20_000
    for method in ("POST", "PUT"):
        answer = world.ask("/a%2fb?c=%20", method=method, body=body, x_waitroom_pass=granted, x_own="1", cookie="a=1")
        seen = world.origin.seen[-1]
        assert (answer.status, seen.method, seen.path, seen.body) == (200, method, "/a%2fb?c=%20", body)
        assert (seen.headers["x-own"], seen.headers["cookie"]) == ("1", "a=1")
        assert "x-waitroom-pass" not in seen.headers
        assert seen.headers["x-forwarded-for"] == "127.0.0.1"
    chunked = (
        b"POST /c HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
        b"X-Waitroom-Pass: " + granted.encode() + b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    told = world.ask_raw(chunked)
    assert told is not None
    assert (told.status, world.origin.seen[-1].path) == (200, "/c")
    head = world.ask("/h", method="HEAD", x_waitroom_pass=granted)
    assert (head.status, head.body, world.origin.seen[-1].method) == (200, b"", "HEAD")


def test_an_upgrade_is_the_origins_business(new_world: NewWorld) -> None:
    """A WebSocket's first request is gated like any other and then the origin's."""
    world, room = new_world(capacity=1)
    granted = room.pass_of_new()
    upgrade = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec_websocket_version": "13",
        "sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    assert world.ask("/ws", **upgrade).status == 401
    assert world.origin.seen == []
    assert world.ask("/ws", **upgrade, x_waitroom_pass=granted).body == b"shop"
    assert world.origin.seen[0].headers["upgrade"] == "websocket"


@pytest.mark.parametrize("path", ["/forward-auth", "/gate"])
def test_a_question_about_an_upgrade_is_a_question(instance: Instance, path: str) -> None:
    """A proxy that hands on all headers of a WebSocket's first request gets a decision, not a WebSocket's 403."""
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    with Room(instance.port, f"room-{next(_numbers)}", capacity=1) as room:
        room.pass_of_new()
        answer = httpx.get(f"http://127.0.0.1:{instance.port}{path}/{room.name}", headers=upgrade | key)
        assert answer.status_code == 401


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_the_origins_own_errors_reach_the_visitor_with_the_cookie(new_world: NewWorld, status: int) -> None:
    """Whatever the origin answers is the visitor's, and a pass given at that request too."""
    world, room = new_world(capacity=5)
    world.origin.answer = lambda _: Answer(status, {"X-Origin": "stub"}, b"mine")
    answer = world.ask("/", accept=PAGE)
    assert (answer.status, answer.body) == (status, b"mine")
    assert f"waitroom_pass_{room.name}" in answer.cookies()


def test_proofs_bound_to_a_user_agent(new_world: NewWorld) -> None:
    """The gate is told the client's User-Agent, and none where there is none."""
    world, room = new_world(capacity=5, bind_user_agent=True)
    for agent in ("Laptop/1", ""):
        sent = {"user_agent": agent} if agent else {}
        granted = world.ask("/", **sent).cookies()[f"waitroom_pass_{room.name}"]
        room.change(state="paused")
        until(lambda: world.ask("/", user_agent="Phone/2").status == 401, "the pause")
        assert world.ask("/", cookie=cookie(world, granted), user_agent="Phone/2").status == 401
        assert world.ask("/", cookie=cookie(world, granted), **sent).status == 200
        room.change(state="open")
        until(lambda: world.ask("/", user_agent="Phone/2").status == 200, "the opening")


# Who does not.


def test_other_clients_are_told_where_to_queue(new_world: NewWorld) -> None:
    """401 and the problem document for API clients, scripts and methods that show no page; also with a body."""
    world, room = new_world(capacity=1)
    room.pass_of_new()
    for method, headers in (
        ("GET", {}),
        ("GET", {"accept": "application/json"}),
        ("GET", {"accept": PAGE, "sec_fetch_mode": "cors", "sec_fetch_dest": "empty"}),
        ("GET", {"accept": PAGE, "x_requested_with": "XMLHttpRequest"}),
        ("POST", {"accept": "application/json"}),
        ("PUT", {"accept": PAGE}),
        ("DELETE", {"accept": PAGE}),
        ("OPTIONS", {"accept": PAGE}),
    ):
        answer = world.ask("/cart", method=method, body=b"x" * 50_000 if method in ("POST", "PUT") else b"", **headers)
        assert answer.status == 401
        assert answer.header("content-type") == "application/problem+json"
        assert int(answer.header("retry-after") or 0) > 0
        assert answer.header("cache-control") == "no-store"
        assert json.loads(answer.body)["enter"] == f"/v1/rooms/{room.name}/enter"
    assert world.ask("/cart", method="HEAD", accept=PAGE).status == 303
    entered = world.ask(f"/v1/rooms/{room.name}/enter", method="POST")
    assert (entered.status, json.loads(entered.body)["rank"]) == (202, 1)
    assert world.origin.seen == []


def test_revoked_and_closed(new_world: NewWorld) -> None:
    """A withdrawn pass opens nothing within two seconds, nor does a closed room: 403, or the page that tells why."""
    world, room = new_world(capacity=1)
    granted = room.pass_of_new()
    held = cookie(world, granted)
    assert world.ask("/", cookie=held).status == 200
    room.leave(granted)
    until(lambda: world.ask("/", cookie=held).status == 403, "revocation")
    room.change(state="closed")
    until(lambda: world.ask("/").status == 403, "the closing")
    world.origin.seen.clear()
    for brought in (held, "a=1"):
        problem, page = world.ask("/", cookie=brought), world.ask("/", cookie=brought, accept=PAGE)
        assert (problem.status, page.status) == (403, 303)
        assert problem.header("content-type") == "application/problem+json"
        assert (page.header("location") or "").startswith(f"/wait/{room.name}?")
    assert world.origin.seen == []


def test_a_room_that_does_not_exist_lets_nobody_through(proxy: str, instance: Instance, tmp_path: Path) -> None:
    """A slip in the configuration opens nothing."""
    with proxies.running(proxy, tmp_path, "nowhere", (instance.port, free_port())) as world:
        assert [world.ask("/", accept=accept).status for accept in ("*/*", PAGE)] == [403, 303]
        assert world.origin.seen == []


def test_nothing_that_a_client_says_opens_the_gate(new_world: NewWorld) -> None:
    """Spoofed headers, in any spelling, one by one and together, and hidden as hop-by-hop (T3)."""
    world, room = new_world(capacity=1)
    granted = room.pass_of_new()
    for name, value in SPOOFS.items():
        for spelt in (name, name.lower().replace("_", "."), name.upper()):
            assert world.ask("/x", **{spelt: value}).status == 401
    assert world.ask("/x", **SPOOFS).status == 401
    sent = world.ask("/x", accept=PAGE, **{name: value for name, value in SPOOFS.items() if "Method" not in name})
    assert (sent.status, sent.header("location")) == (303, f"/wait/{room.name}?return=%2Fx")
    assert world.ask("/x", accept=PAGE, X_Forwarded_Method="POST").status == 303
    for other in ("a.b.c", ""):
        assert world.ask("/x", cookie=f"waitroom_pass_{room.name}={other}", **SPOOFS).status == 401
    assert world.origin.seen == []
    hidden = "close, Cookie, X-Waitroom-Pass, X-Forwarded-Uri"
    assert world.ask("/x", cookie=cookie(world, granted), connection=hidden).status in (200, 401)
    assert world.ask("/x", connection=hidden).status == 401


async def test_nothing_in_the_corpus_reaches_the_origin(
    proxy: str, instance: Instance, stack: ExitStack, tmp_path: Path
) -> None:
    """The whole corpus without a pass, addresses, headers, smuggling: the count of ungated requests is zero (I23)."""
    room = stack.enter_context(Room(instance.port, "shop", capacity=1, session_seconds=3600.0))
    granted = room.pass_of_new()
    async with Origin() as origin:
        instances = (instance.port, instance.port)
        with proxies.running(proxy, tmp_path, "shop", instances, origin=origin.port) as world:
            said = await corpus.send_all(world.port, corpus.everything())
            assert (origin.targets, [answer for answer in said if MARK in answer]) == ([], [])
            passing = [corpus.one(at, headers=b"X-Waitroom-Pass: %s\r\n" % granted.encode()) for at in corpus.HARMLESS]
            said = await corpus.send_all(world.port, passing)
            assert sum(MARK in answer for answer in said) == len(corpus.HARMLESS)
            assert (sorted(origin.targets), origin.ambiguous) == (sorted(corpus.HARMLESS), [])


def test_no_way_to_write_a_path_reaches_an_instances_other_calls(new_world: NewWorld) -> None:
    """With a pass and even the operators' key: /admin and the like are the origin's paths."""
    world, room = new_world(capacity=1)
    headers = {"x_waitroom_pass": room.pass_of_new(), "authorization": f"Bearer {ADMIN_KEY}"}
    world.origin.answer = lambda _: Answer(200, {"X-Origin": "stub"})
    reached = 0
    for path in ADDRESSES:
        for method in ("GET", "POST"):
            told = world.ask_raw(request_of(path, method=method, **headers))
            if told is None:
                continue
            reached += told.header("x-origin") == "stub"
            for inside in (b"admit_per_second", b"waitroom_gate_total", b'"openapi"', b'"rooms"', b'"alive"'):
                assert inside not in told.body or path.startswith(b"/v1/rooms/"), path
    assert reached == len(world.origin.seen) > len(ADDRESSES)


def test_without_an_instance_nobody_goes_on(proxy: str, tmp_path: Path) -> None:
    """All instances dead: 5xx for everybody, for the room's own addresses too (F28)."""
    with proxies.running(proxy, tmp_path, "shop", (free_port(), free_port())) as world:
        for path in ("/", "/wait/shop", "/v1/rooms/shop/enter"):
            for accept in (PAGE, "*/*"):
                answer = world.ask(path, accept=accept, cookie="waitroom_pass_shop=canary", x_waitroom_pass="canary")
                assert answer.status in (502, 503, 504)
        assert world.origin.seen == []
    assert "canary" not in world.proxy.said(), "a proof in a log is a proof lost (I31)"


def test_while_the_instance_hangs_nobody_goes_on(new_world: NewWorld, instance: Instance) -> None:
    """A frozen instance takes connections and says nothing: 5xx, also for who has a pass; afterwards all is well."""
    world, room = new_world(capacity=1)
    held = cookie(world, room.pass_of_new())
    assert world.ask("/", cookie=held).status == 200
    world.origin.seen.clear()
    instance.freeze()
    try:
        for headers in ({"cookie": held}, {"accept": PAGE}):
            assert world.ask("/", **headers).status in (502, 503, 504)
        assert world.origin.seen == []
    finally:
        instance.thaw()
    until(lambda: world.ask("/", cookie=held).status == 200, "recovery")


@pytest.mark.parametrize("status", [0, 100, 201, 204, 206, 301, 302, 304, 400, 404, 407, 429, 500, 502, 503])
def test_an_answer_that_is_no_decision_lets_nobody_pass(
    proxy: str, stack: ExitStack, tmp_path: Path, status: int
) -> None:
    """Only 200 is a yes, whatever an instance that is none, or has gone mad, may say (T37)."""
    mad = stack.enter_context(answering(lambda _: Answer(status, {"Location": "/"})))
    world = stack.enter_context(proxies.running(proxy, tmp_path, "shop", (mad.port, mad.port)))
    world.ask_raw(request_of("/", accept=PAGE))
    assert world.origin.seen == []
    assert "/forward-auth/shop" in mad.paths()


def test_the_gate_is_told_what_it_needs(proxy: str, stack: ExitStack, tmp_path: Path) -> None:
    """GET without a body, the proofs, and the visitor's own method and address, whatever the client claims."""
    gate = stack.enter_context(answering(lambda _: Answer(401)))
    world = stack.enter_context(proxies.running(proxy, tmp_path, "shop", (gate.port, gate.port)))
    proofs = {"cookie": "a=1; b=2", "x_waitroom_pass": "abc"}
    world.ask("/x?y=%2F", method="POST", body=b"z" * 1000, accept=PAGE, **proofs, **SPOOFS)
    (seen,) = (request for request in gate.seen if request.path != "/livez")
    assert (seen.method, seen.path, seen.body) == ("GET", "/forward-auth/shop", b"")
    assert (seen.headers["x-forwarded-method"], seen.headers["x-forwarded-uri"]) == ("POST", "/x?y=%2F")
    assert (seen.headers["cookie"], seen.headers["x-waitroom-pass"]) == ("a=1; b=2", "abc")
    assert (seen.headers["accept"], seen.headers["user-agent"]) == (PAGE, "Googlebot")
    assert world.origin.seen == []


# Variations that the pages tell of.


@pytest.mark.parametrize(
    "mistake",
    ['error("x")', "local x = nil; x()", "do return end", "txn:set_var('txn.waitroom_go_on', false)"],
)
def test_a_lua_action_that_fails_lets_nobody_through(stack: ExitStack, tmp_path: Path, mistake: str) -> None:
    """HAProxy goes on with the request after an error in Lua: the rule behind the action is what refuses (T37)."""

    def edit(text: str) -> str:
        return text.replace("  local answer = core.httpclient", f"  {mistake}\n  local answer = core.httpclient")

    instances = (free_port(), free_port())
    world = stack.enter_context(proxies.running("haproxy", tmp_path, "shop", instances, edit=edit))
    for accept in (PAGE, "*/*"):
        assert world.ask("/", accept=accept).status == 503
    assert world.origin.seen == []
