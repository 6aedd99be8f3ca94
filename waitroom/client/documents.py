"""Reading what the server says. Each function raises LookupError, TypeError or ValueError for what is not that."""

from __future__ import annotations

import base64
import json
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from waitroom.client.pauses import spread
from waitroom.client.places import Admitted, Waiting

#: Seconds between two questions at least, also if the server says less.
SHORTEST_POLL_SECONDS: Final = 0.05

PROOF: Final = re.compile(r"[A-Za-z0-9._-]{1,2048}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Room:
    """What anybody may know of a room: what it takes to bring a place in its queue up to date.

    `ladder`: ranks with the serials that stand there. `lost_at`: when its data were last lost.
    """

    state: str
    message: str
    waiting: int
    admitted_per_second: float | None
    eta_seconds: float | None
    eta_low_seconds: float | None
    eta_high_seconds: float | None
    ladder: tuple[tuple[int, int], ...]
    lost_at: datetime | None
    refresh_after_seconds: float
    as_of: datetime


def waiting(document: dict[str, Any]) -> Waiting:
    """A place in the queue."""
    poll_after, heard = _number(document["poll_after_seconds"]), time.monotonic()
    return Waiting(
        room=_text(document["room"]),
        rank=int(_number(document["rank"])),
        room_waiting=int(_number(document["waiting"])),
        eta_seconds=_number_or_none(document["eta_seconds"]),
        eta_low_seconds=_number_or_none(document["eta_low_seconds"]),
        eta_high_seconds=_number_or_none(document["eta_high_seconds"]),
        poll_after_seconds=poll_after,
        entered_at=_time(document["entered_at"]),
        room_state=_text(document["room_state"]),
        message=_text(document["message"]),
        proof=_proof(document["ticket"]),
        serial=_serial(document.get("serial")),
        latest_poll_seconds=_number_or_none(document.get("latest_poll_seconds")),
        as_of=_time(document["as_of"]) if "as_of" in document else None,
        heard=heard,
        due=heard + max(poll_after, SHORTEST_POLL_SECONDS) * spread(1.0, 1.1),
    )


def admitted(document: dict[str, Any], sent: float) -> Admitted:
    """A place inside, from the answer to a question of that time."""
    if document["state"] != "admitted":
        raise ValueError("state")
    proof = _proof(document["pass"])
    return Admitted(
        room=_text(document["room"]),
        expires_at=_time(document["expires_at"]),
        session_seconds=_number(document["session_seconds"]),
        proof=proof,
        # The server set the end after the question was sent, so this is never later than the true end.
        lasts_until=sent + _seconds_in(proof),
    )


def room(document: dict[str, Any]) -> Room:
    """A room, from a server that tells its ladder."""
    found = Room(
        state=_text(document["state"]),
        message=_text(document["message"]),
        waiting=int(_number(document["waiting"])),
        admitted_per_second=_number_or_none(document["admitted_per_second"]),
        eta_seconds=_number_or_none(document["eta_seconds"]),
        eta_low_seconds=_number_or_none(document["eta_low_seconds"]),
        eta_high_seconds=_number_or_none(document["eta_high_seconds"]),
        ladder=tuple((int(_number(rank)), int(_number(serial))) for rank, serial in document["ladder"]),
        lost_at=None if document["lost_at"] is None else _time(document["lost_at"]),
        refresh_after_seconds=_number(document["refresh_after_seconds"]),
        as_of=_time(document["as_of"]),
    )
    if not _rises(found.ladder) or (found.lost_at or found.as_of) > found.as_of:
        raise ValueError("ladder or lost_at")
    return found


def _rises(ladder: tuple[tuple[int, int], ...]) -> bool:
    """Whether both ranks and serials do, from rank 1 on."""
    upwards = all(one[0] < other[0] and one[1] < other[1] for one, other in pairwise(ladder))
    return upwards and all(rank >= 1 for rank, _ in ladder)


def _seconds_in(granted: str) -> float:
    """How long a pass lasts from its issue, on the server's clock: its own exp - iat (it is a JWT)."""
    payload = granted.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return float(_number(claims["exp"]) - _number(claims["iat"]))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _proof(value: object) -> str:
    if not isinstance(value, str) or not PROOF.match(value):
        raise ValueError
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise ValueError
    return float(value)


def _number_or_none(value: object) -> float | None:
    return None if value is None else _number(value)


def _serial(value: object) -> int | None:
    return None if value is None else int(_number(value))


def _time(value: object) -> datetime:
    try:
        return datetime.fromisoformat(_text(value)).astimezone(UTC)
    except OverflowError as error:  # a day before the calendar's first, or after its last
        raise ValueError from error
