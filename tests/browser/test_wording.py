"""The server writes the page, then the script takes over: both must say the same, to the letter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.stage import PAUSED, SERVER, WAITING, Stage, standing
from tests.browser.visitor import visiting
from waitroom.web.page import rendering

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.timeout(120)]

MINUTE, HOUR, DAY = 60, 3600, 86_400

#: Bounds of expected waits in seconds: around every change of unit, form and step.
BOUNDS: Final[tuple[tuple[float | None, float | None], ...]] = (
    (None, None),
    (0, 0),
    (30, 59.9),
    (60, 60),
    (0, 60.001),
    (59.9, 61),
    (60, 61),
    (60, 120),
    (119.9, 120.1),
    (120, 180),
    (600, 60),
    (0, 20 * MINUTE),
    (20 * MINUTE, 20 * MINUTE),
    (20 * MINUTE - 1, 20 * MINUTE + 1),
    (20 * MINUTE + 1, 21 * MINUTE),
    (25 * MINUTE, 25 * MINUTE),
    (HOUR - 1, HOUR + 1),
    (2 * HOUR, 3 * HOUR - 0.5),
    (HOUR - 1, 3 * HOUR),
    (HOUR, 3 * HOUR),
    (5 * HOUR, 5 * HOUR),
    (5 * HOUR, 5 * HOUR + 1),
    (20 * HOUR, 2 * DAY - 1),
    (DAY - 1, 2 * DAY),
    (DAY, 2 * DAY),
    (3 * DAY, 3 * DAY),
    (3.5 * DAY, 99.5 * DAY),
)

#: What both write, and what both show or hide, by the element's id.
TEXTS: Final = ("state", "lead", "rank", "detail", "notice", "message-label", "message", "eta", "waiting")
PARTS: Final = ("band", "facts", "stub", "way")

#: The title, the texts as they stand ("" where nothing is to be seen), and which parts are shown.
READ: Final = """
([texts, parts]) => {
  const shown = (id) => document.getElementById(id).checkVisibility();
  const text = (id) => shown(id) ? document.getElementById(id).textContent : "";
  return {
    title: document.title,
    ...Object.fromEntries(texts.map((id) => [id, text(id)])),
    ...Object.fromEntries(parts.map((id) => [id, shown(id)])),
  };
}
"""

PAGES: Final[dict[str, rendering.Page]] = {
    "waiting": WAITING,
    "next": replace(WAITING, rank=1, waiting=1),
    "one ahead": replace(WAITING, rank=2, waiting=1000),
    "a long queue": replace(WAITING, rank=1_234_567, waiting=2_000_000, message="<b>Sold out</b> & gone"),
    "only the middle known": replace(WAITING, eta_low_seconds=None, eta_high_seconds=None),
    "paused": PAUSED,
    "paused without a reason": replace(PAUSED, message=""),
    "closed to newcomers": replace(PAUSED, room_state="closed"),
    "full": standing("full"),
    "closed": standing("closed", message="We open at nine."),
    "unavailable": standing("unavailable"),
    "over": standing("over"),
}


def test_the_script_changes_no_word_of_the_server(browser: Browser) -> None:
    """The same page with and without JavaScript shows the same words in the same places."""
    with (
        visiting(browser, java_script_enabled=False, locale="en-GB") as plain,
        visiting(browser, locale="en-GB") as scripted,
    ):
        stages = [Stage(visitor, WAITING) for visitor in (plain, scripted)]
        for name, shown in PAGES.items():
            written, taken_over = (_read(stage, shown=shown) for stage in stages)
            assert written["title"]
            assert taken_over == written, name
        assert plain.complaints == scripted.complaints == []


def _read(stage: Stage, *, shown: rendering.Page) -> dict[str, Any]:
    stage.shown = shown
    # A tab for each: a page that loads itself anew would come between.
    tab = stage.open()
    found: dict[str, Any] = tab.evaluate(READ, [TEXTS, PARTS])
    tab.close()
    return found


def test_expected_waits_are_worded_alike(browser: Browser) -> None:
    """For each pair of bounds a status brings the words that the server would write."""
    with visiting(browser, locale="en-GB") as visitor:
        stage = Stage(visitor, WAITING)
        page = stage.open()
        for rank, (low, high) in enumerate(BOUNDS, start=2):
            stage.shown = replace(WAITING, rank=rank, eta_seconds=high, eta_low_seconds=low, eta_high_seconds=high)
            expect(page.locator("#rank")).to_have_text(str(rank))  # the answer is here
            assert _eta(page) == SERVER.wording.eta(low, high), (low, high)
        assert visitor.complaints == []


def _eta(page: Page) -> str:
    return page.locator("#eta").inner_text()


def test_how_long_a_place_is_kept_stays_as_the_server_wrote_it(browser: Browser) -> None:
    """The script has no words for durations, so it must leave the server's alone."""
    with visiting(browser) as visitor:
        stage = Stage(visitor, WAITING)
        for seconds in (0.4, 1, 59, 61, 3600, 5400, 90_061, 172_800):
            stage.shown = replace(WAITING, ticket_seconds=seconds)
            tab = stage.open()
            expect(tab.locator("#stub")).to_contain_text(
                f"come back within {SERVER.wording.duration(seconds)} in this browser"
            )
            tab.close()
        assert visitor.complaints == []
