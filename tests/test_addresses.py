"""Whose request it is, and what Redis gets to see of an address."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waitroom.addresses import Proxies
from waitroom.proofs.disguise import Disguise
from waitroom.proofs.keyring import Keyring

RING = Keyring("k1", {"k1": b"Zq3-pB7xT0vKd9sLw2RfYh6mNc4JgU8a"})
OTHER = Keyring("k1", {"k1": b"9aKfP2-mXr7LtVq0WcZs5BnHy3EjGd6u"})
DISGUISE = Disguise(RING)

INSIDE = Proxies.parse(["10.0.0.0/8", "fd00::/8"])


def client(proxies: Proxies, peer: str | None, *lines: str) -> str | None:
    """Whose request it is, as text."""
    found = proxies.client(peer, [line.encode("latin-1") for line in lines])
    return None if found is None else str(found)


@pytest.mark.parametrize("peer", ["203.0.113.9", "10.0.0.1", "", None])
def test_nobody_is_known_unless_the_operator_says_who_is_in_front(peer: str | None) -> None:
    """Without the setting every address is unknown: all visitors may come by one proxy."""
    assert client(Proxies.parse([]), peer, "198.51.100.7") is None


@pytest.mark.parametrize(
    ("peer", "lines", "found"),
    [
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("fd00::1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["2001:db8::5"], "2001:db8::5"),
        # What the visitor wrote stands before what the proxies added, and is not believed.
        ("10.0.0.1", ["1.2.3.4, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["1.2.3.4", "198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["1.2.3.4, 198.51.100.7, 10.9.9.9, 10.0.0.3"], "198.51.100.7"),
        # Only a proxy may speak for others.
        ("203.0.113.9", ["198.51.100.7"], "203.0.113.9"),
        ("203.0.113.9", [], "203.0.113.9"),
        # Some proxies write ports, brackets or IPv4 inside IPv6.
        ("10.0.0.1", ["198.51.100.7:4711"], "198.51.100.7"),
        ("10.0.0.1", ["[2001:db8::5]:4711"], "2001:db8::5"),
        ("10.0.0.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
        ("::ffff:10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("fe80::1%eth0", ["198.51.100.7"], "fe80::1"),
        # A proxy that does not say for whom it speaks, or says nothing that is an address.
        ("10.0.0.1", [], None),
        ("10.0.0.1", [""], None),
        ("10.0.0.1", ["unknown"], None),
        ("10.0.0.1", ["198.51.100.7, unknown"], None),
        ("10.0.0.1", ["198.51.100.7, "], None),
        ("10.0.0.1", ["10.0.0.2"], None),
        ("10.0.0.1", ["198.51.100.007"], None),
        ("10.0.0.1", ["198.51.100.\uff17"], None),
    ],
)
def test_the_client_is_the_first_who_is_no_proxy(peer: str, lines: list[str], found: str | None) -> None:
    """Read from the end: each trusted proxy names who came to it."""
    assert client(INSIDE, peer, *(line.encode().decode("latin-1") for line in lines)) == found


def test_nobody_in_front() -> None:
    """`none`: the peer is the client, whatever it sends."""
    assert client(Proxies.parse(["none"]), "203.0.113.9", "198.51.100.7") == "203.0.113.9"


@pytest.mark.parametrize("peer", ["", None])
def test_a_unix_socket(peer: str | None) -> None:
    """Who comes by one is a proxy if the operator says so."""
    assert client(Proxies.parse(["unix"]), peer, "198.51.100.7") == "198.51.100.7"
    assert client(Proxies.parse(["10.0.0.0/8"]), peer, "198.51.100.7") is None
    assert client(Proxies.parse(["unix"]), "203.0.113.9", "198.51.100.7") == "203.0.113.9"


def test_a_long_chain_is_read_from_its_end_and_not_for_ever() -> None:
    """What stands far in front of a chain of proxies is not looked at."""
    assert client(INSIDE, "10.0.0.1", ", ".join(["198.51.100.7"] * 3 + ["10.0.0.2"] * 19)) == "198.51.100.7"
    assert client(INSIDE, "10.0.0.1", ", ".join(["198.51.100.7"] * 3 + ["10.0.0.2"] * 20)) is None


@pytest.mark.parametrize("entry", ["", "10.0.0.1/8", "10.0.0.0/33", "10.0.0", "*", "all", "shop.example", "unix "])
def test_what_is_no_network_is_named(entry: str) -> None:
    """The fault shows the value."""
    with pytest.raises(ValueError, match="is not a network") as refused:
        Proxies.parse(["10.0.0.0/8", entry])
    assert repr(entry) in str(refused.value)


def test_none_stands_alone() -> None:
    """Nobody in front and somebody in front cannot both be."""
    with pytest.raises(ValueError, match="must be the only entry"):
        Proxies.parse(["none", "10.0.0.0/8"])


@given(st.binary(max_size=80), st.sampled_from(["10.0.0.1", "203.0.113.9", "", None, "x"]))
def test_whatever_stands_there(line: bytes, peer: str | None) -> None:
    """No header makes it fail."""
    INSIDE.client(peer, [line])


def test_one_line_is_one_address() -> None:
    """Every address of an IPv6 /64 is the same one, its neighbours are others; IPv4 addresses are told apart."""
    one, same, other = (ip_address(text) for text in ("2001:db8:1:2::3", "2001:db8:1:2:ffff::1", "2001:db8:1:3::3"))
    assert DISGUISE.address(one) == DISGUISE.address(same) != DISGUISE.address(other)
    assert DISGUISE.address(ip_address("198.51.100.7")) != DISGUISE.address(ip_address("198.51.100.8"))


def test_networks() -> None:
    """A /24 of IPv4 and a /48 of IPv6."""
    same = [("198.51.100.7", "198.51.100.255"), ("2001:db8:1:2::3", "2001:db8:1:ffff::")]
    others = [("198.51.100.7", "198.51.101.7"), ("2001:db8:1::", "2001:db8:2::")]
    assert all(DISGUISE.network(ip_address(a)) == DISGUISE.network(ip_address(b)) for a, b in same)
    assert all(DISGUISE.network(ip_address(a)) != DISGUISE.network(ip_address(b)) for a, b in others)


def test_a_disguise_says_nothing_of_the_address() -> None:
    """Addresses and networks of either kind never look alike, and without the key nobody can make them."""
    address = ip_address("0.0.0.1")
    texts = [
        *(DISGUISE.address(address), DISGUISE.network(address), Disguise(OTHER).address(address)),
        *(DISGUISE.address(ip_address("0:0:0:1::")), DISGUISE.network(ip_address("0:0:1::"))),
    ]
    assert len(set(texts)) == len(texts)
    assert all(len(text) == 16 for text in texts)
    assert all(one[:4] != other[:4] for one, other in pairwise(texts))
