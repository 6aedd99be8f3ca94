"""The key ring: how entries are read, what is refused, and that secrets stay secret."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig import machine
from waitroom.errors import SettingsError
from waitroom.proofs.keyring import SECRET_BYTES, Keyring, fresh_entry, is_weak, parse

SECRET = "Zq3-pB7xT0vKd9sLw2RfYh6mNc4JgU8a"
OTHER = "9aKfP2-mXr7LtVq0WcZs5BnHy3EjGd6u"


def test_the_first_entry_signs() -> None:
    """All entries verify, the first one signs."""
    ring = parse([f"new:{SECRET}", f"old:{OTHER}"])
    assert ring.signer == "new"
    assert ring.secrets == {"new": SECRET.encode(), "old": OTHER.encode()}


def test_a_secret_may_hold_colons() -> None:
    """Only the first colon separates the id from the secret."""
    assert parse([f"k1:{SECRET}:x"]).secrets["k1"] == f"{SECRET}:x".encode()


@pytest.mark.parametrize(
    "entry",
    ["", ":", SECRET, f":{SECRET}", "k1:", f"k 1:{SECRET}", f"k/1:{SECRET}", f"{'k' * 17}:{SECRET}",
     f"k1: {SECRET}", f"k1:{SECRET}\n", f"k\u00e9:{SECRET}", f"../k:{SECRET}"],
)  # fmt: skip
def test_a_malformed_entry_is_refused_by_its_place(entry: str) -> None:
    """What is not `id:secret` is refused with its place, and without the secret."""
    with pytest.raises(SettingsError, match="signing_keys: entry 2 is not") as refused:
        parse([f"k0:{OTHER}", entry])
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("secret", ["short", "a" * 64, "changeme" * 5, "123456789" * 8, SECRET[:-1]])
def test_a_weak_secret_is_refused(secret: str) -> None:
    """A secret that is too short or too regular is refused by its id, and is not shown."""
    with pytest.raises(SettingsError, match="the secret of 'k1' is weak") as refused:
        parse([f"k1:{secret}"])
    assert secret not in str(refused.value)


def test_all_faults_come_together() -> None:
    """One message lists every faulty entry."""
    with pytest.raises(SettingsError) as refused:
        parse(["nothing", f"k1:{SECRET}", f"k1:{OTHER}", "k2:short"])
    faults = str(refused.value).splitlines()
    assert all(fault.startswith("signing_keys: ") and fault[-1] in "e)" for fault in faults)
    assert ["entry 1" in faults[0], "'k1' is used twice" in faults[1], "'k2' is weak" in faults[2]] == [True] * 3


def test_an_empty_ring_is_refused() -> None:
    """Without any key nothing could be signed."""
    with pytest.raises(SettingsError, match=r"^signing_keys: none given, .+ needed$"):
        parse([])


def test_who_gave_a_weak_secret_is_told_how_to_make_one() -> None:
    """The command in the message makes a secret that is good enough."""
    with pytest.raises(SettingsError) as refused:
        parse(["k1:short"])
    command = str(refused.value).split("`")[1].split()
    machine.program("openssl")
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert parse([f"k1:{made}"]).signer == "k1"


def test_ten_different_characters_are_enough() -> None:
    """A long secret of ten different characters is taken, one of nine is weak."""
    assert not is_weak("abcdefghij" * 4)
    assert is_weak("abcdefghi" * 4)


def test_fresh_entries_are_strong_and_differ() -> None:
    """What waitroom makes up itself passes its own test and is never the same twice."""
    one, other = fresh_entry(), fresh_entry()
    assert one != other
    assert parse([one]).signer == "k1"


@given(st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES).map(bytes.hex))
def test_a_random_hexadecimal_secret_counts_by_its_variety(secret: str) -> None:
    """Length is not enough: fewer than ten different characters are weak."""
    assert is_weak(secret) is (len(set(secret)) < 10)


def test_printing_a_ring_shows_no_secret() -> None:
    """Neither repr nor str of a key ring holds a secret."""
    ring = parse([f"k1:{SECRET}"])
    assert SECRET not in f"{ring!r} {ring} {[ring]}"
    assert "k1" in repr(ring)


def test_the_fingerprint_is_the_same_in_every_version() -> None:
    """Instances of an older and a newer version must agree on which key is which while they are replaced."""
    assert parse([f"k1:{SECRET}"]).fingerprint() == "6f7a6d4bdada8354"


def test_derived_keys_differ_by_purpose_and_secret() -> None:
    """No two purposes and no two secrets share a key, and the secret itself is none of them."""
    ring = Keyring("a", {"a": SECRET.encode(), "b": OTHER.encode()})
    made = [*ring.derived(b"one").values(), *ring.derived(b"two").values(), *ring.secrets.values()]
    assert len(set(made)) == 6
    assert ring.derived(b"one") == ring.derived(b"one")
