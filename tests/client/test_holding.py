"""Slots that are never held by too many, and end in time."""

from __future__ import annotations

import asyncio
import random
import time
from functools import partial

import pytest

from rig.line import Line
from rig.raw import Mishap, Relay, answer
from rig.waiting import eventually
from tests.client.scene import (
    SLIDING,
    hold,
    once,
    outage,
    sizes,
    stopped,
    taken_away,
)
from tests.web import sites
from tests.web.sites import PATIENCE_SECONDS, Site
from waitroom.client import (
    AdmissionLost,
    NotAdmitted,
    Slot,
    Waiting,
    WaitroomClient,
    holding,
)

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("brief")]


async def test_a_slot_lasts_as_long_as_its_block(site: Site, client: WaitroomClient) -> None:
    """It is extended past its session, with newer passes that the gate takes, and free at the block's end."""
    room = site.make_room(**SLIDING)
    async with client.admission(room) as slot:
        first = slot.place
        assert slot.room == room
        assert 0 < slot.seconds_left < first.session_seconds
        await eventually(lambda: slot.place.expires_at > first.expires_at, "an extension")
        await asyncio.sleep(first.session_seconds)
        assert slot.seconds_left > 0
        assert sizes(site, room) == (0, 1)
        assert site.gate(room, slot.proof).status_code == 204
        assert slot.proof != first.proof
    assert sizes(site, room) == (0, 0)
    with pytest.raises(ZeroDivisionError):
        async with client.admission(room):
            raise ZeroDivisionError
    assert sizes(site, room) == (0, 0)


async def test_a_slot_that_does_not_come_in_time(site: Site, client: WaitroomClient) -> None:
    """NotAdmitted, without having run the block, and nothing is left behind."""
    room = site.make_room(**SLIDING)
    async with client.admission(room):
        with pytest.raises(NotAdmitted):
            async with client.admission(room, timeout_seconds=0.2):
                pytest.fail("never more than one inside")
        assert sizes(site, room) == (0, 1)


@pytest.mark.usefixtures("cautious")
async def test_a_room_that_is_not_sliding(site: Site, client: WaitroomClient, caplog: pytest.LogCaptureFixture) -> None:
    """The slot ends with the session: the block stops before the server lets the next one in; one warning."""
    room = site.make_room(**SLIDING | {"sliding": False, "session_seconds": 6})
    for _ in range(2):
        with pytest.raises(AdmissionLost, match="not sliding") as lost:
            await stopped_in_time(site, client, room)
        assert lost.value.room == room
    assert [record.message for record in caplog.records if "not sliding" in record.message] == [
        f"room {room} does not extend sessions (it is not sliding): a block ends after one"
    ]


async def stopped_in_time(site: Site, client: WaitroomClient, room: str) -> None:
    """Hold a slot until it is lost, and see that its end by the server's clock has not come yet."""
    async with client.admission(room) as slot:
        try:
            await asyncio.sleep(PATIENCE_SECONDS * 10)
        finally:
            assert site.now_us() / 1e6 < slot.place.expires_at.timestamp()


async def test_a_short_outage_of_redis_does_not_end_a_slot(
    severable: tuple[Site, Line], caplog: pytest.LogCaptureFixture
) -> None:
    """The holder goes on, and its slot is extended afterwards."""
    site, line = severable
    room = site.make_room(**SLIDING | {"session_seconds": 9})
    async with WaitroomClient(site.url) as client, client.admission(room) as slot:
        with outage(site, line, silent=False):
            await eventually(lambda: "a slot cannot be extended" in caplog.text, "a try that fails")
            before = slot.place.expires_at
        await eventually(lambda: slot.place.expires_at > before, "an extension")
    assert sizes(site, room) == (0, 0)


@pytest.mark.usefixtures("cautious")
async def test_a_long_outage_of_redis_ends_a_slot_in_time(severable: tuple[Site, Line]) -> None:
    """No extension gets through: the block is stopped before the server could let another in."""
    site, line = severable
    room = site.make_room(**SLIDING | {"session_seconds": 6})
    async with WaitroomClient(site.url) as client:

        async def go_on(slot: Slot) -> None:
            with outage(site, line, silent=True):
                await stopped(slot)

        with pytest.raises(AdmissionLost, match="no extension got through"):
            await hold(client, room, go_on)
        async with client.admission(room):
            assert sizes(site, room) == (0, 1)


@pytest.mark.usefixtures("cautious")
async def test_a_server_that_is_gone_ends_a_slot_in_time(site: Site, relay: Relay, far: WaitroomClient) -> None:
    """Nothing answers any more: AdmissionLost, and the goodbye does not hold the caller up for long."""
    room = site.make_room(**SLIDING | {"session_seconds": 6})

    async def go_on(slot: Slot) -> None:
        relay.mishap = lambda line: "cut"
        await stopped(slot)

    with pytest.raises(AdmissionLost, match="no extension got through"):
        await hold(far, room, go_on)
    await eventually(lambda: sizes(site, room) == (0, 0), "the session is over")


async def test_a_silent_instance_does_not_end_a_slot(site: Site, relay: Relay) -> None:
    """The try that hangs is given up while there is still time for another."""
    room = site.make_room(**SLIDING | {"session_seconds": 6})
    async with WaitroomClient(relay.url, timeout_seconds=60) as client, client.admission(room) as slot:
        before = slot.place
        relay.mishap = once("held", "/status")
        await eventually(lambda: slot.place.expires_at > before.expires_at, "an extension")
        assert len(relay.lines("/status")) == 3


async def test_a_slot_that_is_taken_back_ends_at_once(
    site: Site, client: WaitroomClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else left with its pass, or the room was deleted: the next extension finds out."""
    room = site.make_room(**SLIDING)

    slow = site.make_room(**SLIDING | {"session_seconds": 600})

    async def delete(slot: Slot) -> None:
        site.admin("DELETE", f"/{room}")
        await stopped(slot)

    with pytest.raises(AdmissionLost, match="enter again"):
        await hold(client, room, partial(taken_away, site))
    with pytest.raises(AdmissionLost, match="no room"):
        await hold(client, room, delete)
    # Long before the end of its session.
    monkeypatch.setattr(holding, "LONGEST_EXTENSION_SECONDS", 0.2)
    with pytest.raises(AdmissionLost, match="enter again"):
        await hold(client, slow, partial(taken_away, site))


@pytest.mark.usefixtures("cautious")
async def test_a_block_that_keeps_the_event_loop_from_stopping_it(site: Site, client: WaitroomClient) -> None:
    """It can look by itself; where it does not, AdmissionLost says that it ran on without a slot."""
    room = site.make_room(**SLIDING)

    async def block(slot: Slot) -> None:
        slot.raise_if_lost()
        assert not slot.lost
        time.sleep(slot.seconds_left + 0.01)  # noqa: ASYNC251 - that is what is wrong with it
        assert slot.lost

    async def look(slot: Slot) -> None:
        await block(slot)
        slot.raise_if_lost()
        pytest.fail("it is lost")

    for work in (block, look):
        with pytest.raises(AdmissionLost, match="no extension got through") as lost:
            await hold(client, room, work)
        assert lost.value.room == room


async def test_an_emptied_redis_keeps_a_slot(caplog: pytest.LogCaptureFixture) -> None:
    """FLUSHALL: the holder comes back into the room before anybody is admitted."""
    with sites.own_redis() as (url, redis):
        settings = sites.settings_for(url, rooms={"shop": SLIDING | {"session_seconds": 4, "claim_seconds": 1}})
        with sites.serving(redis, settings) as site:
            async with WaitroomClient(site.url) as client:
                async with client.admission("shop") as slot:
                    other = await client.enter("shop")
                    redis.flushall()
                    before = slot.place
                    await eventually(lambda: slot.place is not before, "an extension")
                    assert sizes(site, "shop")[1] == 1
                    assert isinstance(await client.status(other), Waiting)
                    await eventually(lambda: slot.place.expires_at > before.expires_at, "an extension that lengthens")
                assert sizes(site, "shop")[1] == 0
    assert "not sliding" not in caplog.text


@pytest.mark.usefixtures("hasty")
async def test_never_more_than_capacity_through_a_bad_line(site: Site, relay: Relay) -> None:
    """Fifteen holders in a room of three, every fifth request harmed in one way or another: all come in, by threes."""
    room = site.make_room(**SLIDING | {"capacity": 3, "claim_seconds": 1, "session_seconds": 4})
    chance = random.Random(7)
    harms: list[Mishap] = ["cut", "lost", answer(502), answer(429, retry_after="0")]
    relay.mishap = lambda line: chance.choice(harms) if chance.random() < 0.2 else None
    inside, most, done = 0, 0, 0

    async def work(client: WaitroomClient) -> None:
        nonlocal inside, most, done
        async with client.admission(room):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.2)
            inside -= 1
            done += 1

    async with WaitroomClient(relay.url) as client, asyncio.TaskGroup() as group:
        for _ in range(15):
            group.create_task(work(client))
    assert done == 15
    assert 1 < most <= 3
