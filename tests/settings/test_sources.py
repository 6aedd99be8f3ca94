"""Where settings come from, and that all faults are told together."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.settings.loading import ADMIN, SECRET, faults, loaded
from waitroom.errors import SettingsError
from waitroom.settings.room import RoomSettings
from waitroom.settings.server import ServerSettings
from waitroom.settings.sources import load, strangers


def test_defaults_need_nothing() -> None:
    """Without file, environment or options the settings are the documented defaults."""
    settings = loaded()
    assert settings == ServerSettings()
    assert (settings.host, settings.port, settings.workers, settings.redis_url) == ("127.0.0.1", 8000, 1, "")


def test_a_file_sets_everything(tmp_path: Path) -> None:
    """A TOML file holds the server's settings at the top and a table for each room."""
    settings = loaded(
        "port = 9000\nproduction = false\ntick_seconds = 0.2\n"
        '[rooms.shop]\ncapacity = 5\nmessage = "Hi"\n[rooms.a-b_c]\n',
        tmp_path,
    )
    assert (settings.port, settings.tick_seconds) == (9000, 0.2)
    assert settings.rooms == {"shop": RoomSettings(capacity=5, message="Hi"), "a-b_c": RoomSettings()}


def test_the_environment_beats_the_file_and_options_beat_both(tmp_path: Path) -> None:
    """Each later source overrides the earlier one, setting by setting."""
    settings = loaded(
        'host = "1.1.1.1"\nport = 1\nworkers = 2\n',
        tmp_path,
        {"WAITROOM_PORT": "3", "WAITROOM_WORKERS": "4"},
        workers=5,
        host=None,
    )
    assert (settings.host, settings.port, settings.workers) == ("1.1.1.1", 3, 5)


def test_the_environment_is_read_by_kind() -> None:
    """Texts of the environment become numbers, truths, lists and rooms."""
    settings = loaded(
        env={
            "WAITROOM_PORT": "0",
            "WAITROOM_TICK_SECONDS": "0.15",
            "WAITROOM_PRODUCTION": "True",
            "WAITROOM_ADMIN_KEY": ADMIN,
            "WAITROOM_SIGNING_KEYS": f"new:{SECRET},old:{ADMIN}",
            "WAITROOM_ROOMS": '{"shop": {"capacity": 50}}',
            "WAITROOM_PUBLIC_URL": "https://shop.example",
            "UNRELATED": "x",
        }
    )
    assert (settings.port, settings.tick_seconds, settings.production, settings.secure) == (0, 0.15, True, True)
    assert settings.signing_keys == [f"new:{SECRET}", f"old:{ADMIN}"]
    assert settings.rooms["shop"].capacity == 50


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("1", True), ("TRUE", True), ("false", False), ("0", False)]
)
def test_truths_in_the_environment(text: str, value: bool) -> None:
    """`true`, `1`, `false` and `0` are truths in any case."""
    env = {"WAITROOM_PRODUCTION": text, "WAITROOM_ADMIN_KEY": ADMIN, "WAITROOM_SIGNING_KEYS": f"k:{SECRET}"}
    assert loaded(env=env).production is value


def test_an_empty_variable_is_as_good_as_none() -> None:
    """Compose files pass empty variables for what is not set."""
    assert loaded(env={"WAITROOM_PORT": "", "WAITROOM_SIGNING_KEYS": "", "WAITROOM_ROOMS": ""}) == ServerSettings()


def test_all_faults_are_in_one_message(tmp_path: Path) -> None:
    """Every wrong setting of every source is named with its value, at once."""
    lines = faults(
        'port = 70000\ncolour = "red"\n[rooms.shop]\ncapacity = -1\nstate = "ajar"\n[rooms.fair]\ncapcity = 3\n',
        tmp_path,
        {"WAITROOM_WORKERS": "many", "WAITROOM_PRODUCTION": "maybe"},
        tick_seconds=9.0,
    )
    for name, value in {
        "port": "70000",
        "colour": "no such setting",
        "rooms.shop.capacity": "-1",
        "rooms.shop.state": "'ajar'",
        "rooms.fair.capcity": "no such setting",
        "workers": "'many'",
        "production": "'maybe'",
        "tick_seconds": "9.0",
    }.items():
        assert [line for line in lines if line.startswith(name + ":") and value in line], (name, lines)
    assert len(lines) == 8


def test_weak_secrets_are_reported_with_the_other_faults() -> None:
    """A wrong port does not hide that production lacks its keys, nor a weak key."""
    lines = "\n".join(faults(port=-1, production=True, signing_keys=["k1:weak"]))
    assert "port" in lines
    assert "admin_key: missing" in lines
    assert "'k1' is weak" in lines


def test_rooms_that_are_no_json_are_reported_with_the_other_faults() -> None:
    """WAITROOM_ROOMS that cannot be read is one fault among others."""
    lines = faults(env={"WAITROOM_ROOMS": "{shop", "WAITROOM_PORT": "x"})
    assert [line.split(":")[0] for line in lines] == ["WAITROOM_ROOMS", "port"]


@pytest.mark.parametrize("rooms", ["[]", "3", '"shop"', '{"shop": 3}', '{"shop": null}'])
def test_rooms_of_the_wrong_shape_are_refused(rooms: str) -> None:
    """WAITROOM_ROOMS must be an object of objects."""
    assert faults(env={"WAITROOM_ROOMS": rooms})[0].startswith("rooms")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A configuration that cannot be read is named with the reason."""
    with pytest.raises(SettingsError, match=r"config: cannot read .*nowhere.toml.*No such file"):
        load(tmp_path / "nowhere.toml", environment={})


@pytest.mark.parametrize("raw", [b"port = = 1", b"port = 1\nport = 2", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, raw: bytes) -> None:
    """A file that does not parse is named with the parser's reason."""
    path = tmp_path / "broken.toml"
    path.write_bytes(raw)
    with pytest.raises(SettingsError, match=r"config: .*broken.toml.* is not TOML"):
        load(path, environment={})


def test_production_needs_keys() -> None:
    """In production both keys must be given; both lacks are reported."""
    assert [line.split(":")[0] for line in faults(production=True)] == ["signing_keys", "admin_key"]
    assert loaded(production=True, admin_key=ADMIN, signing_keys=[f"k:{SECRET}"]).production


@pytest.mark.parametrize("weak", ["admin", "a" * 100, "password" * 4, "0123456789"])
def test_production_refuses_weak_keys(weak: str) -> None:
    """Short or regular keys are refused in production, without being shown."""
    lines = faults(production=True, admin_key=weak, signing_keys=[f"k1:{weak}"])
    assert [line.split(":")[0] for line in lines] == ["signing_keys", "admin_key"]
    assert all("weak" in line and weak not in line.replace("admin_key", "") for line in lines)


def test_a_weak_signing_key_is_refused_everywhere() -> None:
    """Forgeable proofs are of no use for trying things out either."""
    assert "'k1' is weak" in faults(signing_keys=["k1:short"])[0]


def test_lists_of_the_environment() -> None:
    """Several parts are separated by commas, with or without a blank."""
    env = {"WAITROOM_TRUSTED_PROXIES": "10.0.0.0/8, unix", "WAITROOM_ENQUEUE_KEYS": f"a:{SECRET},b:{ADMIN}"}
    settings = loaded(env=env)
    assert settings.trusted_proxies == ["10.0.0.0/8", "unix"]
    assert settings.enqueue_keys == [f"a:{SECRET}", f"b:{ADMIN}"]


def test_outside_production_an_easy_admin_key_is_allowed() -> None:
    """On a laptop the admin key may be short."""
    assert loaded(admin_key="x").admin_key == "x"


def redis_password(tmp_path: Path, content: bytes, url: str = "redis://waitroom@10.0.0.1:6379/0") -> str:
    """The URL that comes of one without a password and a file with that content."""
    (file := tmp_path / "password").write_bytes(content)
    return load(environment={}, redis_url=url, redis_password_file=str(file)).redis_url


def test_the_redis_password_may_stand_in_a_file(tmp_path: Path) -> None:
    """Its one line goes into the URL, encoded."""
    assert redis_password(tmp_path, b"p@ss/word\n") == "redis://waitroom:p%40ss%2Fword@10.0.0.1:6379/0"
    assert redis_password(tmp_path, b"x", "redis+sentinel://a:1,b:2/main") == "redis+sentinel://:x@a:1,b:2/main"


@pytest.mark.parametrize(
    ("content", "url", "why"),
    [
        (b"", "redis://h", "must be one line"),
        (b"a\nb", "redis://h", "must be one line"),
        (b"\xff", "redis://h", "not UTF-8"),
        (b"hunter2", "redis://:hunter3@h", "redis_url has a password already"),
        (b"hunter2", "", "needs redis_url"),
    ],
)
def test_a_redis_password_file_that_cannot_be_used(tmp_path: Path, content: bytes, url: str, why: str) -> None:
    """Each fault is one line that names the setting and shows no password."""
    with pytest.raises(SettingsError) as refused:
        redis_password(tmp_path, content, url)
    assert str(refused.value).startswith("redis_password_file: ")
    assert why in str(refused.value)
    assert "hunter" not in str(refused.value)


def test_a_redis_password_file_that_is_missing(tmp_path: Path) -> None:
    """The path and the reason are told, beside the other faults."""
    with pytest.raises(SettingsError) as refused:
        load(environment={}, port=-1, redis_url="redis://h", redis_password_file=f"{tmp_path}/none")
    assert [line.split(":")[0] for line in str(refused.value).splitlines()] == ["port", "redis_password_file"]
    assert f"cannot read '{tmp_path}/none': No such file or directory" in str(refused.value)


def test_a_wrong_redis_url_is_one_fault(tmp_path: Path) -> None:
    """With a password file too."""
    with pytest.raises(SettingsError) as refused:
        redis_password(tmp_path, b"x", "redis://h:port")
    assert len(str(refused.value).splitlines()) == 1
    assert str(refused.value).startswith("redis_url: names no valid host")


def test_a_misspelt_variable_is_named_with_the_one_that_may_be_meant() -> None:
    """It is no fault, but an operator does not look for it in vain."""
    given = {"WAITROOM_REDIS_URI": "redis://h", "WAITROOM_PORT": "1", "WAITROOM_COLOUR": "red", "HOME": "/"}
    assert strangers(given) == [
        "WAITROOM_COLOUR: no such setting",
        "WAITROOM_REDIS_URI: no such setting (did you mean WAITROOM_REDIS_URL?)",
    ]
    assert strangers({"WAITROOM_X\ny": ""}) == ["WAITROOM_X\\ny: no such setting"]


def test_what_is_missing_is_named_with_what_may_be_it() -> None:
    """Where settings are wrong the strangers stand beside the faults."""
    with pytest.raises(SettingsError) as raised:
        load(environment={"WAITROOM_PRODUCTION": "true", "WAITROOM_ADMIN_KEYS": "x", "WAITROOM_SIGNING_KEY": "y"})
    lines = str(raised.value).splitlines()
    assert lines[-2:] == [
        "WAITROOM_ADMIN_KEYS: no such setting (did you mean WAITROOM_ADMIN_KEY?)",
        "WAITROOM_SIGNING_KEY: no such setting (did you mean WAITROOM_SIGNING_KEYS?)",
    ]
    assert lines[0].startswith("signing_keys: missing")
