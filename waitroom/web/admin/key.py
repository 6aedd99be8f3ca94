"""The key of the operators: one for all of them, as a bearer."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Final

from starlette.types import Scope

from waitroom.web.answers import Problem
from waitroom.web.headers import Header, headers_of

_CHALLENGE: Final[Header] = (b"www-authenticate", b'Bearer realm="waitroom admin"')


class AdminKey:
    """The key that opens the admin API. An empty key opens nothing."""

    def __init__(self, key: str) -> None:
        self._key = sha256(key.encode()).digest()
        self._open = bool(key)

    def check(self, scope: Scope) -> None:
        """Raise Problem where the request does not bring the key."""
        brought = headers_of(scope, b"authorization")
        scheme, _, key = (brought[0] if len(brought) == 1 else b"").partition(b" ")
        # Digests are compared, so that neither length nor content shows in the time it takes.
        good = hmac.compare_digest(sha256(key).digest(), self._key)
        if not (good and self._open and scheme.lower() == b"bearer"):
            raise Problem(401, "no-admin-key", "No valid admin key", headers=(_CHALLENGE,))
