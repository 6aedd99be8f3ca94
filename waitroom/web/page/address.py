"""The waiting page's address: how it is written, and what its query says."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

_SECONDS: Final = re.compile(r"[1-9][0-9]{0,11}\Z")

_RETURN: Final = re.compile(r"(?:\A|&)return=")

#: What nginx puts behind an address that could be taken for encoded, or for more than one parameter.
_AS_SENT: Final = re.compile(r"(.*)&as_sent=?(?:&.*)?\Z", re.DOTALL)

#: Encoded by a function that leaves slashes as they are, as those of many libraries do.
_ENCODED_QUERY: Final = re.compile(r"%3f.*%3d", re.IGNORECASE | re.DOTALL)


def join_address(room: str, return_to: str, **more: object) -> str:
    """The address of a room's waiting page, which also joins its queue. `more` is told before the return address."""
    before = "".join(f"{name}={value}&" for name, value in more.items())
    return f"/wait/{quote(room, safe='')}?{before}return={quote(return_to, safe='')}"


def asked_return(query: bytes) -> str | None:
    """The return address in a query, or None where there is none.

    It is a parameter like every other: percent-encoded, and the next `&` ends it. But nginx cannot percent-encode:
    its redirect puts the address there as it was sent, and last. Such an address is told by `&as_sent` behind it, by a
    `?` before the first `&`, or by a slash or a scheme at its beginning, unless a query in it is encoded.
    """
    text = query.decode("latin-1")
    found = _RETURN.search(text)
    if found is None:
        return None
    rest = text[found.end() :]
    marked = _AS_SENT.match(rest)
    if marked is not None:
        return marked[1]
    value = rest.partition("&")[0]
    begun = value.startswith(("/", "http://", "https://"))
    if begun and "?" in value:
        return rest
    return value if begun and not _ENCODED_QUERY.search(value) else _decoded(value)


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
    before = _RETURN.split(query.decode("latin-1"), maxsplit=1)[0]
    return next((pair[len(name) + 1 :] for pair in before.split("&") if pair.startswith(f"{name}=")), "")


def _decoded(value: str) -> str | None:
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        return None
