"""The disguise in which the places of an address are counted.

An address may identify a person, so Redis never holds one. It gets a keyed hash. Without the signing key the address
cannot be told from it.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Final

from waitroom.addresses import Address
from waitroom.proofs.keyring import Keyring

#: Bits of an address that are one place's own: providers hand out a whole /64 of IPv6 to one line at least.
_OWN_BITS: Final = {4: 32, 6: 64}

#: Bits that are one network's own: what is announced on the internet by itself is not smaller.
_NETWORK_BITS: Final = {4: 24, 6: 48}

_DISGUISE_BYTES: Final = 12


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
