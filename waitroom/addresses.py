"""The client's address behind the proxies in front."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address

#: In a list of proxies: a proxy on a unix socket, and that no proxy is in front.
UNIX: Final = "unix"
NOBODY: Final = "none"

#: The last so many entries of an X-Forwarded-For are looked at: no chain of trusted proxies is longer.
_LONGEST_CHAIN: Final = 20


@dataclass(frozen=True)
class Proxies:
    """The proxies that are believed when they name a client."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    unix: bool = False
    known: bool = False

    @classmethod
    def parse(cls, entries: Sequence[str]) -> Proxies:
        """From networks, `unix` and `none`. Raises ValueError that names what is neither."""
        networks = []
        for entry in entries:
            if entry in (UNIX, NOBODY):
                continue
            try:
                networks.append(ip_network(entry))
            except ValueError as error:
                raise ValueError(f"{entry!r} is not a network like 10.0.0.0/8, `unix` or `none`: {error}") from None
        if NOBODY in entries and len(entries) > 1:
            raise ValueError("`none` (no proxy in front) must be the only entry")
        return cls(tuple(networks), UNIX in entries, bool(entries))

    def client(self, peer: str | None, forwarded_for: Iterable[bytes]) -> Address | None:
        """The client's address, from the sender and the X-Forwarded-For lines. None where it is not known.

        The chain is read from its end: each trusted proxy names its client, and the first one that is no trusted proxy
        is the visitor's address. A client may have invented all that stands before it.
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


def _plain(text: str) -> Address | None:
    """The address that a text is, without a port or zone. An IPv4 one inside IPv6 is that IPv4 one."""
    text = text.partition("]")[0][1:] if text.startswith("[") else text
    text = text.partition(":")[0] if text.count(":") == 1 else text
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
