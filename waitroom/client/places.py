"""What a client knows of a place: in the queue, or inside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

#: A slot counts as lost so long before the server gives it to somebody else: a share of the session, within bounds.
#: The block needs this time to stop.
MARGIN_SHARE: Final = 0.1
SHORTEST_MARGIN_SECONDS: Final = 0.25
LONGEST_MARGIN_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A place in the queue. The etas are None while nobody can say (the room is paused or closed).

    `serial`, `latest_poll_seconds` and `as_of` are None where an older server does not tell them.
    """

    room: str
    rank: int
    #: Visitors in the room's wait queue.
    room_waiting: int
    eta_seconds: float | None
    eta_low_seconds: float | None
    eta_high_seconds: float | None
    poll_after_seconds: float
    entered_at: datetime
    room_state: str
    message: str
    #: The ticket.
    proof: str = field(repr=False)
    serial: int | None = None
    #: When to ask again in person at the latest, for who watches the room meanwhile.
    latest_poll_seconds: float | None = None
    as_of: datetime | None = None
    #: When this was heard, on this process's `time.monotonic()`.
    heard: float = field(default=0.0, repr=False, compare=False)
    #: When to ask again, on this process's `time.monotonic()`.
    due: float = field(default=0.0, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A place inside. An offer's `expires_at` is the time by which to claim it, by any further call."""

    room: str
    expires_at: datetime
    session_seconds: float
    #: The pass.
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
