"""Whose request it is: the address behind the proxies in front, and the disguise in which its places are counted.

An address says who somebody is, so Redis never holds one: it gets a keyed hash, from which nobody without the signing
key can tell the address.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from waitroom.keyring import Keyring

Address = IPv4Address | IPv6Address

#: Who comes by a unix socket, and that nobody is in front, in a list of proxies.
UNIX: Final = "unix"
NOBODY: Final = "none"

#: Bits of an address that are one place's own: providers hand out a whole /64 of IPv6 to one line at least.
_OWN_BITS: Final = {4: 32, 6: 64}

#: Bits that are one network's own: what is announced on the internet by itself is not smaller.
_NETWORK_BITS: Final = {4: 24, 6: 48}

#: The last so many entries of an X-Forwarded-For are looked at: no chain of trusted proxies is longer.
_LONGEST_CHAIN: Final = 20

_DISGUISE_BYTES: Final = 12


@dataclass(frozen=True)
class Proxies:
    """The proxies whose word is taken for whom they speak."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    unix: bool = False
    known: bool = False

    @classmethod
    def parse(cls, entries: Sequence[str]) -> Proxies:
        """From networks, `unix` and `none`; raises ValueError that names what is neither."""
        networks = []
        for entry in entries:
            if entry in (UNIX, NOBODY):
                continue
            try:
                networks.append(ip_network(entry))
            except ValueError as error:
                raise ValueError(f"{entry!r} is not a network like 10.0.0.0/8, `unix` or `none`: {error}") from None
        if NOBODY in entries and len(entries) > 1:
            raise ValueError("`none` stands alone: either somebody is in front or nobody is")
        return cls(tuple(networks), UNIX in entries, bool(entries))

    def client(self, peer: str | None, forwarded_for: Iterable[bytes]) -> Address | None:
        """Whose request it is, by who sent it and its X-Forwarded-For lines; None where that is not known.

        The chain is read from its end: each trusted proxy names who came to it, and the first who is none of them is
        the client. What stands before may be anybody's invention.
        """
        address = _plain(peer or "")
        if not self.known or not self._trusts(address, peer):
            return address if self.known else None
        chain = b",".join(forwarded_for).decode("latin-1").split(",")
        for entry in reversed(chain[-_LONGEST_CHAIN:]):
            address = _plain(entry.strip(" \t"))
            if address is None or not self._trusts(address, None):
                return address
        return None

    def _trusts(self, address: Address | None, peer: str | None) -> bool:
        if address is None:
            return self.unix and not peer
        return any(address in network for network in self.networks)


class Disguise:
    """Turns addresses into texts that tell them apart and nothing else, the same on every instance."""

    def __init__(self, keyring: Keyring) -> None:
        self._key = keyring.derived(b"waitroom source v1")[keyring.signer]

    def address(self, address: Address) -> str:
        """An address, or the /64 that an IPv6 address is in."""
        return self._hashed("a", address, _OWN_BITS[address.version])

    def network(self, address: Address) -> str:
        """The network that an address is in."""
        return self._hashed("n", address, _NETWORK_BITS[address.version])

    def _hashed(self, kind: str, address: Address, bits: int) -> str:
        prefix = int(address) >> (address.max_prefixlen - bits)
        digest = hmac.digest(self._key, f"{kind}{address.version}:{prefix}".encode(), sha256)
        return urlsafe_b64encode(digest[:_DISGUISE_BYTES]).decode()


def _plain(text: str) -> Address | None:
    """The address that a text is, without a port or zone; an IPv4 one inside IPv6 is that IPv4 one."""
    text = text.partition("]")[0][1:] if text.startswith("[") else text
    text = text.partition(":")[0] if text.count(":") == 1 else text
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
