"""What may be wrong: with Redis, with the keys that instances sign with, with the gate of a site."""

from __future__ import annotations
