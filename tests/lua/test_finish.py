"""finish: sessions that have ended, as far as an instance remembers: their turns stay used."""

from __future__ import annotations

import pytest

from tests.lua.driven import DrivenRoom, ticket_of
from waitroom.errors import RoomUnknown
from waitroom.model import Standing, Visitor

LEFT, UNKNOWN = Standing.LEFT, Standing.UNKNOWN


async def test_unknown_room(room: DrivenRoom) -> None:
    """Nothing is written of a room that nobody configured."""
    with pytest.raises(RoomUnknown):
        await room.store.finish(room.name, [Visitor("a")])
    assert await room.redis.keys() == []


async def test_sessions_that_are_over(room: DrivenRoom) -> None:
    """Of those whose sessions have ended, as far as the caller knows, who is inside stays; the others' turn is used."""
    await room.configure(capacity=1)
    inside = await room.arrive_alone()
    await room.claim(inside)
    waiting, gone = await room.arrive(2)
    await room.leave(gone)
    visitors = [inside.visitor, waiting.visitor, Visitor("never-heard-of")]
    assert await room.store.finish(room.name, visitors) == [UNKNOWN, LEFT, UNKNOWN]
    assert await room.members("active") == [inside.visitor]
    assert sorted(await room.members("used")) == sorted([waiting.visitor, gone.visitor, "never-heard-of"])
    assert await room.members("revoked") == []
    assert await room.members("wait") == []


async def test_the_ticket_gives_nothing_back(room: DrivenRoom) -> None:
    """A visitor who waits again after a loss is out of the queue, counted as left, and the ticket is spent."""
    await room.configure(capacity=1)
    _, first, second = await room.arrive(3)
    assert await room.store.finish(room.name, [first.visitor]) == [LEFT]
    assert await room.members("wait") == await room.members("seen") == [second.visitor]
    assert (await room.status(ticket_of(first)))[0].standing is Standing.USED
    assert (await room.counts()).left == 1


async def test_a_session_whose_end_nobody_has_seen(room: DrivenRoom) -> None:
    """A place inside that is over is left to those whose task it is: the sweep, or a visitor who asks."""
    await room.configure(capacity=1, session_seconds=10)
    await room.claim(inside := await room.arrive_alone())
    await room.fast_forward(11)
    assert await room.store.finish(room.name, [inside.visitor]) == [UNKNOWN]
    assert await room.members("active") == [inside.visitor]
    assert await room.members("used") == []
