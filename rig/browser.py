"""The system's Chromium, driven by playwright's synchronous API."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from playwright.sync_api import Browser, sync_playwright

from rig.machine import missing

#: The first is Chromium without a window: the same engine, at a third of the CPU time.
_PROGRAMS: Final = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")

_FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, which ends with the block. Raises Missing."""
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        missing(" or ".join(_PROGRAMS))
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=_FLAGS)
        yield launched
        launched.close()
