"""Every key name in Redis. Nothing else in the project spells one.

    waitroom:{room}:config    hash: the room's settings, version, schema
    waitroom:{room}:state     hash: counts, marks, term, rate and pace
    waitroom:{room}:wait      sorted set: waiting visitors by serial
    waitroom:{room}:seen      sorted set: waiting visitors by when they were last heard
    waitroom:{room}:active    sorted set: admitted visitors by expiry
    waitroom:{room}:offered   sorted set: those of them that have not claimed yet, by expiry
    waitroom:{room}:used      sorted set: visitors that had their turn or left, by when
    waitroom:{room}:revoked   sorted set: visitors with a pass that outlives the place, by when
    waitroom:{room}:sources   sorted set: addresses and networks, disguised, by when their places are level again
    waitroom:lease            hash: owner, term and end of the leadership
    waitroom:rooms            hash: room -> "live" or "deleted"
    waitroom:signer:<id>      string: fingerprint of the signing key of that id, expires

The braces are Redis Cluster's hash tag: all keys of a room live in one slot, so one script may touch them all.
"""

from __future__ import annotations

from typing import Final

ROOM_KEYS: Final = ("config", "state", "wait", "seen", "active", "offered", "used", "revoked", "sources")
LEASE: Final = "waitroom:lease"
ROOMS: Final = "waitroom:rooms"


def signer_key(kid: str) -> str:
    """The key that holds the fingerprint of the signing key of that id."""
    return f"waitroom:signer:{kid}"


def room_key(room: str, name: str) -> str:
    """The key of one of a room's sets or hashes. `name` is one of ROOM_KEYS."""
    return f"waitroom:{{{room}}}:{name}"


def room_keys(room: str, names: tuple[str, ...] = ROOM_KEYS) -> list[str]:
    """Several keys of one room, in the order of `names`."""
    return [room_key(room, name) for name in names]
