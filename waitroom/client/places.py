"""What a client knows of a place: in the queue, or inside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

#: A slot counts as lost so long before the server gives it to another visitor: a share of the session, within bounds.
#: The block needs this time to stop.
MARGIN_SHARE: Final = 0.1
SHORTEST_MARGIN_SECONDS: Final = 0.25
LONGEST_MARGIN_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A place in the queue.

    `rank` counts from 1, which is next. `room_waiting` are all visitors in the queue. `eta_seconds` are until the
    admission, as expected, with a low and a high bound: None while the server cannot say (the room is paused or
    closed). `poll_after_seconds` is when to ask again after this answer, `latest_poll_seconds` when at the latest for a
    client that watches the room meanwhile. `entered_at` is the time of arrival, and `as_of` that of this answer.
    `room_state` is open, paused, closed or bypass. `message` is the operator's line, or empty. `proof` is the ticket.

    `serial`, `latest_poll_seconds` and `as_of` are None where an older server does not tell them.
    """

    room: str
    rank: int
    room_waiting: int
    eta_seconds: float | None
    eta_low_seconds: float | None
    eta_high_seconds: float | None
    poll_after_seconds: float
    entered_at: datetime
    room_state: str
    message: str
    proof: str = field(repr=False)
    serial: int | None = None
    latest_poll_seconds: float | None = None
    as_of: datetime | None = None
    #: When this was heard, on this process's `time.monotonic()`.
    heard: float = field(default=0.0, repr=False, compare=False)
    #: When to ask again, on this process's `time.monotonic()`.
    due: float = field(default=0.0, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A place inside. An offer's `expires_at` is the time by which to claim it, by any further call.

    `session_seconds` is how long the room's sessions last. `proof` is the pass.
    """

    room: str
    expires_at: datetime
    session_seconds: float
    proof: str = field(repr=False)
    #: Until when the place lasts at least, on this process's `time.monotonic()`: no clocks are compared.
    lasts_until: float = field(default=0.0, repr=False, compare=False)


Place = Waiting | Admitted
OnProgress = Callable[[Waiting], Awaitable[None] | None]


def usable_until(place: Admitted) -> float:
    """When a block must stop, on this process's `time.monotonic()`: before the server's end by a margin."""
    session = place.session_seconds
    margin = min(max(session * MARGIN_SHARE, SHORTEST_MARGIN_SECONDS), LONGEST_MARGIN_SECONDS, session / 3)
    return place.lasts_until - margin
