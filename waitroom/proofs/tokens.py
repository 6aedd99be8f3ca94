"""Enqueue tokens: the site's own word that a customer may have a place, one per customer.

A JSON Web Token (RFC 7519) under HS256, made by the site with any JWT library and a key of `enqueue_keys`:

    header   {"alg": "HS256", "kid": <key id>}                  (kid may be left out)
    payload  {"aud": "waitroom:<room>:enqueue", "sub": <customer>, "exp": <s>, "priority": true}
             (priority only for the lane in front. iat and nbf are judged where they stand)

`sub` is the site's own id of the customer. It makes the visitor's id, so one customer has one place and
one turn, on however many devices and by however many tokens. Redis holds nothing of it but that id.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any, Final, NamedTuple

import jwt

from waitroom.errors import SettingsError
from waitroom.model import Visitor
from waitroom.proofs.keyring import LEEWAY_SECONDS, Keyring

#: Seconds for which a token is good at most. Beyond, the site has counted milliseconds.
LONGEST_SECONDS: Final = 10 * 365 * 86_400

#: Characters that a token has at most, and those of its `sub`.
LONGEST: Final = 2048
LONGEST_SUBJECT: Final = 256

_PURPOSE: Final = b"waitroom enqueue v1"


#: What PyJWT raises for what it cannot read or verify.
_FAULTS: Final = (jwt.PyJWTError, ValueError, TypeError, RecursionError)

_MALFORMED: Final = "it is not a whole JSON Web Token"
_NO_SUBJECT: Final = f"sub is not 1 to {LONGEST_SUBJECT} characters of text"

#: What the site's developer is told of each. The token's holder could find it out too.
_REASONS: Final = {
    jwt.InvalidAudienceError: "its aud is not waitroom:{room}:enqueue",
    jwt.InvalidAlgorithmError: "its alg is not HS256",
    jwt.MissingRequiredClaimError: "its {claim} is missing",
}


class TokenRefused(Exception):
    """Why a token is not good, in words that follow "the token is not good:"."""


class Grant(NamedTuple):
    """What a token says: the visitor of the place, and whether the place is in front."""

    visitor: Visitor
    priority: bool


class EnqueueOffice:
    """Verifies the enqueue tokens of every room. Without a key ring none is good."""

    def __init__(self, keyring: Keyring | None) -> None:
        self._secrets = dict(keyring.secrets) if keyring is not None else {}

    @property
    def ready(self) -> bool:
        """Whether there is a key that may have signed a token."""
        return bool(self._secrets)

    def verify(self, room: str, text: str, *, now: float) -> Grant:
        """What the token grants in that room at that time (seconds since the epoch). Raises TokenRefused."""
        if len(text) > LONGEST or not text.isascii():
            raise TokenRefused(f"it is longer than {LONGEST} characters, or has characters that are not ASCII")
        for secret in self._candidates(text):
            claims = _claims(text, secret, room)
            if claims is not None:
                return _judged(claims, room, now)
        raise TokenRefused("no key in enqueue_keys has signed it")

    def _candidates(self, text: str) -> list[bytes]:
        """The keys that may have signed it: the one it names, or all where it names none."""
        try:
            kid = jwt.get_unverified_header(text).get("kid")
        except _FAULTS:
            raise TokenRefused(_MALFORMED) from None
        if kid is None:
            return list(self._secrets.values())
        if not isinstance(kid, str) or kid not in self._secrets:
            raise TokenRefused("no key in enqueue_keys has the id that its kid names")
        return [self._secrets[kid]]


def issue(keyring: Keyring, room: str, subject: str, *, expires: float, priority: bool = False) -> str:
    """A token for a customer, signed with the first key. Raises SettingsError for a text that cannot be a customer."""
    if not _is_subject(subject):
        raise SettingsError(f"customer: must be 1 to {LONGEST_SUBJECT} characters of text, got {subject[:80]!r}")
    claims: dict[str, Any] = {"aud": f"waitroom:{room}:enqueue", "sub": subject, "exp": expires}
    if priority:
        claims["priority"] = True
    return jwt.encode(claims, keyring.secrets[keyring.signer], "HS256", headers={"kid": keyring.signer})


def _is_subject(subject: object) -> bool:
    """Whether it is a text of a fair length. Half of a surrogate pair is none."""
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT:
        return False
    return not any(0xD800 <= ord(character) < 0xE000 for character in subject)


def customer(room: str, subject: str) -> Visitor:
    """The visitor that a customer is in a room: the same under every key, so that keys can rotate."""
    digest = hmac.digest(_PURPOSE, f"{room}\0{subject}".encode(), sha256)
    return Visitor(urlsafe_b64encode(digest[:16])[:22].decode())


def _claims(text: str, secret: bytes, room: str) -> dict[str, Any] | None:
    """What it says, or None where another key has signed it."""
    try:
        return jwt.decode(
            text,
            secret,
            algorithms=["HS256"],
            audience=f"waitroom:{room}:enqueue",
            # Times are judged on Redis time instead of this machine's, and what is no subject in our own words.
            options={
                "require": ["exp", "sub", "aud"],
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
                "verify_sub": False,
            },
        )
    except jwt.InvalidSignatureError:
        return None
    except _FAULTS as error:
        reasons = [reason for kind, reason in _REASONS.items() if isinstance(error, kind)]
        claim = getattr(error, "claim", "")
        raise TokenRefused((reasons or [_MALFORMED])[0].format(room=room, claim=claim)) from None


def _judged(claims: dict[str, Any], room: str, now: float) -> Grant:
    times = [claims["exp"], claims.get("iat", 0), claims.get("nbf", 0)]
    # Beyond 2^53 there is no real time. A bool is a number to Python, and none to us.
    if not all(type(time) in (int, float) and abs(time) < 2**53 for time in times):
        raise TokenRefused("exp, iat or nbf is not a number of seconds since the epoch")
    expires, issued, begins = times
    subject, priority = claims["sub"], claims.get("priority", False)
    if not _is_subject(subject):
        raise TokenRefused(_NO_SUBJECT)
    if type(priority) is not bool:
        raise TokenRefused("priority is neither true nor false")
    if expires <= now - LEEWAY_SECONDS:
        raise TokenRefused(f"it expired {now - expires:.0f} s ago")
    if expires > now + LONGEST_SECONDS:
        raise TokenRefused("its exp is more than ten years ahead: give seconds, not milliseconds")
    for name, time in (("nbf", begins), ("iat", issued)):
        if time > now + LEEWAY_SECONDS:
            raise TokenRefused(f"its {name} is {time - now:.0f} s ahead")
    return Grant(customer(room, subject), priority)
