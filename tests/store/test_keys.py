"""Key names: one spelling per room, one cluster slot per room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from waitroom.store import keys, scripts

ROOM_NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True)


def test_a_key_is_spelled_as_documented() -> None:
    """A room's key is `waitroom:{room}:name`."""
    assert keys.room_key("shop", "wait") == "waitroom:{shop}:wait"


def test_keys_come_in_the_order_asked_for() -> None:
    """Several keys follow the order of the names, so that they match a script's KEYS."""
    assert keys.room_keys("shop", ("seen", "config")) == ["waitroom:{shop}:seen", "waitroom:{shop}:config"]


@given(ROOM_NAMES)
def test_all_keys_of_a_room_share_one_slot(room: str) -> None:
    """Every key of a room hashes to the same Redis Cluster slot, so one script may touch them all."""
    assert len({key_slot(key.encode()) for key in keys.room_keys(room)}) == 1


@given(ROOM_NAMES, ROOM_NAMES)
def test_rooms_share_no_key(one: str, other: str) -> None:
    """Two rooms have no key in common, and none is the lease or the list of rooms."""
    mine, theirs = set(keys.room_keys(one)), set(keys.room_keys(other))
    assert len(mine) == len(keys.ROOM_KEYS)
    assert (mine == theirs) is (one == other)
    assert not mine & {keys.LEASE, keys.ROOMS}


def test_every_script_names_keys_that_exist() -> None:
    """Each script declares the lease alone, or keys of one room."""
    for name in scripts.NAMES:
        declared = scripts.load(name).keys
        assert declared == ("lease",) or set(declared) <= set(keys.ROOM_KEYS), name
