"""Somebody who makes proofs up: cut, changed, of another kind, signed with nothing, spent."""

from __future__ import annotations

import hmac
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from typing import Any

from loadtest.visitors.visitor import Visitor

_REFUSED = (400, 401, 403, 410)


class Forger(Visitor):
    """Has an honest place, makes forgeries of it, tries each everywhere, and leaves; then tries the spent ticket."""

    habit = "forger"

    def turn(self) -> None:
        """Get a proof, forge it, try."""
        answer = self.enter()
        ticket = str(answer.document.get("ticket", ""))
        if ticket:
            for name, forged in self._forgeries(ticket):
                self._try(name, forged)
                if not self.idle(self.dice.uniform(0, 0.2)):
                    break
        self.leave()
        if ticket:
            self._try_spent(ticket)
        self.idle(self.dice.uniform(0.5, 1.5))

    def _forgeries(self, ticket: str) -> Iterator[tuple[str, str]]:
        kid, _, text = ticket.partition(".")
        raw = bytearray(urlsafe_b64decode(text))
        flipped = raw.copy()
        flipped[self.dice.randrange(len(raw))] ^= 1 << self.dice.randrange(8)
        yield "a flipped bit", _ticket(kid, flipped)
        earlier = raw.copy()
        earlier[18:26] = (int.from_bytes(raw[18:26], "big") - 3_600_000_000).to_bytes(8, "big")
        yield "an earlier serial", _ticket(kid, earlier)
        body = bytes(earlier[:-32])
        yield "a key of one's own", _ticket(kid, body + hmac.digest(secrets.token_bytes(32), body, "sha256"))
        yield "a cut ticket", ticket[: self.dice.randrange(len(ticket))]
        yield "a pass that nobody signed", self._unsigned()

    def _unsigned(self) -> str:
        header = {"alg": "none", "typ": "JWT"}
        claims = {"aud": f"waitroom:{self.run_of.plan.room}", "sub": self.identity, "iat": 1, "exp": 9_999_999_999}
        return ".".join(_part(json.dumps(part).encode()) for part in (header, claims)) + "."

    def _try(self, name: str, forged: str) -> None:
        cookies = f"waitroom_ticket_{self.run_of.plan.room}={forged}; waitroom_pass_{self.run_of.plan.room}={forged}"
        headers = {"Cookie": cookies, "X-Waitroom-Pass": forged} if self.dice.random() < 0.5 else {}
        headers = headers or {"Authorization": f"Bearer {forged}"}
        how: dict[str, Any] = {"headers": headers, "attempt": name, "brought": self.identity}
        self.ask("status", "GET", f"{self.room}/status", good=_REFUSED, **how)
        # The gate may let anybody pass while nobody waits: as somebody new.
        self.gate(good=(*_REFUSED, 200, 204, 303), **how)

    def _try_spent(self, ticket: str) -> None:
        headers = {"Authorization": f"Bearer {ticket}"}
        how: dict[str, Any] = {"headers": headers, "attempt": "a spent ticket", "brought": self.identity}
        self.ask("status", "GET", f"{self.room}/status", good=_REFUSED, **how)
        self.ask("enter", "POST", f"{self.room}/enter", good=(200, 202, *_REFUSED), **how)


def _ticket(kid: str, raw: bytes | bytearray) -> str:
    return f"{kid}.{urlsafe_b64encode(raw).decode()}"


def _part(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
