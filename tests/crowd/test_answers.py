"""What a visitor takes an answer for, and what it keeps of it."""

from __future__ import annotations

import random

import pytest

from crowd.answers import Answer, Jar
from crowd.browser import Browser
from crowd.forgeries import forged_passes, forged_proofs
from crowd.habits import Ask, Manner
from crowd.history import History
from crowd.visitors import Visitor
from rig.instance import KEYS
from waitroom.model import Pass, Ticket
from waitroom.proofs import keyring
from waitroom.proofs.passes import PassOffice
from waitroom.proofs.tickets import TicketOffice, new_visitor

FULL = {"type": "urn:waitroom:unavailable"}
CLOSED = {"type": "urn:waitroom:closed"}


def test_a_jar_keeps_cookies_as_a_browser_does() -> None:
    """The last value counts; what is taken back is gone; a proof is found whatever its cookie's prefix is."""
    jar = Jar()
    assert jar.header() == {}
    jar.store(["__Host-waitroom_ticket_shop=one; Path=/", "other=x"])
    jar.store("__Host-waitroom_ticket_shop=two; Path=/; Max-Age=60")
    assert jar.header() == {"Cookie": "__Host-waitroom_ticket_shop=two; other=x"}
    assert (jar.proof("ticket", "shop"), jar.proof("pass", "shop")) == ("two", "")
    jar.store("__Host-waitroom_ticket_shop=; Max-Age=0")
    assert jar == {"other": "x"}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(200), "ok"),
        (Answer(), "unknown"),
        (Answer(503, FULL, retry_after=1), "unknown"),
        (Answer(503, FULL), "fail"),
        (Answer(503, retry_after=1), "fail"),
        (Answer(500, FULL, retry_after=1), "fail"),
    ],
)
def test_what_an_answer_is(answer: Answer, expected: str) -> None:
    """A documented 503 may have been carried out, if one bears it; a gate's needs no document."""
    assert answer.outcome((200,)) == expected
    assert Answer(503, FULL, retry_after=1).outcome((200,), bearing=False) == "fail"
    assert Answer(503, retry_after=1).outcome((200,), bare=True) == "unknown"


def test_what_is_asked_again() -> None:
    """Where nobody answered, or the room is closed for now; not what was refused."""
    assert [each.again for each in (Answer(), Answer(503), Answer(403, CLOSED), Answer(403), Answer(200))] == [
        *(True, True, True),
        *(False, False),
    ]


def test_a_pass_that_a_gate_gives_is_noted() -> None:
    """Whose it is; a gate that opens and gives none says no more."""
    visitor = new_visitor()
    given = PassOffice(keyring.parse([KEYS])).issue("shop", Pass(visitor, 1_800_000_300.0), now=1_800_000_000)
    history = History()
    walker = Visitor("v", Browser([0]), Manner(room="shop", gate="/gate/shop"), history)
    for cookies in (f"waitroom_pass_shop={given}", None):
        steps = walker.ask("gate", (204,))
        assert next(steps) == Ask("gate", "GET", "/gate/shop", walker.jar.header(), (204,))
        with pytest.raises(StopIteration):
            steps.send(Answer(204, cookies=cookies))
    first, second = history.operations
    assert (first.passed, first.state, first.identity, first.expires) == (True, "admitted", visitor, 1_800_000_300.0)
    assert (second.passed, second.state, second.brought) == (True, "", visitor)
    assert Answer(500, FULL).said("oh") == {"status": 500, "error": "oh", "problem": "unavailable"}


def test_no_forgery_is_good() -> None:
    """Neither a pass nor a ticket that was made up is taken by the offices that issue them."""
    keys = keyring.parse([KEYS])
    passes, tickets = PassOffice(keys), TicketOffice(keys)
    ticket = tickets.issue("shop", Ticket(new_visitor(), 1_800_000_000_000_001, 1_800_000_001_000_000))
    assert tickets.verify("shop", ticket) is not None
    forged = forged_passes("shop", KEYS) | forged_proofs("shop", ticket, "somebody", random.Random(1))
    assert len(forged) == 9
    assert [name for name, text in forged.items() if tickets.verify("shop", text)] == []
    assert [name for name, text in forged.items() if passes.verify("shop", text, now=1_800_000_000)] == []
