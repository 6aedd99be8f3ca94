"""`waitroom doctor` before sound installations, in which nothing is found, and where little can be told."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest

from rig.instance import Instance
from rig.line import in_thread
from rig.nginx import believed
from rig.origin import Answer, Seen, answering
from rig.process import Process
from rig.proxies import PROXIES, ForeignProxy
from rig.waiting import until
from tests.checks.installations import Installation, fronted, inside, installed, shop
from tests.cli.command import run

pytestmark = pytest.mark.system


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
    """The nginx behind knows the proxy in front: the scheme that it says goes on."""
    with (
        installed(tmp_path, files=believed("127.0.0.1"), instance=secure) as behind,
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
            found = made.ask("--path", "/links", listen="17")
            assert found.wrong == set(), found.done.stdout
            assert found.done.returncode == 0
            until(lambda: inside(made) == 0, "the end of every place")


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
        # In bypass no answer names the room.
        found = made.ask("--room", "shop")
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


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_told_to_end_it_gives_its_places_back(tmp_path: Path, instance: Instance, told: int) -> None:
    """While the answer that brings a place is on its way: exit code 130, and no place stays."""
    with (
        installed(tmp_path, instance=instance, room="hold") as made,
        in_thread(f"http://127.0.0.1:{made.port}") as line,
    ):
        line.delay_seconds = (0.4, 0.4)
        line.set_mode("slow")
        command = [sys.executable, "-m", "waitroom", "doctor", made.url, "--connect", f"127.0.0.1:{line.port}"]
        with Process("doctor", command, folder=tmp_path) as visit:
            until(lambda: inside(made, "hold") > 0, "a visit")
            visit.signal(told)
            assert visit.wait(60) == 130
        until(lambda: inside(made, "hold") == 0, "the end of every place")


def test_what_a_site_says_cannot_steer_a_terminal(tmp_path: Path) -> None:
    """Its words stand in the findings without what a terminal would obey, whatever they are."""

    def hostile(request: Seen) -> Answer:
        return Answer(
            200, {"Age": "1\x1b[2Jgone", "Location": "http://[::1", "Content-Type": "application/json"}, b"[" * 200_000
        )

    with answering(hostile) as origin:
        done = run("doctor", f"http://127.0.0.1:{origin.port}/", "--listen-seconds", "1", folder=tmp_path)
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--direct", "nonsense", "direct: 'nonsense' is not an address"),
        ("--from", "nonsense", "from: must be an IP address, got 'nonsense'"),
        ("--connect", "here", "connect: must be HOST:PORT, got 'here'"),
        ("--connect", "here:\u00b2", "connect: must be HOST:PORT, got 'here:\u00b2'"),
        ("--path", "checkout", "path: must begin with / and be percent-encoded, got 'checkout'"),
        ("--ca-file", "nowhere.pem", "ca_file: 'nowhere.pem' cannot be read"),
        ("--admin-key-file", "nowhere", "admin_key_file: 'nowhere' cannot be read"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, option: str, value: str, told: str) -> None:
    """Exit code 2, the option and the value."""
    done = run("doctor", "https://shop.example.com/", option, value, folder=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
