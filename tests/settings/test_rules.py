"""What every kind of setting keeps to, and how a refusal reads."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest

from tests.settings.loading import ADMIN, SECRET, faults, loaded
from waitroom.settings.rules import value_of


def test_a_long_value_is_cut() -> None:
    """A huge wrong value does not flood the terminal."""
    assert max(map(len, faults(log_level="x" * 100_000))) < 300


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


def test_enqueue_keys_are_not_shown() -> None:
    """Neither when they are wrong nor when something else is."""
    text = "\n".join(faults(enqueue_keys=[f"{SECRET}", {"k2": ADMIN}], port=-1))
    assert "enqueue_keys" in text
    assert SECRET not in text
    assert ADMIN not in text
    assert SECRET not in repr(loaded(enqueue_keys=[f"shop:{SECRET}"]))


def test_every_bad_room_name_is_reported() -> None:
    """Two bad names and a bad value are three faults of one message."""
    lines = "\n".join(faults(rooms={"Shop": {}, "{x}": {}, "fair": {"capacity": -1}}))
    assert "'Shop'" in lines
    assert "'{x}'" in lines
    assert "rooms.fair.capacity" in lines


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
    ("text", "annotation", "value"),
    [
        ("True", bool, True),
        ("0", bool, False),
        ("maybe", bool, "maybe"),
        ("7", int, 7),
        ("7.5", int, "7.5"),
        ("7.5", float, 7.5),
        ("many", float, "many"),
        ("a, b,c", list[str], ["a", "b", "c"]),
        ('["a", "b"]', list[str], ["a", "b"]),
        ("[a", list[str], "[a"),
        ("a,,b,", list[str], ["a", "b"]),
        (" ", list[str], []),
        ('{"a": {}}', dict[str, object], {"a": {}}),
        ("open", Literal["open", "closed"], "open"),
        ("1", str, "1"),
    ],
)
def test_a_text_is_read_by_the_annotation(text: str, annotation: object, value: object) -> None:
    """It becomes a value of that kind, or stays the text that a message can show."""
    assert value_of(text, annotation) == value
    assert type(value_of(text, annotation)) is type(value)


def test_a_table_that_is_no_json_is_an_error() -> None:
    """Its text would say nothing as a value."""
    with pytest.raises(json.JSONDecodeError):
        value_of("{a", dict[str, object])


def test_a_list_may_be_read_otherwise() -> None:
    """Redis keeps lists as JSON alone."""
    assert value_of("a,b", list[str], list_of=json.loads) == "a,b"
