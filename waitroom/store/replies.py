"""What the replies of scripts mean: outcomes, places, standings, readings.

Each reply begins with an outcome word. A good one goes on with the time at which the script ran.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from waitroom.errors import RoomBroken, RoomUnknown, TermStale, VersionConflict
from waitroom.model import Counts, Flow, Marks, Origin, Outcome, Pass, Place, Reading, Standing, Ticket, Visitor

#: The fields of `state` that a flow is read from, by its own names.
_FLOW: Final = {name: "pace_us" if name == "demand_us" else f"pace_{name}" for name in Flow.__dataclass_fields__}

_STANDINGS: Final = {standing.value: standing for standing in Standing}


def judge(room: str, reply: list[Any]) -> None:
    """Raise what a reply's outcome word stands for, unless it is a good one."""
    outcome = Outcome(reply[0])
    if outcome is Outcome.MISSING:
        raise RoomUnknown(f"no room {room!r}")
    if outcome is Outcome.BROKEN:
        raise RoomBroken(f"room {room!r}: the setting {reply[1]!r} is missing or not of its kind")
    if outcome is Outcome.STALE:
        raise TermStale(f"room {room!r}: a leader of term {reply[1]} has acted", int(reply[1]))
    if outcome is Outcome.CONFLICT:
        raise VersionConflict(room, int(reply[1]))


def arrived(arrivals: Sequence[tuple[Visitor, Ticket | None]], reply: list[Any]) -> list[Place]:
    """The place of each arrival: the ticket's where it has the ticket's serial, else the fresh visitor's."""
    places, now_us = [], reply[1]
    for (fresh, ticket), word, serial, number in zip(arrivals, reply[2::3], reply[3::3], reply[4::3], strict=True):
        standing = _STANDINGS[word]
        visitor = ticket.visitor if ticket and ticket.serial == serial else fresh
        rank, expires = (number, 0) if standing is Standing.WAITING else (0, number)
        places.append(Place(standing, now_us, visitor, serial, rank, expires))
    return places


def placed(visitors: Sequence[Ticket | tuple[Visitor, int]], reply: list[Any]) -> list[Place]:
    """The place of each visitor, given with the serial: by a ticket, or so alone."""
    places, now_us = [], reply[1]
    for one, word, number in zip(visitors, reply[2::2], reply[3::2], strict=True):
        standing = _STANDINGS[word]
        rank, expires = (number, 0) if standing is Standing.WAITING else (0, number)
        places.append(Place(standing, now_us, one[0], one[1], rank, expires))
    return places


def passed(passes: Sequence[Pass], reply: list[Any]) -> list[Place]:
    """The place that each pass stands for."""
    return [
        Place(_STANDINGS[word], reply[1], proof.visitor, expires_us=expires)
        for proof, word, expires in zip(passes, reply[2::2], reply[3::2], strict=True)
    ]


def stood(reply: list[Any]) -> list[Standing]:
    """The standing of each visitor."""
    return [_STANDINGS[word] for word in reply[2:]]


def reading(reply: list[Any]) -> Reading:
    """The whole of a room. Raises ValueError where a number is none."""
    config, state = _pairs(reply[5]), _pairs(reply[6])
    version = int(config.pop("version", 0))
    origin = Origin(
        made_us=int(config.pop("made_us", 0)),
        sown=config.pop("sown", "") == "1",
        set_us=int(config.pop("set_us", 0)),
        lost_us=int(state.get("lost_us", 0)),
        made_version=int(config.pop("made_version", 0)),
        passes_after_us=int(config.pop("passes_after_us", 0)),
    )
    marks = {name: int(state.get(name, 0)) for name in ("last", "turn_serial", "turn_us")}
    longest = float(config.pop("longest_session_seconds", 0))
    return Reading(
        now_us=reply[1],
        waiting=reply[2],
        occupancy=reply[3],
        offered=reply[4],
        version=version,
        schema=config.pop("schema", ""),
        settings=config,
        counts=Counts(**{name: int(state.get(name, 0)) for name in Counts.__dataclass_fields__}),
        marks=Marks(**marks, version=version),
        origin=origin,
        flow=Flow(**{name: float(state.get(field, 0)) for name, field in _FLOW.items()}),
        hold_until_us=int(state.get("hold_until_us", 0)),
        longest_session_seconds=longest,
        releases_us=tuple(reply[8]),
        ladder=tuple(zip(reply[9][::2], reply[9][1::2], strict=True)),
        revoked={Visitor(visitor): int(when) for visitor, when in _pairs(reply[7]).items()},
    )


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
