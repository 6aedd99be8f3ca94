"""What an operator learns of a refused return address."""

from __future__ import annotations

import logging

import pytest
from prometheus_client import REGISTRY

from waitroom.web.way_back import outline, way_back


def counted(reason: str) -> float:
    """How many were refused for this reason so far."""
    return REGISTRY.get_sample_value("waitroom_return_refused_total", {"reason": reason}) or 0.0


@pytest.mark.parametrize(
    ("asked", "reason"),
    [("//e.example/", "elsewhere"), ("/wait/shop", "own"), ("/a/../b", "unclear"), ("/" * 3000, "long")],
)
def test_a_refusal_is_counted_and_logged(caplog: pytest.LogCaptureFixture, asked: str, reason: str) -> None:
    """By its reason, at the level for developers."""
    caplog.set_level(logging.DEBUG)
    before = counted(reason)
    assert way_back("shop", asked) == "/"
    assert counted(reason) == before + 1
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert record.getMessage().startswith(f"room shop: return address refused ({reason}), {len(asked)} characters: ")
    assert len(record.getMessage()) < 300


@pytest.mark.parametrize("asked", [None, "", "/", "/cart?a=1"])
def test_what_is_not_refused_is_not_counted(caplog: pytest.LogCaptureFixture, asked: str | None) -> None:
    """A good address, and none."""
    caplog.set_level(logging.DEBUG)
    assert way_back("shop", asked) == (asked or "/")
    assert caplog.records == []


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("//evil.example/a1", "'//xxxx.xxxxxxx/xx'"),
        ("/%0d%0aSet-Cookie:%41", "'/%0d%0axxx-xxxxxx:%xx'"),
        ("/\u00e9\x1b[31m\u2028\r\n", "'/x\\x1b[xxx\\u2028\\r\\n'"),
        ("/" + "a" * 5000, "'/" + "x" * 199 + "'"),
    ],
)
def test_the_log_shows_what_is_odd_and_no_words(address: str, shown: str) -> None:
    """Neither a secret in it nor a line that a client wrote gets into the log."""
    assert outline(address) == shown
