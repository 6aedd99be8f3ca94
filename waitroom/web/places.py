"""Which place a visitor's proofs give back, for every address that tells it in its own form."""

from __future__ import annotations

from typing import Final

from waitroom.model import Pass, Place, Standing
from waitroom.rooms.room import Room
from waitroom.web.answers import Problem
from waitroom.web.headers import Header, retry_after
from waitroom.web.proofs import Proof

_CHALLENGE: Final[Header] = (b"www-authenticate", b'Bearer realm="waitroom"')

#: Seconds after which a client may try again to get into a full queue.
_FULL_SECONDS: Final = 15.0


async def inside(room: Room, granted: Pass) -> Place | None:
    """The place that a pass proves, if its holder is still inside."""
    if room.is_revoked(granted):
        return None
    place = await room.extend(granted)
    if place.standing is Standing.UNKNOWN and room.takes_at_its_word(granted):
        return place._replace(standing=Standing.ADMITTED, expires_us=int(granted.expires * 1_000_000))
    return place if place.standing is Standing.ADMITTED else None


async def held(room: Room, proof: Proof) -> Place:
    """Where the holder of the proofs stands. Raises Problem where there are none."""
    place = await inside(room, proof.granted) if proof.granted else None
    if place is not None:
        return place
    if proof.ticket is None:
        raise no_place(room, Standing.USED if proof.granted else Standing.EXPIRED)
    return await room.status(proof.ticket)


def no_place(room: Room, standing: Standing) -> Problem:
    """The answer to a standing that is no place."""
    if standing is Standing.CLOSED:
        return Problem(403, "closed", "The room is closed", room.settings.message)
    if standing is Standing.FULL:
        detail = f"{room.settings.max_waiting} visitors wait already"
        return Problem(503, "full", "The wait queue is full", detail, headers=(retry_after(_FULL_SECONDS),))
    if standing in (Standing.USED, Standing.LEFT):  # also of a customer or a solution: one turn each
        return Problem(410, "turn-over", "The turn is over", "the visitor had their turn or left: enter again")
    detail = "a valid ticket or pass of this room is needed, as its cookie or as a bearer"
    return Problem(401, "no-proof", "No valid proof", detail, headers=(_CHALLENGE,))
