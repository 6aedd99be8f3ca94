"""Where a visitor goes after the wait: a path on the same host, or on an origin that the room allows.

The address is read as a browser reads it (WHATWG URL): in a path backslashes count as slashes, tabs and newlines
vanish, and two slashes at its beginning start a host. A path that could be read in two ways is refused, not repaired.
In a query and behind `#` a browser takes every visible character as it stands and decodes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, Literal
from urllib.parse import unquote

#: Characters an address may have at most.
LONGEST: Final = 2048

#: Where a visitor goes without a return address, or with a refused one.
HOME: Final = "/"

#: Why an address is refused: it is too long, leads to a host that the room does not allow (or is no path at all), is an
#: address of waitroom's own, or could be read in two ways.
Fault = Literal["long", "elsewhere", "own", "unclear"]

#: What visitors get from waitroom itself: going back to it would loop, or end at a document for scripts. The operators'
#: and the gate's addresses are served to no visitor: there a site may have pages of its own.
_OWN: Final = re.compile(
    r"/(wait/([a-z0-9][a-z0-9_-]{0,63}|_assets/.*)|v1/rooms/[a-z0-9][a-z0-9_-]{0,63}(/[a-z]+)?)/?\Z",
    re.IGNORECASE | re.DOTALL,
)

#: A path: one slash, not followed by another, in visible ASCII without backslash, quote and angle bracket.
_PATH: Final = re.compile(r"/(?!/)[!#-;=?-\[\]-_a-z{|}~]*\Z", re.ASCII)
_VISIBLE: Final = re.compile(r"[!-~]*\Z")
_ABSOLUTE: Final = re.compile(r"(https?://[a-z0-9.-]+(?::[0-9]{1,5})?)(/.*)?\Z", re.ASCII)
_DOT_SEGMENT: Final = re.compile(r"/(\.|%2e){1,2}(/|\Z)", re.IGNORECASE)
_HIDDEN: Final = re.compile(r"%(0[0-9a-f]|1[0-9a-f]|7f)|^/%(25)?(2f|5c)", re.IGNORECASE)


def return_address(asked: str | None, origins: Collection[str] = ()) -> str:
    """The address to send a visitor to: what was asked for if it is allowed, else HOME.

    `origins` are the room's allowed ones, as `scheme://host[:port]` in lower case.
    """
    return asked if asked is not None and is_allowed(asked, origins) else HOME


def is_allowed(asked: str, origins: Collection[str] = ()) -> bool:
    """Whether the address is a path here, or on one of the origins, however a browser parses it."""
    return fault_of(asked, origins) is None


def fault_of(asked: str, origins: Collection[str] = ()) -> Fault | None:
    """Why the address is refused, or None for a good one."""
    if len(asked) > LONGEST:
        return "long"
    absolute = _ABSOLUTE.match(asked)
    if absolute is not None:
        if absolute[1] not in origins:
            return "elsewhere"
        return None if _is_clear(absolute[2] or "/") else "unclear"
    if re.match(r"/(?![/\\])", asked) is None:
        return "elsewhere"
    if not _is_clear(asked):
        return "unclear"
    # A server may take several slashes inside for one.
    return "own" if _OWN.match(re.sub("/+", "/", unquote(_path_of(asked)))) else None


def _path_of(address: str) -> str:
    return re.split(r"[?#]", address, maxsplit=1)[0]


def _is_clear(address: str) -> bool:
    """Whether a path, with its query and fragment, can be read in one way only."""
    path = _path_of(address)
    return (
        _PATH.match(path) is not None
        and _VISIBLE.match(address, len(path)) is not None
        and _DOT_SEGMENT.search(path) is None
        and _HIDDEN.search(path) is None
    )
