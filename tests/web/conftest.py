"""Fixtures for tests over HTTP: a real instance before a real Redis, and fresh rooms on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rig.line import Line
from tests.web import sites
from tests.web.sites import Site


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """One instance for all tests that harm nothing but their own rooms."""
    with sites.own_redis() as (url, redis):
        settings = sites.settings_for(url, enqueue_keys=["shop:a-key-that-no-test-signs-with-0123456789"])
        with sites.serving(redis, settings) as running:
            yield running


@pytest.fixture(scope="module")
def cut_site() -> Iterator[tuple[Site, Line]]:
    """An instance behind a line that can be cut."""
    with sites.severable() as cut:
        yield cut


@pytest.fixture
def new_room(site: Site) -> Iterator[Callable[..., str]]:
    """Makes rooms on the shared site, which are gone after the test: `new_room(capacity=1)` returns a name."""
    made: list[str] = []

    def make(**settings: Any) -> str:
        made.append(site.make_room(**settings))
        return made[-1]

    yield make
    for name in made:
        site.admin("DELETE", f"/{name}")
