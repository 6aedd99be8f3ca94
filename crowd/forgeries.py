"""Proofs that a forger makes up: cut, changed, of another kind, signed with nothing or with a key of its own."""

from __future__ import annotations

import hmac
import json
import random
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from waitroom.model import Pass
from waitroom.proofs import keyring
from waitroom.proofs.passes import PassOffice
from waitroom.proofs.tickets import new_visitor

_OWN: Final = "k1:" + secrets.token_urlsafe(32)


def forged_passes(room: str, signing_key: str) -> dict[str, str]:
    """What a gate may be shown for a pass, by name. The room's key makes those that are all but good."""
    good = _signed(signing_key, room)
    return {
        "no pass": "",
        "garbage": "a.b.c",
        "a key of one's own": _signed(_OWN, room),
        "a pass of another room": _signed(signing_key, f"{room}-other"),
        "a cut pass": good[:-3],
    }


def forged_proofs(room: str, ticket: str, identity: str, dice: random.Random) -> dict[str, str]:
    """What can be made of one's own ticket, by name."""
    kid, _, text = ticket.partition(".")
    raw = bytearray(urlsafe_b64decode(text))
    flipped, earlier = raw.copy(), raw.copy()
    flipped[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
    earlier[18:26] = (int.from_bytes(raw[18:26], "big") - 3_600_000_000).to_bytes(8, "big")
    body = bytes(earlier[:-32])
    return {
        "a flipped bit": _ticket(kid, flipped),
        "an earlier serial": _ticket(kid, earlier),
        "a key of one's own": _ticket(kid, body + hmac.digest(secrets.token_bytes(32), body, "sha256")),
        "a cut ticket": ticket[: dice.randrange(len(ticket))],
        "a pass that nobody signed": _unsigned(room, identity),
    }


def _signed(key: str, room: str) -> str:
    now = time.time()
    return PassOffice(keyring.parse([key])).issue(room, Pass(new_visitor(), now + 3600), now=now)


def _unsigned(room: str, identity: str) -> str:
    header = {"alg": "none", "typ": "JWT"}
    claims = {"aud": f"waitroom:{room}", "sub": identity, "iat": 1, "exp": 9_999_999_999}
    return ".".join(_part(json.dumps(part).encode()) for part in (header, claims)) + "."


def _ticket(kid: str, raw: bytes | bytearray) -> str:
    return f"{kid}.{urlsafe_b64encode(raw).decode()}"


def _part(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
