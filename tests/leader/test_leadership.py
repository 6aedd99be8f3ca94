"""Leadership on a real server: one leads, the next takes over, and an old term does nothing."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Gauge
from redis.asyncio import Redis

from rig import servers
from rig.waiting import eventually
from waitroom import metrics
from waitroom.errors import TermStale, Unavailable
from waitroom.leader.leadership import Leadership
from waitroom.model import Outcome
from waitroom.settings.room import RoomSettings, fields_of
from waitroom.store import keys
from waitroom.store.clock import Clock
from waitroom.store.servers import connect
from waitroom.store.store import Store


class Hands:
    """A monotonic clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class SlowStore(Store):
    """A store whose lease calls take that long on the given clock."""

    hands: Hands
    delay: float

    async def lease(self, action: str, owner: str, *, ttl_seconds: float, above: int = 0) -> tuple[Outcome, int]:
        reply = await super().lease(action, owner, ttl_seconds=ttl_seconds, above=above)
        self.hands.now += self.delay
        return reply


@pytest.fixture
async def nowhere() -> AsyncIterator[Store]:
    """A store without a server."""
    store = Store(connect(f"unix:///nowhere/{os.getpid()}", timeout_seconds=0.2), Clock(), timeout_seconds=0.2)
    yield store
    await store.close()


async def taken_over(claim: Leadership) -> int:
    """The term under which the claim comes to lead; polls as a scheduler does."""
    return await eventually(claim.hold, "a new term")


async def lease_calls(redis: Redis) -> int:
    """Scripts that the server has run so far."""
    stats: dict[str, Any] = await redis.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {}).get("calls", 0))


async def test_only_one_of_three_leads(store: Store) -> None:
    """Of three instances that ask at once exactly one leads, and it goes on leading."""
    claims = [Leadership(store, lease_seconds=10) for _ in range(3)]
    for _ in range(3):
        terms = await asyncio.gather(*(claim.hold() for claim in claims))
        assert sum(term is not None for term in terms) == 1
    assert len({terms.index(term) for term in terms if term is not None}) == 1


async def test_another_takes_over_when_the_lease_has_run_out(store: Store, redis: Redis) -> None:
    """A leader that falls silent is replaced under a newer term, and by then no longer believes it leads."""
    hands = Hands()
    silent, heir = Leadership(store, lease_seconds=60, monotonic=hands), Leadership(store, lease_seconds=60)
    old = await silent.hold()
    assert old is not None
    assert await heir.hold() is None
    hands.now += 61
    await redis.hincrby(keys.LEASE, "until_us", -61_000_000)
    new = await heir.hold()
    assert silent.term is None
    assert new is not None
    assert new > old
    assert await silent.hold() is None


async def test_a_leader_that_renews_stays(store: Store) -> None:
    """Renewals keep lease and term; with the lease a third gone one is made, before that none is needed."""
    hands = Hands()
    leader, other = Leadership(store, lease_seconds=9, monotonic=hands), Leadership(store, lease_seconds=9)
    term = await leader.hold()
    for _ in range(5):
        hands.now += 3
        assert await leader.hold() == term
    assert await other.hold() is None


async def test_most_ticks_cost_no_call(store: Store, redis: Redis) -> None:
    """Within a third of the lease, holding asks Redis nothing."""
    hands = Hands()
    leader = Leadership(store, lease_seconds=9, monotonic=hands)
    await leader.hold()
    before = await lease_calls(redis)
    for _ in range(20):
        hands.now += 0.14
        await leader.hold()
    assert await lease_calls(redis) == before
    hands.now += 0.3
    await leader.hold()
    assert await lease_calls(redis) == before + 1


async def test_a_third_of_the_lease_is_time_to_renew(store: Store, redis: Redis) -> None:
    """At the very third the lease is renewed, so that two more tries are left."""
    hands = Hands()
    leader = Leadership(store, lease_seconds=9, monotonic=hands)
    await leader.hold()
    before = await lease_calls(redis)
    hands.now += 3
    await leader.hold()
    assert await lease_calls(redis) == before + 1


async def test_a_machine_that_has_just_started(store: Store) -> None:
    """Where the monotonic clock begins at zero nobody leads who has no lease, never had one, or gave it up."""
    hands = Hands()
    hands.now = 0.0
    late, leader = (Leadership(store, lease_seconds=60, monotonic=hands) for _ in range(2))
    assert leader.term is None
    assert await leader.hold() is not None
    assert await late.hold() is None
    assert late.term is None
    leader.forget()
    assert leader.term is None


@pytest.fixture
def leads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], float | None]:
    """What the metric says; one of this test's own, for other instances of this process write to the one shown."""
    own = CollectorRegistry()
    monkeypatch.setattr(metrics, "LEADER", Gauge("waitroom_leader", "The same.", registry=own))
    return lambda: own.get_sample_value("waitroom_leader")


async def test_operators_can_see_who_leads(
    store: Store, redis: Redis, caplog: pytest.LogCaptureFixture, leads: Callable[[], float | None]
) -> None:
    """Coming to lead, renewing and losing the lease show in the metrics, and the log says each change once."""
    caplog.set_level(logging.INFO, logger="waitroom.leader.leadership")
    hands = Hands()
    leader, other = Leadership(store, lease_seconds=9, monotonic=hands), Leadership(store, lease_seconds=9)
    old = await leader.hold()
    assert leads() == 1
    hands.now += 4
    await leader.hold()
    assert leads() == 1
    await redis.delete(keys.LEASE)
    newer = await other.hold()
    for _ in range(2):
        hands.now += 4
        assert await leader.hold() is None
        assert leads() == 0
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"leadership acquired: term {old}",
        f"leadership acquired: term {newer}",
        f"leadership lost: term {old}",
    ]


async def test_forgetting_shows_in_the_metrics(store: Store, leads: Callable[[], float | None]) -> None:
    """Who stopped leading says so at once."""
    leader = Leadership(store, lease_seconds=9)
    await leader.hold()
    assert leads() == 1
    leader.forget()
    assert leads() == 0


async def test_a_resigned_lease_is_taken_at_the_next_hold(store: Store) -> None:
    """After a resignation nobody has to wait for the lease to run out."""
    leader, other = Leadership(store, lease_seconds=60), Leadership(store, lease_seconds=60)
    old = await leader.hold()
    assert old is not None
    assert await other.hold() is None
    await leader.resign()
    assert leader.term is None
    new = await other.hold()
    assert new is not None
    assert new > old


async def test_resigning_takes_nothing_from_another(store: Store) -> None:
    """Only the owner's resignation frees the lease."""
    leader, other = Leadership(store, lease_seconds=60), Leadership(store, lease_seconds=60)
    term = await leader.hold()
    await other.hold()
    await other.resign()
    assert await other.hold() is None
    assert await leader.hold() == term


async def test_the_claim_ends_without_redis(store: Store) -> None:
    """A holder stops at its own monotonic deadline, whatever Redis or the wall clock would say."""
    hands = Hands()
    leader = Leadership(store, lease_seconds=3, monotonic=hands)
    term = await leader.hold()
    assert term is not None
    hands.now += 2.999
    assert leader.term == term
    hands.now += 0.001
    assert leader.term is None


async def test_the_lease_counts_from_before_the_call(engine: str, redis: Redis) -> None:
    """The time that the call itself took is part of the lease: the holder ends before Redis lets another in."""
    slow = SlowStore(connect(engine, timeout_seconds=10), Clock(), timeout_seconds=10)
    slow.hands, slow.delay = Hands(), 2.0
    leader = Leadership(slow, lease_seconds=3, monotonic=slow.hands)
    assert await leader.hold() is not None
    slow.hands.now += 0.999
    late = leader.term
    slow.hands.now += 0.001
    assert (late is not None, leader.term) == (True, None)
    await slow.close()


async def test_a_frozen_holders_term_is_refused(store: Store) -> None:
    """Who was frozen beyond the lease and still believes to lead has no effect once a newer leader has acted."""
    await store.configure("shop", fields_of(RoomSettings(capacity=1)), expected=0)
    frozen, heir = Leadership(store, lease_seconds=0.3, monotonic=Hands()), Leadership(store, lease_seconds=10)
    old = await frozen.hold()
    new = await taken_over(heir)
    assert frozen.term == old
    await store.admit("shop", term=new)
    assert old is not None
    for act in (store.admit, store.expire):
        with pytest.raises(TermStale):
            await act("shop", term=old)
    await store.admit("shop", term=new)


async def test_after_the_clock_was_set_back_the_owner_leads_again(store: Store, redis: Redis) -> None:
    """A lease that ends later than it can have been given for holds nobody up: its owner gets it under a newer term."""
    hands = Hands()
    leader = Leadership(store, lease_seconds=3, monotonic=hands)
    old = await leader.hold()
    assert old is not None
    await redis.hincrby(keys.LEASE, "until_us", 3_600_000_000)
    hands.now += 1.5
    new = await leader.hold()
    assert new is not None
    assert new > old


async def test_after_the_clock_was_set_back_another_may_lead(store: Store, redis: Redis) -> None:
    """The same holds when the owner is gone: nobody waits an hour."""
    gone, other = Leadership(store, lease_seconds=3), Leadership(store, lease_seconds=3)
    old = await gone.hold()
    await redis.hincrby(keys.LEASE, "until_us", 3_600_000_000)
    new = await other.hold()
    assert old is not None
    assert new is not None
    assert new > old


async def test_terms_grow_when_the_lease_is_lost(store: Store, redis: Redis) -> None:
    """Even after all data are gone a later term is a higher one."""
    hands = Hands()
    leader = Leadership(store, lease_seconds=3, monotonic=hands)
    old = await leader.hold()
    assert old is not None
    await redis.flushall()
    hands.now += 1.5
    # Terms follow the clock in milliseconds: one must have passed.
    before = int((await redis.time())[1])
    while abs(int((await redis.time())[1]) - before) < 2000:
        pass
    new = await leader.hold()
    assert new is not None
    assert new > old


async def test_forgetting_is_not_resigning(store: Store) -> None:
    """Who saw a newer term stops at once and leaves the lease as it is."""
    leader, other = Leadership(store, lease_seconds=60), Leadership(store, lease_seconds=60)
    await leader.hold()
    leader.forget()
    assert leader.term is None
    assert await other.hold() is None
    assert await leader.hold() is not None


async def test_a_lease_that_went_back_to_an_older_term_is_taken_anew(store: Store, redis: Redis) -> None:
    """After a failover that lost the last handover, who gets the lease back leads above whoever has acted (I17)."""
    await store.configure("shop", fields_of(RoomSettings(capacity=1)), expected=0)
    first, second = Leadership(store, lease_seconds=60), Leadership(store, lease_seconds=60)
    await first.hold()
    replicated = await redis.hgetall(keys.LEASE)
    await first.resign()
    newer = await second.hold()
    assert newer is not None
    await store.admit("shop", term=newer)
    await redis.hset(keys.LEASE, items=[part for pair in replicated.items() for part in pair])
    old = await first.hold()
    assert old is not None
    with pytest.raises(TermStale) as refused:
        await store.admit("shop", term=old)
    first.forget(refused.value.term)
    taken = await first.hold()
    assert taken is not None
    assert taken > newer
    await store.admit("shop", term=taken)
    assert await second.hold() == newer
    with pytest.raises(TermStale):
        await store.admit("shop", term=newer)


async def test_without_redis_holding_says_so(nowhere: Store) -> None:
    """Nobody leads without Redis, and holding raises Unavailable."""
    claim = Leadership(nowhere, lease_seconds=3)
    with pytest.raises(Unavailable):
        await claim.hold()
    assert claim.term is None


async def test_resigning_never_raises_without_redis(nowhere: Store) -> None:
    """On the way out an unreachable Redis is no reason to fail."""
    await Leadership(nowhere, lease_seconds=3).resign()


async def test_resigning_never_raises_on_a_broken_lease(
    store: Store, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """A lease key of the wrong type is no reason to fail on the way out either; the log says what was wrong."""
    await redis.set(keys.LEASE, "not a hash")
    await Leadership(store, lease_seconds=3).resign()
    (record,) = caplog.records
    assert record.getMessage().startswith("leadership not resigned, another instance leads when the lease runs out: ")
    assert "WRONGTYPE" in record.getMessage()


async def test_an_outage_within_the_lease_keeps_the_term() -> None:
    """A renewal that fails does not end a claim whose deadline has not come: its holder goes on leading until then."""
    program = servers.program()
    hands = Hands()
    with servers.running(binary=program) as url:
        store = Store(connect(url, timeout_seconds=10), Clock(), timeout_seconds=10)
        leader = Leadership(store, lease_seconds=9, monotonic=hands)
        term = await leader.hold()
    hands.now += 4
    assert await leader.hold() == leader.term == term
    hands.now += 5
    with pytest.raises(Unavailable):
        await leader.hold()
    assert leader.term is None
    await store.close()


async def test_a_leader_cut_off_says_that_it_leads_no_more(store: Store, nowhere: Store) -> None:
    """Once its lease has run out out of reach of Redis the metric is 0: another may lead, and two would look wrong."""
    hands = Hands()
    claim = Leadership(store, lease_seconds=3, monotonic=hands)
    assert await claim.hold() is not None
    assert REGISTRY.get_sample_value("waitroom_leader") == 1
    claim._store = nowhere
    hands.now += 2
    assert await claim.hold() is not None
    assert REGISTRY.get_sample_value("waitroom_leader") == 1
    hands.now += 2
    with pytest.raises(Unavailable):
        await claim.hold()
    assert REGISTRY.get_sample_value("waitroom_leader") == 0
