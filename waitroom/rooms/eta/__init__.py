"""The expected time until admission: what was seen of a room, and the room played forward."""

from __future__ import annotations
