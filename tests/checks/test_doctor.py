"""`waitroom doctor`: real installations, broken in one way each, and sound ones in which nothing is found."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rig import servers
from rig.edits import Edit
from rig.instance import ADMIN_KEY, Instance, serving
from rig.machine import program
from rig.nginx import added
from rig.origin import answering
from rig.process import environment
from rig.proxies import PROXIES, ForeignProxy
from rig.waiting import until
from tests.checks.installations import NAME, Found, Installation, changed, fronted, inside, installed, shop

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance behind a proxy that it knows: a room that takes those who come, and one that lets nobody in."""
    rooms = {"shop": {"capacity": 50}, "hold": {"state": "paused"}}
    with serving(tmp_path_factory.mktemp("instance"), rooms=rooms, WAITROOM_TRUSTED_PROXIES="127.0.0.1/32") as running:
        yield running


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """The same for a site under https."""
    rooms = {"shop": {"capacity": 50}, "hold": {"state": "paused"}}
    more = {"WAITROOM_TRUSTED_PROXIES": "127.0.0.1/32", "WAITROOM_PUBLIC_URL": f"https://{NAME}"}
    with serving(tmp_path_factory.mktemp("secure"), rooms=rooms, **more) as running:
        yield running


@dataclass(frozen=True)
class Broken:
    """One way to break an installation: what is edited, what stands in front, and what the doctor must find."""

    finding: str
    cause: str
    edits: tuple[Edit, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    front: str | None = None
    server: str = ""
    room: str = "shop"
    ask: tuple[str, ...] = ()
    listen: str = "1"
    left: int = 0


#: nginx behind another proxy of this machine.
KNOWS_ITS_FRONT = added("set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For;")

_KEPT = "proxy_buffering on; proxy_buffer_size 16k; proxy_buffers 8 16k; proxy_busy_buffers_size 32k; proxy_cache kept;"
_CACHE = (
    f"{_KEPT} proxy_cache_valid any 1m; proxy_ignore_headers Cache-Control Set-Cookie Expires Vary X-Accel-Expires; "
)

BROKEN: dict[str, Broken] = {
    "the gate is off for a suffix": Broken(
        "gate", "some ways", edits=(added("location ~ \\.css$ { auth_request off; proxy_pass http://shop_origin; }"),)
    ),
    "a cache keeps everything": Broken("cache", "cache in front", front=_CACHE),
    "a cache keeps everything by path": Broken("cache", "cache in front", front=_CACHE + "proxy_cache_key $uri;"),
    "a cache keeps pages, without cookies": Broken(
        "cache",
        "cache in front",
        server="location /wait/ { proxy_pass http://127.0.0.1:$behind; proxy_hide_header Set-Cookie; " + _CACHE + "}",
        left=1,
        room="hold",
    ),
    "a cache keeps what the origin calls public": Broken(
        "cache",
        "cache in front",
        front=_KEPT,
    ),
    "a cache keeps the public document": Broken(
        "cache",
        "cache in front",
        server="location ~ ^/v1/rooms/[a-z]+$ { proxy_pass http://127.0.0.1:$behind; " + _CACHE + "}",
    ),
    "a load balancer that nginx does not know": Broken("visitor-address", "stands in front", front=""),
    "nginx tells no address": Broken(
        "visitor-address",
        "does not tell",
        files=changed("waitroom-proxy.conf", {"X-Forwarded-For $remote_addr": 'X-Forwarded-For ""'}),
    ),
    "nginx passes on what a client claims": Broken(
        "visitor-address",
        "what a client says",
        files=changed("waitroom-proxy.conf", {"X-Forwarded-For $remote_addr": "X-Forwarded-For $http_x_forwarded_for"}),
    ),
    "cookies for another domain": Broken(
        "cookies", "a domain that is not the site's", front="proxy_cookie_path / '/; Domain=cdn.example';"
    ),
    "cookies for a part": Broken("cookies", "part of the site", front="proxy_cookie_path / /wait/;"),
    "cookies of another same-site": Broken("cookies", "SameSite=None", front="proxy_cookie_flags ~ samesite=none;"),
    "cookies are taken off the answer": Broken(
        "cookies", "takes Set-Cookie off", front="proxy_hide_header Set-Cookie;"
    ),
    "cookies are taken off the request": Broken(
        "cookies", "does not get it", front='proxy_set_header Cookie "";', room="hold"
    ),
    "the gate gets no cookies": Broken(
        "cookies",
        "without the visitor's cookie",
        files=changed("waitroom-check.conf", {"Cookie $http_cookie": 'Cookie ""'}),
    ),
    "the port is lost": Broken(
        "origin",
        "without the port",
        ask=("--path", "/account"),
    ),
    "the port is lost in links": Broken(
        "origin",
        "without the port",
        ask=("--path", "/links"),
    ),
    "the host is lost": Broken(
        "origin",
        "another host",
        files=changed("waitroom-origin.conf", {"Host $host;": "Host shop_origin;"}),
        ask=("--path", "/account"),
    ),
    "streams are cut between heartbeats": Broken(
        "streams",
        "shorter than",
        files=changed("waitroom-locations.conf", {"proxy_read_timeout 5m;": "proxy_read_timeout 3s;"}),
        listen="10",
    ),
    "streams are cut in front": Broken(
        "streams", "shorter than", front="proxy_read_timeout 4s;", room="hold", listen="10"
    ),
    "streams are collected": Broken(
        "streams",
        "collects",
        front="proxy_buffering on; proxy_ignore_headers X-Accel-Buffering; "
        "gzip on; gzip_proxied any; gzip_types text/event-stream;",
        listen="8",
    ),
    "streams by HTTP/1.0": Broken(
        "streams",
        "HTTP/1.0",
        files=changed("waitroom-proxy.conf", {"proxy_http_version 1.1;": "proxy_http_version 1.0;"}),
    ),
    "small buffers for headers": Broken(
        "headers", "takes less", edits=(added("client_header_buffer_size 1k; large_client_header_buffers 4 2k;"),)
    ),
    "small buffers in front": Broken(
        "headers", "takes less", server="client_header_buffer_size 1k; large_client_header_buffers 4 4k;", room="hold"
    ),
    "a small body": Broken("body", "smaller bodies", ask=("--body-bytes", "2000000")),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_installation_is_explained(name: str, tmp_path: Path, instance: Instance) -> None:
    """The finding is the one, with its cause and a remedy, nothing else is wrong, and every place is given back."""
    broken = BROKEN[name]
    with ExitStack() as stack:
        in_front = broken.front is not None or bool(broken.server)
        edits = (*broken.edits, *([KNOWS_ITS_FRONT] if in_front and broken.finding != "visitor-address" else []))
        made = stack.enter_context(installed(tmp_path, *edits, files=broken.files, room=broken.room, instance=instance))
        if in_front:
            made = stack.enter_context(fronted(made, server=broken.server, location=broken.front or ""))
        url = f"http://{NAME}:{made.port}/" if "port" in name else ""
        found = made.ask(*broken.ask, url=url, listen=broken.listen)
        assert found.done.returncode == 1, found.done.stdout + found.done.stderr
        assert broken.cause in found[broken.finding]["cause"], found.done.stdout
        assert found[broken.finding]["remedy"]
        assert found.wrong == {broken.finding}, found.done.stdout
        until(lambda: inside(made, broken.room) <= broken.left, "the end of every place")


# What lies outside nginx's files.


def test_cookies_for_https_under_http(tmp_path: Path, secure: Instance) -> None:
    """The instances think of https, and visitors come by http."""
    with installed(tmp_path, instance=secure) as made:
        found = made.ask()
    assert found.wrong == {"cookies", "public-url"}
    assert "comes by http" in found["cookies"]["cause"]
    assert f'public_url = "http://{NAME}"' in found["public-url"]["remedy"]


def test_cookies_for_https_under_http_without_the_key(tmp_path: Path, secure: Instance) -> None:
    """Both show from outside."""
    with installed(tmp_path, instance=secure, room="hold") as made:
        found = made.ask(key=False)
    assert found.wrong == {"cookies", "public-url"}


def test_no_public_url_under_https(tmp_path: Path, instance: Instance) -> None:
    """Cookies that another host could plant; seen with the key and without."""
    with installed(tmp_path, tls=True, instance=instance) as made:
        for key in (True, False):
            found = made.ask(key=key)
            assert found.wrong == {"public-url"}, found.done.stdout
            assert "under http" in found["public-url"]["cause"]


def test_public_url_of_another_site(tmp_path: Path) -> None:
    """Only the instances can tell."""
    with installed(tmp_path, variables={"WAITROOM_PUBLIC_URL": "http://www.example.org"}) as made:
        found = made.ask()
    assert found.wrong == {"public-url"}, found.done.stdout
    assert "another address" in found["public-url"]["cause"]


@pytest.mark.parametrize(
    ("proxies", "limits", "cause"),
    [
        ("10.0.0.0/8", {}, "not among the trusted_proxies"),
        ("", {"places_per_address": 40}, "trusted_proxies is not set"),
    ],
)
def test_instances_that_do_not_know_their_proxy(
    tmp_path: Path, proxies: str, limits: dict[str, int], cause: str
) -> None:
    """They take the proxy for the visitor, or rest their limits."""
    rooms = json.dumps({"shop": {"capacity": 50, **limits}})
    variables = {"WAITROOM_TRUSTED_PROXIES": proxies, "WAITROOM_ROOMS": rooms}
    with installed(tmp_path, variables=variables) as made:
        found = made.ask()
    assert found.wrong == {"visitor-address"}, found.done.stdout
    assert cause in found["visitor-address"]["cause"]
    assert "127.0.0.1" in found["visitor-address"]["remedy"]


@pytest.mark.parametrize("path", ["/secure", "/account", "/links"])
def test_the_scheme_is_lost(tmp_path: Path, secure: Instance, path: str) -> None:
    """TLS ends in front of nginx, which tells the origin http: it redirects for ever, or leads to http."""
    with installed(tmp_path, KNOWS_ITS_FRONT, instance=secure) as behind, fronted(behind, tls=True) as made:
        found = made.ask("--path", path, key=False)
        assert found.wrong == {"origin"}, found.done.stdout
        assert "another scheme" in found["origin"]["cause"]
        assert made.ask(key=True).wrong == {"origin"}


def test_the_headers_of_an_answer_are_too_large(tmp_path: Path, instance: Instance) -> None:
    """The origin's page has 9 KB of headers: nginx gives 502, the origin itself 200."""
    with installed(tmp_path, instance=instance) as made:
        found = made.ask("--direct", f"http://127.0.0.1:{made.origin.port}/", url=f"http://{NAME}/large")
    assert found["headers"]["verdict"] == "fail", found.done.stdout
    assert "proxy_buffer_size" in found["headers"]["remedy"]


@pytest.mark.parametrize("who", ["instance", "nginx"])
def test_clocks_apart(tmp_path: Path, instance: Instance, who: str) -> None:
    """The machine of an instance or of nginx is five minutes ahead of Redis."""
    wrong = (program("faketime"), "-f", "+300s")
    variables = {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with ExitStack() as stack:
        if who == "nginx":
            made = stack.enter_context(installed(tmp_path, instance=instance, nginx_prefix=wrong))
        else:
            # Redis keeps the right time.
            url = stack.enter_context(servers.running())
            made = stack.enter_context(
                installed(tmp_path, prefix=wrong, variables={**variables, "WAITROOM_REDIS_URL": url})
            )
        found = made.ask()
    assert found.wrong == {"clocks"}, found.done.stdout
    assert re.search(r"(29\d|30\d) s ahead of Redis", found["clocks"]["detail"]), found["clocks"]


def test_the_doctors_own_clock(tmp_path: Path, instance: Instance) -> None:
    """This machine is wrong: said, and nothing else is taken for it."""
    with installed(tmp_path, instance=instance) as made:
        command = [program("faketime"), "-f", "-90s", sys.executable, "-m", "waitroom", "doctor", made.url, "--json"]
        more = ["--connect", f"127.0.0.1:{made.port}", "--listen-seconds", "1"]
        variables = environment(WAITROOM_ADMIN_KEY=ADMIN_KEY)
        done = subprocess.run(
            [*command, *more], capture_output=True, text=True, env=variables, timeout=120, check=False
        )
    found = Found(done)
    assert found.wrong == {"clocks"}, done.stdout + done.stderr
    assert re.search(r"this machine is (8\d|9\d) s behind Redis", found["clocks"]["detail"]), found["clocks"]


# Sound installations.


@pytest.mark.parametrize("room", ["shop", "hold"])
@pytest.mark.parametrize("key", [True, False])
def test_nothing_is_found_where_nothing_is_wrong(tmp_path: Path, instance: Instance, room: str, *, key: bool) -> None:
    """In an open room and in a paused one, with the key and without; what cannot be told says what would help."""
    with installed(tmp_path, instance=instance, room=room) as made:
        found = made.ask("--path", "/account", "--path", "/links", "--body-bytes", "900000", key=key, listen="17")
        assert found.done.returncode == 0, found.done.stdout
        assert found.wrong == set()
        unknown = {each["name"]: each["remedy"] for each in found.report["findings"] if each["verdict"] == "unknown"}
        assert all(unknown.values())
        left_to_the_key = {"visitor-address"} | ({"streams"} if room == "shop" else set())
        assert unknown.keys() == (set() if key else left_to_the_key) | ({"origin"} if room == "hold" else set())
        until(lambda: inside(made, room) == 0, "the end of every place")


def test_nothing_is_found_under_https(tmp_path: Path, secure: Instance) -> None:
    """A certificate of an authority of the operator's own; without that authority, a plain answer."""
    with installed(tmp_path, tls=True, instance=secure) as made:
        found = made.ask("--path", "/account", "--path", "/secure", "--path", "/links")
        assert found.wrong == set(), found.done.stdout
        assert found.done.returncode == 0
        made.ca = ""
        refused = made.ask()
    assert refused.done.returncode == 3
    assert "--ca-file" in refused["reach"]["remedy"]


def test_nothing_is_found_where_tls_ends_in_front(tmp_path: Path, secure: Instance) -> None:
    """The nginx behind says https to all: what the proxy in front says goes on."""
    files = {
        **changed("waitroom-origin.conf", {"X-Forwarded-Proto $scheme": "X-Forwarded-Proto https"}),
        **changed("waitroom-proxy.conf", {"X-Forwarded-Proto $scheme": "X-Forwarded-Proto https"}),
    }
    with (
        installed(tmp_path, KNOWS_ITS_FRONT, files=files, instance=secure) as behind,
        fronted(behind, tls=True) as made,
    ):
        found = made.ask("--path", "/account", "--path", "/secure", "--path", "/links")
    assert found.wrong == set(), found.done.stdout


@pytest.mark.parametrize("name", PROXIES)
def test_nothing_is_found_behind_another_proxy(tmp_path: Path, instance: Instance, name: str) -> None:
    """With the shipped files of each."""
    with answering(shop) as origin:
        proxy = ForeignProxy(name, tmp_path, room="shop", instances=(instance.port, instance.port), origin=origin.port)
        with proxy:
            made = Installation(tmp_path, proxy.port, origin, instance)
            found = made.ask("--path", "/links", listen="3")
            assert found.wrong == set(), found.done.stdout
            assert found.done.returncode == 0
            until(lambda: inside(made) == 0, "the end of every place")


# Where little can be told.


@pytest.mark.parametrize(
    ("settings", "names", "told"),
    [
        ({"state": "closed"}, {"room", "cookies", "cache", "origin"}, "waitroom room pause shop"),
        ({"state": "bypass"}, {"gate"}, "waitroom room pause shop"),
        ({"enqueue_tokens": "required"}, {"cookies", "cache", "origin"}, "gives places to newcomers"),
    ],
)
def test_a_room_that_gives_no_places(
    tmp_path: Path, instance: Instance, settings: dict[str, str], names: set[str], told: str
) -> None:
    """What cannot be told is unknown, with what to do; nothing is called wrong."""
    variables = {
        "WAITROOM_ENQUEUE_KEYS": "shop:a-key-that-signs-nothing-0123456789-abcdef",
        "WAITROOM_ROOMS": json.dumps({"shop": settings}),
    }
    with installed(tmp_path, variables=variables) as made:
        found = made.ask()
    assert found.wrong == set(), found.done.stdout
    unknown = {each["name"]: each["remedy"] for each in found.report["findings"] if each["verdict"] == "unknown"}
    assert names <= unknown.keys()
    assert any(told in remedy for remedy in unknown.values())


def test_a_challenge_is_solved(tmp_path: Path) -> None:
    """The doctor works for its places, as a browser does."""
    rooms = json.dumps({"shop": {"challenge": "always", "challenge_bits": 8}})
    with installed(tmp_path, variables={"WAITROOM_ROOMS": rooms}) as made:
        found = made.ask()
        assert found.wrong == set(), found.done.stdout
        assert found["cookies"]["verdict"] == "ok"
        until(lambda: inside(made) == 0, "the end of every place")


def test_a_room_that_is_not_there(tmp_path: Path, instance: Instance) -> None:
    """The commonest first mistake: said, with the command that makes it."""
    with installed(tmp_path, instance=instance, room="shoop") as made:
        found = made.ask()
    assert found.done.returncode == 1
    assert "waitroom room set shoop" in found["room"]["remedy"]


def test_a_wrong_key_is_said(tmp_path: Path, instance: Instance) -> None:
    """Nothing is learned with it, and nothing is called wrong."""
    (tmp_path / "key").write_text("another-admin-key-0123456789-0123456789\n")
    with installed(tmp_path, instance=instance) as made:
        found = made.ask("--admin-key-file", str(tmp_path / "key"))
    assert found.wrong == set()
    assert "does not take the admin key" in found["visitor-address"]["detail"]
