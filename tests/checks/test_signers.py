"""All instances on one Redis sign alike, or the odd one out says so."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from rig.waiting import until
from tests.web import sites
from waitroom.checks.signers import Signers
from waitroom.errors import Unavailable
from waitroom.proofs import keyring
from waitroom.store import keys
from waitroom.store.store import Store

ONE, OTHER = "k1:" + "a-secret-made-up-for-tests-0123456789", "k1:" + "another-made-up-for-tests-0123456789"


def signers(store: Store, *entries: str) -> Signers:
    """The part of an instance with these keys."""
    return Signers(store, keyring.parse(entries))


async def test_who_signs_alike_agrees(store: Store, redis: Redis) -> None:
    """Any number of instances with the same key find no fault, and the note does not outlive them for long."""
    parts = [signers(store, ONE) for _ in range(3)]
    for part in parts * 2:
        await part.look()
        assert part.fault is None
    assert 0 < await redis.ttl(keys.signer_key("k1")) <= 30


async def test_another_secret_under_the_same_id_is_a_fault(store: Store, redis: Redis) -> None:
    """Who comes second with another secret is at fault, the first is not; neither secret shows."""
    first, second = signers(store, ONE), signers(store, OTHER)
    for _ in range(2):
        await first.look()
        await second.look()
        assert first.fault is None
        assert second.fault is not None
        assert "'k1'" in second.fault.detail
    noted = str(await redis.get(keys.signer_key("k1")))
    assert len(noted) == 16
    assert noted not in ONE + OTHER


async def test_the_fault_ends_with_the_others(store: Store, redis: Redis) -> None:
    """Once the note of those who are gone has expired, the odd one out is right."""
    await signers(store, ONE).look()
    odd = signers(store, OTHER)
    await odd.look()
    assert odd.fault
    await redis.delete(keys.signer_key("k1"))
    for _ in range(2):
        assert odd.fault
        await odd.look()
    assert odd.fault is None


async def test_the_odd_one_out_does_not_overtake(store: Store, redis: Redis) -> None:
    """When the note is lost, those who agreed make it again, whoever looks first."""
    first, odd = signers(store, ONE), signers(store, OTHER)
    for _ in range(3):
        await first.look()
        await odd.look()
        await redis.delete(keys.signer_key("k1"))
        await odd.look()
        assert (first.fault, bool(odd.fault)) == (None, True)


async def test_keys_rotate_without_a_fault(store: Store) -> None:
    """A new secret under a new id agrees with the instances that still sign with the old one."""
    old, new = signers(store, ONE), signers(store, "k2:" + OTHER[3:], ONE)
    await old.look()
    await new.look()
    assert (old.fault, new.fault) == (None, None)


async def test_an_outage_is_no_fault(store: Store, redis: Redis) -> None:
    """While Redis refuses, what was known stays."""
    part = signers(store, ONE)
    await part.look()
    await redis.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(Unavailable):
            await part.look()
    finally:
        await redis.replicaof("NO", "ONE")
    assert part.fault is None


def test_the_odd_one_out_is_not_ready() -> None:
    """An instance with another secret than the rest says at /readyz what is wrong, and the rest stay ready."""
    with sites.own_redis() as (url, redis):
        settings = sites.settings_for(url, rooms={"shop": {}})
        with sites.serving(redis, settings) as one:
            until(lambda: redis.exists(keys.signer_key("k1")), what="the note")
            with sites.serving(redis, settings.model_copy(update={"signing_keys": [OTHER]})) as other:
                until(lambda: other.call("GET", "/readyz").status_code == 503, what="the fault")
                assert "signing_keys" in other.call("GET", "/readyz").json()["detail"]
                assert OTHER[3:] not in other.call("GET", "/readyz").text
                assert one.call("GET", "/readyz").status_code == 200
