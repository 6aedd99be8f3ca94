"""Fixtures: an instance before a real Redis, shared, and fresh rooms on it."""

from __future__ import annotations

from tests.web.conftest import new_room, site

__all__ = ["new_room", "site"]
