"""What is written in a ticket or a pass, read without its key: a visitor's own copy, for the history."""

from __future__ import annotations

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

_BODY: Final = struct.Struct(">H16sQQ")


@dataclass(frozen=True, slots=True)
class Written:
    """What a proof says. A ticket has a `serial`, a pass an `expires` (seconds since the epoch)."""

    identity: str
    serial: int = 0
    expires: float = 0.0
    offer: bool = False


def read_ticket(text: str) -> Written:
    """What a ticket says. Raises ValueError for what is not one."""
    try:
        raw = urlsafe_b64decode(text.rpartition(".")[2])
        _version, visitor, serial, _issued = _BODY.unpack_from(raw)
    except (struct.error, ValueError) as error:
        raise ValueError(f"not a ticket: {error}") from None
    return Written(urlsafe_b64encode(visitor).decode()[:22], serial)


def read_pass(text: str) -> Written:
    """What a pass says. Raises ValueError for what is not one."""
    parts = text.split(".")
    if len(parts) != 3:
        raise ValueError(f"not a pass: {len(parts)} parts instead of 3")
    claims: dict[str, Any] = orjson.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    return Written(str(claims["sub"]), expires=float(claims["exp"]), offer=claims.get("offer") is True)


def noted(document: Mapping[str, Any]) -> dict[str, Any]:
    """What of a visitor's document belongs into the history."""
    if document.get("state") == "waiting":
        written = read_ticket(document["ticket"]) if "ticket" in document else Written("", document.get("serial", 0))
        as_of = datetime.fromisoformat(document["as_of"]).timestamp()
        told = {"identity": written.identity, "serial": written.serial, "rank": document["rank"], "as_of": as_of}
        return {"state": "waiting", **{name: value for name, value in told.items() if value}}
    if document.get("state") == "admitted" and "pass" in document:
        written = read_pass(document["pass"])
        return {
            "state": "admitted",
            "identity": written.identity,
            "expires": written.expires,
            **({"offer": True} if written.offer else {}),
        }
    return {}
