"""The doctor's question: how `waitroom doctor` shows an instance that it asks for an operator, without the admin key
ever going over the line.

    question  <time in s>.<22 characters of a nonce>.<43 characters: HMAC-SHA256 under a key derived from the admin key>

The room is part of what is signed. A question opens nothing but what an instance saw of the request that brought it,
and a stream of heartbeats. It is good for two minutes, so an eavesdropper could learn that much of their own request.
"""

from __future__ import annotations

import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Final

#: Seconds for which a question is good, before and after its time: the doctor takes the room's time for it.
SECONDS: Final = 120

_PURPOSE: Final = b"waitroom doctor v1"
_QUESTION: Final = re.compile(r"([0-9]{1,12})\.([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})\Z", re.ASCII)


def new_nonce() -> str:
    """What tells this question from every other."""
    return secrets.token_urlsafe(16)


def ask(admin_key: str, room: str, nonce: str, *, now: float) -> str:
    """A question about a room, at that time (seconds since the epoch)."""
    return f"{int(now)}.{nonce}.{_mac(admin_key, room, str(int(now)), nonce)}"


def nonce_of(admin_key: str, room: str, question: str, *, now: float) -> str | None:
    """The nonce of a question that is signed with the admin key, for that room and about now; else None."""
    match = _QUESTION.match(question)
    if match is None or not admin_key or abs(int(match[1]) - now) > SECONDS:
        return None
    good = hmac.compare_digest(match[3], _mac(admin_key, room, match[1], match[2]))
    return match[2] if good else None


def _mac(admin_key: str, room: str, time: str, nonce: str) -> str:
    derived = hmac.digest(admin_key.encode(), _PURPOSE, sha256)
    signed = hmac.digest(derived, f"{room}\0{time}\0{nonce}".encode(), sha256)
    return urlsafe_b64encode(signed).rstrip(b"=").decode()
