"""The variants of the site that the pages describe, each run by real nginx. `one-path` and `several-rooms` have the
whole corpus in test_nginx_corpus.py."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rig.edits import replaced
from rig.instance import serving
from rig.machine import missing
from rig.nginx import Nginx, believed, variant
from rig.origin import Answer, Seen, ask
from rig.ports import free_port
from tests.deploy.project import DOCS
from tests.deploy.worlds import PAGE, Builder
from waitroom.demo.crowd import can_send_from
from waitroom.demo.nginx import configuration_folder


def test_each_variant_is_under_test() -> None:
    here = "".join(path.read_text() for path in Path(__file__).parent.glob("test_nginx_*.py"))
    shipped = {path.stem for path in (configuration_folder() / "variants").glob("*.conf")}
    assert {name for name in shipped if f'variant("{name}")' not in here} == set()


def test_of_several_sites_each_has_its_room_and_its_origin(build: Builder) -> None:
    """Also for who names one site in the request line and the other as Host."""
    outlet = build()  # its origin serves as the other site's
    ports = ("server 127.0.0.1:9001;", f"server 127.0.0.1:{outlet.origin.port};")
    world = build(variant("several-sites"), replaced(*ports))
    for host, room in (("shop.example.com", "shop"), ("outlet.example.com", "outlet")):
        answer = ask(world.port, "/x", accept=PAGE, host=host)
        assert answer.headers["location"] == f"/wait/{room}?return=/x"
        other = {"shop": "outlet", "outlet": "shop"}[room]
        answer = ask(world.port, f"http://{host}/x", accept=PAGE, host=f"{other}.example.com")
        assert answer.headers["location"] == f"/wait/{room}?return=/x"
        assert {seen.path for seen in world.asked()} == {f"/gate/{room}"}
        for instance in world.instances:
            instance.seen.clear()
    assert world.origin.seen == outlet.origin.seen == []
    world.gate = Answer(204)
    ask(world.port, "http://shop.example.com/x", host="outlet.example.com")
    ask(world.port, "http://outlet.example.com/y", host="shop.example.com")
    assert [(seen.path, seen.headers["host"]) for seen in world.origin.seen] == [("/x", "shop.example.com")]
    assert [(seen.path, seen.headers["host"]) for seen in outlet.origin.seen] == [("/y", "outlet.example.com")]


def test_an_api_answers_everybody_with_documents(build: Builder) -> None:
    world = build(variant("api"))
    for accept in (PAGE, "application/json", "*/*", "text/html"):
        for method in ("GET", "HEAD", "POST"):
            answer = ask(world.port, "/orders", method=method, accept=accept)
            assert (answer.status, answer.headers["content-type"]) == (401, "application/problem+json")
    world.gate = Answer(500)
    assert ask(world.port, "/orders", accept=PAGE).headers["content-type"] == "application/problem+json"


def test_an_api_client_without_cookies_queues_and_gets_in(binary: Path, build: Builder, tmp_path: Path) -> None:
    """Through nginx and a real instance: 401, enter, the offer's pass, and from then on the pass that came for it."""
    origin = build().origin
    with serving(tmp_path / "instance", rooms={"shop": {"capacity": 1}}) as instance:
        ports = [instance.port]
        with Nginx(tmp_path, variant("api"), instances=ports, origin=origin.port, program=binary) as nginx:
            port = nginx.port
            holder = json.loads(ask(port, "/v1/rooms/shop/enter", method="POST").body)
            refused = ask(port, "/orders")
            assert refused.status == 401
            place = ask(port, json.loads(refused.body)["enter"], method="POST")
            assert place.status == 202
            ticket = json.loads(place.body)["ticket"]
            status = ask(port, "/v1/rooms/shop/status", authorization=f"Bearer {ticket}")
            assert json.loads(status.body)["rank"] == 1
            assert ask(port, "/orders", x_waitroom_pass=ticket).status == 401
            first = ask(port, "/orders", x_waitroom_pass=holder["pass"])
            assert first.headers["x-origin"] == "stub"
            claimed = first.headers["x-waitroom-pass"]
            assert claimed != holder["pass"]
            again = ask(port, "/orders", method="POST", x_waitroom_pass=claimed, authorization="Basic YTpi")
            assert again.headers["x-origin"] == "stub"
            assert "x-waitroom-pass" not in again.headers
            assert origin.seen[-1].headers["authorization"] == "Basic YTpi"  # the origin's own
            leaving = ask(port, "/v1/rooms/shop/leave", method="POST", authorization=f"Bearer {claimed}")
            assert leaving.status == 204


def test_a_pass_is_handed_over_as_a_header_only_to_who_brought_one_so(build: Builder) -> None:
    """A browser's scripts must not read what its cookie hides from them."""
    world = build()
    world.gate = Answer(204, {"Set-Cookie": "waitroom_pass_shop=new", "X-Waitroom-Pass": "new"})
    assert "x-waitroom-pass" not in ask(world.port, "/", cookie="waitroom_pass_shop=old").headers
    assert "x-waitroom-pass" not in ask(world.port, "/").headers
    assert ask(world.port, "/", x_waitroom_pass="old").headers["x-waitroom-pass"] == "new"


CDN, ELSEWHERE = "127.0.0.9", "127.0.0.10"


@pytest.fixture
def _other_addresses() -> None:
    if not can_send_from(CDN):
        missing(f"the loopback address {CDN}")


@pytest.mark.usefixtures("_other_addresses")
def test_behind_a_cdn_only_the_cdn_is_answered_and_believed(build: Builder) -> None:
    world = build(variant("behind-cdn"), files=believed(f"{CDN}/32"))
    world.gate = Answer(204)
    assert ask(world.port, "/", source=ELSEWHERE, x_forwarded_for=CDN).status == 403
    assert ask(world.port, "/v1/rooms/shop/status", source=ELSEWHERE, x_forwarded_for=CDN).status == 403
    assert world.origin.seen == world.asked() == []
    assert ask(world.port, "/", source=CDN, x_forwarded_for="203.0.113.5, 192.0.2.7").status == 200
    (seen,) = world.origin.seen
    assert (seen.headers["x-forwarded-for"], seen.headers["x-real-ip"]) == ("192.0.2.7", "192.0.2.7")


@pytest.mark.usefixtures("_other_addresses")
def test_behind_a_cdn_nothing_that_needed_a_pass_may_be_kept(build: Builder) -> None:
    world = build(variant("behind-cdn"), files=believed(f"{CDN}/32"))

    def cacheable(_request: Seen) -> Answer:
        kept = dict.fromkeys(("Cache-Control", "CDN-Cache-Control", "Surrogate-Control"), "public, max-age=3600")
        return Answer(200, {**kept, "Expires": "Fri, 01 Jan 2100 00:00:00 GMT"}, b"shop")

    world.origin.answer = cacheable
    cookie = "waitroom_pass_shop=abc; Max-Age=30"
    for gate in (Answer(204), Answer(204, {"Set-Cookie": cookie})):
        world.gate = gate
        answer = ask(world.port, "/", source=CDN)
        assert "private" in answer.headers["cache-control"]
        assert "public" not in answer.headers["cache-control"]
        assert not {"expires", "cdn-cache-control", "surrogate-control"} & set(answer.headers)
    assert answer.headers["set-cookie"] == cookie
    world.gate = Answer(401)
    for accept in (PAGE, "*/*"):
        assert ask(world.port, "/", source=CDN, accept=accept).headers["cache-control"] == "no-store"
    assert ask(world.port, "/v1/rooms/shop", source=CDN).status == 200


SECRET = "s3cret-of-this-test"
KEY_FILE = {"shop-origin-key.conf": f'proxy_set_header X-Origin-Key "{SECRET}";\n'}


def test_an_origin_that_knows_its_nginx_refuses_everybody_else(build: Builder) -> None:
    world = build(variant("origin-key"), files=KEY_FILE)
    world.origin.answer = lambda seen: Answer(200 if seen.headers.get("x-origin-key") == SECRET else 403)
    assert ask(world.origin.port, "/").status == 403
    assert ask(world.origin.port, "/", x_origin_key="guess", x_forwarded_for="127.0.0.1").status == 403
    assert ask(world.port, "/").status == 401
    world.gate = Answer(204)
    assert ask(world.port, "/").status == 200
    assert ask(world.port, "/", x_origin_key="guess").status == 200  # overwritten
    assert SECRET not in str(ask(world.port, "/").headers)


def test_an_origin_that_is_nginx_checks_the_key_as_the_page_says(build: Builder) -> None:
    (check,) = re.findall(r"if \(\$http_x_origin_key != .*", (DOCS / "nginx.md").read_text())
    port = free_port()
    server = f"server {{ listen 127.0.0.1:{port}; {check.replace('...', SECRET)} location / {{ return 200 shop; }} }}"
    stub = "    server 127.0.0.1:9000;"
    world = build(
        variant("origin-key"),
        replaced(stub, f"    server 127.0.0.1:{port};  # in place of {stub}"),
        lambda example: example + server,
        files=KEY_FILE,
    )
    world.gate = Answer(204)
    assert ask(port, "/").status == ask(port, "/", x_origin_key="guess").status == 403
    assert ask(world.port, "/", x_origin_key="guess").body == b"shop"
