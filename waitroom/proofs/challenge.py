"""The challenge: a piece of work (Dwork and Naor 1992, the partial hash inversion of Hashcash) that costs a browser a
moment. A robot that wants thousands of places pays thousands of moments.

    challenge  <key id>.<80 characters of base64url>
               decoded: 2 bytes version | 2 bytes bits | 16 bytes visitor | 8 bytes issued_us | 32 bytes HMAC-SHA256
    solution   <challenge>.<nonce>, a number of up to 12 digits for which SHA-256 of
               "<last 40 characters of the challenge>.<nonce>" begins with so many zero bits

Nothing is kept between the two. The visitor's id is inside: a solution, however often it is shown, is good for one
place and one turn.
"""

from __future__ import annotations

import hmac
import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import Final

from waitroom.model import Visitor
from waitroom.proofs.keyring import LEEWAY_SECONDS, Keyring
from waitroom.proofs.tickets import new_visitor

#: Seconds that a challenge is good for: a slow phone at 20 bits needs a minute, and people put phones away.
SECONDS: Final = 600.0

_VERSION: Final = 1
_BODY: Final = struct.Struct(">HH16sQ")
_MAC_BYTES: Final = 32

#: Characters of the challenge that are hashed: with the nonce they fit into one block of SHA-256.
SEED_CHARACTERS: Final = 40

# 60 bytes fill their characters without a spare bit, so a challenge has exactly one spelling.
_SOLUTION: Final = re.compile(r"([A-Za-z0-9_-]{1,16})\.([A-Za-z0-9_-]{80})\.([0-9]{1,12})\Z", re.ASCII)


class ChallengeOffice:
    """Sets challenges and judges solutions, for every room under one key ring."""

    def __init__(self, keyring: Keyring) -> None:
        self._keys = keyring.derived(b"waitroom challenge v1")
        self._signer = keyring.signer

    def set(self, room: str, *, bits: int, now_us: int) -> str:
        """A new challenge of that size for a new visitor."""
        visitor = urlsafe_b64decode(new_visitor() + "==")
        body = _BODY.pack(_VERSION, bits, visitor, now_us)
        return f"{self._signer}.{_text(body + self._mac(self._signer, room, body))}"

    def verify(self, room: str, solution: str, *, bits: int, now_us: int, seconds: float = SECONDS) -> Visitor | None:
        """The visitor that a solution gives a place to in that room, or None.

        `bits` is what the room asks for now: what was set smaller is no longer good. It is good for so many `seconds`:
        no longer than the room remembers used turns, else it would be good for another turn.
        """
        match = _SOLUTION.match(solution)
        if match is None or match[1] not in self._keys:
            return None
        raw = urlsafe_b64decode(match[2])
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(match[1], room, body)):
            return None
        version, asked, visitor, issued_us = _BODY.unpack(body)
        age = (now_us - issued_us) / 1_000_000
        if version != _VERSION or asked < bits or not -LEEWAY_SECONDS <= age <= min(seconds, SECONDS):
            return None
        if zero_bits(f"{match[2][-SEED_CHARACTERS:]}.{match[3]}") < asked:
            return None
        return Visitor(_text(visitor))

    def _mac(self, kid: str, room: str, body: bytes) -> bytes:
        return hmac.digest(self._keys[kid], room.encode() + b"\0" + body, sha256)


def zero_bits(text: str) -> int:
    """How many bits the SHA-256 of a text begins with that are zero."""
    return 256 - int.from_bytes(sha256(text.encode()).digest()).bit_length()


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
