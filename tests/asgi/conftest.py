"""Fixtures: an instance before a real Redis, shared, and fresh rooms on it; a gate that waits for a busy machine."""

from __future__ import annotations

import pytest

from tests.web.conftest import new_room, site
from tests.web.sites import PATIENCE_SECONDS
from waitroom.asgi import keeper, remote

__all__ = ["new_room", "site", "unhurried"]


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take longer for an answer than a gate waits in life: test_in_time.py holds what it waits."""
    monkeypatch.setattr(remote, "_GATE_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(remote, "_CALL_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(keeper, "_OPENING_SECONDS", PATIENCE_SECONDS)
