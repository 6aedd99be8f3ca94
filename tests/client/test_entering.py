"""The client in guarded rooms: it does the work, brings the token, and says what is missing."""

from __future__ import annotations

import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import jwt
import pytest

from rig.raw import Relay, answer
from rig.waiting import eventually
from tests.client.scene import count
from tests.web import sites
from tests.web.sites import Site
from waitroom.client import (
    Admitted,
    BadAnswer,
    NotAdmitted,
    ServerUnavailable,
    TokenRequired,
    TurnOver,
    Waiting,
    WaitroomClient,
    entering,
)
from waitroom.client.entering import MOST_BITS

SECRET: Final = "an-enqueue-key-made-up-for-the-tests-0123456789"

HELD: Final[dict[str, Any]] = {"state": "paused"}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """An instance with nobody in front, that takes tokens."""
    with sites.own_redis() as (url, redis):
        settings = sites.settings_for(url, trusted_proxies=["none"], enqueue_keys=[f"shop:{SECRET}"])
        with sites.serving(redis, settings) as running:
            yield running


@pytest.fixture
async def client(site: Site) -> AsyncIterator[WaitroomClient]:
    async with WaitroomClient(site.url) as opened:
        yield opened


def token(site: Site, room: str, customer: str) -> str:
    claims = {"aud": f"waitroom:{room}:enqueue", "sub": customer, "exp": site.now_us() / 1e6 + 60}
    return jwt.encode(claims, SECRET, "HS256")


@pytest.mark.parametrize("challenge", ["always", "limited"])
async def test_the_work_is_done(site: Site, client: WaitroomClient, challenge: str) -> None:
    """Whoever asks for a place gets one, and notices nothing."""
    room = site.make_room(**HELD, challenge=challenge, challenge_bits=8, places_per_address=1)
    places = [await client.enter(room) for _ in range(3)]
    assert [place.rank for place in places if isinstance(place, Waiting)] == [1, 2, 3]


async def test_too_much_work_is_not_begun(relay: Relay) -> None:
    """A server that asks for hours is refused at once."""
    document = b'{"type":"urn:waitroom:challenge-required","challenge":{"text":"k1.abc","bits":%d}}' % (MOST_BITS + 1)
    relay.mishap = lambda line: answer(429, document, kind="application/problem+json")
    async with WaitroomClient(relay.url) as far:
        with pytest.raises(BadAnswer, match="25 bits"):
            await far.enter("shop")


async def test_a_token_is_brought(site: Site, client: WaitroomClient) -> None:
    """One place per customer, through to the turn; the second time there is none, and nobody tries for ever."""
    room = site.make_room(capacity=1, enqueue_tokens="required", enqueue_url="/login")
    with pytest.raises(TokenRequired, match="/login"):
        await client.enter(room)
    with pytest.raises(TokenRequired):
        await client.wait_until_admitted(room)
    async with client.admission(room, token=token(site, room, "17")) as slot:
        assert slot.seconds_left > 0
        again = await client.enter(room, token=token(site, room, "17"))
        assert isinstance(again, Admitted)
    assert count(site, room, "entered") == 1
    with pytest.raises(TurnOver):
        await client.enter(room, token=token(site, room, "17"))
    with pytest.raises(TurnOver):
        await client.wait_until_admitted(room, token=token(site, room, "17"))


@pytest.mark.parametrize("text", ["", "a b", "Ж", "a\r\nX-Injected: 1", "x" * 5000])
async def test_what_cannot_be_a_token_is_not_sent(site: Site, client: WaitroomClient, text: str) -> None:
    """It is the caller's mistake, and told without showing it."""
    with pytest.raises(ValueError, match="token is not an enqueue token"):
        await client.enter(site.make_room(), token=text)


async def test_a_limited_address_waits(site: Site, client: WaitroomClient) -> None:
    """Without a way out the client waits as it is told, and no longer than it may."""
    room = site.make_room(**HELD, places_per_address=1)
    await client.enter(room)
    with pytest.raises(ServerUnavailable) as refused:
        await client.enter(room)
    assert refused.value.retry_after_seconds is not None
    assert refused.value.retry_after_seconds > 1000
    with pytest.raises(NotAdmitted):
        await client.wait_until_admitted(room, timeout_seconds=0.5)


async def test_work_that_nobody_waits_for_ends(relay: Relay) -> None:
    """A server that asks for half a minute of work holds nobody up for longer than they wait, nor the loop's end."""
    document = b'{"type":"urn:waitroom:challenge-required","challenge":{"text":"k1.abc","bits":%d}}' % MOST_BITS
    relay.mishap = lambda line: answer(429, document, kind="application/problem+json")
    async with WaitroomClient(relay.url) as far:
        with pytest.raises(NotAdmitted):
            await far.wait_until_admitted("shop", timeout_seconds=0.3)
    busy = [thread for thread in threading.enumerate() if "asyncio_" in thread.name]
    await eventually(lambda: not any(map(solving, busy)), "the end of the work")


def solving(thread: threading.Thread) -> bool:
    """Whether that thread looks for a solution at this moment."""
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and frame.f_code is entering.solve.__code__
