"""The waiting page: what a visitor sees, as bytes, and the files it needs.

Pure rendering: no requests and no answers here, and no I/O but reading the template, the wording and the
assets once, at import.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import resources
from types import MappingProxyType
from typing import Any, Final, Literal
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

#: What the page tells. "waiting" covers a paused room too: there `Page.room_state` says so.
Situation = Literal["waiting", "full", "closed", "unavailable", "over", "limited", "challenge", "token", "had"]

#: Who is told so has to do something first: the page does not try again by itself.
_FINAL: Final = ("over", "had")

#: Where the application has to serve `ASSETS`; no room can be called so.
ASSET_PATH = "/wait/_assets/"

#: Everything comes from our own files, nothing inline; nobody may put the page in a frame.
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

#: Headers of every answer that carries a page, whatever its status.
PAGE_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": CSP,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    }
)

_LANG = "en"
_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR


@dataclass(frozen=True, kw_only=True)
class Page:
    """What one visitor is told.

    `rank`, `waiting` and the etas (seconds) are None when unknown. `ticket_seconds` is how long the place is
    kept for a visitor who went away. `as_of` and `entered_at` are aware datetimes. `return_to` is where the
    page goes on admission, so it must have passed the room's check of return addresses. `challenge` is the work
    that the page is to do for its visitor, `enqueue_url` where to get a token; `lanes`: some may be in
    front. `streams`: whether there are
    event streams to be had, which is no promise.
    """

    room: str
    situation: Situation
    return_to: str
    as_of: datetime
    poll_after_seconds: float
    ticket_seconds: float
    message: str = ""
    room_state: str = "open"
    streams: bool = False
    rank: int | None = None
    serial: int | None = None
    waiting: int | None = None
    latest_poll_seconds: float | None = None
    eta_seconds: float | None = None
    eta_low_seconds: float | None = None
    eta_high_seconds: float | None = None
    entered_at: datetime | None = None
    challenge: Mapping[str, Any] | None = None
    enqueue_url: str = ""
    lanes: bool = False


@dataclass(frozen=True)
class Asset:
    """A file of the page: its bytes and what to say about them. `url` changes with the content."""

    body: bytes
    content_type: str
    etag: str
    url: str

    @property
    def headers(self) -> dict[str, str]:
        """The response headers; a year of caching is safe under `url` only."""
        return {
            "Content-Type": self.content_type,
            "ETag": self.etag,
            "Cache-Control": "public, max-age=31536000, immutable",
            "X-Content-Type-Options": "nosniff",
        }


@dataclass(frozen=True)
class _View:
    """The page's texts, by the id of the element that shows them; an empty one is hidden."""

    situation: Situation
    title: str
    state: str
    lead: str
    detail: str
    message: str
    message_label: str
    rank: str = ""
    notice: str = ""
    link: str = ""
    link_text: str = ""
    eta: str = ""
    waiting: str = ""
    kept: str = ""


def _read(folder: str, name: str) -> bytes:
    return (resources.files("waitroom.web.page") / folder / name).read_bytes()


def _asset(name: str, content_type: str, body: bytes) -> Asset:
    digest = hashlib.sha256(body).hexdigest()[:16]
    return Asset(body, content_type, f'"{digest}"', f"{ASSET_PATH}{name}?v={digest}")


def _hidden(shown: object) -> Markup:
    return Markup("") if shown else Markup(" hidden")


#: Every sentence of the page by name. A translation is one more such file.
STRINGS: Mapping[str, str] = MappingProxyType(json.loads(_read("templates", f"strings.{_LANG}.json")))

#: The page's files by name. The script gets its sentences as a file too: it can be cached, the page cannot.
ASSETS: Mapping[str, Asset] = MappingProxyType(
    {
        "wait.css": _asset("wait.css", "text/css; charset=utf-8", _read("assets", "wait.css")),
        "wait.js": _asset(
            "wait.js", "text/javascript; charset=utf-8", _read("assets", "live.js") + _read("assets", "wait.js")
        ),
        "work.js": _asset("work.js", "text/javascript; charset=utf-8", _read("assets", "work.js")),
        "strings.js": _asset(
            "strings.js",
            "text/javascript; charset=utf-8",
            f"globalThis.waitroomStrings = {json.dumps(dict(STRINGS))};\n".encode(),
        ),
    }
)

_ENVIRONMENT = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
_ENVIRONMENT.globals.update(
    lang=_LANG,
    strings=dict(STRINGS),
    hidden=_hidden,
    css=ASSETS["wait.css"].url,
    js=ASSETS["wait.js"].url,
    work_js=ASSETS["work.js"].url,
    strings_js=ASSETS["strings.js"].url,
)
_TEMPLATE = _ENVIRONMENT.from_string(_read("templates", "wait.html").decode())


def render(page: Page) -> bytes:
    """The page as UTF-8 HTML."""
    view = _view(page)
    text = _TEMPLATE.render(
        page=page,
        view=view,
        place_json=json.dumps(_place(page, view.situation)),
        as_of=page.as_of.astimezone(UTC).replace(microsecond=0),
        again=join_address(page.room, page.return_to),
        # Who has had their turn must choose to join again; everybody else is looked after.
        refresh_seconds=0 if page.situation in _FINAL else max(1, math.ceil(page.poll_after_seconds)),
    )
    return text.encode()


def join_address(room: str, return_to: str) -> str:
    """The address of a room's waiting page, which also joins its queue."""
    return f"/wait/{quote(room, safe='')}?return={quote(return_to, safe='')}"


def eta_words(low_seconds: float | None, high_seconds: float | None) -> str:
    """An expected wait as a range in words, rounded outwards so that it never claims more than is known."""
    if low_seconds is None or high_seconds is None:
        return STRINGS["eta_unknown"]
    low, high = max(0.0, min(low_seconds, high_seconds)), max(low_seconds, high_seconds)
    if high <= _MINUTE:
        return STRINGS["eta_moment"]
    unit, size = _eta_unit(high)
    least, most = _outwards(low / size, unit, math.floor), _outwards(high / size, unit, math.ceil)
    form = "up_to" if least == 0 else "about" if least == most else "between"
    return STRINGS[f"{unit}_{form}"].format(low=f"{least:,}", high=f"{most:,}")


def duration_words(seconds: float) -> str:
    """A span of time in its two largest units, rounded down: a promise, so never more than is kept."""
    rest = max(1, math.floor(seconds))
    parts = []
    for unit, size in (("day", _DAY), ("hour", _HOUR), ("minute", _MINUTE), ("second", 1)):
        count, rest = divmod(rest, size)
        parts.append(_counted(unit, count) if count else "")
    first = next(index for index, part in enumerate(parts) if part)
    return " ".join(part for part in parts[first : first + 2] if part)


def _eta_unit(high_seconds: float) -> tuple[str, int]:
    if high_seconds >= 2 * _DAY:
        return "days", _DAY
    if high_seconds >= 3 * _HOUR:
        return "hours", _HOUR
    return "minutes", _MINUTE


def _outwards(amount: float, unit: str, rounding: Callable[[float], int]) -> int:
    step = 5 if unit == "minutes" and amount > 20 else 1
    return rounding(amount / step) * step


def _counted(key: str, count: int) -> str:
    return STRINGS[f"{key}_{'one' if count == 1 else 'other'}"].format(n=f"{count:,}")


def _view(page: Page) -> _View:
    if page.situation != "waiting":
        return _standing_view(page)
    if page.rank is None:
        return _standing_view(replace(page, situation="unavailable"))
    return _waiting_view(page, page.rank)


def _standing_view(page: Page) -> _View:
    """Whoever has no number to show."""
    headline = STRINGS[f"headline_{page.situation}"]
    again = join_address(page.room, page.return_to) if page.situation == "over" else ""
    return _View(
        link=page.enqueue_url or again,
        link_text=STRINGS["sign_in" if page.enqueue_url else "again"],
        situation=page.situation,
        title=f"{headline} · {page.room}",
        state=STRINGS[f"state_{page.situation}"],
        lead=headline,
        detail=STRINGS[f"detail_{page.situation}"],
        message=page.message,
        message_label=STRINGS["reason_label" if page.situation == "closed" else "message_label"],
    )


def _waiting_view(page: Page, rank: int) -> _View:
    held = page.room_state if page.room_state in ("paused", "closed") else ""
    state = STRINGS[f"state_{held or 'waiting'}"]
    ahead = STRINGS["title_ahead"].format(n=f"{rank - 1:,}") if rank > 1 else STRINGS["title_next"]
    return _View(
        situation="waiting",
        title=" · ".join([state, ahead, page.room] if held else [ahead, page.room]),
        state=state,
        lead=STRINGS["headline_waiting"],
        rank=f"{rank:,}",
        detail=_counted("ahead", rank - 1) if rank > 1 else STRINGS["next"],
        notice=STRINGS[f"notice_{held}"] if held else "",
        message=page.message,
        message_label=STRINGS["reason_label" if held else "message_label"],
        eta=STRINGS["eta_held"] if held else eta_words(*_bounds(page)),
        waiting="" if page.waiting is None else _counted("waiting", page.waiting),
        kept=STRINGS["kept"].format(time=duration_words(page.ticket_seconds)),
    )


def _place(page: Page, situation: Situation) -> dict[str, object]:
    """What the script starts from: the server's waiting document without the proof, and the situation."""
    return {
        "situation": situation,
        "rank": page.rank,
        "serial": page.serial,
        "waiting": page.waiting,
        "poll_after_seconds": page.poll_after_seconds,
        "latest_poll_seconds": page.latest_poll_seconds,
        "eta_seconds": page.eta_seconds,
        "eta_low_seconds": page.eta_low_seconds,
        "eta_high_seconds": page.eta_high_seconds,
        "entered_at": page.entered_at.isoformat(timespec="milliseconds") if page.entered_at else None,
        "as_of": page.as_of.isoformat(timespec="milliseconds"),
        "room_state": page.room_state,
        "message": page.message,
        "challenge": page.challenge,
        "enqueue_url": page.enqueue_url,
    }


def _bounds(page: Page) -> tuple[float | None, float | None]:
    """The eta's low and high bound; a bound that is missing is the eta itself."""
    low = page.eta_seconds if page.eta_low_seconds is None else page.eta_low_seconds
    high = page.eta_seconds if page.eta_high_seconds is None else page.eta_high_seconds
    return low, high
