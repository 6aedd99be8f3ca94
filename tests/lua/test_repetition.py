"""The same call, carried out again: one effect (I9). Who repeats is whoever lost a reply."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lua import scene
from tests.lua.driven import DrivenRoom, run
from waitroom.model import Pass, Visitor

#: Arguments for each arrival.
STRIDES = {"enter": 4, "pass_through": 4, "enter_guarded": 8}


async def standing_of_all(room: DrivenRoom) -> dict[str, Any]:
    """Who is where, in which order, and what has been counted; not when anybody was last heard."""
    reading = await room.read()
    sets = {name: set(await room.members(name)) for name in ("active", "offered", "used", "revoked")}
    return {"wait": await room.scores("wait"), **sets, "counts": reading.counts, "last": reading.marks.last}


@pytest.mark.parametrize("script", [name for name in scene.ROOM_SCRIPTS if name != "configure"])
async def test_one_effect(room: DrivenRoom, script: str) -> None:
    """A call that concerns everybody changes nothing when it is carried out a second and a third time."""
    placed = await scene.build(room)
    arguments = placed.arguments(script)
    if stride := STRIDES.get(script):
        # The used and the left arrive anew: for them see the tests of first contact.
        arguments = [part for at in (0, 1, 2, 3, 4, 9) for part in arguments[stride * at : stride * (at + 1)]]
    await run(room.redis, script, room.name, arguments)
    once = await standing_of_all(room)
    for _ in range(2):
        await run(room.redis, script, room.name, arguments)
        assert await standing_of_all(room) == once
    await room.assert_legal()


async def test_configure(room: DrivenRoom) -> None:
    """A repeated change by version is a conflict and changes nothing."""
    await room.configure(capacity=1)
    arguments: list[str | int] = [1, 0, 0, 0, 0, 0, "capacity", 5]
    assert await run(room.redis, "configure", room.name, arguments) == ["ok", 2]
    assert await run(room.redis, "configure", room.name, arguments) == ["conflict", 2]
    assert (await room.read()).settings["capacity"] == "5"


@pytest.mark.parametrize("script", ["enter", "pass_through"])
@pytest.mark.parametrize("claimed", [True, False])
async def test_first_contacts(room: DrivenRoom, script: str, claimed: bool) -> None:
    """A repeated batch of first contacts places and counts each visitor once."""
    await room.configure(capacity=2)
    call = [part for name in "abcd" for part in (name, "", 0, 0)]
    await run(room.redis, script, room.name, call)
    if claimed:
        now = (await room.read()).now_us
        await room.extend(*[Pass(Visitor(name), now / 1_000_000 + 60) for name in await room.members("active")])
    once = await standing_of_all(room)
    await run(room.redis, script, room.name, call)
    again = await standing_of_all(room)
    assert again["wait"] == once["wait"]
    assert again["active"] == once["active"]
    assert again["counts"].entered == once["counts"].entered
    await room.assert_legal()
