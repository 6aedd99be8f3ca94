"""Instances, clients of them, and relays between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from rig.line import Line
from rig.raw import Relay
from tests.web import sites
from tests.web.sites import Site
from waitroom.client import (
    WaitroomClient,
    pauses,
    places,
)
from waitroom.settings import room


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """An instance for the tests that harm nothing but their own rooms."""
    with sites.own_redis() as (url, redis), sites.serving(redis, sites.settings_for(url)) as running:
        yield running


@pytest.fixture
async def client(site: Site) -> AsyncIterator[WaitroomClient]:
    """A client of that instance."""
    async with WaitroomClient(site.url) as opened:
        yield opened


@pytest.fixture
async def relay(site: Site) -> AsyncIterator[Relay]:
    """A relay in front of that instance."""
    async with Relay(site.url) as running:
        yield running


@pytest.fixture
async def far(relay: Relay) -> AsyncIterator[WaitroomClient]:
    """A client behind the relay."""
    async with WaitroomClient(relay.url, timeout_seconds=10) as opened:
        yield opened


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are tried again soon."""
    monkeypatch.setattr(pauses, "FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(pauses, "LONGEST_PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(pauses, "LONGEST_RETRY_AFTER_SECONDS", 0.5)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits is told to ask every fifth of a second, though a place may be silent for long."""
    monkeypatch.setattr(room, "LONGEST_POLL_SECONDS", 0.2)


@pytest.fixture
def cautious(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot ends a third of its session early: time enough on a busy machine."""
    monkeypatch.setattr(places, "MARGIN_SHARE", 1)


@pytest.fixture(scope="module")
def severable() -> Iterator[tuple[Site, Line]]:
    """An instance whose line to Redis can be cut."""
    with sites.severable() as cut:
        yield cut
