"""The page between two questions in person: what it makes of the room document and of an event stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, expect

from rig import waiting
from tests.browser.stage import SERVER, WAITING, Stage, document
from tests.browser.visitor import Visitor, visiting
from waitroom.web.page import rendering

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.timeout(120)]

PATIENCE_SECONDS: Final = 20

#: A place far from its turn, which is asked for in person every minute at the latest.
FAR: Final = replace(
    WAITING,
    rank=100,
    serial=500,
    waiting=200,
    poll_after_seconds=30,
    latest_poll_seconds=60.0,
    eta_seconds=1000.0,
    eta_low_seconds=800.0,
    eta_high_seconds=1100.0,
)

#: Where that place is on a ladder: the head's serial, and what it makes of the rank.
AT_100: Final = [(1, 401), (200, 600)]
AT_80: Final = [(1, 421), (180, 600)]
AT_50: Final = [(1, 451), (150, 600)]
PAST: Final = [(1, 501), (100, 600)]


@contextmanager
def staged(browser: Browser, shown: rendering.Page, **setting: Any) -> Iterator[tuple[Visitor, Stage, Page]]:
    """A visitor on the page, answered by a stage set like that."""
    with visiting(browser, locale="en-GB") as visitor:
        stage = Stage(visitor, replace(shown, as_of=datetime.now(UTC)))
        for name, value in setting.items():
            setattr(stage, name, value)
        yield visitor, stage, stage.open()


def until(page: Page, condition: Callable[[], object], what: str) -> None:
    """Let the page go on until the condition holds."""

    def held() -> object:
        page.wait_for_timeout(1)
        return condition()

    waiting.until(held, what)


def rank_is(page: Page, rank: int) -> None:
    """Wait for the page to show that rank."""
    expect(page.locator("#rank")).to_have_text(str(rank), timeout=PATIENCE_SECONDS * 1000)


def documents_seen(page: Page, stage: Stage, number: int = 2) -> None:
    """Wait until the page has fetched so many more room documents, and so has dealt with all before the last."""
    so_far = stage.asked.count("shop")
    until(page, lambda: stage.asked.count("shop") >= so_far + number, "another room document")


def place_event(shown: rendering.Page) -> str:
    """The event that says where a place stands a little later, and lets the browser come back in five minutes."""
    place = document(replace(shown, as_of=datetime.now(UTC) + timedelta(seconds=1)))
    del place["ticket"]
    return f"retry: 300000\nevent: place\ndata: {json.dumps(place)}\n\n"


def ended(page: Page) -> None:
    """Wait for the page to be where it leads the admitted."""
    page.wait_for_url("**/basket?step=2", timeout=PATIENCE_SECONDS * 1000)


# The room document.


def test_the_rank_follows_the_ladder_without_asking_in_person(browser: Browser) -> None:
    """Rank, eta, length, state and message are the document's, and no status is asked for."""
    with staged(browser, FAR, ladder=AT_100) as (visitor, stage, page):
        documents_seen(page, stage)
        rank_is(page, 100)
        stage.ladder, stage.more = AT_50, {"message": "Halfway."}
        rank_is(page, 50)
        expect(page.locator("#waiting")).to_have_text("150 people")
        expect(page.locator("#eta")).to_have_text(SERVER.wording.eta(400, 550))
        expect(page.locator("#message")).to_have_text("Halfway.")
        expect(page.locator("#progress")).to_have_attribute("value", "50")
        stage.more = {"state": "paused"}
        expect(page.locator("#state")).to_have_text("Paused", timeout=PATIENCE_SECONDS * 1000)
        expect(page.locator("#eta")).to_have_text("on hold")
        assert set(stage.asked) == {"shop"}
        assert visitor.complaints == []


def test_what_the_ladder_is_wrong_by_is_made_up_for(browser: Browser) -> None:
    """The server counted 100 where the ladder says 90: from then on ten are added; what moved meanwhile is no error."""
    with staged(browser, FAR, ladder=[(1, 411), (190, 600)]) as (visitor, stage, page):
        documents_seen(page, stage)
        rank_is(page, 100)
        stage.ladder = [(1, 461), (140, 600)]
        rank_is(page, 50)
        assert visitor.complaints == []


def test_a_document_from_before_the_place_was_drawn_says_nothing_of_it(browser: Browser) -> None:
    """An old copy of an empty room is no reason to ask."""
    old = {"as_of": "2026-01-02T11:59:59Z"}
    with staged(browser, FAR, ladder=[], more=old) as (visitor, stage, page):
        documents_seen(page, stage)
        rank_is(page, 100)
        assert set(stage.asked) == {"shop"}
        assert visitor.complaints == []


def test_the_rank_never_grows_until_it_is_asked_for_in_person(browser: Browser) -> None:
    """A ladder that goes back is not followed; the answer in person counts, whatever it is."""
    with staged(browser, FAR, ladder=AT_100) as (visitor, stage, page):
        documents_seen(page, stage)
        stage.ladder = AT_50
        rank_is(page, 50)
        stage.ladder = AT_80
        documents_seen(page, stage)
        rank_is(page, 50)
        stage.shown = replace(FAR, rank=80, as_of=datetime.now(UTC), poll_after_seconds=1)
        stage.more = {"lost_at": datetime.now(UTC).isoformat()}
        rank_is(page, 80)
        assert "status" in stage.asked
        assert visitor.complaints == []


@pytest.mark.parametrize("ladder", [PAST, []])
def test_a_queue_that_has_moved_past_is_a_reason_to_ask(browser: Browser, ladder: list[tuple[int, int]]) -> None:
    """The turn has come, or the place is gone: the status says which."""
    with staged(browser, FAR, ladder=AT_100) as (visitor, stage, page):
        documents_seen(page, stage)
        stage.admits = True
        stage.ladder = ladder
        ended(page)
        assert visitor.complaints == []


def test_who_is_far_away_when_all_is_lost_does_not_come_at_once(browser: Browser) -> None:
    """Everybody sees it in the same seconds; they come back spread over the time that a poll may take."""
    crowd = replace(FAR, rank=100_000, waiting=200_000)
    with staged(browser, crowd, ladder=[(1, 401), (200_000, 600)]) as (_, stage, page):
        documents_seen(page, stage)
        page.evaluate("() => { Math.random = () => 0.5; }")
        stage.ladder = []
        until(page, lambda: _waits_for(page), "the document to be understood")
        assert "status" not in stage.asked


def _waits_for(page: Page) -> bool:
    """Whether no document was fetched for two seconds: the page waits to ask in person."""
    fetched = "() => performance.getEntriesByType('resource').at(-1).startTime < performance.now() - 2000"
    return bool(page.evaluate(fetched))


def test_without_a_document_the_page_polls(browser: Browser) -> None:
    """A server or a proxy that has none: the status, as often as it says."""
    with staged(browser, replace(FAR, poll_after_seconds=0.5)) as (visitor, stage, page):
        stage.shown = replace(stage.shown, rank=42)
        rank_is(page, 42)
        until(page, lambda: stage.asked.count("status") > 2, "polls")
        assert visitor.complaints_but("404") == []


@pytest.mark.parametrize("change", [{"latest_poll_seconds": 4.0}, {"eta_low_seconds": 9.0}, {"serial": None}])
def test_where_watching_does_not_help_the_page_polls(browser: Browser, change: dict[str, Any]) -> None:
    """Short of the turn, where offers are short, or with an older server: no document is fetched."""
    with staged(browser, replace(FAR, poll_after_seconds=0.5, **change), ladder=AT_100) as (visitor, stage, page):
        until(page, lambda: stage.asked.count("status") > 2, "polls")
        assert set(stage.asked) == {"status"}
        assert visitor.complaints == []


def test_the_place_is_asked_for_in_person_in_time(browser: Browser) -> None:
    """Whatever the document says, after `latest_poll_seconds` at the latest."""
    with staged(browser, replace(FAR, latest_poll_seconds=6.0), ladder=AT_100) as (visitor, stage, page):
        until(page, lambda: "status" in stage.asked, "the question in person")
        assert stage.asked.count("shop") > 1
        assert visitor.complaints == []


@pytest.mark.parametrize(
    "change",
    [
        {"as_of": None},
        {"as_of": "now"},
        {"refresh_after_seconds": None},
        {"refresh_after_seconds": "soon"},
        {"waiting": None},
        {"ladder": None},
        {"ladder": {}},
        {"ladder": [[1, 401], [2]]},
        {"ladder": [[1, "401"], [200, 600]]},
        {"ladder": [[0, 401], [200, 600]]},
        {"ladder": [[2, 401], [1, 600]]},
        {"ladder": [[1, 600], [200, 600]]},
        {"lost_at": "yesterday"},
        {"lost_at": "2999-01-01T00:00:00Z"},
    ],
    ids=str,
)
def test_what_is_no_document_says_nothing(browser: Browser, change: dict[str, Any]) -> None:
    """A portal, a broken cache: the page polls instead, and does not come again and again for it."""
    shown = replace(FAR, poll_after_seconds=3)
    with staged(browser, shown, ladder=AT_100, more=change) as (visitor, stage, page):
        until(page, lambda: "status" in stage.asked, "a poll")
        assert stage.asked.count("shop") <= 2
        stage.more = {}
        documents_seen(page, stage)
        fetched = stage.asked.count("shop")
        stage.ladder = AT_50
        rank_is(page, 50)
        page.wait_for_timeout(2_000)
        assert stage.asked.count("shop") <= fetched + 5
        assert visitor.complaints == []


def test_a_document_that_gets_no_younger_is_fetched_more_rarely(browser: Browser) -> None:
    """Redis or a clock has stopped: whoever waits does not make it worse."""
    with staged(browser, FAR, ladder=AT_100) as (visitor, stage, page):
        documents_seen(page, stage)
        stage.more = {"as_of": datetime.now(UTC).isoformat()}
        documents_seen(page, stage, 1)
        fetched = stage.asked.count("shop")
        page.wait_for_timeout(8_000)
        assert stage.asked.count("shop") - fetched in (2, 3)  # after 1 (the first of its moment), 2, 4, 8 seconds
        stage.more = {}
        stage.ladder = AT_50
        rank_is(page, 50)
        assert set(stage.asked) == {"shop"}
        assert visitor.complaints == []


def test_who_is_told_in_vain_that_the_turn_has_come_does_not_ask_at_once_again(browser: Browser) -> None:
    """The status says that one still waits: the document is believed again no sooner than one would have polled."""
    with staged(browser, replace(FAR, poll_after_seconds=4), ladder=PAST) as (visitor, stage, page):
        until(page, lambda: "status" in stage.asked, "the question in person")
        page.wait_for_timeout(3_000)
        assert stage.asked.count("status") == 1
        until(page, lambda: stage.asked.count("status") == 2, "another question")
        assert visitor.complaints == []


# Hidden tabs.


def hide(page: Page, *, hidden: bool) -> None:
    """Let the page believe that its tab is hidden, or seen again."""
    page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_a_hidden_tab_watches_rarely_and_still_finds_its_turn(browser: Browser) -> None:
    """As often as it would poll; before the place could be lost it asks in person."""
    with staged(browser, replace(FAR, poll_after_seconds=3, latest_poll_seconds=40.0), ladder=AT_100) as (
        visitor,
        stage,
        page,
    ):
        documents_seen(page, stage)
        hide(page, hidden=True)
        stage.admits = True
        stage.ladder = PAST
        ended(page)
        assert visitor.complaints == []


def test_a_hidden_tab_that_might_wake_too_late_asks_in_person(browser: Browser) -> None:
    """The next time it is woken the place would be asked for too late: so it asks now."""
    with staged(browser, replace(FAR, poll_after_seconds=4, latest_poll_seconds=7.0), ladder=AT_100) as (
        visitor,
        stage,
        page,
    ):
        documents_seen(page, stage)
        hide(page, hidden=True)
        fetched = stage.asked.count("shop")
        until(page, lambda: "status" in stage.asked, "the question in person")
        assert stage.asked.count("shop") == fetched
        assert visitor.complaints == []


# Event streams.

STREAMED: Final = replace(FAR, streams=True)


def test_an_event_moves_the_rank(browser: Browser) -> None:
    """What the stream says is shown; when it has ended the room document is watched, and no status asked for."""
    place = replace(STREAMED, rank=70, eta_seconds=700.0, eta_low_seconds=600.0, eta_high_seconds=800.0)
    with staged(browser, STREAMED, ladder=AT_50, events=lambda: place_event(place)) as (visitor, stage, page):
        rank_is(page, 70)
        expect(page.locator("#eta")).to_have_text(SERVER.wording.eta(600, 800))
        until(page, lambda: "shop" in stage.asked, "watching")
        assert stage.asked.count("events") == 1
        assert "status" not in stage.asked
        assert visitor.complaints == []


@pytest.mark.parametrize("last", ["admitted", "over"])
def test_the_last_event_is_a_reason_to_ask(browser: Browser, last: str) -> None:
    """Only the status claims an offer, and says what has become of a place."""
    events = f'retry: 1000\nevent: {last}\ndata: {{"room":"shop","state":"{last}"}}\n\n'
    with staged(browser, STREAMED, ladder=AT_100, events=lambda: events, admits=True) as (visitor, stage, page):
        ended(page)
        assert stage.asked == ["events", "status"]
        assert visitor.complaints == []


def test_who_may_not_have_a_stream_watches(browser: Browser) -> None:
    """503, poll instead: no second try, and the ladder is followed."""
    with staged(browser, STREAMED, ladder=AT_100) as (visitor, stage, page):
        documents_seen(page, stage)
        stage.ladder = AT_50
        rank_is(page, 50)
        assert stage.asked.count("events") == 1
        assert visitor.complaints_but("503") == []


def test_a_stream_without_a_word_is_given_up(browser: Browser) -> None:
    """Something in between holds the events back: the page watches instead, before it misses anything."""
    with visiting(browser, locale="en-GB") as visitor:
        stage = Stage(visitor, replace(STREAMED, as_of=datetime.now(UTC)))
        stage.ladder = AT_100
        visitor.context.route("**/events", lambda route: stage.asked.append("events"))
        page = stage.open()
        until(page, lambda: "events" in stage.asked, "a stream")
        documents_seen(page, stage)
        stage.ladder = AT_50
        rank_is(page, 50)
        assert stage.asked.count("events") == 1
        assert visitor.complaints == []


def test_a_hidden_tab_holds_no_stream(browser: Browser) -> None:
    """It lets go of the stream, and takes one again when it is seen."""
    with visiting(browser, locale="en-GB") as visitor:
        stage = Stage(visitor, replace(STREAMED, as_of=datetime.now(UTC)))
        stage.ladder = AT_100
        visitor.context.route("**/events", lambda route: stage.asked.append("events"))
        let_go: list[str] = []
        visitor.context.on("requestfailed", lambda request: let_go.append(request.url))
        page = stage.open()
        until(page, lambda: "events" in stage.asked, "a stream")
        hide(page, hidden=True)
        until(page, lambda: [url for url in let_go if url.endswith("/events")], "the end of the stream")
        assert stage.asked == ["events"]
        hide(page, hidden=False)
        until(page, lambda: stage.asked.count("events") == 2, "a stream again")
        assert visitor.complaints == []
