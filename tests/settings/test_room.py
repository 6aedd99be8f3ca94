"""The settings of a room: what is good, what follows from them, what Redis keeps."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.settings.loading import faults
from waitroom.errors import SettingsError
from waitroom.settings.room import RoomSettings, fields_of, parse_room, settings_of


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
        *("/a b", '/"', "/<x>", "/a\nb", "/'", "https://u@e.example/", "HTTPS://e.example/", "/" + "x" * 500, "/Ж"),
    ],
)
def test_a_bad_enqueue_url(url: str) -> None:
    """No other scheme, host in disguise, or what would end an attribute."""
    (line,) = faults(rooms={"shop": {"enqueue_url": url}})
    assert line.startswith("rooms.shop.enqueue_url: ")


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
    "page_status": ["503", 404, 500, 0, True, None],
    "when_down": ["", "Static", "fail", None, False],
    "message": [
        "a\r\nb", "a\nb", "a\tb", "\0", "\x7f", "a\x85b", "a\u2028b", "a\u2029b", "\u202eevil", "a\u200bb",
        "\u2066", "\ud800", "x" * 501, "x" * 1_000_000, None, 1, ["x"],
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
    page_status=st.sampled_from([200, 503, 429]),
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
