"""`waitroom doctor` before sound installations, in which nothing is found, and where little can be told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rig.instance import Instance
from rig.origin import answering
from rig.proxies import PROXIES, ForeignProxy
from rig.waiting import until
from tests.checks.installations import KNOWS_ITS_FRONT, Installation, changed, fronted, inside, installed, shop

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
