"""The challenge: only work solves it, and a solution is one visitor's."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest

from waitroom.client.entering import solve
from waitroom.model import VISITOR_ID, Ticket, Visitor
from waitroom.proofs.challenge import SECONDS, SEED_CHARACTERS, ChallengeOffice, zero_bits
from waitroom.proofs.keyring import Keyring
from waitroom.proofs.tickets import TicketOffice, new_visitor

RING = Keyring("k1", {"k1": b"Zq3-pB7xT0vKd9sLw2RfYh6mNc4JgU8a"})
OFFICE = ChallengeOffice(RING)
NOW = 1_800_000_000_000_000
BITS = 6
CHALLENGE = OFFICE.set("shop", bits=BITS, now_us=NOW)
SOLUTION = solve(CHALLENGE, BITS)


def verified(
    solution: str, *, room: str = "shop", bits: int = BITS, later_seconds: float = 1.0, seconds: float = SECONDS
) -> Visitor | None:
    return OFFICE.verify(room, solution, bits=bits, now_us=NOW + int(later_seconds * 1_000_000), seconds=seconds)


def test_work_is_rewarded() -> None:
    """A solution is a visitor's id, the same whenever it is shown."""
    visitor = verified(SOLUTION)
    assert visitor is not None
    assert VISITOR_ID.match(visitor)
    assert verified(SOLUTION, later_seconds=SECONDS) == visitor


def test_each_challenge_is_another_visitors() -> None:
    """Two places take two pieces of work."""
    challenges = [OFFICE.set("shop", bits=1, now_us=NOW) for _ in range(20)]
    assert len({verified(solve(text, 1), bits=1) for text in challenges}) == 20


def test_several_solutions_are_the_same_visitor() -> None:
    """To find another number for the same challenge gains nothing."""
    seed = CHALLENGE[-SEED_CHARACTERS:]
    numbers = [number for number in range(2000) if zero_bits(f"{seed}.{number}") >= BITS][:5]
    assert len(numbers) == 5
    assert {verified(f"{CHALLENGE}.{number}") for number in numbers} == {verified(SOLUTION)}


def test_without_work_nothing_is_got() -> None:
    """Numbers that do not solve it are refused."""
    seed = CHALLENGE[-SEED_CHARACTERS:]
    wrong = [number for number in range(300) if zero_bits(f"{seed}.{number}") < BITS]
    assert {verified(f"{CHALLENGE}.{number}") for number in wrong} == {None}


def test_zero_bits() -> None:
    """As SHA-256 has it (FIPS 180-4: of "abc" it is ba7816bf...)."""
    assert zero_bits("abc") == 0
    assert zero_bits(f"{'x' * 40}.{solve('x' * 40, 10).rpartition('.')[2]}") >= 10


@pytest.mark.parametrize(
    ("more", "good"),
    [
        ({"bits": BITS - 1}, True),
        ({"bits": BITS + 1}, False),
        ({"room": "shop2"}, False),
        ({"later_seconds": -4.0}, True),
        ({"later_seconds": -6.0}, False),
        ({"later_seconds": SECONDS - 0.1}, True),
        ({"later_seconds": 5.0, "seconds": 6.0}, True),
        ({"later_seconds": 7.0, "seconds": 6.0}, False),
        ({"later_seconds": SECONDS + 1}, False),
    ],
)
def test_what_a_solution_is_good_for(more: dict[str, object], good: bool) -> None:
    """Its own room, in its time, and the size of work that the room asks for now."""
    assert (verified(SOLUTION, **more) is not None) == good  # type: ignore[arg-type]


#: Shapes that are none. Challenges differ from process to process, and so must not name the tests.
NONE = [
    *("", ".", "..", "a.b.1", CHALLENGE, f"{CHALLENGE}.", f"{CHALLENGE}.x", f"{CHALLENGE}.-1", f"{CHALLENGE}.1e3"),
    *(f"{CHALLENGE}.{10**12}", f"{SOLUTION} ", f" {SOLUTION}", f"{SOLUTION}\n", f"{SOLUTION}.1", SOLUTION.upper()),
    *(SOLUTION.replace("k1.", "k2."), SOLUTION.replace("k1.", ""), f"{CHALLENGE}.\uff11", "Ж" * 90),
]


@pytest.mark.parametrize("text", NONE, ids=range(len(NONE)))
def test_what_is_no_solution(text: str) -> None:
    """Shapes that are none."""
    assert verified(text) is None


def test_every_bit_of_the_challenge_counts() -> None:
    """A changed challenge is none of ours, however well it is solved: size, time and visitor cannot be chosen."""
    kid, body = CHALLENGE.split(".")
    raw = urlsafe_b64decode(body)
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        forged = f"{kid}.{urlsafe_b64encode(bytes(changed)).decode()}"
        assert verified(solve(forged, 1), bits=1) is None, bit


def test_a_ticket_is_no_challenge() -> None:
    """What another office has signed, of whatever shape, is worth no work."""
    ticket = TicketOffice(RING).issue("shop", Ticket(new_visitor(), 1, NOW))
    padded = urlsafe_b64decode(ticket.split(".")[1])[:60]
    assert verified(solve(f"k1.{urlsafe_b64encode(padded).decode()}", 1), bits=0) is None
