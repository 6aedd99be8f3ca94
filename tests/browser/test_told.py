"""What the page tells is so, and is told in time."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest
from PIL import Image
from playwright.sync_api import Browser, Route, expect

from tests.browser.stage import NOON, PAUSED, WAITING, Stage, standing
from tests.browser.test_live import AT_100, FAR, STREAMED, staged, until
from tests.browser.test_tabs import room_of_four, streams, tab_of
from tests.browser.visitor import visiting

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.timeout(120)]

#: Milliseconds for news to be shown: more than a busy machine takes, less than until a status call.
PATIENCE_MS: Final = 25_000

#: What `visiting` takes for a visitor in Cairo whose browser speaks Arabic.
CAIRO: Final[dict[str, str]] = {"locale": "ar-EG", "timezone_id": "Africa/Cairo"}


def unproven(route: Route) -> None:
    """The answer of an instance that got no cookie."""
    route.fulfill(status=401, json={"type": "urn:waitroom:no-proof"})


@pytest.mark.parametrize("shown", [STREAMED, replace(FAR, poll_after_seconds=0.5)], ids=["stream", "poll"])
def test_the_first_answer_tells_that_the_cookie_did_not_come_back(browser: Browser, shown: Any) -> None:
    """No new place is asked for, and the visitor reads what to do."""
    with visiting(browser) as visitor:
        stage = Stage(visitor, replace(shown, as_of=datetime.now(UTC)))
        stage.ladder = AT_100
        for verb in ("status", "events"):
            visitor.context.route(f"**/v1/rooms/shop/{verb}", unproven)
        page = stage.open()
        expect(page.locator("#lead")).to_have_text("Your place cannot be kept", timeout=PATIENCE_MS)
        expect(page.locator("#detail")).to_contain_text("Allow cookies for this site")
        expect(page.get_by_role("link", name="Join again")).to_be_visible()
        assert "enter" not in stage.asked
        assert visitor.complaints_but("401") == []


def test_a_browser_that_says_it_keeps_no_cookies_is_told_at_once(browser: Browser) -> None:
    """Nothing has to be asked for that."""
    with visiting(browser) as visitor:
        off = "Object.defineProperty(Navigator.prototype, 'cookieEnabled', { get: () => false })"
        visitor.context.add_init_script(off)
        stage = Stage(visitor, FAR)
        expect(stage.open().locator("#lead")).to_have_text("Your place cannot be kept")
        assert stage.asked == []


def test_a_hung_and_a_dead_server_are_told_and_their_return_too(browser: Browser, tmp_path: Path) -> None:
    """Long before the next status call: the heartbeats stop, and the room document does not come."""
    with room_of_four(browser, tmp_path) as (served, visitor, _):
        page = tab_of(visitor, served)
        until(page, lambda: streams(served) == 1, "a stream")
        notice = page.locator("#notice")
        served.freeze()
        expect(notice).to_have_text("Connection lost. Your place is kept. Trying again.", timeout=PATIENCE_MS)
        expect(page.locator("#state")).to_have_text("Trying again")
        served.thaw()
        expect(notice).to_be_hidden(timeout=PATIENCE_MS)
        visitor.context.set_offline(True)
        expect(notice).to_contain_text("Connection lost", timeout=PATIENCE_MS)
        visitor.context.set_offline(False)
        expect(notice).to_be_hidden(timeout=PATIENCE_MS)
        expect(page.locator("#rank")).to_have_text("4")
        assert visitor.complaints_but("ERR_INTERNET_DISCONNECTED|ERR_NETWORK|ERR_CONNECTION") == []


def test_a_document_that_does_not_come_is_told(browser: Browser) -> None:
    """Also where there is no stream, and the connection is taken up but nothing is answered."""
    with staged(browser, FAR, ladder=AT_100) as (visitor, stage, page):
        until(page, lambda: "shop" in stage.asked, "a document")
        visitor.context.route("**/v1/rooms/shop", lambda route: None)
        expect(page.locator("#notice")).to_contain_text("Connection lost", timeout=PATIENCE_MS)
        visitor.context.unroute("**/v1/rooms/shop")
        expect(page.locator("#notice")).to_be_hidden(timeout=PATIENCE_MS)
        assert "status" not in stage.asked or stage.asked.count("status") <= 2


def test_a_limited_visitor_reads_until_when_in_their_own_time(browser: Browser) -> None:
    """Retry-After becomes a time of day in the visitor's zone, in the page's language."""
    limited = replace(standing("limited"), again_seconds=3600)
    with visiting(browser, **CAIRO) as visitor:
        page = Stage(visitor, limited).open()
        expect(page.locator("#detail")).to_contain_text(re.compile(r"free at Jan 2, 2026, 3:00\sPM\."))
        expect(page.locator("#detail")).to_contain_text("another internet connection")
    with visiting(browser, java_script_enabled=False) as visitor:
        page = Stage(visitor, limited).open()
        expect(page.locator("#detail")).to_contain_text("free in 1 hour.")


def test_one_page_has_one_language(browser: Browser) -> None:
    """There are English words only, so times and numbers are English too."""
    with visiting(browser, **CAIRO) as visitor:
        page = Stage(visitor, WAITING).open()
        expect(page.locator("#updated")).to_have_text(re.compile(r"2:00:00\sPM"))
        assert not re.search("[\u0600-\u06ff]", page.locator("body").inner_text())
    with visiting(browser, locale="en-GB", timezone_id="Europe/London") as visitor:
        page = Stage(visitor, WAITING).open()
        expect(page.locator("#updated")).to_have_text(f"{NOON:%H:%M:%S}")


#: Each sign that is drawn by colour alone, and what it stands on.
SIGNS: Final = """
() => {
  const style = (id, pseudo) => getComputedStyle(document.getElementById(id), pseudo);
  return {
    mark: style("state", "::before").backgroundColor,
    edge: style("state", "::before").borderTopColor,
    rim: style("progress").borderTopWidth,
    band: style("band").backgroundColor,
    text: style("notice").color,
    paper: getComputedStyle(document.documentElement).backgroundColor,
  };
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_forced_colours_keep_every_sign(browser: Browser, scheme: Any) -> None:
    """Marks and the reversed band stand out from the paper in a high-contrast mode. The progress bar has a rim, and its
    filled half differs from the other one."""
    with visiting(browser, forced_colors="active", color_scheme=scheme) as visitor:
        stage = Stage(visitor, WAITING)
        page = stage.open()
        signs = page.evaluate(SIGNS)
        assert signs["paper"] not in (signs["mark"], signs["edge"])
        assert signs["rim"] != "0px"
        stage.shown = replace(WAITING, rank=617)
        expect(page.locator("#rank")).to_have_text("617")
        drawn = Image.open(BytesIO(page.locator("progress").screenshot()))
        filled, empty = (drawn.getpixel((drawn.width * part // 4, drawn.height // 2)) for part in (1, 3))
        assert filled != empty
        stage.shown = PAUSED
        expect(page.locator("#state")).to_have_text("Paused")
        signs = page.evaluate(SIGNS)
        assert signs["paper"] not in (signs["band"], signs["edge"])
        assert signs["mark"].endswith(", 0)")  # nothing to be seen
        assert signs["text"] != signs["band"]


@pytest.mark.parametrize("script", [True, False])
def test_a_room_that_is_not_made_and_a_closed_one(browser: Browser, tmp_path: Path, script: bool) -> None:
    """Each has its page, with and without script. When the room is made, or opens, the page goes on."""
    with room_of_four(browser, tmp_path) as (served, _, _):
        there = f"http://127.0.0.1:{served.port}/wait"
        with visiting(browser, java_script_enabled=script) as visitor:
            page = visitor.context.new_page()
            told = page.goto(f"{there}/fair")
            assert told is not None
            assert (told.status, told.headers["cache-control"]) == (404, "no-store")
            expect(page.locator("#lead")).to_have_text("There is no such queue")
            expect(page.locator("#detail")).to_contain_text("waitroom room set fair")
            served.operate("POST", "/admin/rooms/shop/close", {"message": "We open at nine."})
            told = page.goto(f"{there}/shop")
            assert told is not None
            assert (told.status, told.headers["cache-control"]) == (403, "no-store")
            expect(page.locator("#lead")).to_have_text("The queue is closed")
            expect(page.locator("#message")).to_have_text("We open at nine.")
            assert visitor.complaints_but("404|403") == []


def test_a_withdrawn_pass_is_told_and_one_may_join_again(browser: Browser, tmp_path: Path) -> None:
    """The visitor reads that the site has ended the visit. No new place is taken before they ask for one."""
    with room_of_four(browser, tmp_path) as (served, visitor, _):
        page = tab_of(visitor, served)
        served.operate("PATCH", "/admin/rooms/shop", {"capacity": 10})
        until(page, lambda: "waitroom_pass_shop" in visitor.proofs(), "a pass")
        page.wait_for_url("**/", timeout=PATIENCE_MS)
        proof = visitor.proofs()["waitroom_pass_shop"]
        served.operate("PATCH", "/admin/rooms/shop", {"capacity": 1})
        served.operate("POST", "/admin/rooms/shop/revoke", {"proof": proof})
        told = page.goto(f"http://127.0.0.1:{served.port}/wait/shop")
        assert told is not None
        assert told.status == 410
        expect(page.locator("#lead")).to_have_text("The site has ended your visit")
        page.get_by_role("link", name="Join again").click()
        expect(page.locator("#lead")).to_have_text("You are number")
