"""The waiting page's address: how it is written, and what its query says."""

from __future__ import annotations

from urllib.parse import quote, unquote


def join_address(room: str, return_to: str) -> str:
    """The address of a room's waiting page, which also joins its queue."""
    return f"/wait/{quote(room, safe='')}?return={quote(return_to, safe='')}"


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
    """The enqueue token in a query, which stands before the return address. Empty where there is none."""
    before = query.decode("latin-1").partition("return=")[0]
    return next((pair[len("enqueue=") :] for pair in before.split("&") if pair.startswith("enqueue=")), "")
