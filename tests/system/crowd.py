"""A crowd of visitors who enter, wait as they are told, come in, and leave."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Final

from crowd.browser import Browser
from tests.system.history import Visit

#: Connections opened at the same time: more would only test the machine's accept queue.
_AT_ONCE = 200

#: Times that no visitor of a test exceeds, however busy the machine is.
PATIENT: Final = {"session_seconds": 600, "claim_seconds": 300, "abandon_seconds": 600}

#: Seconds between two of a visitor's questions at most: with such times the room asks for far fewer.
LONGEST_POLL_SECONDS: Final = 3.0


async def all_enter(browsers: list[Browser], room: str) -> list[Visit]:
    """Everybody gets a place."""
    together = asyncio.Semaphore(_AT_ONCE)

    async def one(browser: Browser) -> Visit:
        visit = Visit()
        async with together:
            status, document = await browser.ask("POST", f"/v1/rooms/{room}/enter")
        _note(visit, status, document)
        return visit

    return await asyncio.gather(*(one(browser) for browser in browsers))


async def all_stay(browsers: list[Browser], visits: list[Visit], room: str, *, seed: int, stay: float) -> None:
    """Everybody polls until admitted, stays inside for up to `stay` seconds, and leaves."""
    chance = random.Random(seed)
    stays = [chance.uniform(0, stay) for _ in browsers]
    await asyncio.gather(
        *(_one(browser, visit, room, seconds) for browser, visit, seconds in zip(browsers, visits, stays, strict=True))
    )


async def _one(browser: Browser, visit: Visit, room: str, stay: float) -> None:
    poll = random.Random(id(visit)).uniform(0, 1)
    while visit.admitted_at is None and not visit.errors:
        await asyncio.sleep(poll)
        status, document = await browser.ask("GET", f"/v1/rooms/{room}/status")
        _note(visit, status, document)
        poll = min(document.get("poll_after_seconds", 1.0), LONGEST_POLL_SECONDS)
    await asyncio.sleep(stay)
    status, document = await browser.ask("GET", f"/gate/{room}")
    if status != 204:
        visit.errors.append(f"the gate answered {status} to a good pass")
    status, document = await browser.ask("POST", f"/v1/rooms/{room}/leave")
    if status == 204:
        visit.left = True
    else:
        visit.errors.append(f"leave: {status} {document}")
    await browser.close()


def _note(visit: Visit, status: int, document: dict[str, object]) -> None:
    if document.get("state") == "waiting":
        visit.serials.append(str(document["entered_at"]))
        visit.ranks.append(int(str(document["rank"])))
    elif document.get("state") == "admitted":
        visit.passes.add(str(document["pass"]))
        visit.admitted_at = time.monotonic()
    else:
        visit.errors.append(f"{status} {document}")
