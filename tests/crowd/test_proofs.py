"""What is written in a proof is read as it was written."""

from __future__ import annotations

import pytest

from crowd.proofs import Written, read_pass, read_ticket
from waitroom.model import Pass, Ticket
from waitroom.proofs import keyring
from waitroom.proofs.passes import PassOffice
from waitroom.proofs.tickets import TicketOffice, new_visitor

KEYS = keyring.parse(["k1:0123456789abcdefghijklmnopqrstuvwxyzABCDEF"])


@pytest.mark.parametrize("bound", ["", "AAECAwQF"])
def test_a_ticket(bound: str) -> None:
    """Visitor and serial."""
    visitor = new_visitor()
    text = TicketOffice(KEYS).issue("shop", Ticket(visitor, 1_800_000_000_000_001, 1_800_000_001_000_000, bound))
    assert read_ticket(text) == Written(visitor, serial=1_800_000_000_000_001)


@pytest.mark.parametrize("offer", [True, False])
def test_a_pass(offer: bool) -> None:
    """Visitor, expiry, and whether it has yet to be claimed."""
    visitor = new_visitor()
    text = PassOffice(KEYS).issue("shop", Pass(visitor, 1_800_000_300.5, offer=offer), now=1_800_000_000)
    assert read_pass(text) == Written(visitor, expires=1_800_000_300.5, offer=offer)


def test_what_is_neither() -> None:
    """It is a ValueError, whatever it is."""
    for text in ("", "k1.AAAA", "a.b"):
        with pytest.raises(ValueError, match="not a"):
            read_ticket(text)
        with pytest.raises(ValueError, match="not a pass"):
            read_pass(text)
