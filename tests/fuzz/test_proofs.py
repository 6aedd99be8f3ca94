"""Tickets, passes and the headers that bring them: nothing that was not issued is taken, and nothing is raised."""

from __future__ import annotations

import asyncio
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import jwt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.mutations import SPELLINGS, fuzzed, mutated
from tests.web.sites import ADMIN_KEY, SIGNING_KEY, settings_for
from waitroom.model import Pass, Reading, Ticket, Visitor
from waitroom.proofs import keyring
from waitroom.proofs.passes import PassOffice
from waitroom.proofs.tickets import TicketOffice
from waitroom.rooms.room import Room
from waitroom.serve.assemble import assemble
from waitroom.settings.room import RoomSettings
from waitroom.web.admin.key import AdminKey
from waitroom.web.answers import Problem
from waitroom.web.headers import Header
from waitroom.web.proofs import ProofDesk

#: A time at which the passes below are good.
NOW: Final = 1_767_323_045.0

_SECOND_KEY: Final = "k-2:another-signing-key-made-up-for-the-tests-98765"
RING: Final = keyring.parse([SIGNING_KEY, _SECOND_KEY])
TICKETS: Final = TicketOffice(RING)
PASSES: Final = PassOffice(RING)
OTHERS: Final = TicketOffice(keyring.parse(["k1:a-key-that-nobody-here-signs-with-0123456789-abc"]))

VISITORS: Final = (Visitor("AbCdEfGhIjKlMnOpQrStUg"), Visitor("_-_-_-_-_-_-_-_-_-_-_A"))
SERIAL: Final = 1_767_323_045_678_901
ISSUED_TICKETS: Final = {
    TICKETS.issue("shop", ticket): ticket
    for visitor in VISITORS
    for ticket in (Ticket(visitor, SERIAL, SERIAL + 9), Ticket(visitor, SERIAL, SERIAL + 9, "AbCdEfGh"))
}
ISSUED_PASSES: Final = {
    PASSES.issue("shop", granted, now=NOW): granted
    for visitor in VISITORS
    for granted in (
        Pass(visitor, NOW + 3000),
        Pass(visitor, NOW + 3000, offer=True),
        Pass(visitor, NOW + 3000, bound="x"),
    )
}
#: Proofs that verify for nobody here: of another room, of another key, over.
STRANGERS: Final = (
    TICKETS.issue("other", Ticket(VISITORS[0], SERIAL, SERIAL)),
    OTHERS.issue("shop", Ticket(VISITORS[0], SERIAL, SERIAL)),
    PASSES.issue("other", Pass(VISITORS[0], NOW + 300), now=NOW),
    PASSES.issue("shop", Pass(VISITORS[0], NOW - 1), now=NOW - 300),
)
ISSUED: Final = (*ISSUED_TICKETS, *ISSUED_PASSES)
TEXTS: Final = mutated((*ISSUED, *STRANGERS))


@fuzzed(600)
@given(TEXTS)
def test_a_ticket_is_as_it_was_issued_or_none(text: str) -> None:
    """Only the very text that was issued verifies, and says what it said."""
    assert TICKETS.verify("shop", text) == ISSUED_TICKETS.get(text)


@fuzzed(600)
@given(TEXTS)
@example("eyJhbGciOiJub25lIn0.e30.")
def test_a_pass_is_as_it_was_issued_or_none(text: str) -> None:
    """Only the very text that was issued verifies, and says what it said."""
    assert PASSES.verify("shop", text, now=NOW) == ISSUED_PASSES.get(text)


@pytest.mark.parametrize("text", ISSUED)
def test_no_other_spelling_is_the_same_proof(text: str) -> None:
    """Each way to write the same in another alphabet, case, script or encoding is another text, and none of ours."""
    respelled = {spell(text) for spell in SPELLINGS} - {text}
    assert len(respelled) > len(SPELLINGS) / 2
    for other in respelled:
        assert TICKETS.verify("shop", other) is None
        assert PASSES.verify("shop", other, now=NOW) is None


@fuzzed(150)
@given(st.binary(min_size=66, max_size=66) | st.binary(min_size=72, max_size=72), st.sampled_from(["k1", "k-2"]))
def test_bytes_of_the_right_length_are_no_ticket(raw: bytes, kid: str) -> None:
    """Well-formed in every way but the signature."""
    assert TICKETS.verify("shop", f"{kid}.{urlsafe_b64encode(raw).decode()}") is None


_CLAIMS: Final = st.dictionaries(
    st.sampled_from(["aud", "sub", "iat", "exp", "offer", "ua", "nbf", "crit", "jti"]),
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=30)
    | st.lists(st.text(max_size=5), max_size=3)
    | st.sampled_from(["waitroom:shop", VISITORS[0], NOW, NOW + 60]),
)


@fuzzed(300)
@given(_CLAIMS)
def test_signed_claims_of_any_kind_are_judged(claims: dict[str, Any]) -> None:
    """Under our own key too: whatever verifies has a visitor, is of this room and is not over."""
    text = jwt.encode(claims, RING.secrets["k1"], "HS256", headers={"kid": "k1"})
    granted = PASSES.verify("shop", text, now=NOW)
    if granted is not None:
        assert claims["aud"] == "waitroom:shop"
        assert granted.visitor == claims["sub"]
        assert NOW < granted.expires == claims["exp"] < 2**53
        assert granted.offer is (claims.get("offer") is True)


# The headers.


@dataclass(frozen=True)
class Desk:
    """What reads the headers of an instance whose clock stands near NOW; Redis is never asked."""

    proofs: ProofDesk
    room: Room
    key: AdminKey

    def brought(self, *headers: Header) -> set[str]:
        """The issued texts whose proofs a visitor who sends these headers holds."""
        proof = self.proofs.of_visitor(_scope(headers), self.room)
        return {text for text, ticket in ISSUED_TICKETS.items() if ticket == proof.ticket} | {
            text for text, granted in ISSUED_PASSES.items() if granted == proof.granted
        }

    def brought_to_the_gate(self, *headers: Header) -> set[str]:
        """The same at the gate."""
        texts = self.proofs.of_gate(_scope(headers), "shop")
        granted = [self.proofs.verified_pass("shop", text) for text in texts]
        return {text for text, issued in ISSUED_PASSES.items() if issued in granted}

    def opens(self, *headers: Header) -> bool:
        """Whether the admin API takes these headers for its key's."""

        try:
            self.key.check(_scope(headers))
            status = 200
        except Problem as problem:
            status = problem.status
        assert status in (200, 401)
        return status == 200


def _scope(headers: tuple[Header, ...]) -> dict[str, Any]:
    return {"type": "http", "method": "POST", "path": "/admin/rooms/shop/pause", "headers": list(headers)}


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    """A desk."""
    instance = assemble(settings_for("unix:///nowhere", signing_keys=[SIGNING_KEY, _SECOND_KEY]))
    instance.clock.observe(int(NOW * 1_000_000))

    async def remake(_room: Room) -> None:
        raise AssertionError

    reading = Reading(0)
    settings = RoomSettings(bind_user_agent=False)
    room = Room("shop", instance.store, settings=settings, reading=reading, most_waiting=1, remake=remake)
    yield Desk(instance.desk, room, AdminKey(instance.settings.admin_key))
    asyncio.run(instance.store.close())


def _raw(text: str) -> bytes:
    """A text as bytes of a header: one each where it can be, else UTF-8."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


@fuzzed(300)
@given(mutated([f"Bearer {text}" for text in (*ISSUED, *STRANGERS)] + ["Basic eDp5", "bearer", "Bearer"]))
def test_a_bearer_is_the_whole_proof(desk: Desk, value: str) -> None:
    """Whoever is believed has sent an issued proof, after the scheme, with nothing but blanks around."""
    raw = _raw(value)
    for text in desk.brought((b"authorization", raw)):
        assert re.fullmatch(rb"(?i:bearer)[ \t]+" + re.escape(text.encode()) + rb"[ \t]*", raw), raw
    assert desk.brought_to_the_gate((b"authorization", raw)) == set()


_COOKIES: Final = [
    *(f"a=1; waitroom_ticket_shop={text}" for text in ISSUED),
    *(f"waitroom_pass_shop={text}; b=2" for text in ISSUED),
    "waitroom_ticket_shop=x; waitroom_pass_shop=y; __Host-waitroom_pass_shop=z; waitroom_pass_other=w",
]


@fuzzed(400)
@given(st.lists(mutated(_COOKIES), min_size=1, max_size=3))
def test_a_cookie_is_the_whole_proof(desk: Desk, lines: list[str]) -> None:
    """Whoever is believed has sent an issued proof as a cookie of the room's name, in whichever header."""
    raw = [_raw(line) for line in lines]
    headers = [(b"cookie", line) for line in raw]
    sent = {kind: _cookies(raw, f"waitroom_{kind}_shop".encode()) for kind in ("ticket", "pass")}
    for text in desk.brought(*headers):
        assert text.encode() in sent["ticket" if text in ISSUED_TICKETS else "pass"]
    for text in desk.brought_to_the_gate(*headers):
        assert text.encode() in sent["pass"]


def _cookies(lines: list[bytes], name: bytes) -> list[bytes]:
    """The values of the cookies of that name, read with another tool than waitroom's."""
    found = (re.findall(rb"(?:\A|;)[ \t]*" + re.escape(name) + rb"=([^;]*)", line) for line in lines)
    return [value.strip(b" \t") for values in found for value in values]


@fuzzed(300)
@given(st.lists(mutated([*ISSUED_PASSES, *STRANGERS]), min_size=1, max_size=2))
def test_the_passes_header_is_the_whole_proof(desk: Desk, values: list[str]) -> None:
    """X-Waitroom-Pass opens with an issued pass between commas, with nothing but blanks around; nowhere else."""
    headers = [(b"x-waitroom-pass", _raw(value)) for value in values]
    parts = [part.strip(b" \t") for _, value in headers for part in value.split(b",")]
    for text in desk.brought_to_the_gate(*headers):
        assert text.encode() in parts
    assert desk.brought(*headers) == set()


@fuzzed(200)
@given(st.lists(mutated([f"Bearer {ADMIN_KEY}", f"bearer {ADMIN_KEY}", "Bearer "]), min_size=1, max_size=2))
def test_the_admin_key_is_the_whole_key(desk: Desk, values: list[str]) -> None:
    """One header, the scheme in any case, one blank, the key to the letter."""
    raw = [_raw(value) for value in values]
    good = len(raw) == 1 and re.fullmatch(rb"(?i:bearer) " + re.escape(ADMIN_KEY.encode()), raw[0]) is not None
    assert desk.opens(*((b"authorization", value) for value in raw)) is good


def test_what_is_good_is_taken(desk: Desk) -> None:
    """Else the properties above would hold of a desk that refuses everybody."""
    for text in ISSUED:
        assert desk.brought((b"authorization", f"BEARER  {text} ".encode())) == {text}
        kind = "ticket" if text in ISSUED_TICKETS else "pass"
        assert desk.brought((b"cookie", b"a=1"), (b"cookie", f"b; waitroom_{kind}_shop={text} ;".encode())) == {text}
        gate = desk.brought_to_the_gate((b"x-waitroom-pass", text.encode()))
        assert gate == ({text} if kind == "pass" else set())
    assert desk.opens((b"authorization", f"Bearer {ADMIN_KEY}".encode()))
