"""Rooms on this instance: one room, all rooms, batches, streams, etas, and what is known after a loss of data."""

from __future__ import annotations
