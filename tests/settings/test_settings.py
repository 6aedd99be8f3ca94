"""Settings: where they come from, what is refused, and how the refusal reads."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waitroom.errors import SettingsError
from waitroom.settings.room import RoomSettings, fields_of, parse_room, settings_of
from waitroom.settings.server import ServerSettings
from waitroom.settings.sources import load, strangers

SECRET = "Zq3-pB7xT0vKd9sLw2RfYh6mNc4JgU8a"
ADMIN = "9aKfP2-mXr7LtVq0WcZs5BnHy3EjGd6u"


def loaded(
    toml: str = "", tmp_path: Path | None = None, env: Mapping[str, str] | None = None, **given: Any
) -> ServerSettings:
    """The settings from a file with that text, that environment and what was given."""
    path = None
    if tmp_path is not None:
        path = tmp_path / "waitroom.toml"
        path.write_text(toml, encoding="utf-8")
    return load(path, environment=env or {}, **given)


def faults(
    toml: str = "", tmp_path: Path | None = None, env: Mapping[str, str] | None = None, **given: Any
) -> list[str]:
    """The lines of the refusal."""
    with pytest.raises(SettingsError) as refused:
        loaded(toml, tmp_path, env, **given)
    return str(refused.value).splitlines()


# Where they come from.


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


# How a refusal reads.


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


def test_every_bad_room_name_is_reported() -> None:
    """Two bad names and a bad value are three faults of one message."""
    lines = "\n".join(faults(rooms={"Shop": {}, "{x}": {}, "fair": {"capacity": -1}}))
    assert "'Shop'" in lines
    assert "'{x}'" in lines
    assert "rooms.fair.capacity" in lines


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


def test_a_long_value_is_cut() -> None:
    """A huge wrong value does not flood the terminal."""
    assert max(map(len, faults(log_level="x" * 100_000))) < 300


# Secrets.


def test_secrets_are_never_shown() -> None:
    """No refusal holds a secret, however wrong it is."""
    lines = faults(
        port=-1,
        admin_key=[ADMIN],
        signing_keys=f"k1:{SECRET}",
        redis_url={"url": "redis://:hunter2@10.0.0.1"},
    )
    text = "\n".join(lines)
    assert {line.split(":")[0] for line in lines} == {"port", "admin_key", "signing_keys", "redis_url"}
    assert not [secret for secret in (ADMIN, SECRET, "hunter2") if secret in text]


def test_a_wrong_item_of_the_signing_keys_is_not_shown() -> None:
    """An entry of the wrong kind is named by its place only."""
    text = "\n".join(faults(signing_keys=[f"k1:{SECRET}", {"k2": ADMIN}, 12345678]))
    assert "signing_keys.1" in text
    assert not [secret for secret in (ADMIN, SECRET, "12345678") if secret in text]


@pytest.mark.parametrize("name", ["admin_keys", "signing_key", "redis_uri", "password"])
def test_a_secret_under_a_misspelt_name_is_not_shown(name: str) -> None:
    """The value of an unknown setting is not printed: it may be a secret whose name has a typing error."""
    given: dict[str, Any] = {name: SECRET}
    text = "\n".join(faults(**given))
    assert f"{name}: no such setting" in text
    assert SECRET not in text


def test_printing_the_settings_shows_no_keys() -> None:
    """Neither repr nor str of the settings holds a key."""
    settings = loaded(admin_key=ADMIN, signing_keys=[f"k1:{SECRET}"])
    assert not [secret for secret in (ADMIN, SECRET) if secret in f"{settings!r} {settings}"]


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


def test_an_enqueue_key_is_no_signing_key() -> None:
    """Whoever signs for a shop could sign passes with it; the refusal shows neither."""
    (line,) = faults(signing_keys=[f"k1:{SECRET}"], enqueue_keys=[f"shop:{SECRET}"])
    assert line.startswith("enqueue_keys: one of them is a signing key")
    assert SECRET not in line
    assert loaded(signing_keys=[f"k1:{SECRET}"], enqueue_keys=[f"k1:{ADMIN}"])


@pytest.mark.parametrize("tokens", ["accepted", "required"])
def test_tokens_need_a_key(tokens: str) -> None:
    """Else nobody could bring a good one, and a room would shut everybody out in silence."""
    (line,) = faults(rooms={"shop": {"enqueue_tokens": tokens}})
    assert line.startswith("rooms.shop.enqueue_tokens: ")
    assert loaded(rooms={"shop": {"enqueue_tokens": tokens}}, enqueue_keys=[f"shop:{SECRET}"])


def test_enqueue_keys_are_not_shown() -> None:
    """Neither when they are wrong nor when something else is."""
    text = "\n".join(faults(enqueue_keys=[f"{SECRET}", {"k2": ADMIN}], port=-1))
    assert "enqueue_keys" in text
    assert SECRET not in text
    assert ADMIN not in text
    assert SECRET not in repr(loaded(enqueue_keys=[f"shop:{SECRET}"]))


def test_lists_of_the_environment() -> None:
    """Several parts are separated by commas, with or without a blank."""
    env = {"WAITROOM_TRUSTED_PROXIES": "10.0.0.0/8, unix", "WAITROOM_ENQUEUE_KEYS": f"a:{SECRET},b:{ADMIN}"}
    settings = loaded(env=env)
    assert settings.trusted_proxies == ["10.0.0.0/8", "unix"]
    assert settings.enqueue_keys == [f"a:{SECRET}", f"b:{ADMIN}"]


@pytest.mark.parametrize(
    ("settings", "guarded"),
    [
        ({}, False),
        ({"challenge": "limited"}, False),
        ({"challenge": "always"}, True),
        ({"places_per_address": 1}, True),
        ({"places_per_network": 1}, True),
        ({"enqueue_tokens": "accepted"}, True),
        ({"enqueue_tokens": "required"}, True),
    ],
)
def test_guarded(settings: dict[str, Any], guarded: bool) -> None:
    """A room is guarded if a new place may take more than to come."""
    assert RoomSettings(**settings).guarded is guarded


@pytest.mark.parametrize("url", ["/login", "/login?a=1&b=%20#top", "https://shop.example/", "http://10.0.0.1:8080/x"])
def test_a_good_enqueue_url(url: str) -> None:
    """A path of this site, or an address elsewhere."""
    assert RoomSettings(enqueue_url=url).enqueue_url == url


@pytest.mark.parametrize(
    "url",
    [
        *(
            "login",
            "//e.example/",
            "/\\e.example",
            "javascript:alert(1)",
            "https:/e",
            "https://",
            "https://e",
            "data:x",
        ),
        *("/a b", '/"', "/<x>", "/a\n", "/'", "https://u@e.example/", "HTTPS://e.example/", "/" + "x" * 500, "/Ж"),
    ],
)
def test_a_bad_enqueue_url(url: str) -> None:
    """No other scheme, host in disguise, or what would end an attribute."""
    (line,) = faults(rooms={"shop": {"enqueue_url": url}})
    assert line.startswith("rooms.shop.enqueue_url: ")


def test_outside_production_an_easy_admin_key_is_allowed() -> None:
    """On a laptop the admin key may be short."""
    assert loaded(admin_key="x").admin_key == "x"


# Values.

BAD_VALUES: dict[str, list[object]] = {
    "capacity": [-1, 1.5, "10", True, None, math.nan, 2**31, 2**53 + 1, 10_000_001, [], {}],
    "admit_per_second": [-1, 1e-9, 0.000999, 1e9, math.nan, math.inf, -math.inf, "5", True, None],
    "session_seconds": [0, 0.001, 0.0999, 315_360_000, 604_801, -5, math.nan, math.inf, True, "60", None],
    "claim_seconds": [0, 0.001, 3601, math.nan, math.inf, True, "60"],
    "abandon_seconds": [0, 0.001, 86_401, math.nan, math.inf, False, "60"],
    "ticket_seconds": [0, 0.001, 119.9, 315_360_000, math.nan, math.inf, "3600"],
    "max_waiting": [0, -1, 1.5, 10_000_001, 2**53, "1", True, None],
    "sliding": [0, 1, "true", None, "yes"],
    "state": ["", "OPEN", "opened", 1, None, True],
    "when_down": ["", "Static", "fail", None, False],
    "message": [
        "a\r\nb", "a\nb", "\t", "\0", "\x7f", "\x85", "\u2028", "\u2029", "\u202eevil", "\u200b", "\u2066", "\ud800",
        "x" * 501, "x" * 1_000_000, None, 1, ["x"],
    ],
    "return_origins": ["https://shop.example", None, 1, {"a": 1}, ["https://shop.example"] * 21],
}  # fmt: skip

BAD_ORIGINS: list[object] = [
    "*", "https://*", "https://*.example", "null", "", "https://shop.example.", "https://shop.example/",
    "https://shop.example/x", "https://u@shop.example", "https://shop.example:0", "https://shop.example:",
    "https://shop.example:x", "https://shop.example:99999", "HTTPS://shop.example", "https://Shop.example",
    "https://sh\u043ep.example", "javascript:alert(1)", "//shop.example", "shop.example", "https://",
    "ftp://shop.example", "https://shop.example\n", " https://shop.example", "https://[::1]", "https://-x.example",
    1, None,
]  # fmt: skip

BAD_ROOMS = [(name, bad) for name, values in BAD_VALUES.items() for bad in values]
BAD_ROOMS += [("return_origins", [origin]) for origin in BAD_ORIGINS]


@pytest.mark.parametrize(("name", "bad"), BAD_ROOMS, ids=lambda value: repr(value)[:40])
def test_a_bad_room_setting_is_refused_by_name(name: str, bad: object) -> None:
    """Every bad value of an admin document is refused with the setting's name, in a message of bounded length."""
    with pytest.raises(SettingsError) as refused:
        parse_room({name: bad})
    assert name in str(refused.value)
    assert len(str(refused.value)) < 500


GOOD_ROOMS: list[tuple[str, object]] = [
    ("capacity", 0), ("capacity", 1), ("capacity", 10_000_000), ("admit_per_second", 0), ("admit_per_second", 0.001),
    ("admit_per_second", 1_000_000), ("session_seconds", 0.1), ("session_seconds", 604_800), ("claim_seconds", 0.1),
    ("claim_seconds", 3600), ("abandon_seconds", 0.1), ("ticket_seconds", 120), ("ticket_seconds", 604_800),
    ("message", "<script>alert(1)</script> {{7*7}} ${x}"),
    ("message", "\u00dcber \u65e5\u672c \u0645\u0631\u062d\u0628\u0627 \U0001f600"), ("message", "x" * 500),
    ("return_origins", ["https://shop.example", "http://10.0.0.1:8080", "http://localhost"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "good"), GOOD_ROOMS, ids=lambda value: repr(value)[:40])
def test_a_good_room_setting_is_taken(name: str, good: object) -> None:
    """The bounds themselves are good, and a message may hold any visible text: it is escaped where it is shown."""
    assert getattr(parse_room({name: good}), name) == good


def test_a_ticket_must_outlive_silence() -> None:
    """ticket_seconds below abandon_seconds is refused with both values."""
    with pytest.raises(SettingsError, match="ticket_seconds 60 must be at least abandon_seconds 90"):
        parse_room({"ticket_seconds": 60.0, "abandon_seconds": 90.0})


@pytest.mark.parametrize(
    "name", ["capacty", "Capacity", "id", "version", "schema", "tickets_after_us", "__proto__", ""]
)
def test_an_unknown_room_setting_is_refused(name: str) -> None:
    """What is not declared is refused by its name, waitroom's own fields in Redis too."""
    with pytest.raises(SettingsError, match="no such setting"):
        parse_room({name: 1})


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "{x}", "}", "*", ":", "a b", "a\t", "a\n", "a\0", "a" * 65, "Shop", "sh\u043ep", "\u00e9",
    "e\u0301",
     "\U0001f600", "__proto__", "-", "-a", "_a", "a:b", "a%2fb"],
)  # fmt: skip
def test_a_bad_room_name_is_refused(name: str) -> None:
    """A room's name is 1-64 of a-z, 0-9, _ and -, beginning with a letter or digit."""
    assert "is not a room name" in faults(rooms={name: {}})[0]


@pytest.mark.parametrize("name", ["a", "0", "a-", "a_b-c", "a" * 64, "constructor"])
def test_a_good_room_name_is_taken(name: str) -> None:
    """Any name of the documented shape is good."""
    assert name in loaded(rooms={name: {}}).rooms


@pytest.mark.parametrize(
    ("name", "bad"),
    [("port", 65_536), ("port", -1), ("port", "80"), ("port", True), ("workers", 0), ("workers", 65), ("tick_seconds",
    math.nan),
     ("tick_seconds", 0), ("lease_seconds", 0.1), ("lease_seconds", math.inf), ("redis_timeout_seconds", 0.01),
     ("max_backlog", 0), ("log_level", "loud"), ("public_url", "https://shop.example/"), ("public_url", "shop.example"),
     ("public_url", "https://shop.example/wait"), ("public_url", "javascript:alert(1)"), ("host", 1), ("production", 1),
     ("signing_keys", "k1:x"), ("rooms", []), ("trusted_proxies", "10.0.0.0/8"), ("trusted_proxies", ["10.0.0.1/8"]),
     ("trusted_proxies", ["none", "unix"]), ("enqueue_keys", ["shop:short"]), ("enqueue_keys", ["x"])],
    ids=repr,
)  # fmt: skip
def test_a_bad_server_setting_is_refused_by_name(name: str, bad: object) -> None:
    """Every bad value of a server setting is refused with the setting's name."""
    given: dict[str, Any] = {name: bad}
    assert faults(**given)[0].startswith(name + ":")


@given(st.floats(0.1, 3600), st.floats(0.1, 86_400))
def test_nobody_is_told_to_stay_away_too_long(claim: float, abandon: float) -> None:
    """The longest poll leaves time for a claim and for two more signs of life."""
    longest = RoomSettings(claim_seconds=claim, abandon_seconds=abandon, ticket_seconds=604_800.0).longest_poll_seconds
    assert longest <= min(claim / 2, abandon / 3, 30)


@given(st.floats(0.1, 3600), st.floats(0.1, 86_400))
def test_nobody_who_watches_stays_away_too_long(claim: float, abandon: float) -> None:
    """The latest poll leaves time for another, and is no later than the longest where offers are too short."""
    room = RoomSettings(claim_seconds=claim, abandon_seconds=abandon, ticket_seconds=604_800.0)
    assert (
        room.longest_poll_seconds
        <= room.latest_poll_seconds
        <= max(min(abandon * 2 / 3, 240), room.longest_poll_seconds)
    )
    if claim < 18:
        assert room.latest_poll_seconds == room.longest_poll_seconds


# What Redis keeps.

PLAIN = st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp")), max_size=500)
ROOM_SETTINGS = st.builds(
    RoomSettings,
    capacity=st.integers(0, 10_000_000),
    admit_per_second=st.just(0.0) | st.floats(0.001, 1_000_000),
    session_seconds=st.floats(0.1, 604_800),
    sliding=st.booleans(),
    claim_seconds=st.floats(0.1, 3600),
    abandon_seconds=st.floats(0.1, 86_400),
    ticket_seconds=st.floats(86_400, 604_800),
    max_waiting=st.integers(1, 10_000_000),
    state=st.sampled_from(["open", "paused", "closed", "bypass"]),
    message=PLAIN,
    return_origins=st.lists(st.sampled_from(["https://shop.example", "http://10.0.0.1:8080"]), max_size=3),
    when_down=st.sampled_from(["static", "closed", "open"]),
)


@given(ROOM_SETTINGS)
def test_settings_survive_redis(settings: RoomSettings) -> None:
    """What Redis keeps reads back as the same settings, and every value is a text."""
    fields = fields_of(settings)
    assert all(isinstance(value, str) for value in fields.values())
    assert settings_of(fields) == settings


@given(ROOM_SETTINGS)
def test_settings_survive_json(settings: RoomSettings) -> None:
    """What the admin API shows can be sent back unchanged."""
    assert parse_room(json.loads(settings.model_dump_json())) == settings


def test_other_fields_in_redis_are_let_be() -> None:
    """Fields that the scripts keep beside the settings are no settings."""
    assert (
        settings_of(fields_of(RoomSettings()) | {"tickets_after_us": "0", "longest_session_seconds": "300"})
        == RoomSettings()
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [("capacity", "many"), ("capacity", ""), ("capacity", "-1"), ("sliding", "maybe"), ("session_seconds", "nan"),
     ("admit_per_second", "inf"), ("state", "ajar"), ("message", "a\nb"), ("return_origins", "["), ("return_origins",
     ""),
     ("return_origins", "{}"), ("return_origins", '["*"]'), ("return_origins", "garbage")],
)  # fmt: skip
def test_what_redis_holds_is_checked_too(name: str, text: str) -> None:
    """A field that somebody wrote over is refused as a setting, by name, and by no other error."""
    with pytest.raises(SettingsError, match=name):
        settings_of(fields_of(RoomSettings()) | {name: text})


# The password in a file.


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
    assert str(refused.value).startswith("redis_url: names no host")


def test_settings_do_not_show_the_redis_password() -> None:
    """Not in their repr, which may end up in a log."""
    assert "hunter2" not in repr(load(environment={}, redis_url="redis://:hunter2@h"))


def test_a_misspelt_variable_is_named_with_the_one_that_may_be_meant() -> None:
    """It is no fault, for Kubernetes sets such variables itself; but nobody looks for it in vain."""
    given = {"WAITROOM_REDIS_URI": "redis://h", "WAITROOM_PORT": "1", "WAITROOM_SERVICE_HOST": "10.0.0.1", "HOME": "/"}
    assert strangers(given) == [
        "WAITROOM_REDIS_URI: no such setting; WAITROOM_REDIS_URL may be meant",
        "WAITROOM_SERVICE_HOST: no such setting",
    ]
    assert strangers({"WAITROOM_X\ny": ""}) == ["WAITROOM_X\\ny: no such setting"]


def test_what_is_missing_is_named_with_what_may_be_it() -> None:
    """Where settings are wrong the strangers stand beside the faults."""
    with pytest.raises(SettingsError) as raised:
        load(environment={"WAITROOM_PRODUCTION": "true", "WAITROOM_ADMIN_KEYS": "x", "WAITROOM_SIGNING_KEY": "y"})
    lines = str(raised.value).splitlines()
    assert lines[-2:] == [
        "WAITROOM_ADMIN_KEYS: no such setting; WAITROOM_ADMIN_KEY may be meant",
        "WAITROOM_SIGNING_KEY: no such setting; WAITROOM_SIGNING_KEYS may be meant",
    ]
    assert lines[0].startswith("signing_keys: missing")
