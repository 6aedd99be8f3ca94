"""The words of the waiting room as types. Nothing here does I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal, NamedTuple, NewType

#: A visitor's id: 128 random bits, made by the server, as 22 characters of base64url.
Visitor = NewType("Visitor", str)

#: What such an id looks like.
VISITOR_ID: Final = re.compile(r"[A-Za-z0-9_-]{22}\Z", re.ASCII)

#: What a room may be called. No character of it means anything to Redis, a URL, a cookie or a shell.
ROOM_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\Z")

#: The same in words.
ROOM_NAME_RULE: Final = "1-64 of a-z, 0-9, _ and -, a letter or digit first"


def room_name(text: str) -> str:
    """The text, if it is a room's name. Raises ValueError with the rule."""
    if not ROOM_NAME.match(text):
        raise ValueError(f"{text[:80]!r} is not a room name: {ROOM_NAME_RULE}")
    return text


class Outcome(StrEnum):
    """The first word of a script's reply."""

    OK = "ok"
    MISSING = "missing"
    BROKEN = "broken"
    STALE = "stale"
    CONFLICT = "conflict"
    ACQUIRED = "acquired"
    RENEWED = "renewed"
    HELD = "held"
    RESIGNED = "resigned"


class Standing(StrEnum):
    """Where one visitor stands, as a script says it."""

    WAITING = "waiting"
    OFFERED = "offered"
    ADMITTED = "admitted"
    LEFT = "left"
    USED = "used"
    EXPIRED = "expired"
    FULL = "full"
    LIMITED = "limited"
    CLOSED = "closed"
    MUST_WAIT = "must_wait"
    UNKNOWN = "unknown"


#: What a room does with visitors that come. paused: no visitor is admitted, places are kept. closed: no visitor may
#: enter. bypass: every visitor passes.
RoomState = Literal["open", "paused", "closed", "bypass"]


#: How far in front of the others the serials of the priority lane stand: they are drawn alike, and this much is taken
#: off, in µs. Less than the time since the epoch, and more than anybody waits.
LANE_US: Final = 1_500_000_000_000_000


def arrived_us(serial: int) -> int:
    """When a serial was drawn, in either lane: Redis time in µs since the epoch."""
    return serial + LANE_US if 0 < serial < LANE_US else serial


class Ticket(NamedTuple):
    """Signed proof of a place. Times are Redis time in µs since the epoch.

    `bound`: the fingerprint of the client that received it, where the room binds proofs, else empty.
    """

    visitor: Visitor
    serial: int
    issued_us: int
    bound: str = ""


class Arrival(NamedTuple):
    """A visitor that comes to a room where more than the ticket decides.

    `fresh`: the id for a new place. `keyed`: the id is made of what its holder proved, and has one place and one turn.
    `priority`: a new place goes in front of all that have none. `address`, `network`: their places are counted, as
    opaque texts, empty where none are.
    """

    fresh: Visitor
    ticket: Ticket | None = None
    keyed: bool = False
    priority: bool = False
    address: str = ""
    network: str = ""


@dataclass(frozen=True, slots=True)
class Pass:
    """Signed proof of admission. `expires` and `issued` are in seconds since the epoch, Redis time.

    An `offer` has not been claimed yet: it lives for `claim_seconds`, and the next contact starts the session. `bound`:
    the fingerprint of the client that received it, where the room binds proofs, else empty.
    """

    visitor: Visitor
    expires: float
    offer: bool = False
    issued: float = field(default=0.0, compare=False)
    bound: str = ""


class Place(NamedTuple):
    """One visitor's standing. `rank` counts from 1 (0 when not waiting).

    `expires_us`: when the place inside ends, for LIMITED when the next place may be taken, else 0.
    """

    standing: Standing
    now_us: int
    visitor: Visitor
    serial: int = 0
    rank: int = 0
    expires_us: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """What has happened in a room since its data began. Each only grows.

    entered + restored = waiting + active + left + finished + no_show + abandoned, always.
    """

    entered: int = 0
    restored: int = 0
    admitted: int = 0
    claimed: int = 0
    left: int = 0
    finished: int = 0
    no_show: int = 0
    abandoned: int = 0
    refused_full: int = 0
    refused_limited: int = 0
    refused_closed: int = 0


@dataclass(frozen=True, slots=True)
class Marks:
    """What instances remember of a room, so that a loss of its data harms no visitor.

    `last`: the highest serial given out. `turn_serial`, `turn_us`: the highest serial ever admitted, and when the last
    admission was. Tickets up to that serial, issued up to then, have had their turn. `version`: of the settings.
    """

    last: int = 0
    turn_serial: int = 0
    turn_us: int = 0
    version: int = 0

    def merged(self, other: Marks) -> Marks:
        """The higher of both, field by field."""
        return Marks(
            max(self.last, other.last),
            max(self.turn_serial, other.turn_serial),
            max(self.turn_us, other.turn_us),
            max(self.version, other.version),
        )


@dataclass(frozen=True, slots=True)
class Origin:
    """How a room's data came to be. Times are Redis time in µs since the epoch, 0 where there is none.

    `made_us`: when the data began. `sown`: whether an instance made them from its file. `set_us`: when an operator last
    decided on the settings. `lost_us`: when an instance last found data lost. `made_version`: the version of the
    settings that were given back then. `passes_after_us`: no pass from before is good, for an operator had deleted the
    room.
    """

    made_us: int = 0
    sown: bool = False
    set_us: int = 0
    lost_us: int = 0
    made_version: int = 0
    passes_after_us: int = 0


@dataclass(frozen=True, slots=True)
class Flow:
    """How visitors have lately gone through a room, as its leaders saw it. Every figure fades.

    In `demand_us` µs of demand `admitted` visitors were admitted. In `stay_us` µs spent inside, added up over visitors,
    `ended` places became free, `early` of them before their end and `no_show` unclaimed. In `wait_us` µs spent waiting,
    added up alike, `gone` visitors went without a turn.
    """

    admitted: float = 0.0
    demand_us: float = 0.0
    ended: float = 0.0
    stay_us: float = 0.0
    early: float = 0.0
    no_show: float = 0.0
    wait_us: float = 0.0
    gone: float = 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """A room at one instant. Times are Redis time in µs since the epoch.

    `settings` are the raw texts that Redis holds, of that `version`. `longest_session_seconds` is the longest pass that
    the room ever gave. `releases_us` are up to 17 evenly spaced expiries of the active set, first to last. `ladder`: up
    to 32 ranks of the wait queue with the serials that stand there, first and last among them.
    """

    now_us: int
    waiting: int = 0
    occupancy: int = 0
    offered: int = 0
    version: int = 0
    schema: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    counts: Counts = Counts()
    marks: Marks = Marks()
    origin: Origin = Origin()
    flow: Flow = Flow()
    hold_until_us: int = 0
    longest_session_seconds: float = 0.0
    releases_us: tuple[int, ...] = ()
    ladder: tuple[tuple[int, int], ...] = ()
    revoked: dict[Visitor, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Admission:
    """What one `admit` call did: the serials admitted, in order, and what is left."""

    now_us: int
    waiting: int
    occupancy: int
    more: bool
    serials: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Expiry:
    """What one `expire` call took out."""

    more: bool
    abandoned: int
    no_show: int
    finished: int
    swept: int
