"""The operators' API."""

from __future__ import annotations
