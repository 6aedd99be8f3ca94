"""Header lines: those of a request, without a request object per call, and some that answers share."""

from __future__ import annotations

import math
from typing import Final

from starlette.types import Scope

Header = tuple[bytes, bytes]

NO_STORE: Final[Header] = (b"cache-control", b"no-store")

#: Where a request's headers by name are kept in its scope.
_INDEX: Final = "waitroom.headers"


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header of that lower-case name, or None."""
    headers = scope["headers"]
    known: tuple[object, dict[bytes, bytes]] | None = scope.get(_INDEX)
    # A copy of the scope may carry other headers than those that were indexed.
    if known is None or known[0] is not headers:
        # Half a dozen are looked for in each request, among a browser's dozen. Later ones do not replace the first.
        known = scope[_INDEX] = (headers, dict(reversed(headers)))
    return known[1].get(name)


def headers_of(scope: Scope, name: bytes) -> list[bytes]:
    """Every header of that lower-case name."""
    if header(scope, name) is None:
        return []
    return [value for key, value in scope["headers"] if key == name]


def retry_after(seconds: float) -> Header:
    """A Retry-After header, in whole seconds, not earlier than asked."""
    return (b"retry-after", b"%d" % math.ceil(seconds))
