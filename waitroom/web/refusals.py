"""The form of a "no", where waitroom itself answers for the gate: the same that deploy/nginx gives.

A visit is sent to the waiting page, which tells the visitor why. A form that a browser has sent gets a page, because a
redirect would lose what was in it. Every other request gets a status code and a problem document. `web/visits.py` says
which request is which. Nothing here decides which visitor gets in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from waitroom.web.answers import PROBLEM_JSON, Problem
from waitroom.web.headers import NO_STORE, Header
from waitroom.web.page.address import join_address
from waitroom.web.page.plain import PLAIN_CSP, plain_page
from waitroom.web.visits import Form
from waitroom.web.way_back import way_back

#: Seconds after which a client may come back, where the gate did not say.
_COME_BACK: Final = b"5"

_SECONDS: Final = re.compile(rb"[1-9][0-9]{0,3}\Z")

_HTML: Final = b"text/html; charset=utf-8"

_MUST_WAIT: Final = "A pass of this room is needed. Enter the queue, then repeat the request with the pass."
_NOT_SENT: Final = (
    "What you sent did not arrive: your browser brought no pass of the waiting room that is good now. Go through the "
    "waiting room, then send it again."
)
_REFUSED: Final = "The room is closed, or this pass was withdrawn."
_UNAVAILABLE: Final = "The waiting room does not answer. Places are kept. Come back in a moment."


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


def refusal(status: int, room: str, *, form: Form, address: str, wait: bytes = b"") -> Refusal:
    """The answer to a client after the gate said 401, 403 or (503) nothing.

    `address` is the address of the client's request, as it was sent. `wait` is the gate's Retry-After.
    """
    again = (b"retry-after", wait if _SECONDS.match(wait) else _COME_BACK)
    if status in (401, 403) and form == "redirect":
        location = join_address(room, way_back(room, address))
        return Refusal(303, (NO_STORE, (b"location", location.encode("ascii"))))
    if status == 401:
        return _must_wait(room, form, again)
    if status == 403:
        return _refused(room, form)
    return _unavailable(room, form, again)


def _must_wait(room: str, form: Form, again: Header) -> Refusal:
    if form == "page":
        return _html(401, "Not sent", f"{_NOT_SENT}{_way(room)}")
    more = {"enter": f"/v1/rooms/{room}/enter", "page": f"/wait/{room}"}
    return _problem(401, "no-pass", "No pass", _MUST_WAIT, room, more, again)


def _refused(room: str, form: Form) -> Refusal:
    if form == "page":
        return _html(403, "No entry", f"{_REFUSED}{_way(room)}")
    return _problem(403, "no-entry", "No entry", _REFUSED, room, {})


def _unavailable(room: str, form: Form, again: Header) -> Refusal:
    if form == "document":
        return _problem(503, "unavailable", "Unavailable", _UNAVAILABLE, room, {}, again)
    text = "The waiting room does not answer. If you had a place, it is kept. This page tries again by itself."
    return _html(503, "One moment", text, again)


def _way(room: str) -> str:
    return f'</p><p><a href="/wait/{room}">To the waiting room</a>'


def _problem(
    status: int, slug: str, title: str, detail: str, room: str, more: Mapping[str, Any], *headers: Header
) -> Refusal:
    return whole(Problem(status, slug, title, detail, headers=headers, more={"room": room, **more}))


def _html(status: int, title: str, text: str, *headers: Header) -> Refusal:
    refresh = dict(headers).get(b"retry-after", b"").decode()
    policy = (b"content-security-policy", PLAIN_CSP.encode())
    return Refusal(
        status, (NO_STORE, (b"content-type", _HTML), policy, *headers), plain_page(title, text, refresh=refresh)
    )
