"""How long to stay away after failures, and how to spread what many do at once."""

from __future__ import annotations

import random
from typing import Final

from waitroom.client.errors import ServerUnavailable

#: Seconds between two tries while the server cannot be reached: at first, and at most.
FIRST_PAUSE_SECONDS: Final = 0.25
LONGEST_PAUSE_SECONDS: Final = 15.0

#: Seconds that a Retry-After is believed at most: beyond it the place might be lost.
LONGEST_RETRY_AFTER_SECONDS: Final = 60.0

#: Seconds between two tries at most while a place ends that is to be kept.
LONGEST_ENDING_PAUSE_SECONDS: Final = 10.0


class Pauses:
    """How long to stay away after each failure in a row: growing, spread, and not less than the server asks for."""

    def __init__(self) -> None:
        self.count = 0

    def after(self, error: Exception, *, left: float | None = None) -> float:
        """Seconds until the next try. With `left` seconds to the end of a place there are several tries until then."""
        pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(self.count, 16), LONGEST_PAUSE_SECONDS) * spread(0.5, 1.0)
        self.count += 1
        if isinstance(error, ServerUnavailable) and error.retry_after_seconds is not None:
            pause = max(pause, min(error.retry_after_seconds, LONGEST_RETRY_AFTER_SECONDS) * spread(1.0, 1.1))
        if left is not None:
            pause = min(pause, max(left / 3, FIRST_PAUSE_SECONDS), LONGEST_ENDING_PAUSE_SECONDS)
        return pause


def spread(low: float, high: float) -> float:
    """A number between these two."""
    return random.uniform(low, high)  # noqa: S311 - spreads load, no secret # nosec B311
