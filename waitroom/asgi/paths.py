"""Which paths are not gated: waitroom's own, and those that the application exempts.

A path counts only if it can be read in one way: no `%`, no `;`, no backslash, no dot segment, no double slash, and the
same as it was sent and as the application sees it. Every other path is gated, and the application may read it as it
likes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from starlette.types import Scope

#: Segments of unreserved characters and sub-delimiters (RFC 3986, without `;`), none of dots only, none empty but the
#: last.
_PLAIN: Final = re.compile(r"(?:/(?!\.+(?:/|\Z))[A-Za-z0-9._~!$&'()*+,=:@-]+)*/?\Z", re.ASCII)


def is_plain(path: str) -> bool:
    """Whether a path can be read in one way only."""
    return path.startswith("/") and _PLAIN.match(path) is not None


def root_of(scope: Scope) -> str:
    """The path below which the application is mounted. Empty for none."""
    return str(scope.get("root_path") or "")


def path_below_root(scope: Scope) -> str:
    """The path as the application's routes see it, by the rule of Starlette, which most of them use."""
    path, root = str(scope["path"]), root_of(scope)
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def plain_path(scope: Scope) -> str | None:
    """The path below the root, or None if it can be read in more than one way."""
    path, raw = str(scope["path"]), scope.get("raw_path")
    # Some servers and mounts leave the root out of one of the two. A server that does not say how the path was sent
    # leaves the application, too, with what it has decoded.
    same = raw is None or raw in (path.encode(), f"{root_of(scope)}{path}".encode())
    return path_below_root(scope) if same and is_plain(path) else None


class OwnPaths:
    """The addresses of one room that its visitors call: status, enter, leave, the public document, the page."""

    def __init__(self, room: str) -> None:
        calls = "enter|status|leave|events|seen"
        self._own = re.compile(rf"/v1/rooms/{room}(?:/(?:{calls}))?|/wait/{room}|/wait/_assets/[a-z0-9_-]+\.[a-z]+")

    def __contains__(self, path: str) -> bool:
        return self._own.fullmatch(path) is not None


class ExemptPaths:
    """The paths that the application shows to everybody: some exactly, some with all that is below them."""

    def __init__(self, exact: Iterable[str], prefixes: Iterable[str]) -> None:
        self._exact = frozenset(exact)
        # "/static" covers itself and "/static/x". "/static/" covers only what is below. Neither covers "/statics".
        self._exact |= {prefix for prefix in prefixes if not prefix.endswith("/")}
        self._below = tuple(prefix.rstrip("/") + "/" for prefix in prefixes)

    def __contains__(self, path: str) -> bool:
        return path in self._exact or path.startswith(self._below)
