"""Whoever comes can read and work the page: by keyboard, by ear, on a narrow screen, in either colour scheme."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final, Literal
from unittest.mock import ANY

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.stage import PAUSED, WAITING, Stage, standing
from tests.browser.visitor import visiting
from waitroom.web.page import rendering

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.timeout(120)]

#: WCAG 2.2 AA: contrast of text, and of what shows where the focus is.
LEAST_TEXT_CONTRAST: Final = 4.5
LEAST_FOCUS_CONTRAST: Final = 3.0

Scheme = Literal["light", "dark"]
SCHEMES: Final[tuple[Scheme, ...]] = ("light", "dark")

#: The narrowest screen of WCAG's reflow criterion, in CSS pixels.
NARROW: Final = 320

LONG: Final = replace(
    PAUSED,
    room="a-room-with-the-longest-name-" + "x" * 35,
    rank=9_876_543,
    waiting=10_000_000,
    message="W" * 500,
)

PAGES: Final[dict[str, rendering.Page]] = {
    "waiting": replace(WAITING, message="Tickets are going fast."),
    "paused": PAUSED,
    "long": LONG,
    "full": standing("full"),
    "closed": standing("closed", message="We open at nine."),
    "over": standing("over"),
}

#: Each visible text with its colour and the first opaque background below it.
COLOURS: Final = """
() => {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility()) continue;
    let below = element;
    while (below && getComputedStyle(below).backgroundColor === "rgba(0, 0, 0, 0)") below = below.parentElement;
    found.push({
      text,
      ink: getComputedStyle(element).color,
      paper: getComputedStyle(below ?? document.documentElement).backgroundColor,
    });
  }
  return found;
}
"""

#: What can be worked, as it is to be found by Tab.
INTERACTIVE: Final = """
() => [...document.querySelectorAll("a[href], button, summary, input, select, textarea, [tabindex='0']")]
  .filter((element) => element.checkVisibility()).map((element) => element.textContent.trim())
"""

#: The element that has the focus, and how that shows.
FOCUSED: Final = """
() => {
  const element = document.activeElement;
  const style = getComputedStyle(element);
  return {
    text: element === document.body ? "" : element.textContent.trim(),
    style: style.outlineStyle, width: parseFloat(style.outlineWidth), ink: style.outlineColor,
    paper: getComputedStyle(document.documentElement).backgroundColor,
  };
}
"""

#: Elements that stick out of the screen on the right; what is for ears only is cut off on purpose.
STICKING_OUT: Final = """
() => [...document.querySelectorAll("body *:not(.unseen)")]
  .filter((element) => element.checkVisibility() && element.getBoundingClientRect().right > innerWidth + 0.5)
  .map((element) => element.id || element.tagName)
"""


def _luminance(colour: str) -> float:
    """The relative luminance of a computed `rgb(r, g, b)`, as WCAG defines it."""
    assert re.fullmatch(r"rgb\(\d+, \d+, \d+\)", colour), f"{colour} is not opaque"
    shares = [int(part) / 255 for part in re.findall(r"\d+", colour)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_measure_of_contrast() -> None:
    """Black on white is 21:1; WCAG's well-known grey is just enough."""
    assert _contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)
    assert _contrast("rgb(118, 118, 118)", "rgb(255, 255, 255)") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("shown", PAGES.values(), ids=PAGES)
def test_every_text_stands_out(browser: Browser, shown: rendering.Page) -> None:
    """Each visible text has enough contrast with what is behind it, in both colour schemes."""
    with visiting(browser) as visitor:
        page = Stage(visitor, shown).open()
        _open_leave(page)
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            texts: list[dict[str, str]] = page.evaluate(COLOURS)
            assert len(texts) >= 4
            faint = [text for text in texts if _contrast(text["ink"], text["paper"]) < LEAST_TEXT_CONTRAST]
            assert faint == []
        papers = {scheme: _paper(page, scheme) for scheme in SCHEMES}
        assert _luminance(papers["dark"]) < 0.05 < 0.8 < _luminance(papers["light"])
        assert visitor.complaints == []


def _paper(page: Page, scheme: Scheme) -> str:
    page.emulate_media(color_scheme=scheme)
    return str(page.evaluate("() => getComputedStyle(document.documentElement).backgroundColor"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("shown", [PAGES["waiting"], PAGES["over"]], ids=["waiting", "over"])
def test_everything_is_reached_by_tab_and_shows_it(browser: Browser, shown: rendering.Page, scheme: str) -> None:
    """Tab visits each control, and each wears a ring that can be seen."""
    with visiting(browser, color_scheme=scheme) as visitor:
        page = Stage(visitor, shown).open()
        _open_leave(page)
        controls = page.evaluate(INTERACTIVE)
        assert controls
        reached = _tabbed_through(page, at_most=len(controls) + 3)
        assert [focus["text"] for focus in reached] == controls
        for focus in reached:
            assert focus["style"] == "solid", focus
            assert focus["width"] >= 2, focus
            assert _contrast(focus["ink"], focus["paper"]) >= LEAST_FOCUS_CONTRAST, focus


def _tabbed_through(page: Page, *, at_most: int) -> list[dict[str, Any]]:
    """What has the focus after each Tab, from the page's start until the browser's own controls."""
    reached: list[dict[str, Any]] = []
    for _ in range(at_most):
        page.keyboard.press("Tab")
        focus = page.evaluate(FOCUSED)
        if not focus["text"] or focus in reached:
            break
        reached.append(focus)
    return reached


@pytest.mark.parametrize("shown", PAGES.values(), ids=PAGES)
def test_nothing_sticks_out_of_a_narrow_screen(browser: Browser, shown: rendering.Page) -> None:
    """At 320 pixels nothing needs sideways scrolling, however long name, message and rank."""
    with visiting(browser, viewport={"width": NARROW, "height": 568}) as visitor:
        page = Stage(visitor, shown).open()
        _open_leave(page)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= NARROW
        assert page.evaluate(STICKING_OUT) == []


@pytest.mark.parametrize("shown", PAGES.values(), ids=PAGES)
def test_the_skeleton_is_sound(browser: Browser, shown: rendering.Page) -> None:
    """One heading of the first level, a language, one main part, a polite live region, ids and names for all."""
    with visiting(browser) as visitor:
        page = Stage(visitor, shown).open()
        expect(page.locator("html")).to_have_attribute("lang", re.compile("^[a-z]{2}"))
        expect(page.locator("h1")).to_have_count(1)
        expect(page.locator("h1")).to_be_visible()
        expect(page.get_by_role("main")).to_have_count(1)
        expect(page.locator("[aria-live]")).to_have_count(1)
        expect(page.get_by_role("status")).to_have_attribute("aria-live", "polite")
        ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map((element) => element.id)")
        assert len(ids) == len(set(ids))
        assert page.evaluate(_DANGLING) == []


#: References to elements by id that lead nowhere.
_DANGLING: Final = """
() => ["aria-labelledby", "aria-describedby", "for"].flatMap((name) =>
  [...document.querySelectorAll(`[${name}]`)].map((element) => element.getAttribute(name)))
  .filter((id) => !document.getElementById(id))
"""


def test_news_is_told_and_an_arrival_is_not(browser: Browser) -> None:
    """The live region is silent at first and says a pause, with its reason, when it comes."""
    with visiting(browser) as visitor:
        stage = Stage(visitor, WAITING)
        page = stage.open()
        expect(page.get_by_role("status")).to_have_text("")
        stage.shown = replace(WAITING, rank=1233)
        expect(page.locator("#rank")).to_have_text("1,233")
        expect(page.get_by_role("status")).to_have_text("")  # a new rank is told now and then only
        expect(page.get_by_role("progressbar")).to_have_attribute("aria-describedby", "started")
        stage.shown = PAUSED
        expect(page.get_by_role("status")).to_have_text(
            "The queue is paused. No visitor is let in at the moment. Your place is kept. " + PAUSED.message
        )
        # What is only to be heard must not make the page longer.
        assert page.locator("#live").bounding_box() == {"x": ANY, "y": ANY, "width": 1, "height": 1}
        assert visitor.complaints == []


def test_less_motion_is_respected(browser: Browser) -> None:
    """Who asks for less motion sees the rank change without any."""
    with visiting(browser, reduced_motion="reduce") as visitor:
        stage = Stage(visitor, WAITING)
        page = stage.open()
        stage.shown = replace(WAITING, rank=1000)
        expect(page.locator("#rank.moved")).to_have_text("1,000")
        assert page.evaluate("() => document.getAnimations().length") == 0


def _open_leave(page: Page) -> None:
    """Unfold what leads to the goodbye; a click would change where Tab begins."""
    page.evaluate("() => { document.getElementById('leave').open = true; }")
