"""Rooms, and what happens in them and on the way to them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rig.line import Line
from rig.raw import Mishap, Part, Relay
from tests.web import sites
from tests.web.sites import PATIENCE_SECONDS, Site
from waitroom.client import Admitted, Slot, WaitroomClient

#: A room of one. Whoever waits asks soon by the fixture `brief`, not because a place is lost soon.
QUICK: dict[str, Any] = {"capacity": 1, "abandon_seconds": 60}

#: A room for holders, whose slots end soon, but not before an extension that a busy machine holds up for two seconds.
SLIDING: dict[str, Any] = QUICK | {"sliding": True, "session_seconds": 4}


def sizes(site: Site, room: str) -> tuple[int, int]:
    """How many wait in the room, and how many are inside."""
    document = site.admin("GET", f"/{room}").json()
    return document["waiting"], document["occupancy"]


def count(site: Site, room: str, name: str) -> int:
    """One of the room's counts."""
    return int(site.admin("GET", f"/{room}").json()["counts"][name])


async def filled(client: WaitroomClient, room: str) -> Admitted:
    """The place of somebody who fills a room of one."""
    inside = await client.wait_until_admitted(room)
    assert isinstance(await client.enter(room, proof=inside.proof), Admitted)
    return inside


def once(mishap: Mishap, word: str, *, times: int = 1) -> Callable[[str], Mishap | None]:
    """That mishap for the first requests with that word in their line."""
    left = [mishap] * times
    return lambda line: left.pop() if word in line and left else None


@contextmanager
def outage(site: Site, line: Line, *, silent: bool) -> Iterator[None]:
    """Redis refuses connections, or does not answer on those there are."""
    with sites.hurried(site), sites.frozen(site.redis) if silent else line.cut("refuse"):
        yield


async def hold(client: WaitroomClient, room: str, work: Callable[[Slot], Awaitable[None]]) -> None:
    """Hold a slot while that is done."""
    async with client.admission(room) as slot:
        await work(slot)


async def taken_away(site: Site, slot: Slot) -> None:
    """Take the slot back, and run until that stops it."""
    site.leave(slot.room, slot.proof)
    await asyncio.sleep(PATIENCE_SECONDS)
    pytest.fail("the block was not cancelled")


async def stopped(slot: Slot) -> None:
    """Run until stopped, which must be in time by the client's own clock."""
    try:
        await asyncio.sleep(PATIENCE_SECONDS * 10)
    finally:
        assert time.monotonic() < slot.place.lasts_until


def slowed(relay: Relay, word: str, wait: Callable[..., Awaitable[object]], *arguments: object) -> None:
    """Answers to requests with that word in their line come after that wait, though they are carried out at once."""

    async def late(part: Part) -> None:
        if part == "answer":
            await wait(*arguments)

    relay.mishap = lambda line: late if word in line else None
