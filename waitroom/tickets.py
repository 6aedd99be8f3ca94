"""Tickets: signed proof of a place in a wait queue.

    <key id>.<88 characters of base64url>
    decoded: 2 bytes version | 16 bytes visitor | 8 bytes serial | 8 bytes issued_us | 32 bytes HMAC-SHA256

66 bytes fill 88 characters without a spare bit, so a ticket has exactly one spelling. The room is not inside: it is
part of what is signed, so a ticket of another room does not verify. Tickets are made and read at every request, so
this is plain struct and hmac; passes, which others may want to verify, are JWTs (see passes).
"""

from __future__ import annotations

import hmac
import re
import secrets
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import Final

from waitroom.keyring import Keyring
from waitroom.model import Ticket, Visitor

VERSION: Final = 1
_BODY: Final = struct.Struct(">H16sQQ")
_SHAPE: Final = re.compile(r"([A-Za-z0-9_-]{1,16})\.([A-Za-z0-9_-]{88})\Z", re.ASCII)


def new_visitor() -> Visitor:
    """A fresh visitor id: 128 random bits as 22 characters."""
    return Visitor(secrets.token_urlsafe(16))


class TicketOffice:
    """Issues and verifies the tickets of every room under one key ring."""

    def __init__(self, keyring: Keyring) -> None:
        self._keys = keyring.derived(b"waitroom ticket v1")
        self._signer = keyring.signer

    def issue(self, room: str, ticket: Ticket) -> str:
        """The ticket as text."""
        visitor = urlsafe_b64decode(ticket.visitor + "==")
        body = _BODY.pack(VERSION, visitor, ticket.serial, ticket.issued_us)
        mac = hmac.digest(self._keys[self._signer], room.encode() + b"\0" + body, sha256)
        return f"{self._signer}.{urlsafe_b64encode(body + mac).decode()}"

    def verify(self, room: str, text: str) -> Ticket | None:
        """The ticket that the text proves for that room, or None. Its age is the scripts' business."""
        match = _SHAPE.match(text)
        if match is None or match[1] not in self._keys:
            return None
        raw = urlsafe_b64decode(match[2])
        body, mac = raw[: _BODY.size], raw[_BODY.size :]
        wanted = hmac.digest(self._keys[match[1]], room.encode() + b"\0" + body, sha256)
        if not hmac.compare_digest(mac, wanted):
            return None
        version, visitor, serial, issued_us = _BODY.unpack(body)
        if version != VERSION:
            return None
        return Ticket(Visitor(urlsafe_b64encode(visitor)[:22].decode()), serial, issued_us)
