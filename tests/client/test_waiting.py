"""Waiting for one's turn, and what operators and callers do meanwhile."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import NoReturn

import pytest

from rig.waiting import eventually
from tests.client.scene import (
    QUICK,
    count,
    filled,
    sizes,
)
from tests.web.sites import Site
from waitroom.client import (
    Admitted,
    NotAdmitted,
    RoomUnknown,
    TurnOver,
    Waiting,
    WaitroomClient,
)

pytestmark = pytest.mark.usefixtures("brief")


async def test_everybody_gets_in_by_turns(site: Site, client: WaitroomClient) -> None:
    """Each in the order of arrival, told of ranks that fall, and with a session that has begun."""
    room = site.make_room(**QUICK)
    inside = await filled(client, room)
    told: dict[int, list[int]] = {0: [], 1: [], 2: []}
    order = []

    async def visit(number: int) -> None:
        async def show(place: Waiting) -> None:
            await asyncio.sleep(0)
            told[number].append(place.rank)

        admitted = await client.wait_until_admitted(room, on_progress=show)
        order.append(number)
        assert sizes(site, room)[1] == 1
        assert site.admin("GET", f"/{room}").json()["offered"] == 0
        await client.leave(admitted)

    async with asyncio.TaskGroup() as group:
        for number in told:
            group.create_task(visit(number))
            await eventually(partial(told.get, number), "the first answer")
        await client.leave(inside)
    assert order == [0, 1, 2]
    assert [ranks[0] for ranks in told.values()] == [1, 2, 3]
    assert all(ranks == sorted(ranks, reverse=True) for ranks in told.values())
    assert count(site, room, "claimed") == 4


async def test_a_given_place_stays_the_callers(site: Site, client: WaitroomClient) -> None:
    """When the time is up it is handed back to go on with; one that is the client's own is given up."""
    room = site.make_room(**QUICK)
    inside = await filled(client, room)
    place = await client.enter(room)
    with pytest.raises(NotAdmitted, match=r"within 1\.3 s") as late:
        await client.wait_until_admitted(room, place=place, timeout_seconds=1.3)
    assert isinstance(place, Waiting)
    assert isinstance(late.value.place, Waiting)
    assert late.value.place.entered_at == place.entered_at
    with pytest.raises(NotAdmitted) as own:
        await client.wait_until_admitted(room, timeout_seconds=0.2)
    assert own.value.place is None
    assert sizes(site, room) == (1, 1)
    await client.leave(inside)
    admitted = await client.wait_until_admitted(room, place=late.value.place)
    again = await client.wait_until_admitted(room, place=admitted)
    assert again.expires_at == admitted.expires_at
    await client.leave(admitted)
    with pytest.raises(TurnOver):
        await client.wait_until_admitted(room, place=admitted)


async def test_a_place_of_its_own_that_is_over_is_made_again(site: Site, client: WaitroomClient) -> None:
    """Somebody else left with the ticket: the client goes to the back and waits on."""
    room = site.make_room(**QUICK)
    inside = await filled(client, room)
    seen: list[Waiting] = []
    waits = asyncio.create_task(client.wait_until_admitted(room, on_progress=seen.append))
    await eventually(lambda: seen, "the first answer")
    behind = await client.enter(room)
    await client.leave(seen[0])
    await eventually(lambda: seen[-1].rank == 2, "the place at the back")
    await client.leave(behind)
    await client.leave(inside)
    assert isinstance(await waits, Admitted)


@pytest.mark.long
@pytest.mark.usefixtures("hasty")
async def test_operators_pause_close_and_delete(site: Site, client: WaitroomClient) -> None:
    """Who waits keeps the place while the room is paused or closed, and hears of it; a deleted room is no more."""
    room = site.make_room(**QUICK)
    inside = await filled(client, room)
    seen: list[Waiting] = []

    def shown(state: str) -> bool:
        return bool(seen) and seen[-1].room_state == state

    waits = asyncio.create_task(client.wait_until_admitted(room, on_progress=seen.append))
    for command, state in (("pause", "paused"), ("close", "closed"), ("resume", "open")):
        site.admin("POST", f"/{room}/{command}", json={"message": command})
        await eventually(partial(shown, state), state)
        assert seen[-1].message == command
        assert (seen[-1].eta_seconds is None) == (state != "open")
    assert {place.entered_at for place in seen} == {seen[0].entered_at}
    await client.leave(inside)
    await client.leave(await waits)
    inside = await filled(client, room)
    waits = asyncio.create_task(client.wait_until_admitted(room))
    await eventually(lambda: sizes(site, room) == (1, 1), "somebody waits")
    site.admin("DELETE", f"/{room}")
    with pytest.raises(RoomUnknown):
        await waits


async def test_what_the_callback_raises_ends_the_wait(site: Site, client: WaitroomClient) -> None:
    """And the place is given back, also when the error looks like a time-out."""
    room = site.make_room(**QUICK)
    await filled(client, room)

    def stop(place: Waiting) -> NoReturn:
        raise TimeoutError(f"rank {place.rank} is too far")

    with pytest.raises(TimeoutError, match="rank 1 is too far"):
        await client.wait_until_admitted(room, on_progress=stop, timeout_seconds=60)
    assert sizes(site, room) == (0, 1)
