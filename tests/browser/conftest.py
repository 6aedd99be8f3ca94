"""The system's Chromium, driven by playwright's synchronous API; it ends before other packages' tests run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from rig.browser import chromium


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The browser; every visitor gets a context of their own in it."""
    with chromium() as launched:
        yield launched
