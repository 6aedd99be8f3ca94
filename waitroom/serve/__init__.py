"""A server process, or several: what they are made of, how they start and end."""

from __future__ import annotations
