"""Cancelled at any moment: nothing is left behind, and cancellations and time-outs stay what they are."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from functools import partial

import httpx
import pytest

from rig.raw import Relay
from rig.waiting import eventually
from tests.client.scene import QUICK, SLIDING, count, hold, once, sizes, slowed, stopped, taken_away
from tests.web.sites import PATIENCE_SECONDS, Site
from waitroom.client import (
    AdmissionLost,
    Slot,
    WaitroomClient,
)

pytestmark = pytest.mark.usefixtures("brief")


def is_idle(http: httpx.AsyncClient) -> bool:
    """Whether no connection of the client is in use."""
    return all(connection.is_idle() for connection in http._transport._pool.connections)  # type: ignore[attr-defined]


def is_settled() -> bool:
    """Whether no cancellation of the current task is left over."""
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling() == 0


@pytest.mark.parametrize("seed", range(2))
async def test_cancelled_at_any_point_nothing_is_left(site: Site, seed: int) -> None:
    """However many rounds of the event loop an admission has had: no place, no task and no connection stays behind."""
    room = site.make_room(capacity=1000)
    rounds = random.Random(seed).sample(range(80), 25)
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=2)) as http:
        async with WaitroomClient(site.url, http=http) as client:
            for some in rounds:
                task = asyncio.create_task(hold(client, room, stopped))
                for _ in range(some):
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert task.cancelled()
        assert is_idle(http)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert sizes(site, room) == (0, 0)
    assert count(site, room, "entered") == count(site, room, "left")


async def test_cancelled_calls_do_not_use_up_the_connections(site: Site, client: WaitroomClient) -> None:
    """Many at once on few connections, given up at any moment: afterwards all connections are there."""
    place = await client.enter(site.make_room(capacity=1))
    chance = random.Random(3)
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=3)) as http:
        async with WaitroomClient(site.url, http=http) as few:
            for _ in range(30):
                calls = [asyncio.create_task(few.status(place)) for _ in range(6)]
                await asyncio.sleep(chance.uniform(0, 0.02))
                for call in calls:
                    call.cancel()
                await asyncio.gather(*calls, return_exceptions=True)
        await eventually(lambda: is_idle(http), "the end of the last calls")


async def test_closing_waits_for_the_calls_that_were_given_up(site: Site, relay: Relay) -> None:
    """With the caller's own httpx client, which is to be left in order."""
    room = site.make_room(**QUICK)
    slowed(relay, "/status", asyncio.sleep, 0.3)
    async with httpx.AsyncClient() as http:
        async with WaitroomClient(relay.url, http=http) as client:
            place = await client.enter(room)
            call = asyncio.create_task(client.status(place))
            await eventually(lambda: relay.lines("/status"), "the call")
            call.cancel()
        assert [task for task in asyncio.all_tasks() if "AsyncClient.send" in repr(task.get_coro())] == []
        assert is_idle(http)


@pytest.mark.parametrize("word", ["/enter", "/status"])
async def test_cancelled_while_an_answer_is_on_its_way(
    site: Site, relay: Relay, far: WaitroomClient, word: str
) -> None:
    """The server has given or claimed the place, and the client is cancelled before it hears of it."""
    room = site.make_room(**QUICK)
    behind = asyncio.Event()
    slowed(relay, word, behind.wait)
    task = asyncio.create_task(hold(far, room, stopped))
    await eventually(lambda: sizes(site, room) == (0, 1) and relay.lines(word), "the place inside")
    task.cancel()
    await asyncio.sleep(0.05)
    behind.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: sizes(site, room) == (0, 0), "the place is given back")


async def test_cancelled_while_waiting_and_while_leaving(site: Site, relay: Relay, far: WaitroomClient) -> None:
    """The place in the queue is given back; a goodbye goes on to its end however often one is cancelled."""
    room = site.make_room(**QUICK)
    reached: list[Slot] = []

    async def reach(slot: Slot) -> None:
        reached.append(slot)
        await stopped(slot)

    holder = asyncio.create_task(hold(far, room, reach))
    await eventually(lambda: reached, "the slot")
    waits = asyncio.create_task(hold(far, room, stopped))
    await eventually(lambda: sizes(site, room) == (1, 1), "somebody waits")
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert sizes(site, room) == (0, 1)
    relay.mishap = once("cut", "/leave", times=3)
    for _ in range(5):
        holder.cancel()
        await asyncio.sleep(0.05)
    with pytest.raises(asyncio.CancelledError):
        await holder
    assert sizes(site, room) == (0, 0)
    assert len(relay.lines("/leave")) == 5


async def test_cancelled_after_the_block(site: Site, relay: Relay, far: WaitroomClient) -> None:
    """The block has ended by itself, and the goodbye is on its way: that goes on, and the cancellation is heard of."""
    room = site.make_room(**QUICK)

    async def end(slot: Slot) -> None:
        relay.mishap = once("cut", "/leave", times=2)

    task = asyncio.create_task(hold(far, room, end))
    await eventually(lambda: relay.lines("/leave"), "the goodbye")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sizes(site, room) == (0, 0)


async def test_a_loss_inside_a_timeout(site: Site, client: WaitroomClient) -> None:
    """AdmissionLost goes through, no request to cancel is left over, and the caller goes on."""
    room = site.make_room(**SLIDING)
    async with asyncio.timeout(PATIENCE_SECONDS) as scope:
        with pytest.raises(AdmissionLost) as lost:
            await hold(client, room, partial(taken_away, site))
        assert isinstance(lost.value.__cause__, TimeoutError)
        assert is_settled()
        await asyncio.sleep(0)
    assert not scope.expired()


async def test_timeouts_around_and_inside(site: Site, client: WaitroomClient) -> None:
    """They stay time-outs, and the slot is given back."""
    room = site.make_room(**SLIDING)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3), client.admission(room):
            await asyncio.sleep(PATIENCE_SECONDS)
    assert is_settled()
    assert sizes(site, room) == (0, 0)
    async with client.admission(room):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(PATIENCE_SECONDS)
    with pytest.raises(TimeoutError, match="the block's own"):
        async with client.admission(room):
            raise TimeoutError("the block's own")
    assert sizes(site, room) == (0, 0)


async def test_a_cancellation_beside_a_loss_stays_one(site: Site, client: WaitroomClient) -> None:
    """Both at once: the caller's cancellation counts."""
    room = site.make_room(**SLIDING)
    reached = asyncio.Event()

    async def hold() -> None:
        async with client.admission(room) as slot:
            site.leave(room, slot.proof)
            try:
                await asyncio.sleep(PATIENCE_SECONDS)
            except asyncio.CancelledError:
                reached.set()
                await asyncio.sleep(0.05)
                raise

    task = asyncio.create_task(hold())
    await asyncio.wait_for(reached.wait(), PATIENCE_SECONDS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_outer_slot_is_lost(site: Site, client: WaitroomClient) -> None:
    """The inner block ends, too, and gives its slot back; the error is the outer's."""
    outer, inner = site.make_room(**SLIDING), site.make_room(**SLIDING)
    with pytest.raises(AdmissionLost, match=repr(outer)):
        async with client.admission(outer) as slot, client.admission(inner):
            await taken_away(site, slot)
    assert is_settled()
    assert sizes(site, inner) == (0, 0)


async def test_a_block_that_will_not_be_cancelled(site: Site, client: WaitroomClient) -> None:
    """Its error goes through; if it makes light of it, AdmissionLost says that it ran on without a slot."""
    room = site.make_room(**SLIDING)

    async def complain(slot: Slot) -> None:
        try:
            await taken_away(site, slot)
        except asyncio.CancelledError:
            raise KeyError from None

    async def shrug(slot: Slot) -> None:
        with suppress(asyncio.CancelledError):
            await taken_away(site, slot)

    with pytest.raises(KeyError):
        await hold(client, room, complain)
    assert is_settled()
    with pytest.raises(AdmissionLost):
        await hold(client, room, shrug)
    assert is_settled()


async def test_the_tasks_of_a_block_end_with_it(site: Site, client: WaitroomClient) -> None:
    """A task group inside is cancelled, and AdmissionLost comes out bare."""
    room = site.make_room(**SLIDING)
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(PATIENCE_SECONDS)
        finally:
            ended.append("work")

    async def share(slot: Slot) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(work())
            await taken_away(site, slot)

    with pytest.raises(AdmissionLost):
        await hold(client, room, share)
    assert ended == ["work"]
    assert is_settled()
