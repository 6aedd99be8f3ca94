"""The page without a server: what the browser asks for is answered here, as the server would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from playwright.sync_api import Page, Route

from tests.browser.visitor import Visitor
from waitroom.web.page import rendering
from waitroom.web.page.assets import ASSET_PATH, PAGE_HEADERS

ORIGIN: Final = "http://waitroom.test"

#: What a server writes its pages with.
SERVER: Final = rendering.Pages()

NOON: Final = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)

#: A visitor in a queue of some length. The poll is the shortest that the script does.
WAITING: Final = rendering.Page(
    room="shop",
    situation="waiting",
    return_to="/basket?step=2",
    as_of=NOON,
    entered_at=NOON,
    poll_after_seconds=0.2,
    ticket_seconds=5400,
    rank=1234,
    waiting=56789,
    eta_seconds=300.0,
    eta_low_seconds=241.0,
    eta_high_seconds=350.0,
)

PAUSED: Final = replace(
    WAITING,
    room_state="paused",
    message="Payment is down; we go on at 15:00.",
    eta_seconds=None,
    eta_low_seconds=None,
    eta_high_seconds=None,
)


#: What of a page stands in the waiting document too.
_ETA: Final = ("eta_seconds", "eta_low_seconds", "eta_high_seconds")
_POLLS: Final = ("poll_after_seconds", "latest_poll_seconds")
_TOLD: Final = ("room", "rank", "serial", "waiting", *_ETA, *_POLLS, "room_state", "message")


def standing(situation: rendering.Situation, *, message: str = "") -> rendering.Page:
    """What a visitor without a place is told."""
    return replace(
        WAITING, situation=situation, rank=None, waiting=None, entered_at=None, poll_after_seconds=300, message=message
    )


class Stage:
    """Answers every request of one visitor; `shown` is what the page and the status say.

    `ladder` is the room document's (None: there is no such document), `more` what else is to stand in it; `events` says
    the whole of an event stream (None: poll instead). `asked` are the calls, by the last part of their path. `admits`:
    the status says that the turn has come.
    """

    def __init__(self, visitor: Visitor, shown: rendering.Page) -> None:
        self.shown = shown
        self.ladder: list[tuple[int, int]] | None = None
        self.more: dict[str, Any] = {}
        self.events: Callable[[], str] | None = None
        self.asked: list[str] = []
        self.admits = False
        visitor.context.route("**/*", self._answer)
        self._visitor = visitor

    def open(self) -> Page:
        """The page, in a new tab."""
        page = self._visitor.context.new_page()
        page.goto(f"{ORIGIN}/wait/{self.shown.room}")
        return page

    def _answer(self, route: Route) -> None:
        path = urlsplit(route.request.url).path
        if path.startswith("/v1/"):
            self.asked.append(path.rpartition("/")[2])
        if path.startswith(ASSET_PATH):
            asset = SERVER.assets[path.removeprefix(ASSET_PATH)]
            route.fulfill(body=asset.body, headers=asset.headers)
        elif path.startswith("/wait/"):
            headers = {**PAGE_HEADERS, "Content-Type": "text/html; charset=utf-8"}
            route.fulfill(body=SERVER.render(self.shown), headers=headers)
        elif path.endswith("/status"):
            route.fulfill(json={"state": "admitted"} if self.admits else document(self.shown))
        elif path.endswith("/leave"):
            route.fulfill(status=204)
        elif path.endswith("/events") and self.events is not None:
            route.fulfill(body=self.events(), content_type="text/event-stream")
        elif path.endswith("/events"):
            route.fulfill(status=503, json={"type": "urn:waitroom:poll-instead"})
        elif path == f"/v1/rooms/{self.shown.room}" and self.ladder is not None:
            route.fulfill(json=self._public(self.ladder))
        elif path == self.shown.return_to.partition("?")[0]:
            route.fulfill(body="<h1>Basket</h1>", content_type="text/html")
        else:
            route.fulfill(status=404)

    def _public(self, ladder: list[tuple[int, int]]) -> dict[str, Any]:
        """The room document of this moment; the page fetches the next one a second later."""
        return {
            "room": self.shown.room,
            "state": self.shown.room_state,
            "waiting": ladder[-1][0] if ladder else 0,
            "admitted_per_second": None,
            **dict.fromkeys(_ETA),
            "message": self.shown.message,
            "ladder": ladder,
            "lost_at": None,
            "refresh_after_seconds": 1.0,
            "as_of": datetime.now(UTC).isoformat(),
            **self.more,
        }


def document(shown: rendering.Page) -> dict[str, Any]:
    """The waiting document of the same place."""
    times = {"entered_at": NOON.isoformat(), "as_of": shown.as_of.isoformat()}
    return {name: getattr(shown, name) for name in _TOLD} | times | {"state": "waiting", "ticket": "a-ticket"}
