"""What becomes of a place: pauses, a server that dies, goodbyes. The browser talks to `waitroom serve` directly."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from rig.instance import Instance, serving
from tests.browser.visitor import Visitor, rank_of, visiting

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.timeout(120)]

#: The claim time keeps polls about a second apart.
ROOM: Final = {"capacity": 1, "session_seconds": 600, "claim_seconds": 2, "abandon_seconds": 60}

#: Milliseconds that a change may take to show: some polls and a busy machine.
PATIENCE_MS: Final = 20_000

LANDING: Final = "/basket?a=1&b=2"


class Caller:
    """A visitor without a browser, who keeps the proof got last."""

    def __init__(self, served: Instance) -> None:
        self._served = served
        self._proof = ""
        document = self._call("POST", "enter")
        self.rank: int | None = document.get("rank")
        if document["state"] == "admitted":
            self._call("GET", "status")  # claims it, so that the session runs

    def leave(self) -> None:
        """Give up the place."""
        self._call("POST", "leave")

    def _call(self, method: str, verb: str) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._served.port}/v1/rooms/shop/{verb}",
            method=method,
            data=b"{}" if method == "POST" else None,
            headers={
                "Content-Type": "application/json",
                **({"Authorization": f"Bearer {self._proof}"} if self._proof else {}),
            },
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_MS / 1000) as answer:
            body = answer.read()
        document: dict[str, Any] = json.loads(body) if body else {}
        self._proof = document.get("ticket") or document.get("pass") or self._proof
        return document


@contextmanager
def waiting_visitor(browser: Browser, served: Instance) -> Iterator[tuple[Visitor, Page]]:
    """A browser's visitor on the waiting page; the landing is played."""
    with visiting(browser) as visitor:
        visitor.context.route(
            "**/basket?*", lambda route: route.fulfill(body="<h1>Basket</h1>", content_type="text/html")
        )
        page = visitor.context.new_page()
        page.goto(f"http://127.0.0.1:{served.port}/wait/shop?return=%2Fbasket%3Fa%3D1%26b%3D2")
        yield visitor, page


def lands(page: Page, served: Instance) -> None:
    """Wait for the page to go on by itself to the return address."""
    page.wait_for_url(f"http://127.0.0.1:{served.port}{LANDING}", timeout=PATIENCE_MS)


def test_a_pause_shows_its_reason_as_text_and_the_page_goes_on_after_it(browser: Browser, tmp_path: Path) -> None:
    """A message is never markup; a pause keeps rank and page; then the page goes on."""
    message = "<script>alert(1)</script><img src=x onerror=alert(2)> & more"
    with serving(tmp_path, rooms={"shop": ROOM}) as served:
        inside = Caller(served)
        with waiting_visitor(browser, served) as (visitor, page):
            assert rank_of(page) == 1
            served.operate("POST", "/admin/rooms/shop/pause", {"message": message})
            expect(page.locator("#message")).to_have_text(message, timeout=PATIENCE_MS)
            expect(page.locator("#state")).to_have_text("Paused")
            expect(page.locator("#notice")).to_have_text(
                "The queue is paused. No visitor is let in at the moment. Your place is kept."
            )
            expect(page.locator("#message-label")).to_have_text("Reason")
            expect(page.locator("#eta")).to_have_text("on hold")
            expect(page.locator("#live")).to_contain_text("The queue is paused")
            assert rank_of(page) == 1
            inside.leave()
            page.reload()  # the server's own rendering of it
            expect(page.locator("#message")).to_have_text(message)
            assert rank_of(page) == 1
            served.operate("POST", "/admin/rooms/shop/resume", {"message": ""})
            lands(page, served)
            assert visitor.complaints == []


def test_what_stands_behind_the_hash_comes_back(browser: Browser, tmp_path: Path) -> None:
    """A single-page shop's address: no server hears of that part, the browser carries it there and back."""
    with serving(tmp_path, rooms={"shop": ROOM}) as served, visiting(browser) as visitor:
        site = f"http://127.0.0.1:{served.port}"
        inside = Caller(served)

        def gate(route: Route) -> None:
            if "waitroom_pass_shop" in visitor.proofs():
                route.fulfill(body="<h1>Event</h1>", content_type="text/html")
            else:
                route.fulfill(status=303, headers={"Location": "/wait/shop?return=/app"})

        visitor.context.route("**/app", gate)
        page = visitor.context.new_page()
        page.goto(f"{site}/app#/event/42")
        assert page.url == f"{site}/wait/shop?return=/app#/event/42"
        assert rank_of(page) == 1
        inside.leave()
        page.wait_for_url(f"{site}/app#/event/42", timeout=2 * PATIENCE_MS)
        expect(page.locator("h1")).to_have_text("Event")


def test_a_dead_server_costs_no_place(browser: Browser, tmp_path: Path) -> None:
    """SIGKILL under an open page: it says so, keeps the rank, and goes on once the server is back."""
    with serving(tmp_path, rooms={"shop": ROOM}) as served:
        inside, ahead = Caller(served), Caller(served)
        with waiting_visitor(browser, served) as (visitor, page):
            assert (ahead.rank, rank_of(page)) == (1, 2)
            served.kill()
            expect(page.locator("#notice")).to_have_text(
                "Connection lost. Your place is kept. Trying again.", timeout=PATIENCE_MS
            )
            expect(page.locator("#state")).to_have_text("Trying again")
            assert rank_of(page) == 2
            served.start()
            expect(page.locator("#notice")).to_be_hidden(timeout=PATIENCE_MS)
            expect(page.locator("#state")).to_have_text("Waiting")
            assert rank_of(page) == 2
            served.await_ready()
            ahead.leave()
            expect(page.locator("#rank")).to_have_text("1", timeout=PATIENCE_MS)
            expect(page.locator("#started")).to_have_text("When this page opened you were number 2.")
            inside.leave()
            lands(page, served)
            assert visitor.complaints_but("ERR_CONNECTION_|ERR_EMPTY_RESPONSE|503") == []


def test_leaving_gives_the_place_up_and_one_can_join_again(browser: Browser, tmp_path: Path) -> None:
    """The button, by keyboard; the place is gone at once; "join again" draws a new one at the end."""
    with serving(tmp_path, rooms={"shop": ROOM}) as served:
        Caller(served)
        with waiting_visitor(browser, served) as (visitor, page):
            assert rank_of(page) == 1
            behind = Caller(served)
            assert behind.rank == 2
            summary = page.get_by_text("Leave the queue")
            summary.focus()
            page.keyboard.press("Enter")
            page.get_by_role("button", name="Yes, leave").focus()
            page.keyboard.press("Enter")
            expect(page.locator("#lead")).to_have_text("You have left the queue")
            expect(page.locator("#live")).to_contain_text("You have left the queue")
            expect(page.locator("#headline")).to_be_focused()
            expect(page.locator("#rank")).to_be_hidden()
            expect(page.locator("#facts")).to_be_hidden()
            assert visitor.proofs() == {}
            page.get_by_role("link", name="Join again").click()
            expect(page.locator("#rank")).to_have_text("2")
            expect(page.locator("#waiting")).to_have_text("2 people")
            assert visitor.complaints == []


def test_two_tabs_leave_together(browser: Browser, tmp_path: Path) -> None:
    """Left in one tab, the place is gone in the other too, which must not draw a new one by itself."""
    with serving(tmp_path, rooms={"shop": ROOM}) as served:
        Caller(served)
        with waiting_visitor(browser, served) as (visitor, page):
            tab = visitor.context.new_page()
            tab.goto(page.url)
            assert rank_of(tab) == rank_of(page) == 1
            tab.get_by_text("Leave the queue").click()
            tab.get_by_role("button", name="Yes, leave").click()
            expect(tab.locator("#lead")).to_have_text("You have left the queue")
            expect(page.locator("#lead")).to_have_text("You have left the queue")
            assert Caller(served).rank == 1
            tab.get_by_role("link", name="Join again").click()
            expect(tab.locator("#rank")).to_have_text("2")
            expect(page.locator("#lead")).to_have_text("You have left the queue")
            assert visitor.complaints == []
