"""What a script that cannot do its work leaves behind: everything as it was."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from tests.lua import scene
from tests.lua.driven import DrivenRoom, dump, pass_of, run, ticket_of
from waitroom.errors import Full
from waitroom.model import Outcome, Standing
from waitroom.settings.room import RoomSettings, fields_of
from waitroom.store import keys, scripts

#: Every key of every script, but the one that some only look for: nobody is kept by broken settings.
KEYS_OF_SCRIPTS = [
    (name, key)
    for name in scene.ROOM_SCRIPTS
    for key in scripts.load(name).keys
    if (name, key) not in [("leave", "config"), ("finish", "config")]
]

#: Arguments that are words or flags, by script: their names by their place among those of one visitor.
WORDS = {"leave": {1: "proof"}, "extend": {2: "kind"}, "enter_guarded": {4: "keyed", 5: "priority"}}

#: How many arguments each visitor has.
STRIDES = {"leave": 2, "extend": 3, "enter_guarded": 8}

#: Every setting that a script cannot do without.
SETTINGS_OF_SCRIPTS = [
    (name, field)
    for name in scene.ROOM_SCRIPTS
    if (needed := re.search(r"settings\(\{([^}]+)\}\)", scripts.load(name).text))
    for field in re.findall(r"'(\w+)'", needed[1])
]


@pytest.mark.parametrize(("script", "key"), KEYS_OF_SCRIPTS)
async def test_wrong_type(room: DrivenRoom, script: str, key: str) -> None:
    """A key of the wrong type stops the call before it writes anything (I10)."""
    arguments = (await scene.build(room)).arguments(script)
    await room.redis.set(keys.room_key(room.name, key), "x")
    before = await dump(room.redis)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await run(room.redis, script, room.name, arguments)
    assert await dump(room.redis) == before


async def test_wrong_type_of_the_lease(redis: Redis) -> None:
    """A lease of the wrong type is left alone."""
    await redis.set(keys.LEASE, "x")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await run(redis, "lease", "", ["hold", "a", 1, 0])
    assert await redis.get(keys.LEASE) == "x"


async def test_leaving_a_room_with_broken_settings(room: DrivenRoom) -> None:
    """One may leave a room whose settings cannot be read."""
    placed = await scene.build(room)
    await room.redis.set(keys.room_key(room.name, "config"), "x")
    assert await room.leave(placed.first, placed.inside) == [Standing.LEFT] * 2


@pytest.mark.parametrize(("script", "field"), SETTINGS_OF_SCRIPTS)
@pytest.mark.parametrize("value", [None, "", "abc"])
async def test_broken_setting(room: DrivenRoom, script: str, field: str, value: str | None) -> None:
    """A setting that is missing or no number is named, and nothing is written (I10)."""
    arguments = (await scene.build(room)).arguments(script)
    config = keys.room_key(room.name, "config")
    if value is None:
        await room.redis.hdel(config, field)
    else:
        await room.redis.hset(config, field, value)
    before = await dump(room.redis)
    assert await run(room.redis, script, room.name, arguments) == [Outcome.BROKEN, field]
    assert await dump(room.redis) == before


@pytest.mark.parametrize("script", scene.ROOM_SCRIPTS)
async def test_missing_room(room: DrivenRoom, script: str) -> None:
    """A room whose settings are gone is missing to every script, and nothing of it is touched."""
    arguments = (await scene.build(room)).arguments(script)
    if script == "configure":
        arguments = arguments[:6]
    await room.redis.delete(keys.room_key(room.name, "config"))
    before = await dump(room.redis)
    assert await run(room.redis, script, room.name, arguments) == [Outcome.MISSING]
    assert await dump(room.redis) == before


@pytest.mark.parametrize("script", scene.ROOM_SCRIPTS)
async def test_bad_argument(room: DrivenRoom, script: str) -> None:
    """Whichever argument is no number, a call that fails or refuses has written nothing (I10)."""
    arguments = (await scene.build(room)).arguments(script)
    before = await dump(room.redis)
    for at, argument in enumerate(arguments):
        if not isinstance(argument, int):
            continue
        spoilt = [*arguments[:at], "x", *arguments[at + 1 :]]
        try:
            reply = await run(room.redis, script, room.name, spoilt)
        except ResponseError:
            # These read their few arguments at once, and have no word for a bad one.
            assert script in ("admit", "expire", "read")
            reply = [Outcome.BROKEN, "argument"]
        # A setting is named, and so is a flag; numbers are not.
        flag = WORDS.get(script, {}).get(at % STRIDES.get(script, 1), "argument")
        named = arguments[at - 1] if script == "configure" and at > 6 else flag
        assert reply == [Outcome.BROKEN, named], f"argument {at} of {arguments}"
        assert await dump(room.redis) == before, f"argument {at} of {arguments}"


@pytest.mark.parametrize("script", sorted(WORDS))
@pytest.mark.parametrize("word", ["", "x", "2", "Pass"])
async def test_unknown_word(room: DrivenRoom, script: str, word: str) -> None:
    """A word that a script does not know is named by its argument, whichever visitor has it; nothing is written."""
    arguments = (await scene.build(room)).arguments(script)
    before = await dump(room.redis)
    for at in range(len(arguments)):
        if name := WORDS[script].get(at % STRIDES[script]):
            spoilt = [*arguments[:at], word, *arguments[at + 1 :]]
            assert await run(room.redis, script, room.name, spoilt) == [Outcome.BROKEN, name]
    assert await dump(room.redis) == before


@pytest.mark.parametrize("action", ["", "renew", "Hold"])
async def test_unknown_action(redis: Redis, action: str) -> None:
    """The same of the lease."""
    assert await run(redis, "lease", "", [action, "a", 1, 0]) == [Outcome.BROKEN, "action"]
    assert await redis.keys() == []


@pytest.fixture
async def exhausted(redis: Redis) -> AsyncIterator[Redis]:
    """The server, whose memory a test may declare full."""
    yield redis
    await redis.config_set("maxmemory", 0)


async def test_out_of_memory(room: DrivenRoom, exhausted: Redis) -> None:
    """Without memory nobody enters and nothing is configured; those here are told, admitted, let go and swept."""
    placed = await scene.build(room)
    before = await dump(exhausted)
    await exhausted.config_set("maxmemory", 1)
    with pytest.raises(Full):
        await room.arrive(1)
    with pytest.raises(Full):
        await room.enter(ticket_of(placed.first))
    with pytest.raises(Full):
        await room.store.configure(room.name, fields_of(RoomSettings()), expected=None)
    assert await dump(exhausted) == before
    assert (await room.status(ticket_of(placed.offered)))[0].standing is Standing.ADMITTED
    assert (await room.extend(pass_of(placed.inside)))[0].standing is Standing.ADMITTED
    assert await room.admit() == (placed.first.serial, placed.second.serial)
    done = await room.expire()
    assert (done.finished, done.no_show) == (1, 1)
    assert await room.leave(placed.first) == [Standing.LEFT]
    assert (await room.store.lease("hold", "a", ttl_seconds=1))[0] is Outcome.ACQUIRED
    assert (await room.read()).waiting == 0
    await exhausted.config_set("maxmemory", 0)
    assert len(await room.arrive(1)) == 1


async def test_scripts_flushed(room: DrivenRoom) -> None:
    """A server that forgot its scripts gets them again, and each call has its effect once."""
    await room.configure(capacity=1)
    for _ in range(3):
        await room.redis.script_flush()
        await room.arrive(1)
    assert (await room.counts()).entered == 3


@pytest.mark.parametrize("script", scene.ROOM_SCRIPTS)
async def test_isolation(room: DrivenRoom, script: str) -> None:
    """A call changes declared keys of its own room only, also where another room has the same visitors (I12)."""
    placed = await scene.build(room)
    other = DrivenRoom(room.store, room.redis, name="shop2")
    await scene.build(other)
    before = await dump(room.redis)
    await run(room.redis, script, room.name, placed.arguments(script))
    after = await dump(room.redis)
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert changed <= set(keys.room_keys(room.name, scripts.load(script).keys))
    assert changed or script in ("read", "look")


async def test_wrong_type_of_used_marks_without_ended_sessions(room: DrivenRoom) -> None:
    """A sweep that has nobody to mark as used sees the wrong type of those marks before it writes, too."""
    await room.configure(capacity=1, claim_seconds=10, abandon_seconds=10)
    await room.arrive(3)
    await room.fast_forward(11)
    await room.redis.set(keys.room_key(room.name, "used"), "x")
    before = await dump(room.redis)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await run(room.redis, "expire", room.name, [1, 500])
    assert await dump(room.redis) == before
