"""Finding a ticket or a pass in a request, and handing one out as a cookie.

Visitors bring proofs in `Authorization: Bearer` or in the room's cookie. The gate reads the pass cookie or
`X-Waitroom-Pass`, for `Authorization` belongs to the origin. A proof of another room or kind is as good as none.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Final, Literal, NamedTuple, TypeVar

from starlette.types import Scope

from waitroom.model import Pass, Place, Standing, Ticket
from waitroom.proofs.passes import PassOffice
from waitroom.proofs.tickets import TicketOffice
from waitroom.rooms.room import Room
from waitroom.store.clock import Clock
from waitroom.web.headers import Header, header, headers_of

Kind = Literal["ticket", "pass", "enqueue"]

PASS_HEADER: Final = b"x-waitroom-pass"

#: What HTTP allows around a value (RFC 9110, 5.6.3). str.strip() would take off more, and a proof has one spelling.
_BLANKS: Final = " \t"

#: Bytes of a User-Agent's hash that a bound proof carries: enough to tell clients apart, too few to look one up.
_FINGERPRINT_BYTES: Final = 6

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


class ProofDesk:
    """Reads and writes the proofs of one instance. `secure`: its cookies are for https alone."""

    def __init__(self, tickets: TicketOffice, passes: PassOffice, clock: Clock, *, secure: bool) -> None:
        self._tickets = tickets
        self._passes = passes
        self._clock = clock
        self._prefix = "__Host-waitroom_" if secure else "waitroom_"
        self._attributes = "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")

    def of_visitor(self, scope: Scope, room: Room) -> Proof:
        """The proofs that `enter`, `status` and `leave` accept: the bearer's if it is one, else the cookies'."""
        bound = fingerprint(scope, room)
        authorization = header(scope, b"authorization")
        if authorization is not None:
            scheme, _, text = authorization.decode("latin-1").partition(" ")
            text = text.strip(_BLANKS) if scheme.lower() == "bearer" else ""
            borne = self._proof(room.name, text, text, bound)
            # What does not verify here may be the origin's own: it must not hide the cookies.
            if borne.ticket or borne.granted:
                return borne
        return self._proof(
            room.name, self.cookie(scope, room.name, "ticket"), self.cookie(scope, room.name, "pass"), bound
        )

    def _proof(self, room: str, ticket: str | None, granted: str | None, bound: str) -> Proof:
        return Proof(
            _fitting(self._tickets.verify(room, ticket) if ticket else None, bound),
            _fitting(self.verified_pass(room, granted) if granted else None, bound),
            bound,
        )

    def of_gate(self, scope: Scope, room: str) -> str | None:
        """The text of the pass that the gate looks at: the cookie's, else the header's."""
        text = self.cookie(scope, room, "pass")
        if text is None:
            brought = header(scope, PASS_HEADER)
            text = brought.decode("latin-1").strip(_BLANKS) if brought is not None else None
        return text

    def cookie(self, scope: Scope, room: str, kind: Kind) -> str | None:
        """The value of the room's cookie, the first one where a client sends several."""
        name = f"{self._prefix}{kind}_{room}="
        for line in headers_of(scope, b"cookie"):
            text = line.decode("latin-1")
            for pair in text.split(";") if name in text else ():
                pair = pair.strip(_BLANKS)
                if pair.startswith(name):
                    return pair[len(name) :]
        return None

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
        value = f"{self._prefix}{kind}_{room}={text}; Max-Age={max(int(seconds), 1)}{self._attributes}"
        return (b"set-cookie", value.encode("ascii"))

    def clear_cookie(self, room: str, kind: Kind) -> Header:
        """A header that removes a proof from the browser."""
        return (b"set-cookie", f"{self._prefix}{kind}_{room}=; Max-Age=0{self._attributes}".encode("ascii"))


def _fitting(proof: Held | None, bound: str) -> Held | None:
    return proof if proof is not None and fits(proof, bound) else None
