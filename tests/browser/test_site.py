"""The site of docs/ in a browser: on a phone and at a desk, light and dark, with search, and nothing from elsewhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.visitor import visiting

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

ROOT: Final = Path(__file__).parent.parent.parent
PAGES: Final = sorted(
    path.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for path in (ROOT / "docs").rglob("*.md")
)

#: Widths of a desk's screen, a phone's, and the narrowest of WCAG's reflow criterion, in CSS pixels.
WIDTHS: Final = (1280, 390, 320)

SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")

#: How far the page itself can be moved sideways, and what sticks out of it without a scroll bar of its own.
_SIDEWAYS: Final = """() => {
  const seen = document.documentElement.clientWidth;
  const moves = (one) => ["auto", "scroll", "hidden"].includes(getComputedStyle(one).overflowX);
  const inside = (one) => { for (; one; one = one.parentElement) if (moves(one)) return true; return false; };
  return {
    page: Math.max(0, document.documentElement.scrollWidth - seen),
    out: [...document.querySelectorAll("article *")]
      .filter((one) => one.getBoundingClientRect().right > seen + 1 && !inside(one))
      .map((one) => one.outerHTML.slice(0, 80)),
  };
}"""

_SHADE: Final = "() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"


class Quiet(SimpleHTTPRequestHandler):
    """Serves the built folder, and says nothing of it."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the built site."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copy(ROOT / "zensical.toml", folder)
    command = [sys.executable, "-m", "supply.site", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder / "site"))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_moves_sideways_and_none_asks_elsewhere(browser: Browser, site: str, width: int) -> None:
    """Wide tables and blocks move inside themselves."""
    with visiting(browser, viewport={"width": width, "height": 844}) as visitor:
        page = visitor.context.new_page()
        asked: list[str] = []
        page.on("request", lambda one: asked.append(one.url))
        for name in PAGES:
            page.goto(site + name)
            assert page.evaluate(_SIDEWAYS) == {"page": 0, "out": []}, name
        assert [url for url in asked if not url.startswith((site, "data:", "blob:"))] == []
        assert visitor.complaints == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_site_is_as_light_as_the_system_until_it_is_told(
    browser: Browser, site: str, scheme: Literal["light", "dark"]
) -> None:
    """It follows the system. The button changes it to light, then to dark, then back, and the choice stays."""
    with visiting(browser, viewport={"width": 1280, "height": 900}, color_scheme=scheme) as visitor:
        page = visitor.context.new_page()
        page.goto(site)
        assert _is_dark(page) == (scheme == "dark")
        _shown_is(page, scheme)
        page.get_by_title("Switch to light mode").click()
        _shown_is(page, "light")
        page.get_by_title("Switch to dark mode").click()
        _shown_is(page, "dark")
        page.goto(site + PAGES[0])
        assert _is_dark(page)
        page.get_by_title("Switch to the system's mode").click()
        page.goto(site)
        _shown_is(page, scheme)


def test_a_reader_finds_a_page(browser: Browser, site: str) -> None:
    """Search leads to the page that is asked for."""
    title = (ROOT / "docs/explanation/architecture.md").read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
    with visiting(browser, viewport={"width": 1280, "height": 900}) as visitor:
        page = visitor.context.new_page()
        page.goto(site)
        page.get_by_role("button", name="Search").first.click()
        search = page.get_by_role("dialog", name="Search")
        search.get_by_role("combobox").fill(title)
        search.get_by_role("option").filter(has_text=title).first.click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(title)
        assert visitor.complaints == []


def _is_dark(page: Page) -> bool:
    shade: list[int] = page.evaluate(_SHADE)
    return sum(shade) < 3 * 128


def _shown_is(page: Page, scheme: Literal["light", "dark"]) -> None:
    """The first picture is the one of that mode."""
    expect(page.locator(f'img[src*="waiting-{scheme}"]')).to_be_visible()
    other = "light" if scheme == "dark" else "dark"
    expect(page.locator(f'img[src*="waiting-{other}"]')).to_be_hidden()
