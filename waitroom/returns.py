"""Where a visitor goes after the wait: a path on the same host, or on an origin that the room allows.

The address is read as a browser reads it (WHATWG URL): backslashes count as slashes, tabs and newlines vanish, and
two slashes start a host. What could be read in two ways is refused, not repaired.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import unquote

#: Characters an address may have at most.
LONGEST: Final = 2048

#: Where a visitor goes without a return address, or with a refused one.
HOME: Final = "/"

#: Paths of waitroom itself: going back to one would loop, or do something the visitor did not ask for.
_OWN: Final = re.compile(r"/(wait|gate|forward-auth|v1|admin|metrics|livez|readyz)(/|\?|#|\Z)", re.IGNORECASE)

#: A path: one slash, not followed by another, in visible ASCII without backslash, quote and angle bracket.
_PATH: Final = re.compile(r"/(?!/)[!#-;=?-\[\]-_a-z{|}~]*\Z", re.ASCII)
_ABSOLUTE: Final = re.compile(r"(https?://[a-z0-9.-]+(?::[0-9]{1,5})?)(/.*)?\Z", re.ASCII)
_DOT_SEGMENT: Final = re.compile(r"/(\.|%2e){1,2}(/|\?|#|\Z)", re.IGNORECASE)
_HIDDEN: Final = re.compile(r"%(0[0-9a-f]|1[0-9a-f]|7f|5c)|^/(%2f|%252f|%255c)", re.IGNORECASE)


def return_address(asked: str | None, origins: Collection[str] = ()) -> str:
    """The address to send a visitor to: what was asked for if it is allowed, else HOME.

    `origins` are the room's allowed ones, as `scheme://host[:port]` in lower case.
    """
    return asked if asked is not None and is_allowed(asked, origins) else HOME


def is_allowed(asked: str, origins: Collection[str] = ()) -> bool:
    """Whether the address is a path here, or on one of the origins, however a browser parses it."""
    if len(asked) > LONGEST:
        return False
    absolute = _ABSOLUTE.match(asked)
    if absolute is None:
        return _is_path(asked) and _OWN.match(unquote(asked)) is None
    return absolute[1] in origins and _is_path(absolute[2] or "/")


def _is_path(text: str) -> bool:
    before_query = re.split(r"[?#]", text, maxsplit=1)[0]
    return (
        _PATH.match(text) is not None
        and _DOT_SEGMENT.search(before_query) is None
        and _HIDDEN.search(text) is None
        and "//" not in before_query
    )
