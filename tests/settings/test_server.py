"""The settings of an instance: bounds, and keys that keep to themselves."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.settings.loading import ADMIN, SECRET, faults, loaded
from waitroom.settings.sources import load


def test_printing_the_settings_shows_no_keys() -> None:
    """Neither repr nor str of the settings holds a key."""
    settings = loaded(admin_key=ADMIN, signing_keys=[f"k1:{SECRET}"])
    assert not [secret for secret in (ADMIN, SECRET) if secret in f"{settings!r} {settings}"]


def test_settings_do_not_show_the_redis_password() -> None:
    """Not in their repr, which may end up in a log."""
    assert "hunter2" not in repr(load(environment={}, redis_url="redis://:hunter2@h"))


def test_an_enqueue_key_is_no_signing_key() -> None:
    """Whoever signs for a shop could sign passes with it; the refusal shows neither."""
    (line,) = faults(signing_keys=[f"k1:{SECRET}"], enqueue_keys=[f"shop:{SECRET}"])
    assert line.startswith("enqueue_keys: one of them is a signing key")
    assert SECRET not in line
    assert loaded(signing_keys=[f"k1:{SECRET}"], enqueue_keys=[f"k1:{ADMIN}"])


@pytest.mark.parametrize("url", ["", "http://shop.example"])
def test_cookies_for_other_sites_need_https(url: str) -> None:
    """A browser drops such a cookie that is not Secure, so the instance does not start."""
    (line,) = faults(same_site="none", public_url=url)
    assert line.startswith(f"same_site: needs a public_url under https, which is {url!r}, got 'none'")
    assert loaded(same_site="none", public_url="https://shop.example").own_origin == "https://shop.example"
    assert loaded(public_url="https://shop.example").own_origin == ""


@pytest.mark.parametrize("tokens", ["accepted", "required"])
def test_tokens_need_a_key(tokens: str) -> None:
    """Else nobody could bring a good one, and a room would shut everybody out in silence."""
    (line,) = faults(rooms={"shop": {"enqueue_tokens": tokens}})
    assert line.startswith("rooms.shop.enqueue_tokens: ")
    assert loaded(rooms={"shop": {"enqueue_tokens": tokens}}, enqueue_keys=[f"shop:{SECRET}"])


@pytest.mark.parametrize(
    ("name", "bad"),
    [("port", 65_536), ("port", -1), ("port", "80"), ("port", True), ("workers", 0), ("workers", 65), ("tick_seconds",
    math.nan),
     ("tick_seconds", 0), ("lease_seconds", 0.1), ("lease_seconds", math.inf), ("redis_timeout_seconds", 0.01),
     ("max_backlog", 0), ("same_site", "strict"), ("same_site", 1), ("log_level", "loud"), ("public_url", "https://shop.example/"),
     ("public_url", "shop.example"),
     ("public_url", "https://shop.example/wait"), ("public_url", "javascript:alert(1)"), ("host", 1), ("production", 1),
     ("signing_keys", "k1:x"), ("rooms", []), ("trusted_proxies", "10.0.0.0/8"), ("trusted_proxies", ["10.0.0.1/8"]),
     ("trusted_proxies", ["none", "unix"]), ("enqueue_keys", ["shop:short"]), ("enqueue_keys", ["x"])],
    ids=repr,
)  # fmt: skip
def test_a_bad_server_setting_is_refused_by_name(name: str, bad: object) -> None:
    """Every bad value of a server setting is refused with the setting's name."""
    given: dict[str, Any] = {name: bad}
    assert faults(**given)[0].startswith(name + ":")
