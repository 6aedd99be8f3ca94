"""The JSON documents that visitors and operators see."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from waitroom.model import Place, Reading, arrived_us
from waitroom.rooms.eta.estimate import Eta, poll_after
from waitroom.rooms.room import Room
from waitroom.settings.room import REFRESH_AFTER_SECONDS


def iso(us: int) -> str:
    """A time in µs since the epoch as RFC 3339 text in UTC, to the millisecond."""
    seconds, rest = divmod(us, 1_000_000)
    return f"{_to_the_second(seconds)}.{rest // 1000:03d}Z"


# Kept for two hours of seconds: many visitors share one, and waiting visitors ask again and again.
@lru_cache(maxsize=7200)
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def waiting(room: Room, place: Place, *, ticket: str) -> dict[str, Any]:
    """Where a waiting visitor stands, and when to ask again."""
    eta = room.eta(place.rank)
    return {
        "room": room.name,
        "state": "waiting",
        "rank": place.rank,
        "serial": place.serial,
        # The reading is up to a second old. No visitor stands behind the end of the queue.
        "waiting": max(room.reading.waiting, place.rank),
        **_eta_fields(eta),
        "poll_after_seconds": round(poll_after(eta, room.settings), 2),
        "latest_poll_seconds": round(room.settings.latest_poll_seconds, 2),
        "entered_at": iso(arrived_us(place.serial)),
        "as_of": iso(place.now_us),
        "room_state": room.settings.state,
        "message": room.settings.message,
        "ticket": ticket,
    }


def admitted(room: Room, place: Place, *, text: str) -> dict[str, Any]:
    """The pass of an admitted visitor. An offer's `expires_at` is the time by which to claim it."""
    return {
        "room": room.name,
        "state": "admitted",
        "pass": text,
        "expires_at": iso(place.expires_us),
        "session_seconds": room.settings.session_seconds,
    }


def public(room: Room) -> dict[str, Any]:
    """The public document of a room, as of its reading.

    Waiting visitors find their own rank by it between two polls: their serial on the `ladder` of ranks and serials. A
    visitor last heard before `lost_at` has no place there until they ask.
    """
    reading, settings = room.reading, room.settings
    return {
        "room": room.name,
        "state": settings.state,
        "waiting": reading.waiting,
        "occupancy": reading.occupancy,
        "capacity": settings.capacity,
        "admit_per_second": settings.admit_per_second,
        "admitted_per_second": _admitted_per_second(reading),
        **_eta_fields(_eta_at_tail(room)),
        "message": settings.message,
        "ladder": reading.ladder,
        "lost_at": iso(reading.origin.lost_us) if reading.origin.lost_us else None,
        "refresh_after_seconds": REFRESH_AFTER_SECONDS,
        "as_of": iso(reading.now_us),
    }


def for_operators(room: Room) -> dict[str, Any]:
    """Everything that an operator may know of a room."""
    reading = room.reading
    return {
        "room": room.name,
        "version": reading.version,
        "settings": room.settings.model_dump(),
        "waiting": reading.waiting,
        "occupancy": reading.occupancy,
        "offered": reading.offered,
        "counts": asdict(reading.counts),
    }


def _admitted_per_second(reading: Reading) -> float | None:
    """Measured over the last minute under demand. None when there was none."""
    return (
        round(reading.flow.admitted * 1_000_000 / reading.flow.demand_us, 3)
        if reading.flow.demand_us >= 1_000_000
        else None
    )


def _eta_at_tail(room: Room) -> Eta | None:
    reading, settings = room.reading, room.settings
    free = settings.capacity == 0 or reading.occupancy < settings.capacity
    if reading.waiting == 0 and free and room.pace.per_second > 0:
        return Eta(0.0, 0.0, 0.0)
    return room.eta(reading.waiting + 1)


def _eta_fields(eta: Eta | None) -> dict[str, float | None]:
    if eta is None:
        return {"eta_seconds": None, "eta_low_seconds": None, "eta_high_seconds": None}
    return {"eta_seconds": eta.seconds, "eta_low_seconds": eta.low, "eta_high_seconds": eta.high}
