"""Which request is a visit, and which form a "no" to it has: the one rule, for every gate.

A visit is a GET or HEAD by which a browser shows a page by itself. Only a visit is sent to the waiting page. What a
browser asks for that is neither a visit nor a form of this site takes no place: an image, a frame, a script's call,
what is fetched ahead. A client that is no browser says nothing of all this, and may take a place at the gate, unless
what it accepts is a picture or the like.

A client that lies here misleads itself only: nothing here lets a request through.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from starlette.types import Scope

from waitroom.web.headers import header, headers_of

#: How a "no" is told: by the way to the waiting page, by a page that says so, or by a problem document.
Form = Literal["redirect", "page", "document"]

#: What names the form in the gate's answer, for proxies that make the answer themselves.
FORM_HEADER: Final = b"x-waitroom-form"

#: The headers that the rule reads, beside the method: a proxy has to pass them on.
HEADERS: Final = (
    "accept",
    "purpose",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-purpose",
    "x-moz",
    "x-requested-with",
)

#: Headers that browsers alone send.
_OF_BROWSERS: Final = (b"sec-fetch-mode", b"sec-fetch-dest", b"sec-fetch-site", b"sec-purpose", b"purpose", b"x-moz")

#: In these a browser says that its user may never see what it asks for, and with which words.
_PURPOSES: Final = (b"sec-purpose", b"purpose", b"x-moz")
_AHEAD: Final = re.compile(rb"prefetch|prerender|preview", re.IGNORECASE)

#: What older browsers, and all of them under http, accept for a picture, a style, a font, a sound or a film.
_PART: Final = re.compile(rb"(?:image|font|audio|video)/|text/css")

#: Where a page is shown. A service worker that hands a visit on says `empty`, and no script can say `navigate`.
_SHOWN: Final = (b"document", b"empty")

#: A `q` below 1, at the end of a media range. Any other is taken for 1.
_BELOW_ONE: Final = re.compile(rb";\s*q=(0(?:\.[0-9]{0,3})?)\s*(?:;|\Z)")


def form_of_no(scope: Scope) -> Form:
    """How a "no" to this request is told."""
    method = method_of(scope)
    if method not in ("GET", "HEAD", "POST") or not shows_page(scope) or not _wants_page(scope):
        return "document"
    return "page" if method == "POST" else "redirect"


def may_take_place(scope: Scope) -> bool:
    """Whether this request may take a free place at the gate."""
    if not any(_told(scope, name) for name in _OF_BROWSERS):
        return _PART.match(_told(scope, b"accept")) is None
    method = method_of(scope)
    if method == "POST" and _told(scope, b"sec-fetch-site") == b"cross-site":
        return False
    return method in ("GET", "HEAD", "POST") and shows_page(scope)


def method_of(scope: Scope) -> str:
    """The method of the visitor's request: the one that the proxy names, else that of its question."""
    sent = header(scope, b"x-forwarded-method")
    return str(scope["method"]) if sent is None else sent.decode("latin-1")


def shows_page(scope: Scope) -> bool:
    """Whether the answer may be shown as a page, as far as the browser says what it is for."""
    mode = _told(scope, b"sec-fetch-mode")
    shown = _told(scope, b"sec-fetch-dest") in (b"", *(_SHOWN if mode == b"navigate" else _SHOWN[:1]))
    ahead = any(_AHEAD.search(_told(scope, name)) for name in _PURPOSES)
    return mode in (b"", b"navigate") and shown and not ahead and not _is_script(scope)


def _is_script(scope: Scope) -> bool:
    """A browser inside an Android app sends the app's name in this header, with every request."""
    return _told(scope, b"x-requested-with") == b"xmlhttprequest"


def _wants_page(scope: Scope) -> bool:
    """Whether HTML is preferred to JSON. Where neither is named, a browser that says that it opens a page wants one."""
    html = json = 0.0
    for line in headers_of(scope, b"accept"):
        for entry in line.lower().split(b","):
            kind, quality = entry.partition(b";")[0].strip(), _quality(entry)
            if kind == b"text/html":
                html = max(html, quality)
            elif kind.endswith((b"/json", b"+json")):
                json = max(json, quality)
    opens = _told(scope, b"sec-fetch-mode") == b"navigate" and _told(scope, b"sec-fetch-dest") in _SHOWN
    return html > json or (html == json == 0.0 and opens)


def _quality(entry: bytes) -> float:
    below = _BELOW_ONE.search(entry)
    return float(below[1]) if below else 1.0


def _told(scope: Scope, name: bytes) -> bytes:
    """The value of a header in lower case. Empty for none."""
    return (header(scope, name) or b"").strip().lower()
