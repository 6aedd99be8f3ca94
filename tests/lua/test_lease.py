"""lease: one holder at a time, terms that only grow."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from waitroom.model import Outcome
from waitroom.store import keys
from waitroom.store.store import Store


async def hold(store: Store, owner: str, *, ttl_seconds: float = 3) -> tuple[Outcome, int]:
    """Ask for the lease."""
    return await store.lease("hold", owner, ttl_seconds=ttl_seconds)


async def resign(store: Store, owner: str) -> tuple[Outcome, int]:
    """Give the lease back."""
    return await store.lease("resign", owner, ttl_seconds=3)


async def let_pass(redis: Redis, seconds: float) -> None:
    """Make the lease that much older."""
    await redis.hincrby(keys.LEASE, "until_us", -round(seconds * 1_000_000))


async def test_acquire_renew(store: Store) -> None:
    """The first to ask acquires, and renews under the same term."""
    outcome, term = await hold(store, "a")
    assert outcome is Outcome.ACQUIRED
    assert await hold(store, "a") == (Outcome.RENEWED, term)


async def test_others_wait(store: Store, redis: Redis) -> None:
    """While the lease lives nobody else gets, renews or resigns it (I16)."""
    _, term = await hold(store, "a")
    before = await redis.hgetall(keys.LEASE)
    assert await hold(store, "b") == (Outcome.HELD, term)
    assert await resign(store, "b") == (Outcome.RESIGNED, term)
    assert await redis.hgetall(keys.LEASE) == before


async def test_over(store: Store, redis: Redis) -> None:
    """When the lease is over another acquires it under a larger term, and the old holder must wait."""
    _, term = await hold(store, "a")
    await let_pass(redis, 3)
    outcome, newer = await hold(store, "b")
    assert (outcome, newer > term) == (Outcome.ACQUIRED, True)
    assert await hold(store, "a") == (Outcome.HELD, newer)


async def test_late_holder_gets_a_new_term(store: Store, redis: Redis) -> None:
    """Who comes back after the end of the own lease acquires anew: others may have led meanwhile."""
    _, term = await hold(store, "a")
    await let_pass(redis, 3)
    outcome, newer = await hold(store, "a")
    assert (outcome, newer > term) == (Outcome.ACQUIRED, True)


async def test_renewal_counts_from_now(store: Store, redis: Redis) -> None:
    """A renewal lasts its whole ttl again."""
    await hold(store, "a")
    await let_pass(redis, 2)
    await hold(store, "a")
    await let_pass(redis, 2)
    assert (await hold(store, "b"))[0] is Outcome.HELD


async def test_resigned_is_free(store: Store) -> None:
    """After a resignation the next to ask leads at once, under a larger term; resigning twice is one resignation."""
    _, term = await hold(store, "a")
    assert await resign(store, "a") == (Outcome.RESIGNED, term)
    assert await resign(store, "a") == (Outcome.RESIGNED, term)
    outcome, newer = await hold(store, "b")
    assert (outcome, newer > term) == (Outcome.ACQUIRED, True)


async def test_resign_without_a_lease(store: Store) -> None:
    """Resigning what nobody holds is no fault."""
    assert await resign(store, "a") == (Outcome.RESIGNED, 0)


async def test_terms_grow_across_a_loss(store: Store, redis: Redis) -> None:
    """A lease that was lost with all data comes back under a larger term."""
    _, term = await hold(store, "a")
    for _ in range(3):
        # The terms of one millisecond count up from one another; a loss within it could repeat one.
        seconds, micros = await redis.time()
        while (await redis.time()) < (seconds, micros + 2_000) and (await redis.time())[0] == seconds:
            pass
        await redis.flushall()
        _, newer = await hold(store, "b")
        assert newer > term
        term = newer


async def test_a_newer_term_was_seen(store: Store) -> None:
    """The holder's lease goes on under the newest term that was seen acting; under an older one it is over."""
    _, term = await hold(store, "a")
    assert await store.lease("hold", "a", ttl_seconds=3, above=term) == (Outcome.RENEWED, term)
    assert await store.lease("hold", "a", ttl_seconds=3, above=term + 1_000_000) == (Outcome.ACQUIRED, term + 1_000_001)


async def test_clock_set_back(store: Store, redis: Redis) -> None:
    """A lease that ends later than its ttl allows dates from before the clock was set back and holds nobody up."""
    _, term = await hold(store, "a")
    await let_pass(redis, -3600)
    outcome, newer = await hold(store, "b")
    assert (outcome, newer > term) == (Outcome.ACQUIRED, True)
    assert await hold(store, "a") == (Outcome.HELD, newer)


@pytest.mark.parametrize("ttl", [0.2, 3.0, 60.0])
async def test_every_ttl_lives_its_time(store: Store, redis: Redis, ttl: float) -> None:
    """A lease of any length is held now and free after it."""
    await hold(store, "a", ttl_seconds=ttl)
    assert (await hold(store, "b", ttl_seconds=0.2))[0] is Outcome.HELD
    await let_pass(redis, ttl)
    assert (await hold(store, "b", ttl_seconds=0.2))[0] is Outcome.ACQUIRED


async def test_no_rooms_are_touched(store: Store, redis: Redis) -> None:
    """The lease is the one key that leadership uses."""
    await hold(store, "a")
    assert await redis.keys() == [keys.LEASE]
