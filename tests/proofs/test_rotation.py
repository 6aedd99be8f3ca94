"""Random rotations of the signing keys: a proof holds exactly as long as the key that signed it is in the ring (I25).

Instances change their keys one after another, so two rings are in use at once: the older one and the newer one.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from waitroom.model import Pass, Ticket
from waitroom.proofs.keyring import Keyring
from waitroom.proofs.passes import PassOffice
from waitroom.proofs.tickets import TicketOffice, new_visitor

NOW = 1_767_323_045.0
ROOMS = ["shop", "shop2"]
IDS = st.sampled_from(["k1", "k2", "k3"])
#: A secret by its number: the same id may come back with another one.
SECRETS = st.integers(0, 3)


def secret(number: int) -> bytes:
    """A strong secret."""
    return f"Zq3-pB7xT0vKd9sLw2RfYh6mNc4JgU8a{number}".encode()


class Given(NamedTuple):
    """A proof that somebody holds, and what signed it."""

    room: str
    text: str
    proof: Ticket | Pass
    kid: str
    secret: bytes


class Rotation(RuleBasedStateMachine):
    """Operators who change keys, and visitors who were given proofs under all of them."""

    @initialize(kid=IDS, number=SECRETS)
    def begin(self, kid: str, number: int) -> None:
        """The first key."""
        self.given: list[Given] = []
        self.ring = Keyring(kid, {kid: secret(number)})
        self.older = self.ring

    @rule(room=st.sampled_from(ROOMS), offer=st.booleans(), late=st.booleans())
    def give(self, room: str, offer: bool, late: bool) -> None:
        """Somebody gets a ticket and a pass, from an instance that has the newer keys or still the older."""
        ring = self.older if late else self.ring
        ticket = Ticket(new_visitor(), len(self.given) + 1, int(NOW * 1_000_000))
        granted = Pass(ticket.visitor, NOW + 60, offer=offer)
        signer = (ring.signer, ring.secrets[ring.signer])
        self.given += [
            Given(room, TicketOffice(ring).issue(room, ticket), ticket, *signer),
            Given(room, PassOffice(ring).issue(room, granted, now=NOW), granted, *signer),
        ]

    def change(self, signer: str, secrets: dict[str, bytes]) -> None:
        """New keys, on this instance first."""
        self.older, self.ring = self.ring, Keyring(signer, secrets)

    @rule(kid=IDS, number=SECRETS)
    def add(self, kid: str, number: int) -> None:
        """A key that only verifies, as the first step of a rotation; it may take the place of one with its id."""
        if kid != self.ring.signer:
            self.change(self.ring.signer, {**self.ring.secrets, kid: secret(number)})

    @rule(kid=IDS)
    def promote(self, kid: str) -> None:
        """Another key of the ring signs."""
        if kid in self.ring.secrets:
            self.change(kid, dict(self.ring.secrets))

    @precondition(lambda self: len(self.ring.secrets) > 1)
    @rule(kid=IDS)
    def retire(self, kid: str) -> None:
        """A key goes that no longer signs."""
        if kid != self.ring.signer:
            self.change(self.ring.signer, {one: key for one, key in self.ring.secrets.items() if one != kid})

    @rule()
    def catch_up(self) -> None:
        """Every instance has the newer keys."""
        self.older = self.ring

    @invariant()
    def proofs_hold_while_their_key_is_in_the_ring(self) -> None:
        """In both rings, for its own room and kind only."""
        if not hasattr(self, "ring"):
            return
        for ring in (self.older, self.ring):
            tickets, passes = TicketOffice(ring), PassOffice(ring)
            for one in self.given[-12:]:
                holds = ring.secrets.get(one.kid) == one.secret
                for room in ROOMS:
                    right = one.proof if holds and room == one.room else None
                    read = (tickets.verify(room, one.text), passes.verify(room, one.text, now=NOW))
                    assert read == ((right, None) if isinstance(one.proof, Ticket) else (None, right))


TestRotation = pytest.mark.long(Rotation.TestCase)
TestRotation.settings = settings(max_examples=100, stateful_step_count=20, deadline=None)
