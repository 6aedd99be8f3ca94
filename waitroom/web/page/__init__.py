"""The waiting page: its address, its words and its files."""

from __future__ import annotations
