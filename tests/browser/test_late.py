"""What comes late has no effect: answers, documents and turns for which the page waits no longer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response, Route, expect

from rig.instance import Instance, serving
from rig.raw import Part
from tests.browser.line import TAB, Line, line_to
from tests.browser.stage import WAITING, Stage, standing
from tests.browser.test_live import AT_80, AT_100, FAR, hide, place_event, rank_is, until
from tests.browser.test_place import PATIENCE_MS, ROOM, Caller
from tests.browser.visitor import Visitor, rank_of, visiting

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.timeout(120)]

HERE: Final = "here"
THERE: Final = "there"

LEFT: Final = "You have left the queue"


@dataclass
class Scene:
    """A visitor with some tabs, a line on which calls are held back, and one visitor inside, so that this one waits."""

    served: Instance
    line: Line
    visitor: Visitor

    def tab(self, name: str) -> Page:
        """The waiting page in a new tab of that name."""
        page = self.visitor.context.new_page()
        page.set_extra_http_headers({TAB: name})
        page.goto(f"http://127.0.0.1:{self.line.port}/wait/shop")
        assert rank_of(page) == 1
        return page

    def asks_no_more(self, page: Page, name: str) -> None:
        """The page has left for good: whatever time passes, it asks nothing, and nobody waits."""
        so_far = self.line.verbs(name)
        time_passes(page)
        expect(page.locator("#lead")).to_have_text(LEFT)
        assert self.line.verbs(name) == so_far
        assert Caller(self.served).rank == 1


@contextmanager
def scene(browser: Browser, folder: Path) -> Iterator[Scene]:
    """A room with one place inside, taken; polls are about a second apart."""
    with (
        serving(folder, rooms={"shop": ROOM}) as served,
        line_to(served.url) as line,
        visiting(browser, locale="en-GB") as visitor,
    ):
        Caller(served)
        visitor.context.clock.install()
        yield Scene(served, line, visitor)


def time_passes(page: Page, seconds: int = 12) -> None:
    """Let every timer of the visitor's tabs fire that is due in the next seconds, and what it asks arrive."""
    for _ in range(seconds):
        page.clock.run_for(1_000)
        page.evaluate("() => fetch('/healthz').then((answer) => answer.status)")


def ticked(page: Page, ms: int) -> bool:
    """Move the time on; always true."""
    page.clock.run_for(ms)
    return True


def leave(page: Page) -> None:
    """Say goodbye by mouse."""
    page.get_by_text("Leave the queue").click()
    page.get_by_role("button", name="Yes, leave").click()


def has_left(page: Page) -> None:
    """Wait for the page to say so."""
    expect(page.locator("#lead")).to_have_text(LEFT, timeout=PATIENCE_MS)


# Leaving, between a browser and a server.


@pytest.mark.parametrize("part", ["request", "answer", "body"])
@pytest.mark.parametrize("leaver", [HERE, THERE])
def test_a_status_that_comes_late_does_not_undo_leaving(
    browser: Browser, tmp_path: Path, leaver: str, part: Part
) -> None:
    """Its body, the whole answer or the question itself, while the visitor leaves in this tab or in another one."""
    with scene(browser, tmp_path) as at:
        page = at.tab(HERE)
        other = at.tab(THERE) if leaver == THERE else page
        with at.line.holding("status", part, HERE) as held:
            until(page, held.came.is_set, "a status")
            leave(other)
            has_left(other)
            has_left(page)
            held.go()
            until(page, held.over.is_set, "the end of that status")
        at.asks_no_more(page, HERE)


@pytest.mark.parametrize("watched", [HERE, THERE])
def test_until_a_goodbye_is_answered_no_tab_asks(browser: Browser, tmp_path: Path, watched: str) -> None:
    """The server has let the place go and the page does not know: told so by a status, it would join anew."""
    with scene(browser, tmp_path) as at:
        page, other = at.tab(HERE), at.tab(THERE)
        # What the browser takes does not count: after 15 seconds of its clock the page would give the goodbye up.
        page.clock.pause_at(page.evaluate("Date.now() / 1000 + 1"))
        with at.line.holding("leave", "answer", THERE) as held:
            leave(other)
            until(page, held.came.is_set, "the goodbye")
            time_passes(page)
            expect({HERE: page, THERE: other}[watched].locator("#lead")).to_have_text("You are number")
            held.go()
            has_left(page)
            has_left(other)
        assert "enter" not in at.line.verbs(HERE) + at.line.verbs(THERE)
        at.asks_no_more(page, HERE)


def test_a_goodbye_that_does_not_get_through_changes_nothing(browser: Browser, tmp_path: Path) -> None:
    """Both tabs go on with the place, and it can be said again."""
    with scene(browser, tmp_path) as at:
        page, other = at.tab(HERE), at.tab(THERE)
        with at.line.holding("leave", "request", THERE) as held:
            leave(other)
            until(page, held.came.is_set, "the goodbye")
            at.line.asked.clear()
            held.lose()
            expect(other.locator("#leave-warning")).to_contain_text(
                "Your request did not reach us", timeout=PATIENCE_MS
            )
            until(
                page,
                lambda: min(at.line.verbs(HERE).count("status"), at.line.verbs(THERE).count("status")) > 1,
                "polls",
            )
        assert rank_of(page) == rank_of(other) == 1
        other.get_by_role("button", name="Yes, leave").click()
        has_left(other)
        has_left(page)
        at.asks_no_more(page, HERE)


def test_a_goodbye_whose_answer_is_lost_is_one(browser: Browser, tmp_path: Path) -> None:
    """The place is gone: both tabs say that it was given up, and neither joins anew."""
    with scene(browser, tmp_path) as at:
        page, other = at.tab(HERE), at.tab(THERE)
        with at.line.holding("leave", "answer", THERE) as held:
            leave(other)
            until(page, held.came.is_set, "the goodbye")
            held.lose()
            has_left(other)
            has_left(page)
        at.asks_no_more(page, HERE)


def test_a_tab_that_is_closed_while_it_leaves_has_left(browser: Browser, tmp_path: Path) -> None:
    """The other one waits for word from it no longer than that one would, then asks, and does not join anew."""
    with scene(browser, tmp_path) as at:
        page, other = at.tab(HERE), at.tab(THERE)
        with at.line.holding("leave", "answer", THERE) as held:
            leave(other)
            until(page, held.came.is_set, "the goodbye")
            other.close()
            time_passes(page, seconds=20)
            has_left(page)
        at.asks_no_more(page, HERE)


def test_both_tabs_may_leave_at_once(browser: Browser, tmp_path: Path) -> None:
    """Neither waits for the other, whatever the order of the answers."""
    with scene(browser, tmp_path) as at:
        page, other = at.tab(HERE), at.tab(THERE)
        with at.line.holding("leave", "request", THERE) as theirs, at.line.holding("leave", "answer", HERE) as ours:
            leave(other)
            until(page, theirs.came.is_set, "their goodbye")
            leave(page)
            until(page, ours.came.is_set, "our goodbye")
            theirs.go()
            has_left(other)
            has_left(page)
        at.asks_no_more(page, HERE)


def test_two_tabs_that_lost_their_place_get_one(browser: Browser, tmp_path: Path) -> None:
    """Each asks for a new place; one of them waits for the other, and gets the same one."""
    with scene(browser, tmp_path) as at:
        page, other = at.tab(HERE), at.tab(THERE)
        page.clock.pause_at(page.evaluate("Date.now() / 1000 + 1"))
        refused: set[Page] = set()

        def note(answer: Response) -> None:
            if answer.status == 401:
                refused.add(answer.frame.page)

        def lost() -> bool:
            """Without cookies for another second: a status that was under way has brought one back perhaps."""
            at.visitor.context.clear_cookies()
            time_passes(page, seconds=1)
            return refused == {page, other} and (ours.came.is_set() or theirs.came.is_set())

        at.visitor.context.on("response", note)
        with at.line.holding("enter", "request", HERE) as ours, at.line.holding("enter", "request", THERE) as theirs:
            until(page, lost, "a new place to be asked for")
            second = THERE if ours.came.is_set() else HERE
            time_passes(page, seconds=5)
            assert "enter" not in at.line.verbs(second)
        for tab in (page, other):
            expect(tab.locator("#rank")).to_have_text("2", timeout=PATIENCE_MS)
        until(page, lambda: "enter" in at.line.verbs(second), "the other tab's turn to ask")
        time_passes(page, seconds=3)
        assert Caller(at.served).rank == 3


# What a stage plays.


@contextmanager
def played(browser: Browser) -> Iterator[tuple[Visitor, Stage]]:
    """A stage for a visitor's tabs."""
    with visiting(browser, locale="en-GB") as visitor:
        visitor.context.clock.install()
        yield visitor, Stage(visitor, replace(FAR, as_of=datetime.now(UTC)))


def held_back(where: Page | BrowserContext, pattern: str) -> list[Route]:
    """The requests of that pattern from now on, which wait to be let go."""
    held: list[Route] = []
    where.route(pattern, lambda route: held.append(route))
    return held


def test_work_that_ends_after_leaving_gets_no_place(browser: Browser) -> None:
    """The visitor leaves in another tab while this one works for a place: the work is stopped."""
    with played(browser) as (visitor, stage):
        held = held_back(visitor.context, "**/work.js*")
        work = {"text": "k1." + "a" * 43, "bits": 1, "seed_characters": 40, "expires_in_seconds": 60}
        stage.shown = replace(standing("challenge"), challenge=work)
        page = stage.open()
        until(page, lambda: held, "work")
        stage.shown = WAITING
        leave(stage.open())
        has_left(page)
        held[0].fallback()
        time_passes(page)
        assert "enter" not in stage.asked
        has_left(page)


def test_a_turn_that_has_come_is_given_up_in_the_other_tab(browser: Browser) -> None:
    """In the moment before the page goes on: the site would send the visitor back, to join anew."""
    with played(browser) as (visitor, stage):
        stage.shown = replace(WAITING, poll_after_seconds=300)
        other = stage.open()
        stage.shown = WAITING
        page = stage.open()
        visitor.context.clock.pause_at(datetime.now(UTC).timestamp() + 60)
        stage.admits = True
        until(page, lambda: ticked(page, 50) and "turn" in page.locator("#lead").inner_text(), "the turn")
        leave(other)
        has_left(page)
        time_passes(page)
        has_left(page)


def test_an_end_out_of_the_browsers_memory_may_be_past(browser: Browser) -> None:
    """The visitor left, joined again and went back: the page must not say that they have left."""
    with played(browser) as (_, stage):
        page = stage.open()
        leave(page)
        has_left(page)
        page.evaluate(_RESTORED)
        rank_is(page, 100)
        page.evaluate("() => { globalThis.same = true; }")
        page.evaluate(_RESTORED)
        time_passes(page, seconds=1)
        assert page.evaluate("() => globalThis.same")  # a place is asked for as ever


def test_an_end_that_still_holds_stays(browser: Browser) -> None:
    """A page that comes out of the browser's memory asks for the place and takes none: the visitor has left."""
    with played(browser) as (visitor, stage):
        page = stage.open()
        leave(page)
        has_left(page)
        visitor.context.route("**/status", lambda route: route.fulfill(status=401, json={}))
        with page.expect_response("**/status"):
            page.evaluate(_RESTORED)
        time_passes(page)
        has_left(page)
        assert "enter" not in stage.asked


def test_a_goodbye_that_failed_is_past_when_the_place_is_there(browser: Browser) -> None:
    """A turn that is over later is told as that, and not as the visitor's leaving."""
    with played(browser) as (visitor, stage):
        page = stage.open()
        visitor.context.route("**/leave", lambda route: route.abort())
        with page.expect_response("**/status"):
            leave(page)
            page.clock.run_for(1_000)
        rank_is(page, 100)
        visitor.context.route("**/status", lambda route: route.fulfill(status=410, json={}))
        until(
            page, lambda: ticked(page, 500) and page.locator("main").get_attribute("data-situation") == "over", "over"
        )


#: What a page is told that comes back with all that it knew.
_RESTORED: Final = "() => { dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })); }"


@contextmanager
def listening(browser: Browser, **change: Any) -> Iterator[tuple[Visitor, Stage, Page]]:
    """A page that listens to a stream without a word."""
    with played(browser) as (visitor, stage):
        stage.ladder = AT_100
        stage.shown = replace(stage.shown, streams=True, **change)
        visitor.context.route("**/events", lambda route: stage.asked.append("events"))
        page = stage.open()
        until(page, lambda: "events" in stage.asked, "a stream")
        yield visitor, stage, page


def seen_again(page: Page, stage: Stage) -> None:
    """The tab is seen, and listens."""
    so_far = stage.asked.count("events")
    hide(page, hidden=False)
    until(page, lambda: stage.asked.count("events") > so_far, "a stream again")


def test_a_document_that_comes_when_the_page_listens_starts_no_watch(browser: Browser) -> None:
    """A hidden tab asked for it and is seen again: one way at a time."""
    with listening(browser, poll_after_seconds=3) as (_, stage, page):
        documents = held_back(page, "**/v1/rooms/shop")
        hide(page, hidden=True)
        until(page, lambda: ticked(page, 200) and documents, "a document")
        seen_again(page, stage)
        stage.ladder = AT_80
        documents[0].fallback()
        time_passes(page, seconds=3)  # three times as long as until the next, and not yet a silence of the stream
        assert len(documents) == 1
        assert rank_of(page) == 100


def test_a_tab_that_is_seen_again_fetches_no_document_that_was_due(browser: Browser) -> None:
    """The hidden tab would have fetched one: one way at a time."""
    with listening(browser, poll_after_seconds=3) as (_, stage, page):
        hide(page, hidden=True)
        seen_again(page, stage)
        time_passes(page, seconds=3)
        assert "shop" not in stage.asked


def test_an_answer_in_person_does_not_end_the_watch(browser: Browser) -> None:
    """It comes while a document is under way and the stream is to come back later: the page watches on."""
    with played(browser) as (_, stage):
        stage.ladder = AT_100
        stage.shown = replace(stage.shown, streams=True, latest_poll_seconds=6.0)
        stage.events = partial(place_event, stage.shown)
        page = stage.open()
        until(page, lambda: "shop" in stage.asked, "a document")
        documents = held_back(page, "**/v1/rooms/shop")
        until(page, lambda: ticked(page, 100) and documents, "a document to be held")
        stage.shown = replace(stage.shown, latest_poll_seconds=60.0, as_of=datetime.now(UTC))
        until(page, lambda: ticked(page, 100) and "status" in stage.asked, "an answer in person")
        time_passes(page, seconds=1)
        documents[0].fallback()
        until(page, lambda: ticked(page, 100) and len(documents) > 1, "the next document")


def test_a_turn_to_join_that_never_comes(browser: Browser, tmp_path: Path) -> None:
    """Another tab holds the lock and is frozen: this one, whose ticket is gone, waits a while and then joins anew."""
    with scene(browser, tmp_path) as shown:
        page = shown.tab(HERE)
        with page.expect_response("**/status"):  # the cookie has come back once
            time_passes(page, seconds=5)
        page.evaluate("() => { navigator.locks.request('waitroom:shop', () => new Promise(() => {})) }")
        for _ in range(360):
            shown.visitor.context.clear_cookies()  # a status that was under way has brought one back perhaps
            time_passes(page, seconds=1)
            if "enter" in shown.line.verbs(HERE):
                break
        assert "enter" in shown.line.verbs(HERE)
