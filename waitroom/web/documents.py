"""The JSON documents that visitors see."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from waitroom.eta import Eta, poll_after
from waitroom.model import Place, Reading
from waitroom.room import Room


def iso(us: int) -> str:
    """A time in µs since the epoch as RFC 3339 text in UTC, to the millisecond."""
    return f"{_second(us // 1_000_000)}.{us // 1000 % 1000:03d}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    # Kept, because thousands of visitors arrive in the same second and strftime took a twelfth of an enter.
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def waiting(room: Room, place: Place, *, ticket: str) -> dict[str, Any]:
    """Where a waiting visitor stands, and when to ask again."""
    eta = room.eta(place.rank)
    return {
        "room": room.name,
        "state": "waiting",
        "rank": place.rank,
        # The reading is up to a second old; nobody stands behind the end of the queue.
        "waiting": max(room.reading.waiting, place.rank),
        **_eta_fields(eta),
        "poll_after_seconds": round(poll_after(eta, room.settings), 2),
        "entered_at": iso(place.serial),
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
    """What anybody may know of a room, of a second ago at most."""
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
        "as_of": iso(reading.now_us),
    }


def _admitted_per_second(reading: Reading) -> float | None:
    """Measured over the last minute under demand; None when there was none."""
    return round(reading.pace_admitted * 1_000_000 / reading.pace_us, 3) if reading.pace_us >= 1_000_000 else None


def _eta_at_tail(room: Room) -> Eta | None:
    reading, settings = room.reading, room.settings
    free = settings.capacity == 0 or reading.occupancy < settings.capacity
    if reading.waiting == 0 and free and room.pace.per_second > 0:
        return Eta(0.0, 0.0, 0.0)
    return room.eta(reading.waiting + 1)


def _eta_fields(eta: Eta | None) -> dict[str, float | None]:
    if eta is None:
        return {"eta_seconds": None, "eta_low_seconds": None, "eta_high_seconds": None}
    return {
        "eta_seconds": round(eta.seconds, 1),
        "eta_low_seconds": round(eta.low, 1),
        "eta_high_seconds": round(eta.high, 1),
    }
