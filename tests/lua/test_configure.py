"""configure: compare and set, whole or not at all, and the marks that survive a loss."""

from __future__ import annotations

import pytest

from tests.lua.driven import DrivenRoom, dump
from waitroom.errors import RoomBroken, RoomUnknown, VersionConflict
from waitroom.model import Marks
from waitroom.settings.room import RoomSettings, fields_of, settings_of
from waitroom.store import keys

NUMERIC = (
    "capacity",
    "admit_per_second",
    "session_seconds",
    "sliding",
    "claim_seconds",
    "abandon_seconds",
    "ticket_seconds",
    "max_waiting",
)


async def test_create_and_read(room: DrivenRoom) -> None:
    """A created room reads back with every setting, at version 1 and schema 1."""
    settings = RoomSettings(capacity=3, admit_per_second=0.5, sliding=True, message="äöü 'x' \\ {room}")
    assert await room.store.configure(room.name, fields_of(settings), expected=0) == 1
    reading = await room.read()
    assert settings_of(reading.settings) == settings
    assert (reading.version, reading.schema, reading.hold_until_us) == (1, "1", 0)


async def test_compare_and_set(room: DrivenRoom) -> None:
    """A change goes through at the version it expects only; a conflict names that and writes nothing."""
    fields = fields_of(RoomSettings())
    with pytest.raises(VersionConflict, match="does not exist"):
        await room.store.configure(room.name, fields, expected=1)
    assert await room.redis.keys() == []
    await room.store.configure(room.name, fields, expected=0)
    assert await room.store.configure(room.name, {"capacity": "5"}, expected=1) == 2
    before = await dump(room.redis)
    for expected in (0, 1, 3):
        with pytest.raises(VersionConflict) as caught:
            await room.store.configure(room.name, {"capacity": "9"}, expected=expected)
        assert caught.value.version == 2
    assert await dump(room.redis) == before
    assert await room.store.configure(room.name, {"capacity": "6"}, expected=None) == 3


async def test_partial_settings_make_no_room(room: DrivenRoom) -> None:
    """What lacks a setting that the scripts need creates nothing."""
    for missing in (*NUMERIC, "state"):
        fields = fields_of(RoomSettings())
        del fields[missing]
        with pytest.raises(RoomUnknown):
            await room.store.configure(room.name, fields, expected=0)
    with pytest.raises(RoomUnknown):
        await room.store.configure(room.name, {}, expected=None, marks=Marks(last=5))
    assert await room.redis.keys() == []


@pytest.mark.parametrize("field", NUMERIC)
@pytest.mark.parametrize("value", ["", "abc", "-1", "nan", "inf", "9007199254740993"])
async def test_broken_value(room: DrivenRoom, field: str, value: str) -> None:
    """A value that is not a number the scripts can use is refused by name, and nothing is written (I10)."""
    with pytest.raises(RoomBroken, match=field):
        await room.store.configure(room.name, fields_of(RoomSettings()) | {field: value}, expected=0)
    assert await room.redis.keys() == []
    await room.configure()
    before = await dump(room.redis)
    with pytest.raises(RoomBroken, match=field):
        await room.store.configure(room.name, {field: value}, expected=None, marks=Marks(9, 9, 9))
    assert await dump(room.redis) == before


async def test_broken_version(room: DrivenRoom) -> None:
    """A room whose version is no number is named as broken, and stays as it is (I10)."""
    await room.configure()
    await room.redis.hset(keys.room_key(room.name, "config"), "version", "x")
    before = await dump(room.redis)
    with pytest.raises(RoomBroken, match="'version'"):
        await room.configure(capacity=7)
    assert await dump(room.redis) == before
    await room.redis.hdel(keys.room_key(room.name, "config"), "version")
    assert await room.configure(capacity=7) == 1


async def test_a_hold_is_not_shortened(room: DrivenRoom) -> None:
    """Who tells of a loss later, for a shorter time, does not end the hold of who told of it first."""
    await room.recreate(Marks(last=5), hold_seconds=100)
    first = (await room.read()).hold_until_us
    await room.store.configure(room.name, {}, expected=None, marks=Marks(last=9), hold_seconds=1)
    assert (await room.read()).hold_until_us == first
    await room.store.configure(room.name, {}, expected=None, marks=Marks(last=10), hold_seconds=1000)
    assert (await room.read()).hold_until_us > first


async def test_places_survive_a_change(room: DrivenRoom) -> None:
    """Changing settings moves nobody and counts nothing."""
    await room.configure(capacity=2)
    await room.arrive(5)
    sets = [await room.scores(name) for name in ("wait", "seen", "active", "offered")]
    counts = await room.counts()
    await room.configure(capacity=1, max_waiting=1, state="closed")
    assert [await room.scores(name) for name in ("wait", "seen", "active", "offered")] == sets
    assert await room.counts() == counts


async def test_marks_only_rise(room: DrivenRoom) -> None:
    """Marks given later raise what is lower, change nothing else, and leave the version alone."""
    await room.configure()
    highest = Marks(version=1)
    for marks in (Marks(100, 50, 70), Marks(90, 60, 60), Marks(80, 40, 50), Marks(110, 55, 65), Marks(1, 1, 90)):
        assert await room.store.configure(room.name, {}, expected=None, marks=marks) == 1
        highest = highest.merged(marks)
        assert (await room.read()).marks == highest
        state = await room.state()
        assert (state["spent_serial"], state["spent_us"]) == (str(highest.turn_serial), str(highest.turn_us))


async def test_hold_is_for_creation_only(room: DrivenRoom) -> None:
    """A hold starts with the room; a later change neither sets nor moves it."""
    await room.recreate(Marks(), hold_seconds=20)
    reading = await room.read()
    assert reading.now_us < reading.hold_until_us <= reading.now_us + 20_000_000
    await room.store.configure(room.name, {"capacity": "7"}, expected=None, hold_seconds=100)
    await room.store.configure(room.name, {}, expected=None, hold_seconds=100)
    assert (await room.read()).hold_until_us == reading.hold_until_us


async def test_settings_given_back_come_with_a_hold(room: DrivenRoom) -> None:
    """A room made anew by who did not know it: settings for that very version, the marks, a hold; versions go on."""
    await room.configure()
    marks = Marks(100, 50, 70, version=7)

    async def give_back() -> int:
        return await room.store.configure(room.name, {"capacity": "9"}, expected=1, marks=marks, hold_seconds=20)

    assert await give_back() == 8
    reading = await room.read()
    assert reading.hold_until_us > reading.now_us + 19_000_000
    assert reading.origin.lost_us
    assert reading.settings["capacity"] == "9"
    with pytest.raises(VersionConflict):
        await give_back()


async def test_second_creation_changes_nothing(room: DrivenRoom) -> None:
    """Of two instances that re-create a lost room one succeeds; the repetition of its call changes nothing (I9)."""
    await room.recreate(Marks(5, 4, 3), hold_seconds=20, capacity=2)
    before = await dump(room.redis)
    with pytest.raises(VersionConflict):
        await room.recreate(Marks(50, 40, 30), hold_seconds=60, capacity=9)
    assert await dump(room.redis) == before


async def test_dead_tickets_have_a_date(room: DrivenRoom) -> None:
    """Raising ticket_seconds notes since when tickets are good; lowering it, or raising others, does not."""
    await room.configure(ticket_seconds=200, abandon_seconds=10)
    await room.configure(ticket_seconds=100, abandon_seconds=10)
    assert (await room.read()).settings["tickets_after_us"] == "0"
    await room.configure(ticket_seconds=300, abandon_seconds=10)
    reading = await room.read()
    after = int(reading.settings["tickets_after_us"])
    assert 0 <= reading.now_us - 100_000_000 - after < 5_000_000
    await room.configure(ticket_seconds=50, abandon_seconds=10)
    assert (await room.read()).settings["tickets_after_us"] == str(after)
    await room.configure(ticket_seconds=3600, abandon_seconds=10)
    reading = await room.read()
    assert 0 <= reading.now_us - 50_000_000 - int(reading.settings["tickets_after_us"]) < 5_000_000


async def test_longest_session_only_grows(room: DrivenRoom) -> None:
    """The longest life that any pass was ever given is kept."""
    lives = ((0.25, 0.25, 0.25), (0.5, 0.25, 0.5), (100.0, 10.0, 100.0), (50.0, 10.0, 100.0), (50.0, 120.5, 120.5))
    for session, claim, longest in lives:
        await room.configure(session_seconds=session, claim_seconds=claim)
        assert (await room.read()).longest_session_seconds == longest
        await room.store.configure(room.name, {"capacity": "7"}, expected=None)
        assert (await room.read()).longest_session_seconds == longest


async def test_versions_go_on_after_a_loss(room: DrivenRoom) -> None:
    """A room that is made again goes on far above the version that is remembered, so that no version of the lost one
    fits it, also where whoever makes it has missed some."""
    await room.recreate(Marks(version=7), hold_seconds=20)
    assert (await room.read()).version == 1008
    await room.store.configure(room.name, {}, expected=None, marks=Marks(version=70))
    assert (await room.read()).version == 1008


@pytest.mark.parametrize(("settings", "by_version"), [(True, True), (True, False), (False, True)])
async def test_settings_that_are_given_back_hold_the_room(room: DrivenRoom, settings: bool, by_version: bool) -> None:
    """Also where no mark rises: whoever made it for the version that is replaced knew nothing of its visitors."""
    version = await room.configure(capacity=1)
    fields = fields_of(RoomSettings(capacity=3)) if settings else {}
    await room.store.configure(room.name, fields, expected=version if by_version else None, hold_seconds=5)
    reading = await room.read()
    assert (reading.origin.lost_us > 0) is (settings and by_version)
    assert (reading.hold_until_us > reading.now_us) is (settings and by_version)


async def test_what_was_decided_last_has_the_later_date(room: DrivenRoom) -> None:
    """Each decision is dated after the one before, also where the clock was set back; what is given back keeps its."""
    await room.configure(capacity=1)
    decided = (await room.read()).origin.set_us
    await room.redis.hset(keys.room_key(room.name, "config"), "set_us", str(decided + 3_600_000_000))
    await room.configure(capacity=2)
    reading = await room.read()
    assert (reading.origin.set_us, reading.origin.made_version) == (decided + 3_600_000_001, 0)
    fields = fields_of(RoomSettings(capacity=3)) | {"set_us": str(decided)}
    await room.store.configure(room.name, fields, expected=reading.version, marks=Marks(version=9), hold_seconds=1)
    reading = await room.read()
    assert (reading.origin.set_us, reading.version, reading.origin.made_version) == (decided, 10, 10)
