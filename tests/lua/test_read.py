"""read: the room at one instant, without a trace."""

from __future__ import annotations

import itertools

import pytest

from tests.lua.driven import DrivenRoom, dump, run
from waitroom.errors import RoomUnknown
from waitroom.model import Marks


async def test_unknown_room(room: DrivenRoom) -> None:
    """A room that nobody configured is said to be missing."""
    with pytest.raises(RoomUnknown):
        await room.read()


async def test_empty_room(room: DrivenRoom) -> None:
    """A new room has nobody in it and no marks."""
    await room.configure()
    reading = await room.read()
    assert (reading.waiting, reading.occupancy, reading.offered) == (0, 0, 0)
    assert (reading.marks, reading.releases_us, reading.revoked) == (Marks(version=1), (), {})


async def test_counts(room: DrivenRoom) -> None:
    """Waiting, occupancy and offers are exact; a place that is over is not occupied, swept or not."""
    await room.configure(capacity=4, claim_seconds=10, session_seconds=100)
    places = await room.arrive(9)
    await room.claim(*places[:3])
    reading = await room.read()
    assert (reading.waiting, reading.occupancy, reading.offered) == (5, 4, 1)
    await room.fast_forward(10)
    assert (await room.read()).occupancy == 3


async def test_it_leaves_no_trace(room: DrivenRoom) -> None:
    """Reading changes no key."""
    await room.configure(capacity=2)
    await room.arrive(5)
    before = await dump(room.redis)
    await room.read()
    assert await dump(room.redis) == before


@pytest.mark.parametrize("inside", [1, 2, 16, 17, 18, 100])
async def test_releases(room: DrivenRoom, inside: int) -> None:
    """Up to 17 evenly spaced expiries, first and last among them, in order and none of the past."""
    await room.configure(capacity=0, claim_seconds=10)
    await room.arrive(3)
    await room.fast_forward(10)
    for _ in range(inside):
        await room.arrive(1)
        await room.fast_forward(0.01)
    ends = sorted((await room.scores("active")).values())[3:]
    reading = await room.read()
    assert reading.occupancy == inside
    assert list(reading.releases_us) == sorted(reading.releases_us)
    assert (reading.releases_us[0], reading.releases_us[-1]) == (ends[0], ends[-1])
    assert len(reading.releases_us) <= 17
    if inside <= 17:
        assert set(reading.releases_us) == set(ends)
    middle = reading.releases_us[len(reading.releases_us) // 2]
    assert abs(ends.index(middle) - inside / 2) <= 1


async def test_no_releases_where_nobody_is_inside(room: DrivenRoom) -> None:
    """Places that are over and not swept yet are no releases to come."""
    await room.configure(capacity=0, claim_seconds=10)
    await room.arrive(3)
    await room.fast_forward(10)
    reading = await room.read()
    assert (reading.occupancy, reading.releases_us) == (0, ())


@pytest.mark.parametrize("waiting", [0, 1, 2, 3, 31, 32, 33, 40, 100, 5000])
async def test_ladder(room: DrivenRoom, waiting: int) -> None:
    """Up to 32 ranks with their serials, ascending, first and last among them; each rank where there are no more."""
    await room.configure(state="paused")
    for start in range(0, waiting, 500):
        await room.arrive(min(500, waiting - start))
    serials = sorted((await room.scores("wait")).values())
    ladder = (await room.read()).ladder
    ranks = [rank for rank, _ in ladder]
    assert [serial for _, serial in ladder] == [serials[rank - 1] for rank in ranks]
    assert ranks == sorted(set(ranks))
    assert len(ranks) == min(waiting, 32)
    if waiting:
        assert (ranks[0], ranks[-1]) == (1, waiting)
    # Each step is the same share of the way, as far as whole ranks can be.
    growth = waiting ** (1 / 31)
    assert all(after - before <= max(before * (growth - 1), 1) + 1 for before, after in itertools.pairwise(ranks))


async def test_revoked_since(room: DrivenRoom) -> None:
    """Revocations are listed from the given time on, that time included, oldest first."""
    await room.configure(capacity=3)
    places = await room.arrive(3)
    for place in places:
        await room.leave(place)
    revoked = (await room.read()).revoked
    assert list(revoked) == [place.visitor for place in places]
    times = list(revoked.values())
    since = (await room.store.read(room.name, since_us=times[1])).revoked
    assert list(since.items()) == list(revoked.items())[1:]


async def test_revoked_page(room: DrivenRoom) -> None:
    """One call lists 5,000 revocations at most, the oldest first; the store goes on until it has them all."""
    await room.configure(capacity=0)
    for _ in range(10):
        await room.leave(*await room.arrive(512))
    revoked = await room.members("revoked")
    assert (await run(room.redis, "read", room.name, [0]))[7][::2] == revoked[:5_000]
    assert list((await room.read()).revoked) == revoked
