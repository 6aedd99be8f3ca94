"""Redis time, kept by each instance between its calls.

Every script's reply carries the time at which it ran. An instance adds its own monotonic clock to the last of them,
so that what it signs and verifies follows Redis time and its own wall clock does not matter.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Redis time on this instance, and the machine's own until the first reply."""

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._offset = wall() - monotonic()

    def observe(self, now_us: int) -> None:
        """Take over the time of a reply, in µs since the epoch."""
        self._offset = now_us / 1_000_000 - self._monotonic()

    def now(self) -> float:
        """Seconds since the epoch, Redis time."""
        return self._monotonic() + self._offset

    def now_us(self) -> int:
        """Microseconds since the epoch, Redis time."""
        return int(self.now() * 1_000_000)

    def skew_seconds(self) -> float:
        """How far this machine's clock is ahead of Redis."""
        return self._wall() - self.now()
