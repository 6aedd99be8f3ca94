"""Passes: signed proof of admission, as JSON Web Tokens (RFC 7519) under HS256.

    header   {"alg": "HS256", "kid": <key id>, "typ": "JWT"}
    payload  {"aud": "waitroom:<room>", "sub": <visitor>, "iat": <s>, "exp": <s>, "offer": true, "ua": <hash>}
             (offer only while it is not claimed, ua only in rooms that bind passes to a User-Agent)

An application behind the gate may verify them with any JWT library and the same key. Here the header must be, byte
for byte, one that this key ring writes: that settles algorithm and key before anything is parsed.
"""

from __future__ import annotations

import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Final

import jwt

from waitroom.model import VISITOR_ID, Pass, Visitor
from waitroom.proofs.keyring import LEEWAY_SECONDS, Keyring

#: A pass is about 230 characters. A longer text is not one.
LONGEST: Final = 1024


class PassOffice:
    """Issues and verifies the passes of every room under one key ring."""

    def __init__(self, keyring: Keyring) -> None:
        self._secrets = keyring.secrets
        self._signer = keyring.signer
        self._kids = {
            jwt.encode({}, secret, "HS256", headers={"kid": kid}).split(".")[0]: kid
            for kid, secret in keyring.secrets.items()
        }

    def issue(self, room: str, granted: Pass, *, now: float) -> str:
        """The pass as text. Its expiry is rounded down to milliseconds: never later than the place inside."""
        claims: dict[str, Any] = {
            "aud": f"waitroom:{room}",
            "sub": granted.visitor,
            "iat": math.floor(now * 1000) / 1000,
            "exp": math.floor(granted.expires * 1000) / 1000,
        }
        if granted.offer:
            claims["offer"] = True
        if granted.bound:
            claims["ua"] = granted.bound
        return jwt.encode(claims, self._secrets[self._signer], "HS256", headers={"kid": self._signer})

    def verify(self, room: str, text: str, *, now: float) -> Pass | None:
        """The pass that the text proves for that room at that time (seconds since the epoch), or None."""
        if len(text) > LONGEST or not text.isascii():
            return None
        parts = text.split(".")
        kid = self._kids.get(parts[0])
        if kid is None or len(parts) != 3 or not all(_is_canonical(part) for part in parts):
            return None
        try:
            claims = jwt.decode(
                text,
                self._secrets[kid],
                algorithms=["HS256"],
                audience=f"waitroom:{room}",
                # Times are judged below, on Redis time instead of this machine's.
                options={
                    "require": ["exp", "iat", "sub", "aud"],
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            return None
        return _judged(claims, now)


def _is_canonical(part: str) -> bool:
    """Whether a segment is the one base64url spelling of its bytes."""
    try:
        raw = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        return False
    return urlsafe_b64encode(raw).rstrip(b"=").decode() == part


def _judged(claims: dict[str, Any], now: float) -> Pass | None:
    expires, issued, visitor = claims["exp"], claims["iat"], claims["sub"]
    # Beyond 2^53 there is no time to speak of, and a comparison with an integer of 400 digits is exact.
    if not all(type(value) in (int, float) and abs(value) < 2**53 for value in (expires, issued)):
        return None
    if not isinstance(visitor, str) or not VISITOR_ID.match(visitor) or type(claims["aud"]) is not str:
        return None
    bound = claims.get("ua", "")
    if expires <= now or issued > now + LEEWAY_SECONDS or not isinstance(bound, str):
        return None
    return Pass(Visitor(visitor), float(expires), claims.get("offer") is True, float(issued), bound)
