"""The waiting page: what a visitor sees, as bytes.

Pure rendering: no requests and no answers here, and no I/O but reading the template, the wording and the assets once,
when an instance is put together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import resources
from typing import Any, Final, Literal

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from waitroom.web.page.address import join_address
from waitroom.web.page.assets import assets
from waitroom.web.page.wording import Wording

#: What the page tells. "waiting" covers a paused room too: there `Page.room_state` says so.
Situation = Literal[
    "waiting",
    "full",
    "closed",
    "unmade",
    "unavailable",
    "over",
    "away",
    "limited",
    "challenge",
    "token",
    "had",
    "cookie",
    "invited",
    "refused",
]

#: In these situations the visitor has to do something first: the page does not try again by itself.
_FINAL: Final = ("over", "away", "had", "cookie", "invited", "refused")

#: In these there is a way to join anew.
_AGAIN: Final = ("over", "away", "cookie", "refused")


@dataclass(frozen=True, kw_only=True)
class Page:
    """What one visitor is told.

    `rank`, `waiting` and the etas (seconds) are None when unknown. `ticket_seconds` is how long the place is kept for a
    visitor that went away. `as_of` and `entered_at` are aware datetimes. `return_to` is where the page goes on
    admission, so it must have passed the room's check of return addresses. `challenge` is the work that the page is to
    do for its visitor, `enqueue_url` where to get a token. `lanes`: some may be in front. `streams`: whether there are
    event streams to be had, which is no promise. `kept_until` is when the cookie of the place ends, in seconds since
    the epoch: without script the page comes again by an address that tells it. `again_seconds`: when there may be a
    place for a limited visitor.
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
    again_seconds: float = 0
    lanes: bool = False
    kept_until: int = 0


@dataclass(frozen=True)
class _View:
    """The page's texts, by the id of the element that shows them. An empty one is hidden."""

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


class Pages:
    """The waiting pages of an instance: its words, its files and its template."""

    def __init__(self) -> None:
        self.wording = Wording()
        self.assets = assets(self.wording)
        self._template = self._read_template()

    def render(self, page: Page) -> bytes:
        """The page as UTF-8 HTML."""
        view = _view(self.wording, page)
        kept = {"kept": page.kept_until} if page.kept_until else {}
        text = self._template.render(
            page=page,
            view=view,
            place_json=json.dumps(_place(page, view.situation)),
            as_of=page.as_of.astimezone(UTC).replace(microsecond=0),
            again=join_address(page.room, page.return_to),
            # Named, for a browser takes an address with a part behind # for a jump inside the page that it shows.
            refresh_address=join_address(page.room, page.return_to, **kept),
            final=page.situation in _FINAL,
            # A visitor that has had the turn must choose to join again. The page looks after all others.
            refresh_seconds=0 if page.situation in _FINAL else max(1, math.ceil(page.poll_after_seconds)),
        )
        return text.encode()

    def _read_template(self) -> Template:
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        environment.globals.update(
            lang=self.wording.language,
            strings=dict(self.wording.sentences),
            hidden=_hidden,
            css=self.assets["wait.css"].url,
            js=self.assets["wait.js"].url,
            work_js=self.assets["work.js"].url,
            strings_js=self.assets["strings.js"].url,
        )
        file = resources.files("waitroom.web.page") / "templates" / "wait.html"
        return environment.from_string(file.read_text(encoding="utf-8"))


def _hidden(shown: object) -> Markup:
    return Markup("") if shown else Markup(" hidden")


def _view(words: Wording, page: Page) -> _View:
    if page.situation != "waiting":
        return _standing_view(words, page)
    if page.rank is None:
        return _standing_view(words, replace(page, situation="unavailable"))
    return _waiting_view(words, page, page.rank)


def _standing_view(words: Wording, page: Page) -> _View:
    """What a visitor without a number is shown."""
    headline = words[f"headline_{page.situation}"]
    again = join_address(page.room, page.return_to) if page.situation in _AGAIN else ""
    return _View(
        link=page.enqueue_url or again,
        link_text=words["sign_in" if page.enqueue_url else "again"],
        situation=page.situation,
        title=f"{headline} · {page.room}",
        state=words[f"state_{page.situation}"],
        lead=headline,
        detail=_detail(words, page),
        message=page.message,
        message_label=words["reason_label" if page.situation == "closed" else "message_label"],
    )


def _detail(words: Wording, page: Page) -> str:
    if page.situation == "limited" and page.again_seconds:
        return words["detail_limited_for"].format(time=words.duration(page.again_seconds))
    return words[f"detail_{page.situation}"].replace("{room}", page.room)


def _waiting_view(words: Wording, page: Page, rank: int) -> _View:
    held = page.room_state if page.room_state in ("paused", "closed") else ""
    state = words[f"state_{held or 'waiting'}"]
    ahead = words["title_ahead"].format(n=f"{rank - 1:,}") if rank > 1 else words["title_next"]
    return _View(
        situation="waiting",
        title=" · ".join([state, ahead, page.room] if held else [ahead, page.room]),
        state=state,
        lead=words["headline_waiting"],
        rank=f"{rank:,}",
        detail=words.counted("ahead", rank - 1) if rank > 1 else words["next"],
        notice=words[f"notice_{held}"] if held else "",
        message=page.message,
        message_label=words["reason_label" if held else "message_label"],
        eta=words["eta_held"] if held else words.eta(*_bounds(page)),
        waiting="" if page.waiting is None else words.counted("waiting", page.waiting),
        kept=words["kept"].format(time=words.duration(page.ticket_seconds)),
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
        "again_seconds": page.again_seconds,
    }


def _bounds(page: Page) -> tuple[float | None, float | None]:
    """The eta's low and high bound. A bound that is missing is the eta itself."""
    low = page.eta_seconds if page.eta_low_seconds is None else page.eta_low_seconds
    high = page.eta_seconds if page.eta_high_seconds is None else page.eta_high_seconds
    return low, high
