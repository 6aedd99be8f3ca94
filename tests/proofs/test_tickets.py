"""Tickets: what is issued verifies, and nothing else does."""

from __future__ import annotations

import hmac
import subprocess
import sys
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waitroom.model import Pass, Ticket, Visitor
from waitroom.proofs.keyring import Keyring
from waitroom.proofs.passes import PassOffice
from waitroom.proofs.tickets import TicketOffice, new_visitor

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
OLD = {"old": b"Zq3-pB7xT0vKd9sLw2RfYh6mNc4JgU8a"}
NEW = {"new": b"9aKfP2-mXr7LtVq0WcZs5BnHy3EjGd6u"}
OFFICE = TicketOffice(Keyring("old", OLD))
TICKET = Ticket(Visitor("AbCdEfGhIjKlMnOpQrStUg"), 1_767_323_045_678_901, 1_767_323_050_000_000)
TEXT = OFFICE.issue("shop", TICKET)
KID, BODY = TEXT.split(".")

VISITORS = st.binary(min_size=16, max_size=16).map(lambda raw: Visitor(urlsafe_b64encode(raw)[:22].decode()))
FINGERPRINTS = st.just(b"") | st.binary(min_size=6, max_size=6)
TICKETS = st.builds(
    Ticket,
    VISITORS,
    st.integers(0, 2**53 - 1),
    st.integers(0, 2**53 - 1),
    FINGERPRINTS.map(lambda raw: urlsafe_b64encode(raw).decode()),
)
ROOMS = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True)


@given(ROOMS, TICKETS)
def test_what_is_issued_verifies(room: str, ticket: Ticket) -> None:
    """A ticket survives the round trip unchanged, and its text is far below 1 KB."""
    text = OFFICE.issue(room, ticket)
    assert OFFICE.verify(room, text) == ticket
    assert len(text) < 120


def test_a_ticket_has_one_spelling() -> None:
    """Issuing the same ticket again gives the same text: no randomness, no spare bits."""
    assert OFFICE.issue("shop", TICKET) == TEXT
    assert urlsafe_b64encode(urlsafe_b64decode(BODY)).decode() == BODY
    assert len(BODY) == 88


def test_a_ticket_is_the_same_in_every_version() -> None:
    """Tickets that an older version gave out must go on to prove their places: the text is fixed."""
    assert (
        TicketOffice(Keyring("old", OLD)).issue("shop", TICKET)
        == "old.AAEBsJ0R8aEiMqUyc6lCtK1SAAZHXvZXTzUABkde9pk-gLZtlSDeCr3c79jk1a8-pXlTMZ6hzodxpukPkxkBSq6T"
    )


def test_the_longest_ticket_fits_a_cookie() -> None:
    """With the longest key id and the largest numbers a ticket stays below 1 KB."""
    office = TicketOffice(Keyring("k" * 16, {"k" * 16: OLD["old"]}))
    assert len(office.issue("r" * 64, Ticket(new_visitor(), 2**64 - 1, 2**64 - 1))) < 1024


def test_fresh_visitors_differ_and_are_22_characters() -> None:
    """A visitor id is 128 random bits in 22 characters of base64url, and survives a ticket."""
    made = {new_visitor() for _ in range(1000)}
    assert len(made) == 1000
    assert all(len(visitor) == 22 and set(visitor) <= set(ALPHABET) for visitor in made)
    for visitor in list(made)[:50]:
        proven = OFFICE.verify("shop", OFFICE.issue("shop", Ticket(visitor, 1, 2)))
        assert proven is not None
        assert proven.visitor == visitor


def test_every_other_character_at_every_place_is_refused() -> None:
    """Exhaustively: no character of the 88 can be replaced by another one."""
    accepted = [
        (at, character)
        for at in range(len(BODY))
        for character in ALPHABET
        if character != BODY[at] and OFFICE.verify("shop", f"{KID}.{BODY[:at]}{character}{BODY[at + 1 :]}")
    ]
    assert accepted == []


def test_every_flipped_bit_is_refused() -> None:
    """Exhaustively: flipping any of the 528 bits makes a ticket worthless."""
    raw = urlsafe_b64decode(BODY)
    for bit in range(len(raw) * 8):
        forged = bytearray(raw)
        forged[bit // 8] ^= 1 << bit % 8
        assert OFFICE.verify("shop", f"{KID}.{urlsafe_b64encode(forged).decode()}") is None, bit


def test_every_truncation_is_refused() -> None:
    """No beginning and no end of a ticket is a ticket."""
    for size in range(len(TEXT)):
        assert OFFICE.verify("shop", TEXT[:size]) is None
        assert OFFICE.verify("shop", TEXT[len(TEXT) - size :]) is None


@given(st.text(min_size=1, max_size=8), st.integers(0, len(TEXT)))
def test_every_extension_is_refused(extra: str, at: int) -> None:
    """Text added anywhere makes a ticket worthless."""
    assert OFFICE.verify("shop", TEXT[:at] + extra + TEXT[at:]) is None


@pytest.mark.parametrize("extra", ["=", "==", "\n", " ", "\t", "\0", ".", "A", "\u2028", "AAAA", "%3D"])
def test_padding_and_whitespace_are_refused(extra: str) -> None:
    """What a lenient base64 reader skips is no part of a ticket, in front or behind."""
    assert OFFICE.verify("shop", TEXT + extra) is None
    assert OFFICE.verify("shop", extra + TEXT) is None
    assert OFFICE.verify("shop", f"{KID}.{extra}{BODY}") is None


def test_the_other_base64_alphabet_is_refused() -> None:
    """A ticket spelled with + and / instead of - and _ does not verify."""
    text = next(
        made
        for made in (OFFICE.issue("shop", Ticket(new_visitor(), serial, 1)) for serial in range(1000))
        if "-" in made and "_" in made
    )
    other = b64encode(urlsafe_b64decode(text.split(".")[1])).decode()
    for forged in (other, text.split(".")[1].replace("-", "+"), text.split(".")[1].replace("_", "/")):
        assert OFFICE.verify("shop", f"{KID}.{forged}") is None


@pytest.mark.parametrize("digit", ["\u0661", "\uff11", "\u0967", "\u00b9"])
def test_digits_of_other_scripts_are_refused(digit: str) -> None:
    """A character that some readers take for a digit is none here, in the body and in the key id."""
    assert OFFICE.verify("shop", f"{KID}.{digit}{BODY[1:]}") is None
    assert OFFICE.verify("shop", f"{digit}.{BODY}") is None


def test_a_bound_ticket_is_signed_as_a_whole() -> None:
    """No byte of a bound ticket can be changed, its fingerprint can neither be cut out nor added."""
    bound = OFFICE.issue("shop", Ticket(TICKET.visitor, TICKET.serial, TICKET.issued_us, "abcdefgh"))
    raw, plain = urlsafe_b64decode(bound.split(".")[1]), urlsafe_b64decode(BODY)
    for at in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[at // 8] ^= 1 << at % 8
        assert OFFICE.verify("shop", f"{KID}.{urlsafe_b64encode(changed).decode()}") is None
    without = raw[: -32 - 6] + raw[-32:]
    added = plain[:-32] + bytes(6) + plain[-32:]
    for forged in (without, added):
        assert OFFICE.verify("shop", f"{KID}.{urlsafe_b64encode(forged).decode()}") is None


@pytest.mark.parametrize("version", [0, 1, 3])
def test_a_fingerprint_belongs_to_its_version(version: int) -> None:
    """A signed ticket whose version says another length than it has is refused, whoever signed it."""
    key = Keyring("old", OLD).derived(b"waitroom ticket v1")["old"]
    body = version.to_bytes(2, "big") + bytes(32) + bytes(6)
    text = urlsafe_b64encode(body + hmac.digest(key, b"shop\0" + body, "sha256")).decode()
    assert OFFICE.verify("shop", f"{KID}.{text}") is None


@given(ROOMS)
def test_a_ticket_of_another_room_is_refused(room: str) -> None:
    """A ticket proves a place in its own room only."""
    assert (OFFICE.verify(room, TEXT) is not None) is (room == "shop")


@pytest.mark.parametrize("room", ["sho", "shop2", "shop\0", "", "Shop"])
def test_a_room_of_nearly_the_same_name_is_another_room(room: str) -> None:
    """No byte can be moved between the room's name and what is signed after it."""
    assert OFFICE.verify(room, TEXT) is None


@pytest.mark.parametrize("kid", ["", "x", "OLD", "old ", "../../etc/passwd", "old\0", "k" * 17, "o" * 10_000])
def test_an_unknown_key_id_is_refused(kid: str) -> None:
    """A key id that is not in the ring verifies nothing."""
    assert OFFICE.verify("shop", f"{kid}.{BODY}") is None


def test_both_keys_verify_during_a_rotation() -> None:
    """Whichever of two keys signs, both verify, and the key id cannot be swapped."""
    before = TicketOffice(Keyring("old", OLD | NEW))
    after = TicketOffice(Keyring("new", OLD | NEW))
    by_old, by_new = before.issue("shop", TICKET), after.issue("shop", TICKET)
    assert {by_old.split(".")[0], by_new.split(".")[0]} == {"old", "new"}
    for office in (before, after):
        assert office.verify("shop", by_old) == office.verify("shop", by_new) == TICKET
        assert office.verify("shop", "new." + by_old.split(".")[1]) is None


def test_a_retired_key_never_verifies() -> None:
    """Once a key is out of the ring, its tickets are worthless."""
    assert TicketOffice(Keyring("new", NEW)).verify("shop", TEXT) is None


def test_the_same_id_with_another_secret_never_verifies() -> None:
    """The key id alone proves nothing."""
    assert TicketOffice(Keyring("old", {"old": NEW["new"]})).verify("shop", TEXT) is None


def test_a_ticket_is_no_pass_and_a_pass_no_ticket() -> None:
    """Proofs of one kind never pass for the other, under the same key ring."""
    passes = PassOffice(Keyring("old", OLD))
    text = passes.issue("shop", Pass(TICKET.visitor, 2_000_000_000.0), now=1_900_000_000.0)
    assert passes.verify("shop", TEXT, now=0.0) is None
    assert OFFICE.verify("shop", text) is None


@given(st.text(max_size=120) | st.binary(max_size=120).map(lambda raw: raw.decode("latin-1")))
def test_garbage_is_refused_quietly(text: str) -> None:
    """Whatever is sent, verifying answers None and raises nothing."""
    assert OFFICE.verify("shop", text) is None


def test_a_megabyte_is_refused() -> None:
    """A huge text is refused like any other."""
    assert OFFICE.verify("shop", KID + "." + "A" * 1_000_000) is None


_FORKED: Final = """
import os
from waitroom.proofs.tickets import new_visitor
print(*(new_visitor() for _ in range(100)), flush=True)
if child := os.fork():
    os.waitpid(child, 0)
print(*(new_visitor() for _ in range(500)), flush=True)
"""


def test_no_two_visitors_are_alike_nor_in_a_child_process() -> None:
    """Random numbers are drawn ahead; a child that is forked meanwhile draws its own."""
    said = subprocess.run([sys.executable, "-c", _FORKED], capture_output=True, text=True, check=True)
    visitors = said.stdout.split()
    assert len(visitors) == len(set(visitors)) == 1100
    assert {len(visitor) for visitor in visitors} == {22}
