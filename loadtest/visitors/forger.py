"""Somebody who makes proofs up: cut, changed, of another kind, signed with nothing, spent."""

from __future__ import annotations

from typing import Any

from crowd.forgeries import forged_proofs
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
            for name, forged in forged_proofs(self.run_of.plan.room, ticket, self.identity, self.dice).items():
                self._try(name, forged)
                if not self.idle(self.dice.uniform(0, 0.2)):
                    break
        self.leave()
        if ticket:
            self._try_spent(ticket)
        self.idle(self.dice.uniform(0.5, 1.5))

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
