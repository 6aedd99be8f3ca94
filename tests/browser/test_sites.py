"""Another site beside the shop, in a real browser with nginx in front of the shop: payers that come back, and pictures.

Chromium takes every name below localhost to this machine, and lets it have cookies that are Secure without https.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, expect

from rig.instance import Instance, serving
from rig.nginx import TRUSTED, Nginx
from rig.origin import Answer, Seen, Stub, answering
from rig.waiting import until
from tests.browser.visitor import Visitor, visiting

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.timeout(120)]

PATIENCE_MS: Final = 20_000


@dataclass
class Sites:
    """A shop behind nginx, and a bank."""

    shop: str
    bank: str
    served: Instance
    origin: Stub

    def inside(self) -> int:
        """How many the room has inside."""
        with urllib.request.urlopen(f"{self.served.url}/v1/rooms/shop") as answer:
            return int(json.loads(answer.read())["occupancy"])


def shown(request: Seen) -> Answer:
    """The shop's page tells what it was asked, and what it was sent."""
    page = f"<!doctype html><title>shop</title><h1>{request.method} {request.path}</h1><p>{request.body.decode()}</p>"
    return Answer(200, {"Content-Type": "text/html"}, page.encode())


@contextmanager
def sites(folder: Path, bank_page: str, *, capacity: int, **variables: str) -> Iterator[Sites]:
    """Both, with {shop} in the bank's page for the shop's address."""
    folder.mkdir(exist_ok=True)
    # The claim time keeps polls some seconds apart.
    rooms = {"shop": {"capacity": capacity, "session_seconds": 600, "claim_seconds": 5}}
    with (
        answering(shown) as origin,
        serving(folder, rooms=rooms, **variables) as served,
        Nginx(folder, instances=[served.port], origin=origin.port, files=TRUSTED) as nginx,
    ):
        shop = f"http://shop.localhost:{nginx.port}"
        page = bank_page.replace("{shop}", shop).encode()
        with answering(lambda _: Answer(200, {"Content-Type": "text/html"}, page)) as bank:
            yield Sites(shop, f"http://bank.localhost:{bank.port}", served, origin)


@contextmanager
def opened(browser: Browser) -> Iterator[tuple[Visitor, Page]]:
    """A visitor and their page."""
    with visiting(browser) as visitor:
        yield visitor, visitor.context.new_page()


_FORM: Final = """<!doctype html><title>bank</title>
<form method="post" action="{shop}/order/paid?id=7"><input name="PaRes" value="signed"><button>Pay</button></form>"""


def _pays(page: Page, made: Sites) -> None:
    """Into the shop, to the bank, and back by the bank's form."""
    page.goto(f"{made.shop}/cart")
    expect(page.locator("h1")).to_have_text("GET /cart", timeout=PATIENCE_MS)
    page.goto(made.bank)
    page.get_by_role("button", name="Pay").click()


def test_a_payer_comes_back_where_cookies_come_along(browser: Browser, tmp_path: Path) -> None:
    """The form reaches the shop with its body, and the payer has the one place that they had."""
    variables = {"WAITROOM_SAME_SITE": "none", "WAITROOM_PUBLIC_URL": "https://shop.localhost"}
    with sites(tmp_path, _FORM, capacity=5, **variables) as made, opened(browser) as (visitor, page):
        _pays(page, made)
        expect(page.locator("h1")).to_have_text("POST /order/paid?id=7", timeout=PATIENCE_MS)
        expect(page.locator("p")).to_have_text("PaRes=signed")
        assert made.inside() == 1
        assert [request.method for request in made.origin.seen].count("POST") == 1
        assert visitor.complaints == []


def test_without_their_cookies_a_payer_reads_what_happened(browser: Browser, tmp_path: Path) -> None:
    """No second place is taken, the form is not sent on, and the way leads back into the shop with the first place."""
    with sites(tmp_path, _FORM, capacity=5) as made, opened(browser) as (visitor, page):
        _pays(page, made)
        expect(page.locator("h1")).to_have_text("Not sent", timeout=PATIENCE_MS)
        assert made.inside() == 1
        assert "POST" not in [request.method for request in made.origin.seen]
        page.get_by_role("link", name="To the waiting room").click()
        expect(page.locator("h1")).to_have_text("GET /", timeout=PATIENCE_MS)
        assert made.inside() == 1
        assert visitor.complaints_but("401") == []


_PARTS: Final = (
    """<!doctype html><title>parts</title>
<link rel="prefetch" href="{shop}/ahead">
<script type="speculationrules">
{"prerender": [{"urls": ["{shop}/prerendered"], "eagerness": "immediate"}],
 "prefetch": [{"urls": ["{shop}/prefetched"], "eagerness": "immediate"}]}
</script>"""
    + "".join(f'<img src="{{shop}}/picture/{number}">' for number in range(5))
    + """<iframe src="{shop}/frame"></iframe><link rel="stylesheet" href="{shop}/style">
<script src="{shop}/script"></script><script>fetch("{shop}/fetched", {mode: "no-cors", credentials: "include"})</script>
<form method="post" action="{shop}/posted" target="inner"></form><iframe name="inner"></iframe>
<script>document.forms[0].submit()</script>"""
)


def test_what_another_page_embeds_takes_no_place(browser: Browser, tmp_path: Path) -> None:
    """Pictures, frames, styles, scripts, what is fetched ahead, and forms: the whole room is left for visitors."""
    with sites(tmp_path, _PARTS, capacity=3) as made:
        with opened(browser) as (_, page):
            page.goto(made.bank)
            page.wait_for_load_state("load")
            page.wait_for_timeout(1500)
            assert made.inside() == 0
            assert made.origin.seen == []
        with opened(browser) as (_, page):
            page.goto(f"{made.shop}/cart")
            expect(page.locator("h1")).to_have_text("GET /cart", timeout=PATIENCE_MS)
            until(lambda: made.inside() == 1, "the visitor's place")


def test_a_single_page_shop_gets_its_visitor_back(browser: Browser, tmp_path: Path) -> None:
    """Through nginx, with the part after #; also where the visitor need not wait and the gate fails for a moment."""
    with sites(tmp_path, "", capacity=1) as made, opened(browser) as (_, page):
        made.served.operate("POST", "/admin/rooms/shop/pause", {})
        page.goto(f"{made.shop}/app?x=1#/event/42")
        expect(page.locator("#lead")).to_have_text("You are number", timeout=PATIENCE_MS)
        made.served.operate("POST", "/admin/rooms/shop/resume", {})
        expect(page.locator("h1")).to_have_text("GET /app?x=1", timeout=PATIENCE_MS)
        assert page.url == f"{made.shop}/app?x=1#/event/42"
        made.served.kill()
        page.reload()
        expect(page.locator("h1")).to_have_text("One moment", timeout=PATIENCE_MS)
        made.served.start()
        expect(page.locator("h1")).to_have_text("GET /app?x=1", timeout=2 * PATIENCE_MS)
        assert page.url == f"{made.shop}/app?x=1#/event/42"
