"""All that talks to Redis: where it is, how it is reached, its keys, its scripts, its time, and one of our own."""

from __future__ import annotations
