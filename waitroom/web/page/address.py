"""The waiting page's address: how it is written, and what its query says."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

_SECONDS: Final = re.compile(r"[1-9][0-9]{0,11}\Z")


def join_address(room: str, return_to: str, **more: object) -> str:
    """The address of a room's waiting page, which also joins its queue. `more` is told before the return address."""
    before = "".join(f"{name}={value}&" for name, value in more.items())
    return f"/wait/{quote(room, safe='')}?{before}return={quote(return_to, safe='')}"


def asked_return(query: bytes) -> str | None:
    """The return address in a query: all that follows `return=`.

    nginx cannot percent-encode, so its redirect puts the request's address there as it came. Other callers encode it.
    An address begins with a slash or a scheme: encoded exactly when these are.
    """
    before, found, raw = query.decode("latin-1").partition("return=")
    if not found or (before and not before.endswith("&")):
        return None
    if raw.startswith("/") or "://" in raw[:8]:
        return raw
    try:
        return unquote(raw.partition("&")[0], errors="strict")
    except UnicodeDecodeError:
        return None


def asked_token(query: bytes) -> str:
    """The enqueue token in a query. Empty where there is none."""
    return _told(query, "enqueue")


def asked_kept(query: bytes) -> int:
    """Until when the browser was to keep the cookie that sent it here, in seconds since the epoch. 0: none sent it."""
    text = _told(query, "kept")
    return int(text) if _SECONDS.match(text) else 0


def invitation_was_refused(query: bytes) -> bool:
    """Whether this visitor came by a link with a token that is not good."""
    return _told(query, "invitation") == "refused"


def _told(query: bytes, name: str) -> str:
    """What a query says before its return address, empty where it says nothing."""
    before = query.decode("latin-1").partition("return=")[0]
    return next((pair[len(name) + 1 :] for pair in before.split("&") if pair.startswith(f"{name}=")), "")
