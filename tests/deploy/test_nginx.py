"""The shipped nginx configuration, run by real nginx in front of stubs."""

from __future__ import annotations

import json
import posixpath
import socket
import threading
import time
from pathlib import Path
from urllib.parse import unquote

import pytest

from rig.edits import replaced
from rig.nginx import added, write
from rig.origin import Answer, Seen, ask
from rig.ports import free_port
from rig.waiting import until
from tests.deploy.worlds import PAGE, Builder, World, accepted
from waitroom.demo import nginx
from waitroom.web.visits import HEADERS

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


_RETURNS = {
    "/": "/",
    "/cart?id=1&next=/a%20b&x=%26": "/cart?id=1&next=/a%20b&x=%26",
    "/a/%2e%2e/b": "/a/%2e%2e/b",
    "/%0d%0aSet-Cookie:x=1": "/%0d%0aSet-Cookie:x=1",
    "/%E2%82%AC": "/%E2%82%AC",
    "//evil.example/": "/",
    "/\\evil.example/": "/",
    "http://evil.example/x": "/x",
    "/" + "x" * 2001: "/" + "x" * 2001,
    "/" + "x" * 2002: "/",
}


def test_a_browser_is_sent_to_the_waiting_page(world: World) -> None:
    for asked, location in _RETURNS.items():
        for method in ("GET", "HEAD"):
            answer = ask(world.port, asked, method=method, accept=PAGE, host="evil.example")
            assert answer.status == 303
            assert answer.headers["location"] == f"/wait/shop?return={location}"
            assert answer.headers["cache-control"] == "no-store"
            assert "set-cookie" not in answer.headers
    assert world.origin.seen == []


def test_a_raw_byte_beyond_ascii_does_not_get_into_the_location(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.port), timeout=30) as link:
        link.sendall(b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: link.recv(4096), b""))
    assert b"\r\nLocation: /wait/shop?return=/\r\n" in answer


_CALLERS = (
    ("GET", "/", "application/json"),
    ("GET", "/", "*/*"),
    ("GET", "/style.css", "text/css,*/*;q=0.1"),
    ("GET", "/page.html", "application/json"),
    ("POST", "/checkout", "application/json"),
    ("PUT", "/checkout", PAGE),
    ("OPTIONS", "/", PAGE),
)


def test_other_clients_get_401_and_are_told_where_to_queue(world: World) -> None:
    world.gate = Answer(401, {"Retry-After": "7"})
    for method, path, accept in _CALLERS:
        answer = ask(world.port, path, method=method, accept=accept, body=b"x" if method != "GET" else b"")
        document = json.loads(answer.body)
        assert answer.status == document["status"] == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["retry-after"] == "7"
        assert answer.headers["cache-control"] == "no-store"
        assert document["enter"] == "/v1/rooms/shop/enter"
    assert world.origin.seen == []


_PAGES = (
    PAGE,
    "text/html",
    "text/html, application/json;q=0.9",
    "application/json;q=0.5, text/html",
    "application/xml;q=0.9, text/html; charset=utf-8, application/problem+json ; q=0.1",
    "text/html;q=0.8, */*;q=0.1",
    "text/html;q=0.8, application/json;q=0",
    "TEXT/HTML;level=1",
    "text/html;q=1.0",
)
_DOCUMENTS = (
    "",
    "*/*",
    "text/*",
    "text/plain, */*;q=0.8",
    "application/json",
    "application/json, text/html;q=0.5",
    "text/html;q=0.5, application/json",
    "application/json, text/html",
    "text/html, application/problem+json",
    "text/html;q=0.8, application/json;q=0.8",
    "text/html;q=0",
    "text/html;q=0.000, */*",
    "text/html ; q=0 , text/plain",
    "application/xhtml+xml",
)


def test_what_a_client_accepts_chooses_between_page_and_document(world: World) -> None:
    assert [accept for accept in _PAGES if ask(world.port, "/", accept=accept).status != 303] == []
    assert [accept for accept in _DOCUMENTS if ask(world.port, "/", accept=accept).status != 401] == []
    assert world.origin.seen == []


_SAID_BY_BROWSERS: tuple[tuple[int, dict[str, str]], ...] = (
    (303, {"sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}),
    (303, {"sec_fetch_mode": "navigate"}),
    (303, {"x_requested_with": "org.example.browser"}),  # what Android's WebView sends
    (401, {"sec_fetch_mode": "cors", "sec_fetch_dest": "empty"}),
    (401, {"sec_fetch_mode": "same-origin"}),
    (401, {"sec_fetch_mode": "no-cors", "sec_fetch_dest": "image"}),
    (401, {"sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"}),
    (401, {"sec_fetch_mode": "websocket"}),
    (401, {"x_requested_with": "XMLHttpRequest"}),
    (401, {"sec_purpose": "prefetch"}),
)


def test_a_script_that_accepts_html_is_not_redirected(world: World) -> None:
    for status, headers in _SAID_BY_BROWSERS:
        assert ask(world.port, "/", body=b"", source="127.0.0.1", accept=PAGE, **headers).status == status
    assert world.origin.seen == []


def test_a_retry_after_that_is_none_becomes_the_default(world: World) -> None:
    for told in ("", "-1", "soon", "99999", "0", "5\t6"):
        world.gate = Answer(401, {"Retry-After": told})
        assert ask(world.port, "/").headers["retry-after"] == "5"


def test_403_says_so_to_callers_and_browsers_that_post_and_the_waiting_page_to_visits(world: World) -> None:
    world.gate = Answer(403)
    problem, page = ask(world.port, "/x.css"), ask(world.port, "/x.css", method="POST", accept=PAGE)
    assert problem.status == page.status == 403
    assert problem.headers["content-type"] == "application/problem+json"
    assert json.loads(problem.body)["detail"] == "The room is closed, or this pass was withdrawn."
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert b'href="/wait/shop"' in page.body
    visit = ask(world.port, "/x.css?a=1", accept=PAGE)
    assert (visit.status, visit.headers["location"]) == (303, "/wait/shop?return=/x.css?a=1")
    assert world.origin.seen == []


#: A gated location with a "no" of another module, and the answer that this module makes. `PASSWORDS` is a file.
_OTHER_NOS: dict[str, tuple[int, str]] = {
    'auth_basic "staging"; auth_basic_user_file PASSWORDS;': (401, "staging"),
    "deny all;": (403, "403 Forbidden"),
    "return 401;": (401, "401 Authorization Required"),
    "return 403;": (403, "403 Forbidden"),
    "limit_req zone=slow; limit_req_status 401;": (401, "401 Authorization Required"),
    "limit_req zone=slow; limit_req_status 403;": (403, "403 Forbidden"),
    "limit_req zone=slow; limit_req_status 503;": (503, "503 Service Temporarily Unavailable"),
}


def test_a_no_of_another_module_is_not_taken_for_the_gates(build: Builder, tmp_path: Path) -> None:
    """To browsers and callers alike, whatever the gate would say, also where error pages lead to others."""
    passwords = tmp_path / "passwords"
    passwords.write_text("me:{PLAIN}secret\n")
    locations = "".join(
        f"location = /{number} {{ {more.replace('PASSWORDS', str(passwords))} proxy_pass http://shop_origin; }}\n"
        for number, more in enumerate(_OTHER_NOS)
    )
    zone = "limit_req_zone $binary_remote_addr zone=slow:1m rate=1r/m;\n"
    for recursive in ("off", "on"):
        world = build(
            added(f"recursive_error_pages {recursive};\n{locations}"),
            replaced("include waitroom-http.conf;", f"{zone}include waitroom-http.conf;"),
        )
        for number, (more, (status, told)) in enumerate(_OTHER_NOS.items()):
            if "limit_req" in more:
                ask(world.port, f"/{number}")  # the one that the limit lets through
                world.origin.seen.clear()
            for gate in (401, 403, 204):
                world.gate = Answer(gate)
                for accept in (PAGE, "application/json"):
                    answer = ask(world.port, f"/{number}", accept=accept)
                    assert (answer.status, answer.headers["content-type"]) == (status, "text/html"), more
                    said = f"{answer.body.decode()} {answer.headers.get('www-authenticate')}"
                    assert told in said, more
                    assert "location" not in answer.headers
        assert world.origin.seen == []


def test_behind_a_password_the_gate_has_its_say(build: Builder, tmp_path: Path) -> None:
    (tmp_path / "passwords").write_text("me:{PLAIN}secret\n")
    world = build(added(f'auth_basic "staging"; auth_basic_user_file {tmp_path / "passwords"};'))
    known = {"authorization": "Basic bWU6c2VjcmV0"}
    assert ask(world.port, "/", accept=PAGE).headers["www-authenticate"] == 'Basic realm="staging"'
    assert ask(world.port, "/wait/shop", accept=PAGE).headers["www-authenticate"] == 'Basic realm="staging"'
    assert world.asked() == []
    assert ask(world.port, "/x", accept=PAGE, **known).headers["location"] == "/wait/shop?return=/x"  # type: ignore[arg-type]
    world.gate = Answer(204)
    assert ask(world.port, "/", accept=PAGE, **known).body == b"shop"  # type: ignore[arg-type]


def test_an_origins_no_that_nginx_words_is_the_origins(build: Builder) -> None:
    world = build(added("proxy_intercept_errors on;"))
    world.gate = Answer(204)
    for status in (401, 403, 500):
        world.origin.answer = lambda _, status=status: Answer(status, {"WWW-Authenticate": "Basic realm=x"}, b"mine")  # type: ignore[misc]
        for accept in (PAGE, "application/json"):
            answer = ask(world.port, "/", accept=accept)
            assert (answer.status, answer.headers["content-type"]) == (status, "text/html")
            assert answer.headers.get("www-authenticate") == ("Basic realm=x" if status == 401 else None)
            assert b"waiting" not in answer.body


def _assert_unavailable(world: World) -> None:
    problem, page = ask(world.port, "/x.html"), ask(world.port, "/x.css", accept=PAGE)
    assert problem.status == page.status == 503
    assert problem.headers["content-type"] == "application/problem+json"
    assert json.loads(problem.body)["status"] == 503
    assert problem.headers["retry-after"] == page.headers["retry-after"] == "5"
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert b'http-equiv="refresh"' in page.body
    assert world.origin.seen == []


_NO_DECISIONS = (
    Answer(200, {}, b"It works!"),
    Answer(200, {"Set-Cookie": "a=b", "X-Waitroom-Pass": "x"}),
    Answer(200, {"X-Accel-Redirect": "/open"}),
    Answer(201),
    Answer(206, {}, b"part"),
    Answer(302, {"Location": "/"}),
    *(Answer(status) for status in (400, 404, 405, 429)),
)


def test_a_gate_that_gives_no_decision_lets_nobody_pass(build: Builder) -> None:
    world = build(added("location = /open { auth_request off; return 204; }"))
    for answer in _NO_DECISIONS:
        world.gate = answer
        _assert_unavailable(world)
    assert len(world.asked()) == 2 * len(_NO_DECISIONS)


@pytest.mark.parametrize("status", [0, 500, 502, 503, 504])
def test_a_gate_that_fails_lets_nobody_pass(world: World, status: int) -> None:
    world.gate = Answer(status)
    _assert_unavailable(world)


def test_a_gate_that_does_not_answer_lets_nobody_pass(build: Builder) -> None:
    world = build()
    released = threading.Event()

    def never(_request: Seen) -> Answer:
        released.wait(30)
        return Answer(204)

    for instance in world.instances:
        instance.answer = never
    try:
        assert ask(world.port, "/").status == 503
        assert world.origin.seen == []
    finally:
        released.set()


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
    _assert_unavailable(build(added(more), alive=(False, False)))


def test_with_one_instance_gone_everything_goes_on(build: Builder) -> None:
    world = build(alive=(False, True))
    world.gate = Answer(204)
    for _ in range(6):
        assert ask(world.port, "/").headers["x-origin"] == "stub"
        assert ask(world.port, "/v1/rooms/shop/enter", method="POST").status == 200


@pytest.mark.parametrize("alive", [(True, False, False, True), (False, True, False, False)])
def test_with_several_instances_gone_at_once_everything_goes_on(build: Builder, alive: tuple[bool, ...]) -> None:
    world = build(alive=alive)
    world.gate = Answer(204)
    for _ in range(12):
        assert ask(world.port, "/").headers["x-origin"] == "stub"
        assert ask(world.port, "/v1/rooms/shop/enter", method="POST").status == 200
        assert ask(world.port, "/wait/shop", accept=PAGE).status == 200


def test_while_an_instance_is_busy_the_others_get_the_requests(world: World) -> None:
    busy, other = world.instances
    reached, released = threading.Event(), threading.Event()

    def slow(_request: Seen) -> Answer:
        reached.set()
        released.wait(30)
        return Answer(200)

    busy.answer = slow
    askers: list[threading.Thread] = []
    try:
        while not reached.is_set() and len(askers) < 20:  # until one has come to the first instance
            askers.append(threading.Thread(target=ask, args=(world.port, "/v1/rooms/shop/status")))
            askers[-1].start()
            reached.wait(0.2)
        assert reached.is_set()
        for _ in range(10):
            ask(world.port, "/v1/rooms/shop/status")
        assert len(busy.seen) == 1
        assert len(other.seen) >= 10
    finally:
        released.set()
        for asker in askers:
            asker.join()


def test_an_instance_whose_gate_fails_is_passed_over(build: Builder) -> None:
    world = build()
    world.gate = Answer(204)
    world.instances[0].answer = lambda _: Answer(500)
    for _ in range(6):
        assert ask(world.port, "/").headers["x-origin"] == "stub"


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


def test_the_gate_is_told_no_claim_of_the_client(world: World) -> None:
    ask(world.port, "/x?room=other", method="POST", body=b"x" * 100, cookie="a=1; b=2", x_waitroom_pass="abc", **SPOOFS)
    (seen,) = world.asked()
    assert (seen.method, seen.path, seen.body) == ("GET", "/gate/shop", b"")
    assert dict(seen.headers) == {
        "host": "waitroom",
        "cookie": "a=1; b=2",
        "x-waitroom-pass": "abc",
        "user-agent": "Googlebot",
        "x-forwarded-method": "POST",
    }
    assert world.origin.seen == []


def test_the_gate_is_told_what_tells_a_visit(world: World) -> None:
    told = {name: f"the {name}" for name in HEADERS}
    ask(world.port, "/x", body=b"", source="127.0.0.1", x_forwarded_method="DELETE", **told)
    (seen,) = world.asked()
    assert {name: seen.headers[name] for name in HEADERS} == told
    assert seen.headers["x-forwarded-method"] == "GET"


def test_a_header_named_as_hop_by_hop_does_not_hide_anything(world: World) -> None:
    ask(world.port, "/", cookie="a=1", connection="close, Cookie, X-Waitroom-Pass", x_waitroom_pass="abc")
    assert world.asked()[0].headers["cookie"] == "a=1"
    assert world.origin.seen == []


def test_what_clients_claim_about_themselves_does_not_reach_an_instance(world: World) -> None:
    ask(world.port, "/v1/rooms/shop/enter", method="POST", body=b"{}", cookie="a=1", **SPOOFS)
    (seen,) = world.asked()
    assert seen.path == "/v1/rooms/shop/enter"
    assert seen.headers["x-forwarded-for"] == "127.0.0.1"
    assert seen.headers["x-forwarded-host"] == f"127.0.0.1:{world.port}"
    assert seen.headers["x-forwarded-proto"] == "http"
    assert seen.headers["cookie"] == "a=1"
    assert not {"forwarded", "x-real-ip", "x-original-uri", "x-rewrite-url", "x-http-method-override"} & set(
        seen.headers
    )


def test_what_clients_claim_about_themselves_does_not_reach_the_origin(world: World) -> None:
    world.gate = Answer(204)
    more = {"x_forwarded_prefix": "/p", "x_forwarded_port": "1", "proxy": "http://evil.example", "upgrade": "h2c"}
    more |= {"cookie": "a=1", "connection": "Upgrade, HTTP2-Settings", "x_waitroom_pass": "abc"}
    ask(world.port, "/x", method="GET", body=b"", source="127.0.0.1", **SPOOFS, **more)
    (seen,) = world.origin.seen
    told = {name: seen.headers.get(name) for name in ("x-forwarded-for", "x-forwarded-host", "x-real-ip", "host")}
    assert told == {"x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1"} | dict.fromkeys(
        ("x-forwarded-host", "host"), f"127.0.0.1:{world.port}"
    )
    assert seen.headers["x-forwarded-proto"] == "http"
    assert seen.headers["authorization"] == "Bearer abc"
    hidden = "forwarded x-original-uri x-original-url x-rewrite-url x-forwarded-uri x-forwarded-prefix x-forwarded-port"
    hidden += " proxy upgrade connection x-waitroom-pass"
    assert set(hidden.split()) & set(seen.headers) == set()


def test_websockets_are_passed_on_and_no_other_protocol(world: World) -> None:
    world.gate = Answer(204)
    for wanted, passed in (
        ("websocket", "websocket"),
        ("WebSocket", "websocket"),
        ("h2c", None),
        ("h2c, websocket", None),
    ):
        ask(world.port, "/", connection="Upgrade", upgrade=wanted)
        seen = world.origin.seen[-1]
        assert (seen.headers.get("upgrade"), seen.headers.get("connection")) == (passed, passed and "upgrade")


def test_a_body_larger_than_the_servers_limit_gets_through_a_location_that_takes_it(build: Builder) -> None:
    world = build(replaced("    location / {", "    location / {\n        client_max_body_size 5m;"))
    assert ask(world.port, "/upload", method="POST", body=b"x" * 3_000_000).status == 401
    world.gate = Answer(204)
    assert ask(world.port, "/upload", method="POST", body=b"x" * 3_000_000).status == 200
    assert len(world.origin.seen[-1].body) == 3_000_000


def test_an_answer_that_nginx_keeps_is_shown_to_nobody_without_a_pass(build: Builder) -> None:
    keeping = "proxy_cache waitroom_public; proxy_cache_valid 200 1h; proxy_cache_key $uri;"
    world = build(replaced("    location / {", f"    location / {{\n        {keeping}"))
    world.gate = Answer(204)
    for _ in range(2):
        assert ask(world.port, "/x").body == b"shop"
    assert len(world.origin.seen) == 1  # it is kept
    world.gate = Answer(401)
    assert ask(world.port, "/x").status == 401
    assert ask(world.port, "/x", accept=PAGE).status == 303
    world.gate = Answer(204)
    assert ask(world.port, "/x").body == b"shop"
    assert len(world.origin.seen) == 1


def test_an_exempt_address_needs_no_pass_and_passes_on_nothing_but_itself(build: Builder) -> None:
    exemption = "location = /robots.txt { include waitroom-exempt.conf; proxy_pass http://shop_origin/robots.txt; }"
    world = build(added(exemption), alive=(False, False))
    for path in ("/robots.txt", "/robots.txt?path=/shop", "/shop/%2e%2e/robots.txt", "//robots.txt"):
        answer = ask(world.port, path, x_original_url="/shop", x_http_method_override="DELETE", x_waitroom_pass="abc")
        assert answer.body == b"shop"
    assert {(seen.method, seen.path) for seen in world.origin.seen} == {("GET", "/robots.txt")}
    assert not {"x-original-url", "x-http-method-override", "x-waitroom-pass"} & set(world.origin.seen[0].headers)
    world.origin.seen.clear()
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(world.port, "/robots.txt", method=method, body=b"a=1").status == 403
    assert world.origin.seen == []


def test_whoever_asks_for_another_name_gets_no_answer(build: Builder) -> None:
    world = build(replaced("server_name shop.example.com;", "server_name www.shop.example.com;"))
    world.gate = Answer(204)
    assert ask(world.port, "/", host="www.shop.example.com").body == b"shop"
    world.origin.seen.clear()
    for host in ("evil.example", "127.0.0.1", "shop.example.com", "www.shop.example.com.evil.example", ""):
        assert talk(world.port, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()) in (b"", BAD_REQUEST)
    assert talk(world.port, b"GET http://evil.example/ HTTP/1.1\r\nHost: www.shop.example.com\r\n\r\n") == b""
    assert talk(world.port, b"GET / HTTP/1.0\r\n\r\n") == b""
    assert world.origin.seen == []


BAD_REQUEST = b"400"


def talk(port: int, data: bytes) -> bytes:
    """All that is answered until the connection ends; just the status of a 400."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as link:
        link.sendall(data)
        said = b"".join(iter(lambda: link.recv(4096), b""))
    return BAD_REQUEST if said.startswith(b"HTTP/1.1 400 ") else said


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ",
        b"POST /shop HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\ncut",
        b"POST /v1/rooms/shop/enter HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\ncut",
    ],
    ids=["header", "body for the origin", "body for an instance"],
)
def test_a_client_that_does_not_go_on_is_let_go_of(build: Builder, beginning: bytes) -> None:
    def sooner(example: str) -> str:
        assert example.count("_timeout 10s;") == 2
        return example.replace("_timeout 10s;", "_timeout 1s;")

    world = build(sooner)
    world.gate = Answer(204)
    said = talk(world.port, beginning)
    assert said.startswith(b"HTTP/1.1 408") or said == b""
    assert world.origin.seen == []
    assert {request.path for request in world.asked()} <= {"/gate/shop"}


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
    began = time.time()
    for number in range(30):
        answer = ask(world.port, f"/v1/rooms/shop?{number}", cookie="a=1", authorization="Bearer x")
        assert answer.headers["x-from"] == "waitroom"
    seconds = int(time.time()) - int(began) + 1  # as the clock shows them
    assert len(world.asked()) <= seconds
    assert not {"cookie", "authorization"} & set(world.asked()[0].headers)


def test_the_public_document_is_renewed_in_each_second(world: World) -> None:
    """Asked all the time, nginx fetches it in one second of the clock and again in the next, not in every other."""
    for instance in world.instances:
        instance.answer = lambda _: Answer(200, {"X-Made": str(int(time.time()))}, b"{}")
    seconds: set[int] = set()

    def three_in_a_row() -> bool:
        seconds.add(int(ask(world.port, "/v1/rooms/shop").headers["x-made"]))
        return any(seconds >= {second, second + 1, second + 2} for second in seconds)

    until(three_in_a_row, "three seconds in a row", seconds=20)


def test_the_pages_files_are_fetched_once_a_second_and_without_proofs(world: World) -> None:
    for instance in world.instances:
        instance.answer = lambda _: Answer(200, {"Cache-Control": "public, max-age=31536000, immutable"}, b"css")
    began = time.monotonic()
    for number in range(30):
        answer = ask(world.port, f"/wait/_assets/wait.css?v={number}", cookie="a=1", authorization="Bearer x")
        assert (answer.body, answer.headers["cache-control"]) == (b"css", "public, max-age=31536000, immutable")
    assert len(world.asked()) <= 1 + (time.monotonic() - began) / 1.0
    assert not {"cookie", "authorization"} & set(world.asked()[0].headers)


def test_personal_answers_are_never_cached(world: World) -> None:
    for path in 3 * ("/v1/rooms/shop/status", "/"):
        before = len(world.asked())
        ask(world.port, path)
        assert len(world.asked()) > before


def test_a_location_added_later_is_gated_without_being_told(build: Builder) -> None:
    world = build(
        added(
            "location /later { proxy_pass http://shop_origin; } location ~ \\.css$ { proxy_pass http://shop_origin; }"
        )
    )
    for path in ("/later", "/later/x.css", "/x.css", "/v1/x.css", "/wait/x.css"):
        ask(world.port, path)
    assert world.origin.seen == []
    assert ask(world.port, "/later", accept=PAGE).status == 303
    world.gate = Answer(204, {"Set-Cookie": "waitroom_pass_shop=abc"})
    assert ask(world.port, "/later").headers["set-cookie"] == "waitroom_pass_shop=abc"


def test_a_request_upgraded_to_satisfy_any_is_refused_by_nginx(binary: Path, tmp_path: Path) -> None:
    """A password or an address list beside the gate must not replace it; at server level that is not accepted."""
    site = nginx.Site(port=free_port(), room="shop", instances=(free_port(),), origin=free_port())
    main = write(tmp_path, site, added("    satisfy any;"))
    with pytest.raises(AssertionError, match='"satisfy" directive is duplicate'):
        accepted(main, binary)
