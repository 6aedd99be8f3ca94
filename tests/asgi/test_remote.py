"""What a waitroom server is told and what of its answers goes on, against a stub that notes and says anything."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from rig.origin import Answer, Seen, Stub, answering, ask
from rig.waiting import until
from tests.asgi.apps import Origin, bare_origin, starlette_origin
from tests.asgi.running import PAGE, fetch, told, visiting
from tests.web.sites import PATIENCE_SECONDS, running
from waitroom.asgi import WaitroomGate

pytestmark = pytest.mark.usefixtures("unhurried")

SPOOFS = {
    "X-Original-URI": "/robots.txt",
    "X-Forwarded-For": "127.0.0.1",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
    "Forwarded": "for=127.0.0.1;host=evil.example",
    "X-Real-IP": "127.0.0.1",
    "X-Waitroom-Room": "other",
    "X-HTTP-Method-Override": "DELETE",
    "X-Forwarded-Method": "DELETE",
    "Proxy-Authorization": "Basic eDp4",
    "Connection": "close, Cookie, X-Waitroom-Pass",
    "Keep-Alive": "timeout=5",
    "TE": "trailers",
    "Range": "bytes=0-1",
    "Referer": "http://a/secret",
}

MUST_WAIT = Answer(401)
DOCUMENT = Answer(200, {"Content-Type": "application/json"}, b"{}")


@dataclass
class World:
    """An application whose gate asks a stub; `gate` and `call` are what that answers."""

    gate: Answer = MUST_WAIT
    call: Answer = DOCUMENT
    url: str = ""
    origin: Origin = field(default_factory=bare_origin)
    server: Stub = field(default_factory=lambda: Stub(0, lambda _: Answer(200)))

    @property
    def port(self) -> int:
        """The application's port."""
        return int(self.url.rpartition(":")[2])


@pytest.fixture(scope="module")
def built() -> Iterator[World]:
    """Such an application, of which the room is called shop."""
    world = World()
    with answering(lambda seen: world.gate if seen.path.startswith("/gate/") else world.call) as stub:
        world.server = stub
        with running(WaitroomGate(world.origin.app, room="shop", server=f"http://127.0.0.1:{stub.port}")) as world.url:
            yield world


@pytest.fixture
def world(built: World) -> World:
    """The same, as if nothing had happened yet."""
    built.gate, built.call = MUST_WAIT, DOCUMENT
    built.server.seen.clear()
    built.origin.seen.clear()
    return built


def test_the_gate_is_told_no_claim_of_the_client(world: World) -> None:
    """Beside the proofs the method and what tells a visit; not the address, nor what the client claims (I22, T3)."""
    proofs = {"Cookie": "a=1; b=2", "X-Waitroom-Pass": "abc", "User-Agent": "me", "Sec-Fetch-Mode": "cors"}
    answer = fetch("PUT", f"{world.url}/x?room=other", content=b"x" * 100, headers={**SPOOFS, **proofs})
    assert answer.status_code == 401
    (seen,) = world.server.seen
    assert (seen.method, seen.path, seen.body) == ("GET", "/gate/shop", b"")
    wanted = {name.lower(): value for name, value in proofs.items()}
    wanted |= {"accept": answer.request.headers["accept"], "x-forwarded-method": "PUT"}
    assert dict(seen.headers) == {"host": f"127.0.0.1:{world.server.port}", **wanted}
    assert world.origin.seen == []


async def test_a_header_that_cannot_be_sent_is_left_out(world: World) -> None:
    """Some servers let control characters through; that is no outage, and the other proofs count."""
    gate = WaitroomGate(world.origin.app, room="shop", server=f"http://127.0.0.1:{world.server.port}")
    odd = [(b"cookie", b"a=\x01"), (b"user-agent", b"me\x7f"), (b"cookie", b"b=\xe9 2"), (b"x-waitroom-pass", b" x")]
    assert (await told(gate, headers=odd))[0]["status"] == 401
    assert (await told(gate, path="/v1/rooms/shop", headers=odd))[0]["status"] == 200
    assert [seen.headers.get("cookie") for seen in world.server.seen] == ["b=\xe9 2"] * 2
    assert not {"user-agent", "x-waitroom-pass"} & (world.server.seen[0].headers.keys())


def test_a_call_takes_along_what_a_server_reads_and_nothing_else(world: World) -> None:
    """And keeps its method, path, query and body."""
    kept = {"Cookie": "a=1", "Authorization": "Bearer x", "User-Agent": "me", "Accept": "*/*", "Origin": "http://a"}
    fetch("POST", f"{world.url}/v1/rooms/shop/enter?a=%2F&b=/", content=b"{}", headers={**SPOOFS, **kept})
    (seen,) = world.server.seen
    assert (seen.method, seen.path, seen.body) == ("POST", "/v1/rooms/shop/enter?a=%2F&b=/", b"{}")
    wanted = {name.lower(): value for name, value in kept.items()}
    assert dict(seen.headers) == {"host": f"127.0.0.1:{world.server.port}", "content-length": "2", **wanted}


async def test_an_address_with_odd_bytes_is_told_as_it_was_sent(world: World) -> None:
    """Bytes beyond ASCII percent-encoded; one that is too long is refused."""
    ask(world.port, "/wait/shop?return=/a|b%20c%22'[]{}&%zz")
    gate = WaitroomGate(world.origin.app, room="shop", server=f"http://127.0.0.1:{world.server.port}")
    await told(gate, path="/wait/shop", query_string=b"return=/\xc3\xbf")
    assert world.server.paths() == ["/wait/shop?return=/a|b%20c%22'[]{}&%zz", "/wait/shop?return=/%C3%BF"]
    assert (await told(gate, path="/wait/shop", query_string=b"x" * 70_000))[0]["status"] == 414
    (start, _) = await told(gate, path="/a b\u20ac", query_string=b"\xff", headers=[(b"accept", b"text/html")])
    assert dict(start["headers"])[b"location"] == b"/wait/shop?return=%2Fa%2520b%25E2%2582%25AC%3F%25FF"


def test_of_an_answer_everything_goes_on_but_what_belongs_to_the_connection(world: World) -> None:
    """Cookies, Retry-After and security headers included."""
    hop = {"Connection": "keep-alive", "Keep-Alive": "timeout=5", "Proxy-Authenticate": "x", "Upgrade": "h2c"}
    kept = {"Set-Cookie": "a=1", "Retry-After": "7", "Content-Security-Policy": "x", "ETag": '"1"', "X-Other": "y"}
    world.call = Answer(202, {**hop, **kept, "Content-Type": "text/html"}, b"page")
    answer = fetch("GET", f"{world.url}/wait/shop")
    assert (answer.status_code, answer.text) == (202, "page")
    assert {name: answer.headers[name] for name in kept} == kept
    assert not {"keep-alive", "proxy-authenticate", "upgrade"} & answer.headers.keys()
    assert len(answer.headers.get_list("date")) == len(answer.headers.get_list("server")) == 1


def test_a_large_body_does_not_reach_the_server(world: World) -> None:
    """As behind nginx."""
    answer = fetch("POST", f"{world.url}/v1/rooms/shop/enter", content=b"x" * 17_000)
    assert answer.status_code == answer.json()["status"] == 413
    assert world.server.seen == []


def test_event_streams_are_not_passed_on(world: World) -> None:
    """An answer is relayed whole, and a stream has no end: the page is told to poll, and the server is not asked."""
    answer = fetch("GET", f"{world.url}/v1/rooms/shop/events", headers={"Authorization": "Bearer x"})
    assert answer.status_code == answer.json()["status"] == 503
    assert answer.json()["type"] == "urn:waitroom:poll-instead"
    assert int(answer.headers["retry-after"]) > 0
    assert world.server.seen == []


def test_a_pass_goes_on_with_the_answer_and_past_caches(world: World) -> None:
    """Also with an error of the application's; the pass in the header stays here."""
    cookie = "waitroom_pass_shop=abc; Max-Age=30; Path=/"
    world.gate = Answer(204, {"Set-Cookie": cookie, "X-Waitroom-Pass": "abc"})
    answer = fetch("GET", f"{world.url}/x")
    assert answer.headers["set-cookie"] == cookie
    assert answer.headers["cache-control"] == "private, no-store"
    assert "x-waitroom-pass" not in answer.headers
    inner = starlette_origin()
    with running(WaitroomGate(inner.app, room="shop", server=f"http://127.0.0.1:{world.server.port}")) as url:
        assert fetch("GET", f"{url}/boom").headers["set-cookie"] == cookie


def test_one_visitors_cookies_are_never_another_ones(world: World) -> None:
    """What the server sets for one is not sent for the next."""
    world.gate = Answer(204, {"Set-Cookie": "waitroom_pass_shop=abc; Path=/"})
    world.call = Answer(200, {"Set-Cookie": "waitroom_ticket_shop=abc; Path=/"})
    for path in ("/x", "/v1/rooms/shop/status", "/x", "/v1/rooms/shop/status"):
        fetch("GET", f"{world.url}{path}")
    assert [seen.headers.get("cookie") for seen in world.server.seen] == [None] * 4


def test_calls_that_hang_do_not_hold_up_the_gate() -> None:
    """However many they are: the gate has connections of its own."""
    thaw = threading.Event()

    def answer(seen: Seen) -> Answer:
        if seen.path.startswith("/gate/"):
            return Answer(204)
        thaw.wait(PATIENCE_SECONDS)
        return DOCUMENT

    origin = bare_origin()
    with answering(answer) as stub, ExitStack() as held:
        held.callback(thaw.set)
        gate = WaitroomGate(origin.app, room="shop", server=f"http://127.0.0.1:{stub.port}")
        with running(gate) as url:
            for _ in range(250):
                address = ("127.0.0.1", int(url.rpartition(":")[2]))
                link = held.enter_context(socket.create_connection(address, PATIENCE_SECONDS))
                link.sendall(b"GET /v1/rooms/shop HTTP/1.1\r\nHost: a\r\n\r\n")
            until(lambda: len(stub.seen) >= 200, what="the calls")
            assert fetch("GET", f"{url}/x").status_code == 200
            thaw.set()


@pytest.mark.parametrize("status", [0, 200, 302, 400, 404, 429, 500, 502, 503])
def test_a_gate_that_gives_no_decision_lets_nobody_pass(world: World, status: int) -> None:
    """Only 204 is a yes; a redirect is not followed, an error not repeated."""
    world.gate = Answer(status, {"Location": "/gate/open"} if status == 302 else {})
    with visiting(world.url) as visitor:
        page = visitor.get("/x")
        assert page.status_code == 503
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert 'http-equiv="refresh" content="5"' in page.text
        problem = visitor.post("/x", headers={"Accept": "application/json"})
        assert problem.status_code == problem.json()["status"] == 503
        assert problem.headers["retry-after"] == page.headers["retry-after"] == "5"
        assert problem.headers["cache-control"] == "no-store"
    assert world.server.paths() == ["/gate/shop"] * 2
    assert world.origin.seen == []


@pytest.mark.parametrize("said", ["", "-1", "soon", "99999", "0", "7\t"])
def test_a_retry_after_that_is_none_becomes_the_default(world: World, said: str) -> None:
    """As at nginx."""
    world.gate = Answer(401, {"Retry-After": said})
    assert fetch("GET", f"{world.url}/").headers["retry-after"] == ("7" if said == "7\t" else "5")


@pytest.mark.parametrize(
    ("asked", "back"),
    [
        ("/", "%2F"),
        ("/cart?id=1&next=/a%20b&x=%26", "%2Fcart%3Fid%3D1%26next%3D%2Fa%2520b%26x%3D%2526"),
        ("/%E2%82%AC", "%2F%25E2%2582%25AC"),
        ("//evil.example/", "%2F"),
        ("/\\evil.example/", "%2F"),
        ("/a/../b", "%2F"),
        ("/%0d%0aSet-Cookie:x=1", "%2F"),
        ("/wait/shop/", "%2F"),
        ("/" + "x" * 3000, "%2F"),
    ],
)
def test_a_browser_is_sent_to_the_waiting_page(world: World, asked: str, back: str) -> None:
    """With the address that it asked for, if it is one to come back to."""
    for method in ("GET", "HEAD"):
        answer = ask(world.port, asked, method=method, accept=PAGE["Accept"])
        assert answer.status == 303
        assert answer.headers["location"] == f"/wait/shop?return={back}"
