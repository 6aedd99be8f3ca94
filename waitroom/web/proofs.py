"""Finding a ticket or a pass in a request, and handing one out as a cookie.

Visitors bring proofs in `Authorization: Bearer` or in the room's cookie. The gate reads the pass cookie or
`X-Waitroom-Pass`, for `Authorization` belongs to the origin. A proof of another room or kind is as good as none.

Of several proofs any that verifies counts: a stale cookie hides no good one. Where several verify, the newest ticket
wins, and the pass that lives longest, a session before an offer. No more than a few are looked at, so that a request
with many costs little.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterable
from hashlib import sha256
from typing import Final, Literal, NamedTuple, TypeVar

from starlette.types import Scope

from waitroom.model import Pass, Place, Standing, Ticket
from waitroom.proofs.passes import PassOffice
from waitroom.proofs.tickets import TicketOffice
from waitroom.rooms.room import Room
from waitroom.store.clock import Clock
from waitroom.web.headers import Header, header, headers_of

Kind = Literal["ticket", "pass", "enqueue", "invite"]

PASS_HEADER: Final = b"x-waitroom-pass"

#: What HTTP allows around a value (RFC 9110, 5.6.3). str.strip() would take off more, and a proof has one spelling.
_BLANKS: Final = " \t"

#: Bytes of a User-Agent's hash that a bound proof carries: enough to tell clients apart, too few to look one up.
_FINGERPRINT_BYTES: Final = 6

#: So many cookies of one name, or lines of one header, are looked at: each costs a signature's check.
MOST: Final = 4

Held = TypeVar("Held", Ticket, Pass)


class Proof(NamedTuple):
    """What a visitor brought that verifies: a ticket, a pass, both or nothing.

    `bound`: what proofs given in answer are to be bound to.
    """

    ticket: Ticket | None = None
    granted: Pass | None = None
    bound: str = ""


def fingerprint(scope: Scope, room: Room) -> str:
    """What tells this client from another, in a room that binds proofs to a User-Agent, else empty."""
    if not room.settings.bind_user_agent:
        return ""
    digest = sha256(header(scope, b"user-agent") or b"").digest()
    return urlsafe_b64encode(digest[:_FINGERPRINT_BYTES]).decode()


def fits(proof: Ticket | Pass, bound: str) -> bool:
    """Whether a proof is good for the client with that fingerprint.

    Proofs from before the room began to bind carry none, and one that has stopped asks for none: both stay good.
    """
    return not proof.bound or not bound or proof.bound == bound


def worth(granted: Pass) -> tuple[bool, float]:
    """What orders passes: a session goes before an offer, then the one that lives longest is worth most."""
    return not granted.offer, granted.expires


class ProofDesk:
    """Reads and writes the proofs of one instance.

    `secure`: its cookies are for https alone. `same_site`: whether tickets and passes come along with what another site
    sends ("none").
    """

    def __init__(
        self, tickets: TicketOffice, passes: PassOffice, clock: Clock, *, secure: bool, same_site: str = "lax"
    ) -> None:
        self._tickets = tickets
        self._passes = passes
        self._clock = clock
        self._prefix = "__Host-waitroom_" if secure else "waitroom_"
        attributes = "; Path=/; HttpOnly; SameSite={}" + ("; Secure" if secure else "")
        proof, token = attributes.format(same_site.capitalize()), attributes.format("Lax")
        self._attributes: dict[Kind, str] = {"ticket": proof, "pass": proof, "enqueue": token, "invite": token}

    def of_visitor(self, scope: Scope, room: Room) -> Proof:
        """The proofs that `enter`, `status` and `leave` accept: the bearer's if it is one, else the cookies'."""
        bound = fingerprint(scope, room)
        borne = _borne(scope)
        if borne:
            proof = self._proof(room.name, borne, borne, bound)
            # What does not verify here may be the origin's own: it must not hide the cookies.
            if proof.ticket or proof.granted:
                return proof
        return self._proof(
            room.name, self.cookies(scope, room.name, "ticket"), self.cookies(scope, room.name, "pass"), bound
        )

    def _proof(self, room: str, tickets: Iterable[str], passes: Iterable[str], bound: str) -> Proof:
        held = _fitting((self._tickets.verify(room, text) for text in tickets), bound)
        granted = _fitting((self.verified_pass(room, text) for text in passes), bound)
        return Proof(
            max(held, key=lambda ticket: ticket.issued_us, default=None),
            max(granted, key=worth, default=None),
            bound,
        )

    def of_gate(self, scope: Scope, room: str) -> list[str]:
        """The texts of the passes that the gate looks at: the cookies' and the header's."""
        texts = self.cookies(scope, room, "pass")
        brought = headers_of(scope, PASS_HEADER)
        if brought:
            # A proxy may join two lines of one name.
            parts = b",".join(brought).decode("latin-1").split(",", MOST)[:MOST]
            texts = list(dict.fromkeys([*texts, *(part.strip(_BLANKS) for part in parts)]))
        return texts

    def cookie(self, scope: Scope, room: str, kind: Kind) -> str | None:
        """The value of the room's cookie, the first one where a client sends several."""
        return next(iter(self.cookies(scope, room, kind)), None)

    def cookies(self, scope: Scope, room: str, kind: Kind) -> list[str]:
        """The different values of the room's cookie, the first few in order: a browser may have it for two paths."""
        name = f"{self._prefix}{kind}_{room}="
        found: list[str] = []
        for line in headers_of(scope, b"cookie"):
            text = line.decode("latin-1")
            for pair in text.split(";") if name in text else ():
                pair = pair.strip(_BLANKS)
                if pair.startswith(name) and pair[len(name) :] not in found:
                    found.append(pair[len(name) :])
                    if len(found) == MOST:
                        return found
        return found

    def verified_pass(self, room: str, text: str) -> Pass | None:
        """The pass that the text proves, or None."""
        return self._passes.verify(room, text, now=self._clock.now())

    def ticket(self, room: Room, place: Place, bound: str) -> tuple[str, Header]:
        """The ticket of a place, bound to a client if `bound` names one, and the header that hands it out."""
        text = self._tickets.issue(room.name, Ticket(place.visitor, place.serial, place.now_us, bound))
        return text, self.set_cookie(room.name, "ticket", text, seconds=room.settings.ticket_seconds)

    def grant(self, room: Room, place: Place, bound: str) -> tuple[str, list[Header]]:
        """The pass of an admitted place, bound to a client if `bound` names one, and the headers that hand it out."""
        offer = place.standing is Standing.OFFERED
        granted = Pass(place.visitor, place.expires_us / 1_000_000, offer=offer, bound=bound)
        text = self._passes.issue(room.name, granted, now=self._clock.now())
        seconds = (place.expires_us - place.now_us) / 1_000_000
        headers = [self.set_cookie(room.name, "pass", text, seconds=seconds)]
        if offer and place.serial:
            # Admitted at first contact: should the offer lapse, in an outage say, the ticket gives the place back.
            headers.append(self.ticket(room, place, bound)[1])
        elif not offer:
            headers.append(self.clear_cookie(room.name, "ticket"))
        return text, headers

    def set_cookie(self, room: str, kind: Kind, text: str, *, seconds: float) -> Header:
        """A header that stores a proof in the browser for so long."""
        value = f"{self._prefix}{kind}_{room}={text}; Max-Age={max(int(seconds), 1)}{self._attributes[kind]}"
        return (b"set-cookie", value.encode("ascii"))

    def clear_cookie(self, room: str, kind: Kind) -> Header:
        """A header that removes a proof from the browser."""
        return (b"set-cookie", f"{self._prefix}{kind}_{room}=; Max-Age=0{self._attributes[kind]}".encode("ascii"))


def _borne(scope: Scope) -> list[str]:
    """The texts that a request bears: an origin's own Authorization may stand beside."""
    texts = []
    for line in headers_of(scope, b"authorization")[:MOST]:
        scheme, _, text = line.decode("latin-1").partition(" ")
        if scheme.lower() == "bearer" and text.strip(_BLANKS):
            texts.append(text.strip(_BLANKS))
    return texts


def _fitting(proofs: Iterable[Held | None], bound: str) -> list[Held]:
    return [proof for proof in proofs if proof is not None and fits(proof, bound)]
