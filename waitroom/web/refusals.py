"""The form of a "no", where waitroom itself answers for the gate: the same that deploy/nginx gives.

A browser that navigates gets pages: it is sent to the waiting page, or told why not. Every other client gets a status
code and a problem document. Nothing here decides which visitor gets in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.types import Scope

from waitroom.returns import return_address
from waitroom.web.answers import PROBLEM_JSON, Problem
from waitroom.web.headers import NO_STORE, Header, header, headers_of
from waitroom.web.page.address import join_address

#: Seconds after which a client may come back, where the gate did not say.
_COME_BACK: Final = b"5"

_SECONDS: Final = re.compile(rb"[1-9][0-9]{0,3}\Z")

_HTML: Final = b"text/html; charset=utf-8"

_MUST_WAIT: Final = "A pass of this room is needed. Enter the queue, then repeat the request with the pass."
_REFUSED: Final = "The room is closed, or this pass was withdrawn."
_UNAVAILABLE: Final = "The waiting room does not answer. Places are kept. Come back in a moment."

_PAGE: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">{more}'
    "<title>{title}</title><h1>{title}</h1><p>{text}</p>"
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A whole answer. `headers` lack nothing but its length."""

    status: int
    headers: tuple[Header, ...]
    body: bytes = b""


def whole(problem: Problem) -> Refusal:
    """A problem as the whole answer."""
    headers = (NO_STORE, (b"content-type", PROBLEM_JSON), *problem.headers)
    return Refusal(problem.status, headers, problem.body())


def is_navigation(scope: Scope) -> bool:
    """Whether a browser asks for a page to show by itself: not for a frame, a file of a page, or a script's call."""
    return (
        scope["method"] in ("GET", "HEAD")
        and any(b"text/html" in line.lower() for line in headers_of(scope, b"accept"))
        and header(scope, b"sec-fetch-mode") in (None, b"navigate")
        and header(scope, b"sec-fetch-dest") in (None, b"document")
        and header(scope, b"x-requested-with") is None
    )


def refusal(status: int, room: str, *, navigation: bool, address: str, wait: bytes = b"") -> Refusal:
    """The answer to a client after the gate said 401, 403 or (503) nothing.

    `address` is the address of the client's request, as it was sent. `wait` is the gate's Retry-After.
    """
    page = f"/wait/{room}"
    again = (b"retry-after", wait if _SECONDS.match(wait) else _COME_BACK)
    if status == 401 and navigation:
        location = join_address(room, return_address(address))
        return Refusal(303, (NO_STORE, (b"location", location.encode("ascii"))))
    if status == 401:
        more = {"enter": f"/v1/rooms/{room}/enter", "page": page}
        return _problem(401, "no-pass", "No pass", _MUST_WAIT, room, more, again)
    if status == 403:
        if navigation:
            return _html(403, "No entry", f'{_REFUSED}</p><p><a href="{page}">To the waiting room</a>')
        return _problem(403, "no-entry", "No entry", _REFUSED, room, {})
    if navigation:
        text = "The waiting room does not answer. If you had a place, it is kept. This page tries again by itself."
        return _html(503, "One moment", text, again)
    return _problem(503, "unavailable", "Unavailable", _UNAVAILABLE, room, {}, again)


def _problem(
    status: int, slug: str, title: str, detail: str, room: str, more: Mapping[str, Any], *headers: Header
) -> Refusal:
    return whole(Problem(status, slug, title, detail, headers=headers, more={"room": room, **more}))


def _html(status: int, title: str, text: str, *headers: Header) -> Refusal:
    refresh = "".join(
        f'<meta http-equiv="refresh" content="{value.decode()}">' for name, value in headers if name == b"retry-after"
    )
    body = _PAGE.format(title=title, text=text, more=refresh).encode()
    return Refusal(status, (NO_STORE, (b"content-type", _HTML), *headers), body)
