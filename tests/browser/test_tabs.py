"""The tabs of one browser share one event stream."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, expect

from rig.instance import Instance, serving
from tests.browser.test_live import until
from tests.browser.test_place import Caller
from tests.browser.visitor import Visitor, visiting

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.timeout(120)]

#: Nobody gives up here, so the page asks in person a minute later at the earliest.
ROOM: Final = {"capacity": 1, "session_seconds": 600, "claim_seconds": 120, "abandon_seconds": 600}

#: Milliseconds for news to be shown: more than a busy machine takes, less than until a status call.
PATIENCE_MS: Final = 25_000

#: More than the connections that a browser opens to a host.
TABS: Final = 9

STREAM_LOCK: Final = "waitroom-stream:shop"

HOLD: Final = "(name) => { navigator.locks.request(name, () => new Promise(() => {})).catch(() => {}); }"


@contextmanager
def room_of_four(browser: Browser, folder: Path) -> Iterator[tuple[Instance, Visitor, list[Caller]]]:
    """One visitor inside, three wait, and a browser comes as the fourth."""
    with serving(folder, rooms={"shop": ROOM}) as served, visiting(browser) as visitor:
        callers = [Caller(served) for _ in range(4)]
        yield served, visitor, callers[1:]


def tab_of(visitor: Visitor, served: Instance) -> Page:
    """The waiting page in a new tab."""
    page = visitor.context.new_page()
    page.goto(f"http://127.0.0.1:{served.port}/wait/shop")
    return page


def streams(served: Instance) -> int:
    """The streams that are open."""
    with urllib.request.urlopen(f"http://127.0.0.1:{served.port}/metrics") as answer:
        found = re.search(r"^waitroom_streams (\d+)", answer.read().decode(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def all_show(tabs: list[Page], rank: int) -> None:
    """Wait until each tab shows that rank."""
    for tab in tabs:
        expect(tab.locator("#rank")).to_have_text(str(rank), timeout=PATIENCE_MS)


def test_nine_tabs_share_a_stream(browser: Browser, tmp_path: Path) -> None:
    """All hear the news, a further request is answered, and another tab takes over from the one that listens."""
    with room_of_four(browser, tmp_path) as (served, visitor, ahead):
        tabs = [tab_of(visitor, served) for _ in range(TABS)]
        all_show(tabs, 4)
        until(tabs[0], lambda: streams(served) == 1, "one stream")
        ahead.pop().leave()
        all_show(tabs, 3)
        assert streams(served) == 1
        assert tabs[-1].evaluate("async () => (await fetch('/v1/rooms/shop')).status") == 200
        tabs.pop(0).close()  # the first came first, so it listens
        ahead.pop().leave()
        all_show(tabs, 2)
        until(tabs[0], lambda: streams(served) == 1, "a stream of another tab")
        served.kill()
        for tab in tabs:
            expect(tab.locator("#notice")).to_contain_text("Connection lost", timeout=PATIENCE_MS)
        served.start()
        for tab in tabs:
            expect(tab.locator("#notice")).to_be_hidden(timeout=2 * PATIENCE_MS)
        until(tabs[0], lambda: streams(served) == 1, "one stream again")
        assert visitor.complaints_but("ERR_CONNECTION_|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE|503") == []


def test_a_tab_that_listens_and_tells_nothing_is_replaced(browser: Browser, tmp_path: Path) -> None:
    """A frozen tab holds the lock: another one takes it away."""
    with room_of_four(browser, tmp_path) as (served, visitor, ahead):
        frozen = visitor.context.new_page()
        frozen.goto(f"http://127.0.0.1:{served.port}/livez")
        frozen.evaluate(HOLD, STREAM_LOCK)
        tabs = [tab_of(visitor, served) for _ in range(2)]
        until(tabs[0], lambda: streams(served) == 1, "a stream")
        ahead.pop().leave()
        all_show(tabs, 3)
        assert streams(served) == 1
        assert visitor.complaints == []


@pytest.mark.parametrize("missing", ["LockManager.prototype.request", "BroadcastChannel"])
def test_without_locks_or_a_channel_each_tab_listens(browser: Browser, tmp_path: Path, missing: str) -> None:
    """What throws there leaves the page as live as one tab alone."""
    with room_of_four(browser, tmp_path) as (served, visitor, ahead):
        throws = "function () { throw new DOMException('no', 'SecurityError'); }"
        visitor.context.add_init_script(f"if (globalThis.LockManager) {missing} = {throws}")
        tabs = [tab_of(visitor, served) for _ in range(2)]
        until(tabs[0], lambda: streams(served) == 2, "two streams")
        ahead.pop().leave()
        all_show(tabs, 3)
        assert visitor.complaints == []
