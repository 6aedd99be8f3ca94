"""The signing keys: which one signs, which ones verify, and how they rotate.

The first key signs. All of them verify, so that a new key can be put first on every instance before the old one is
taken out. A key's id stands in clear in each proof. An id that is not in the ring verifies nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from waitroom.errors import SettingsError

#: Seconds by which the clocks of two machines may differ: so far ahead a proof's time of issue may lie.
LEEWAY_SECONDS: Final = 5

#: Bytes a secret must have at least: as many as SHA-256 gives out (RFC 7518, section 3.2).
SECRET_BYTES: Final = 32

_KEY = re.compile(r"([A-Za-z0-9_-]{1,16}):(\S+)\Z")


@dataclass(frozen=True)
class Keyring:
    """Secrets by key id. `signer` is the id of the one that signs. Never printed."""

    signer: str
    secrets: Mapping[str, bytes]

    def __repr__(self) -> str:
        return f"Keyring(signer={self.signer!r}, ids={sorted(self.secrets)!r})"

    def fingerprint(self) -> str:
        """What tells the signing secret from another one, and nothing else about it: 16 hexadecimal digits."""
        return self.derived(b"waitroom signer v1")[self.signer].hex()[:16]

    def derived(self, purpose: bytes) -> dict[str, bytes]:
        """A key for one purpose from each secret, by key id, so that no two kinds of proof share a key."""
        return {kid: hmac.digest(secret, purpose, hashlib.sha256) for kid, secret in self.secrets.items()}


def parse(entries: Iterable[str], *, name: str = "signing_keys", apart_from: Iterable[str] = ()) -> Keyring:
    """A key ring from entries `id:secret`, the signing one first. `name` is the setting's.

    No secret may be that of an entry which they are kept `apart_from`. Raises SettingsError that names the entry by its
    place and id, never its secret.
    """
    found: dict[str, bytes] = {}
    faults = []
    for place, entry in enumerate(entries, start=1):
        match = _KEY.match(entry)
        if match is None:
            faults.append(f"{name}: entry {place} is not `id:secret` (id: 1-16 letters, digits, - or _)")
            continue
        kid, secret = match[1], match[2].encode()
        if kid in found:
            faults.append(f"{name}: the id {kid!r} is used twice")
        if is_weak(match[2]):
            faults.append(
                f"{name}: the secret of {kid!r} is weak. It needs at least {SECRET_BYTES} random characters "
                "(`openssl rand -base64 32` makes one)"
            )
        found[kid] = secret
    signing = {entry.partition(":")[2].encode() for entry in apart_from}
    if not signing.isdisjoint(found.values()):
        faults.append(f"{name}: one of them is a signing key. Make another (`openssl rand -base64 32`)")
    if faults:
        raise SettingsError("\n".join(faults))
    if not found:
        raise SettingsError(f"{name}: none given, at least one `id:secret` is needed")
    return Keyring(next(iter(found)), found)


def is_weak(secret: str) -> bool:
    """Whether a secret is too short, or too regular to have been drawn at random."""
    return len(secret.encode()) < SECRET_BYTES or len(set(secret)) < 10


def fresh_entry(kid: str = "k1") -> str:
    """A new random entry `id:secret`."""
    return f"{kid}:{secrets.token_urlsafe(SECRET_BYTES)}"
