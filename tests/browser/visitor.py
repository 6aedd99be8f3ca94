"""A visitor: a browser context of their own, and everything the browser complained about in it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Error, Page, WebError

#: Milliseconds between two looks at a page.
LOOK_MS: Final = 100

_REPORT_VIOLATIONS: Final = """
document.addEventListener("securitypolicyviolation",
  (event) => console.error(`policy violated: ${event.violatedDirective} ${event.blockedURI}`));
"""

_STORED: Final = "() => JSON.stringify({...localStorage}) + JSON.stringify({...sessionStorage}) + document.cookie"

#: Characters of a proof that stay the same when it is issued again.
STEADY_PART: Final = 24


@dataclass
class Visitor:
    """A context; `complaints` are its console errors and warnings, policy violations, page errors and dialogs."""

    context: BrowserContext
    complaints: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Note complaints from now on."""
        self.context.add_init_script(_REPORT_VIOLATIONS)
        self.context.on("console", self._on_console)
        self.context.on("weberror", self._on_error)
        self.context.on("dialog", self._on_dialog)

    def complaints_but(self, expected: str) -> list[str]:
        """The complaints that do not contain a match of the pattern."""
        return [complaint for complaint in self.complaints if not re.search(expected, complaint)]

    def proofs(self) -> dict[str, str]:
        """The waiting room's cookies by name; no script may read them."""
        cookies = [cookie for cookie in self.context.cookies() if "waitroom_" in cookie.get("name", "")]
        assert all(cookie.get("httpOnly") for cookie in cookies)
        return {cookie.get("name", ""): cookie.get("value", "") for cookie in cookies}

    def assert_proofs_are_out_of_reach(self, page: Page) -> None:
        """No proof that this visitor holds is in the page or anywhere its scripts can look."""
        proofs = self.proofs()
        assert proofs
        reachable = page.content() + str(page.evaluate(_STORED))
        for proof in proofs.values():
            parts = [part[:STEADY_PART] for part in proof.split(".") if len(part) >= STEADY_PART]
            assert parts
            assert [part for part in parts if part in reachable] == []

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _on_error(self, error: WebError) -> None:
        self.complaints.append(f"page error: {error.error}")

    def _on_dialog(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()


@contextmanager
def visiting(browser: Browser, **options: Any) -> Iterator[Visitor]:
    """A new visitor with playwright's context options; gone at the end."""
    context = browser.new_context(**options)
    visitor = Visitor(context)
    visitor.listen()
    try:
        yield visitor
    finally:
        context.close()


def rank_of(page: Page) -> int:
    """The rank that the page shows."""
    return number(page.locator("#rank").inner_text())


def number(text: str) -> int:
    """A number as the page writes it."""
    return int(text.replace(",", ""))


def ranks_until(page: Page, address: str, *, seconds: float) -> list[int]:
    """Watch the page until it is at that address; the different ranks that it showed meanwhile, in order."""
    ranks: list[int] = []
    deadline = time.monotonic() + seconds
    while page.url != address:
        assert time.monotonic() < deadline, f"still at {page.url} after {seconds:g} seconds; ranks: {ranks}"
        text = _rank_text(page)
        if text and ranks[-1:] != [number(text)]:
            ranks.append(number(text))
        page.wait_for_timeout(LOOK_MS)
    return ranks


def _rank_text(page: Page) -> str:
    try:
        return str(page.evaluate("() => document.getElementById('rank')?.textContent ?? ''"))
    except Error:  # it is on its way to another page
        return ""
