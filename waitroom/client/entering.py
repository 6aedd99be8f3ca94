"""Getting a new place, where that takes a token of the site or a piece of work."""

from __future__ import annotations

import asyncio
import threading
from hashlib import sha256
from typing import Final

from waitroom.client import documents
from waitroom.client.connection import Connection
from waitroom.client.errors import BadAnswer, ChallengeSet
from waitroom.client.places import Place

#: The largest challenge that is solved: half a minute of one core on average.
MOST_BITS: Final = 24

#: The last so many characters of a challenge are hashed with the number that is sought.
_SEED_CHARACTERS: Final = 40

#: So many times the average are tried: one in a hundred million challenges takes more.
_MOST_TRIES: Final = 20

#: Tries between two looks at whether anybody waits.
_LOOK_EVERY: Final = 4096


async def enter(connection: Connection, room: str, proof: str | None, token: str | None) -> Place:
    """A place by what is brought. Where a place needs work, the work is done and brought too."""
    brought = {"X-Waitroom-Enqueue": _checked(token)} if token is not None else {}
    try:
        return await connection.place("POST", room, "enter", proof, headers=brought)
    except ChallengeSet as asked:
        if not 1 <= asked.bits <= MOST_BITS:
            raise BadAnswer(f"room {room!r} sets a challenge of {asked.bits} bits, not 1 to {MOST_BITS}") from None
        solution = await _solved(asked)
    return await connection.place("POST", room, "enter", proof, headers=brought | {"X-Waitroom-Challenge": solution})


async def _solved(asked: ChallengeSet) -> str:
    """A solution, looked for in a thread that ends when it is not wanted any more."""
    over = threading.Event()
    try:
        return await asyncio.to_thread(solve, asked.challenge, asked.bits, over)
    finally:
        over.set()


def solve(challenge: str, bits: int, over: threading.Event | None = None) -> str:
    """A solution of a challenge, found by trying: 2 to the power of `bits` tries on average.

    Raises BadAnswer where `over` is set before, or there is none for so long that there is hardly one.
    """
    started = sha256(f"{challenge[-_SEED_CHARACTERS:]}.".encode())
    beyond = 1 << (256 - bits)
    for nonce in range(_MOST_TRIES << bits):
        if over is not None and nonce % _LOOK_EVERY == 0 and over.is_set():
            break
        tried = started.copy()
        tried.update(b"%d" % nonce)
        if int.from_bytes(tried.digest()) < beyond:
            return f"{challenge}.{nonce}"
    raise BadAnswer(f"no solution of a challenge of {bits} bits")


def _checked(token: str) -> str:
    if not documents.PROOF.match(token):
        raise ValueError("token is not an enqueue token")
    return token
