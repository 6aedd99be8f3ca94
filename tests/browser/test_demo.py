"""The waiting page as visitors of the demo see it: real instances behind a real nginx, a crowd, a shop."""

from __future__ import annotations

import json
import re
import signal
import struct
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

import pytest
from playwright.sync_api import Browser, Page, Response, expect

from rig.waiting import until
from tests.browser.visitor import rank_of, ranks_until, visiting
from waitroom.demo.processes import free_port

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.timeout(180)]

#: Seconds until the crowd fills the room, and until a place at the tail has its turn.
FILLED_SECONDS: Final = 45
TURN_SECONDS: Final = 100

#: A picture with nothing on it has about 4,000.
LEAST_PICTURE_BYTES: Final = 8_000

SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")

CROWD: Final = 48
CAPACITY: Final = 12

#: Others in the queue before a test joins it, so that there is something to see. About twice as many wait on average:
#: the figure is up to two seconds old, and a queue of four has been seen to be gone by then.
QUEUE: Final = 8


@pytest.fixture(scope="module")
def demo(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running demo with a full room."""
    port = free_port()
    output = tmp_path_factory.mktemp("demo") / "output"
    command = [sys.executable, "-m", "waitroom", "demo", "--port", str(port)]
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--visitors", str(CROWD), "--capacity", str(CAPACITY)], stdout=file, stderr=subprocess.STDOUT
        )
    try:
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, output.read_text()
        assert re.search(r"crowd errors: [1-9]", output.read_text()) is None
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def busy(demo: str) -> str:
    """The demo's address at a moment when there is a queue."""
    until(lambda: _waiting(demo) >= QUEUE, "a crowd that fills the room", seconds=FILLED_SECONDS)
    return demo


def _waiting(demo: str) -> int:
    with suppress(OSError), urllib.request.urlopen(f"{demo}/v1/rooms/shop", timeout=5) as answer:
        return int(json.load(answer)["waiting"])
    return 0


def test_a_visitor_waits_and_lands_in_the_shop(browser: Browser, busy: str) -> None:
    """The rank falls as the events tell, and the page goes by itself to the address first asked for."""
    with visiting(browser) as visitor:
        page = visitor.context.new_page()
        streams: list[Response] = []
        page.on("response", lambda one: streams.append(one) if one.url.endswith("/v1/rooms/shop/events") else None)
        wanted = f"{busy}/products/mug?a=1&b=2%20c"
        answer = page.goto(wanted)
        assert answer is not None
        assert answer.headers.get("x-origin") is None
        assert page.url == f"{busy}/wait/shop?return=/products/mug?a=1&b=2%20c"
        expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"You are number\s+\d+"))
        assert rank_of(page) >= QUEUE
        assert set(visitor.proofs()) == {"waitroom_ticket_shop"}
        visitor.assert_proofs_are_out_of_reach(page)
        with page.expect_response(lambda one: one.url == wanted and one.ok, timeout=TURN_SECONDS * 1000) as landing:
            ranks = ranks_until(page, wanted, seconds=TURN_SECONDS)
        assert landing.value.headers["x-origin"] == "demo"
        assert len(ranks) >= 2
        assert ranks == sorted(ranks, reverse=True)
        assert [(one.status, one.headers["content-type"]) for one in streams] == [(200, "text/event-stream")]
        assert set(visitor.proofs()) == {"waitroom_pass_shop"}
        visitor.assert_proofs_are_out_of_reach(page)
        _leave_the_shop(page)
        assert visitor.complaints == []


def test_a_visitor_without_scripts_lands_in_the_shop(browser: Browser, busy: str) -> None:
    """With JavaScript off the page reloads itself, its rank falls, and it ends at the address first asked for."""
    with visiting(browser, java_script_enabled=False) as visitor:
        page = visitor.context.new_page()
        wanted = f"{busy}/?a=1&b=2"
        page.goto(wanted)
        assert page.url == f"{busy}/wait/shop?return=/?a=1&b=2"
        assert rank_of(page) >= QUEUE
        for shown in ("#eta", "#waiting", "#updated"):
            expect(page.locator(shown)).to_be_visible()
        expect(page.locator("#leave")).to_be_hidden()  # it could not work
        with page.expect_response(lambda one: one.url == wanted and one.ok, timeout=TURN_SECONDS * 1000) as landing:
            ranks = ranks_until(page, wanted, seconds=TURN_SECONDS)
        assert landing.value.headers["x-origin"] == "demo"
        assert len(ranks) >= 2
        assert ranks == sorted(ranks, reverse=True)
        expect(page.locator("h1")).to_have_text("The demo shop")
        assert visitor.complaints == []


def test_a_reload_and_a_second_tab_have_the_same_place(browser: Browser, busy: str) -> None:
    """Neither a reload nor another tab of the same browser draws a new place, also through other instances."""
    with visiting(browser) as visitor:
        page = visitor.context.new_page()
        page.goto(busy)
        ranks, arrivals = [rank_of(page)], {_entered_at(page)}
        for _ in range(4):
            page.reload()
            ranks.append(rank_of(page))
            arrivals.add(_entered_at(page))
        tab = visitor.context.new_page()
        tab.goto(busy)
        ranks.append(rank_of(tab))
        assert ranks == sorted(ranks, reverse=True)
        assert {*arrivals, _entered_at(tab)} == {_entered_at(page)}
        assert visitor.complaints == []


def test_pictures_of_the_page(browser: Browser, busy: str, tmp_path: Path) -> None:
    """The page can be photographed at a desk's and a phone's size, light and dark, and has something to show."""
    with visiting(browser) as visitor:
        page = visitor.context.new_page()
        page.goto(busy)
        pictures = []
        for width, height in ((1280, 800), (390, 844)):
            page.set_viewport_size({"width": width, "height": height})
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                path = tmp_path / f"waiting-{width}x{height}-{scheme}.png"
                pictures.append(page.screenshot(path=path, animations="disabled"))
                assert path.stat().st_size > LEAST_PICTURE_BYTES
                assert struct.unpack(">II", pictures[-1][16:24]) == (width, height)
        assert len(set(pictures)) == 4
        assert visitor.complaints == []


def _leave_the_shop(page: Page) -> None:
    page.get_by_role("button", name="Leave the shop").click()
    expect(page.get_by_role("status")).to_contain_text("Goodbye!")


def _entered_at(page: Page) -> str:
    """When the place was drawn, as the server wrote it into the page."""
    place = json.loads(page.locator("#main").get_attribute("data-place") or "{}")
    return str(place["entered_at"])
