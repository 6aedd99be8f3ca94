"""A guarded room in a real browser: the work is done by itself, a token is told where to be had."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from playwright.sync_api import Browser, expect

from rig.instance import Instance, serving
from tests.browser.stage import SERVER
from tests.browser.visitor import rank_of, visiting
from waitroom.proofs.challenge import SEED_CHARACTERS, zero_bits

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.timeout(120)]

PATIENCE_MS: Final = 20_000

#: Nobody is admitted, and all browsers of this machine are one address.
HELD: Final[dict[str, Any]] = {"state": "paused"}
BEHIND_NOBODY: Final = {"WAITROOM_TRUSTED_PROXIES": "none"}

SECRET: Final = "an-enqueue-key-made-up-for-the-tests-0123456789"


def address(served: Instance, more: str = "") -> str:
    return f"http://127.0.0.1:{served.port}/wait/shop{more}"


def test_the_work_is_the_one_that_the_server_judges(browser: Browser) -> None:
    """The page's own SHA-256 finds what Python's finds, for many seeds and sizes."""
    seeds = [f"{number:03d}" + "aZ-_9" * 7 + "xy" for number in range(40)]
    assert {len(seed) for seed in seeds} == {SEED_CHARACTERS}
    with visiting(browser) as visitor:
        page = visitor.context.new_page()
        page.evaluate(f"() => {{ {SERVER.assets['work.js'].body.decode()}; globalThis.solve = solve; }}")
        for bits, seed in enumerate(seeds):
            size = 1 + bits % 12
            found = page.evaluate(f"solve({seed!r}, {size})")
            first = next(number for number in range(10**7) if zero_bits(f"{seed}.{number}") >= size)
            assert found == first, (seed, size)


def test_a_visitor_gets_a_place_by_work_and_does_nothing(browser: Browser, tmp_path: Path) -> None:
    """The page does the work in a thread of its own, under its own policy, and waits as ever, also when reloaded."""
    with serving(tmp_path, rooms={"shop": HELD | {"challenge": "always", "challenge_bits": 10}}) as served:
        with visiting(browser) as visitor:
            page = visitor.context.new_page()
            page.goto(address(served))
            expect(page.locator("#rank")).to_be_visible(timeout=PATIENCE_MS)
            assert rank_of(page) == 1
            assert "waitroom_ticket_shop" in visitor.proofs()
            visitor.assert_proofs_are_out_of_reach(page)
            page.reload()
            expect(page.locator("#rank")).to_have_text("1", timeout=PATIENCE_MS)
            assert visitor.complaints_but("403") == []
        with visiting(browser) as other:
            page = other.context.new_page()
            page.goto(address(served))
            expect(page.locator("#rank")).to_have_text("2", timeout=PATIENCE_MS)


def test_one_more_behind_a_shared_address(browser: Browser, tmp_path: Path) -> None:
    """The first gets a place by coming, the second by work."""
    room = HELD | {"places_per_address": 1, "challenge": "limited", "challenge_bits": 8}
    with serving(tmp_path, rooms={"shop": room}, **BEHIND_NOBODY) as served:
        for rank in ("1", "2"):
            with visiting(browser) as visitor:
                page = visitor.context.new_page()
                page.goto(address(served))
                expect(page.locator("#rank")).to_have_text(rank, timeout=PATIENCE_MS)
                assert visitor.complaints_but("429") == []


def test_a_limited_address_is_told_so_and_gets_in_later(browser: Browser, tmp_path: Path) -> None:
    """Without a challenge the page waits and gets a place when the address has one again."""
    room = HELD | {"places_per_address": 1, "ticket_seconds": 15, "abandon_seconds": 15}
    with serving(tmp_path, rooms={"shop": room}, **BEHIND_NOBODY) as served:
        with visiting(browser) as visitor:
            visitor.context.new_page().goto(address(served))
        with visiting(browser) as visitor:
            page = visitor.context.new_page()
            page.goto(address(served))
            expect(page.locator("#lead")).to_have_text("All places for your network are taken")
            expect(page.locator("#way")).to_be_hidden()
            page.evaluate("dispatchEvent(new Event('online'))")
            expect(page.locator("#rank")).to_be_visible(timeout=PATIENCE_MS * 2)
            assert visitor.complaints_but("429") == []


def test_without_javascript_the_page_says_what_to_do(browser: Browser, tmp_path: Path) -> None:
    """Nobody is left in front of a page that only seems to work."""
    with (
        serving(tmp_path, rooms={"shop": HELD | {"challenge": "always"}}) as served,
        visiting(browser, java_script_enabled=False) as visitor,
    ):
        page = visitor.context.new_page()
        page.goto(address(served))
        expect(page.get_by_text("This check needs JavaScript")).to_be_visible()


def test_a_link_of_the_site_gives_a_place(browser: Browser, tmp_path: Path) -> None:
    """The token in it is gone from the address; without one, the page links to the site."""
    room = HELD | {"enqueue_tokens": "required", "enqueue_url": "/login"}
    keys = {"WAITROOM_ENQUEUE_KEYS": f"shop:{SECRET}"}
    with serving(tmp_path, rooms={"shop": room}, **keys) as served, visiting(browser) as visitor:
        page = visitor.context.new_page()
        page.goto(address(served))
        expect(page.locator("#lead")).to_have_text("You need an invitation")
        expect(page.locator("#link")).to_have_attribute("href", re.compile("/login$"))
        claims = {"aud": "waitroom:shop:enqueue", "sub": "17", "exp": time.time() + 60}
        page.goto(address(served, f"?enqueue={jwt.encode(claims, SECRET, 'HS256')}&return=/basket"))
        page.get_by_role("button", name="Take my place").click()
        expect(page.locator("#rank")).to_have_text("1")
        assert page.url == address(served, "?return=%2Fbasket")
        page.get_by_text("Leave the queue").click()
        page.get_by_text("Yes, leave").click()
        expect(page.locator("#lead")).to_have_text("You have left the queue")
        page.goto(address(served, f"?enqueue={jwt.encode(claims, SECRET, 'HS256')}"))
        page.get_by_role("button", name="Take my place").click()
        expect(page.locator("#lead")).to_have_text("You have had your turn")
        expect(page.locator("#facts")).to_be_hidden()
        assert visitor.complaints_but("403|410") == []
