"""Every text setting is cleaned in the same way, or refused by name: found in the models, so a new one is in it too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import pytest

from tests.settings.loading import ADMIN, SECRET, faults, loaded
from waitroom.settings import generated_keys
from waitroom.settings.room import RoomSettings, room_value
from waitroom.settings.rules import Settings
from waitroom.settings.server import ServerSettings
from waitroom.settings.sources import strangers
from waitroom.texts import line_in

#: A good text for each setting that does not take any.
GOOD: Final = {
    "redis_url": "redis://10.0.0.1:6379/0",
    "redis_password_file": "",
    "admin_key": ADMIN,
    "signing_keys": f"k1:{SECRET}",
    "enqueue_keys": f"shop:{ADMIN}",
    "trusted_proxies": "10.0.0.0/8",
    "public_url": "https://shop.example",
    "return_origins": "https://shop.example",
    "enqueue_url": "/login",
}

#: What editors, shells and web pages leave around a text.
AROUND: Final = [
    *("{}\n", "{}\r\n", "\ufeff{}", "{} ", " {}", "\t{}\t", "{}\u00a0", "\u200b{}\u200b", "{}\u2060\n", "\n{}\n\n"),
    *("{}\u3000", "{}\u2028"),
]

#: What is seen by no reader and changes the text.
INSIDE: Final = ["\n", "\r", "\t", "\u200b", "\ufeff", "\x00", "\u2028", "\u202e", "\x1b"]


def texts(model: type[Settings]) -> list[tuple[str, bool, str]]:
    """Each setting that is a text or a list of texts: its name, whether it is a list, and a good text for it."""
    found = []
    for name, declared in model.model_fields.items():
        kind = get_origin(declared.annotation) or declared.annotation
        if kind is Literal and isinstance(get_args(declared.annotation)[0], str):
            found.append((name, False, str(get_args(declared.annotation)[0])))
        elif kind in (str, list):
            found.append((name, kind is list, GOOD.get(name, "words")))
    return [(name, several, good) for name, several, good in found if good]


SERVER = texts(ServerSettings)
TEXTS = {"redis_password_file", *(name for name, _, _ in SERVER)}
ROOM = texts(RoomSettings)


def secret(name: str) -> bool:
    """Whether a server setting must not be shown."""
    return not ServerSettings.model_fields[name].repr


def test_the_table_holds_the_settings() -> None:
    """It would say nothing about models in which it finds no text."""
    assert {"host", "admin_key", "log_level", "signing_keys"} <= {name for name, _, _ in SERVER}
    assert {"state", "message", "return_origins"} <= {name for name, _, _ in ROOM}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize(("name", "several", "good"), SERVER)
def test_what_stands_around_a_server_setting_is_taken_off(
    tmp_path: Path, name: str, several: bool, good: str, around: str
) -> None:
    """In the environment, in a file and on the command line."""
    dirty = around.format(good)
    listed: Any = [dirty] if several else dirty
    wanted = [good] if several else good
    variable = f"WAITROOM_{name.upper()}"
    for settings in (
        loaded(env={variable: dirty}),
        loaded(f"{name} = {json.dumps(listed)}\n", tmp_path),
        loaded(**{name: listed}),
    ):
        assert getattr(settings, name) == wanted


@pytest.mark.parametrize("quote", ['"', "'"])
@pytest.mark.parametrize(("name", "several", "good"), SERVER)
def test_quotes_of_an_env_file_are_taken_off(name: str, several: bool, good: str, quote: str) -> None:
    """`docker run --env-file` leaves them."""
    settings = loaded(env={f"WAITROOM_{name.upper()}": f"{quote}{good}{quote}\r"})
    assert getattr(settings, name) == ([good] if several else good)


@pytest.mark.parametrize("inside", INSIDE)
@pytest.mark.parametrize(("name", "several", "good"), SERVER)
def test_what_is_not_seen_inside_a_server_setting_is_refused(name: str, several: bool, good: str, inside: str) -> None:
    """By the setting's name and, where it is no secret, its value."""
    dirty = f"{good[:2]}{inside}{good[2:]}"
    given: dict[str, Any] = {name: [dirty] if several else dirty}
    (line, *more) = faults(**given)
    assert not more
    assert line.startswith(f"{name}: must ")
    assert (repr(dirty) in line) is not secret(name)


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize(("name", "several", "good"), ROOM)
def test_what_stands_around_a_room_setting_is_taken_off(name: str, several: bool, good: str, around: str) -> None:
    """In a document of the admin API, and in `waitroom room set`."""
    dirty = around.format(good)
    wanted = [good] if several else good
    assert getattr(RoomSettings.model_validate({name: [dirty] if several else dirty}), name) == wanted
    assert getattr(RoomSettings.model_validate({name: room_value(name, dirty)}), name) == wanted


@pytest.mark.parametrize("inside", INSIDE)
@pytest.mark.parametrize(("name", "several", "good"), ROOM)
def test_what_is_not_seen_inside_a_room_setting_is_refused(name: str, several: bool, good: str, inside: str) -> None:
    """By the setting's name and its value."""
    dirty = f"{good[:2]}{inside}{good[2:]}"
    (line,) = faults(rooms={"shop": {name: [dirty] if several else dirty}})
    assert line.startswith(f"rooms.shop.{name}: must ")
    assert repr(dirty) in line


def test_a_blank_that_only_looks_like_a_space() -> None:
    """A message may keep words together with it. Anywhere else it is a copying mistake."""
    assert loaded(rooms={"shop": {"message": "Ouvert\u00a0?"}}).rooms["shop"].message == "Ouvert\u00a0?"
    (line,) = faults(data_dir="/var/lib\u00a0/waitroom")
    assert line.startswith("data_dir: must have no blank but the space")


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("name", [name for name in ServerSettings.model_fields if name not in TEXTS])
def test_numbers_and_truths_of_the_environment(name: str, around: str) -> None:
    """What is no text is read from a text that is cleaned alike."""
    default = getattr(ServerSettings(), name)
    settings = loaded(env={f"WAITROOM_{name.upper()}": around.format(json.dumps(default))})
    assert getattr(settings, name) == default


@pytest.mark.parametrize("empty", ["", " ", "\n", "\ufeff\r\n", '""', "''", "\u00a0"])
@pytest.mark.parametrize("name", ServerSettings.model_fields)
def test_an_empty_text_sets_nothing(tmp_path: Path, name: str, empty: str) -> None:
    """A variable of a compose file that is not set, and an option of a script whose variable is empty."""
    assert loaded("", tmp_path, {f"WAITROOM_{name.upper()}": empty}) == ServerSettings()
    if not set("\"'") & set(empty):
        assert loaded(f"{name} = {json.dumps(empty)}\n", tmp_path) == ServerSettings()
        given: dict[str, Any] = {name: empty}
        assert loaded(**given) == ServerSettings()


@pytest.mark.parametrize(
    "text",
    [
        "{a},{b}",
        "{a}, {b}",
        "{a},{b},",
        "{a}\n{b}\n",
        "{a}\r\n{b}\r\n",
        " {a} ,\n {b} ",
        '"{a}","{b}"',
        '["{a}", "{b}"]',
    ],
)
def test_a_ring_of_several_keys(text: str) -> None:
    """By comma, by line, or as JSON."""
    keys = {"a": f"new:{SECRET}", "b": f"old:{ADMIN}"}
    assert loaded(env={"WAITROOM_SIGNING_KEYS": text.format(**keys)}).signing_keys == [keys["a"], keys["b"]]


def test_a_file_that_an_editor_of_windows_wrote(tmp_path: Path) -> None:
    """It begins with a byte order mark and has two characters at each line's end."""
    settings = loaded('\ufeffport = 9000\r\nhost = "::1"\r\n', tmp_path)
    assert (settings.port, settings.host) == (9000, "::1")


@pytest.mark.parametrize("content", [b"{}\r\n", b"\xef\xbb\xbf{}\n", b" {} \n\n", b"{}\xc2\xa0"])
def test_a_secret_that_stands_in_a_file(tmp_path: Path, content: bytes) -> None:
    """A password, and a key that waitroom keeps itself."""
    written = content.replace(b"{}", ADMIN.encode())
    assert line_in(written) == ADMIN
    (tmp_path / "admin-key").write_bytes(written)
    assert generated_keys.completed(loaded(data_dir=str(tmp_path))).admin_key == ADMIN


@pytest.mark.parametrize("content", [b"", b"\n", b"a\nb", b"a\0b", b"\xff\xfea\0", b"a\xe2\x80\x8bb", b"a\xc2\xa0b"])
def test_a_secret_that_cannot_be_meant(content: bytes) -> None:
    """Empty, several lines, another encoding, something unseen inside."""
    with pytest.raises(ValueError, match=r"must|not UTF-8"):
        line_in(content)


LINKS: Final = {
    "WAITROOM_SERVICE_HOST": "10.0.0.1",
    "WAITROOM_SERVICE_PORT": "8000",
    "WAITROOM_SERVICE_PORT_HTTP": "8000",
    "WAITROOM_PORT": "tcp://10.0.0.1:8000",
    "WAITROOM_PORT_8000_TCP": "tcp://10.0.0.1:8000",
    "WAITROOM_PORT_8000_TCP_PROTO": "tcp",
    "WAITROOM_PORT_8000_TCP_PORT": "8000",
    "WAITROOM_PORT_8000_TCP_ADDR": "10.0.0.1",
}


def test_what_kubernetes_sets_is_no_setting_and_is_named_for_what_it_is() -> None:
    """A Service called `waitroom` makes eight variables: none stops an instance, and one line tells of all."""
    assert loaded(env=LINKS) == ServerSettings()
    (line,) = strangers(LINKS)
    assert line == (
        "WAITROOM_PORT and 7 more: set by Kubernetes for the Service waitroom, not by you, and not read. "
        "`enableServiceLinks: false` in the Pod's spec keeps such variables away"
    )


def test_each_service_is_named() -> None:
    """Another Service whose name begins alike, over IPv6 or UDP, beside a mistake of the operator's own."""
    given = {
        "WAITROOM_REDIS_PORT": "tcp://[fd00::1]:6379",
        "WAITROOM_REDIS_SERVICE_HOST": "fd00::1",
        "WAITROOM_DNS_PORT": "udp://10.0.0.2:53",
        "WAITROOM_REDIS_URI": "redis://h",
    }
    told = strangers(given)
    assert [line.partition(": ")[0] for line in told] == [
        *("WAITROOM_DNS_PORT", "WAITROOM_REDIS_PORT and 1 more", "WAITROOM_REDIS_URI"),
    ]
    assert "the Service waitroom-redis," in told[1]


def test_a_port_that_is_a_mistake_is_still_refused() -> None:
    """Only what an orchestrator writes is passed over."""
    assert faults(env={"WAITROOM_PORT": "80a"})[0].startswith("port: ")
    assert loaded(env={**LINKS, "WAITROOM_PORT": "9000"}).port == 9000
