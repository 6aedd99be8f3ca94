"""What visitors call: enter, status, leave, and the public room document.

Plain ASGI callables: these are the hot endpoints.
"""

from __future__ import annotations

from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from waitroom.model import Pass, Place, Standing, Ticket
from waitroom.rooms.room import Room
from waitroom.web import documents
from waitroom.web.arrivals import Reception
from waitroom.web.instance import Instance
from waitroom.web.proofs import Proof, ProofDesk
from waitroom.web.wire import VISITOR_BODY, Header, Problem, header, json_body, respond, retry_after

_CHALLENGE: Header = (b"www-authenticate", b'Bearer realm="waitroom"')


#: What a token or a solution is told that has given its one turn.
_HAD = "whoever this token or solution is for has had the turn, or gave it up; another token or solution is needed"


class Endpoint:
    """What the visitors' endpoints share: finding the room and the proofs, and telling a place."""

    def __init__(self, instance: Instance) -> None:
        self.rooms = instance.rooms
        self.desk = ProofDesk(instance)
        self.now_us = instance.clock.now_us

    def room(self, scope: Scope) -> Room:
        """The room that the path names; raises RoomUnknown."""
        return self.rooms.get(scope["path_params"]["room"])

    async def inside(self, room: Room, proof: Proof) -> Place | None:
        """The place that a pass proves, if its holder is still inside."""
        if proof.granted is None or room.is_revoked(proof.granted):
            return None
        place = await room.extend(proof.granted)
        if place.standing is Standing.UNKNOWN and room.takes_at_its_word(proof.granted):
            return place._replace(standing=Standing.ADMITTED, expires_us=int(proof.granted.expires * 1_000_000))
        return place if place.standing is Standing.ADMITTED else None

    async def tell(self, send: Send, room: Room, place: Place, *, bound: str, waiting_status: int) -> None:
        """Answer with the document of a place; raises Problem for a standing that is not one."""
        if place.standing is Standing.WAITING:
            await self._tell_waiting(send, room, place, bound, waiting_status)
        elif place.standing in (Standing.ADMITTED, Standing.OFFERED):
            await self._tell_admitted(send, room, place, bound)
        else:
            raise refusal(room, place.standing)

    async def _tell_waiting(self, send: Send, room: Room, place: Place, bound: str, status: int) -> None:
        ticket = self.desk.issue_ticket(room.name, Ticket(place.visitor, place.serial, place.now_us, bound))
        document = documents.waiting(room, place, ticket=ticket)
        headers = (
            self.desk.set_cookie(room.name, "ticket", ticket, seconds=room.settings.ticket_seconds),
            retry_after(document["poll_after_seconds"]),
        )
        await respond(send, status, orjson.dumps(document), headers=headers)

    async def _tell_admitted(self, send: Send, room: Room, place: Place, bound: str) -> None:
        text, headers = grant(self.desk, room, place, bound)
        await respond(send, 200, orjson.dumps(documents.admitted(room, place, text=text)), headers=headers)


class Enter(Endpoint):
    """POST /v1/rooms/{room}/enter"""

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        self.reception = Reception(instance, self.desk)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """202 waiting, 200 admitted; with a proof the same place again."""
        room = self.room(scope)
        refuse_cross_site(scope, room)
        refuse_fields(await json_body(scope, receive, limit=VISITOR_BODY))
        proof = self.desk.of_visitor(scope, room)
        place = await self.place(scope, room, proof)
        if place.standing is Standing.USED:
            raise Problem(410, "turn-over", "The turn is over", _HAD)
        await self.tell(send, room, place, bound=proof.bound, waiting_status=202)

    async def place(self, scope: Scope, room: Room, proof: Proof) -> Place:
        """The place that the proofs give back, or a new one; raises Demand where that takes more."""
        inside = await self.inside(room, proof) if proof.granted else None
        return inside or await self.reception.place(scope, room, proof.ticket)


class Status(Endpoint):
    """GET /v1/rooms/{room}/status"""

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Where the ticket's holder stands; needs a ticket or a pass."""
        room = self.room(scope)
        proof = self.desk.of_visitor(scope, room)
        place = await self.place(room, proof)
        await self.tell(send, room, place, bound=proof.bound, waiting_status=200)

    async def place(self, room: Room, proof: Proof) -> Place:
        """Where the holder of the proofs stands; raises Problem where there are none."""
        place = await self.inside(room, proof) if proof.granted else None
        if place is None:
            if proof.ticket is None:
                raise refusal(room, Standing.USED if proof.granted else Standing.EXPIRED)
            place = await room.status(proof.ticket)
        return place


class Leave(Endpoint):
    """POST /v1/rooms/{room}/leave"""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """204, also the second time; the visitor's proofs are spent."""
        room = self.room(scope)
        refuse_cross_site(scope, room)
        refuse_fields(await json_body(scope, receive, limit=VISITOR_BODY))
        proof = self.desk.of_visitor(scope, room)
        visitors = {held.visitor for held in (proof.ticket, proof.granted) if held is not None}
        if not visitors:
            raise refusal(room, Standing.EXPIRED)
        for visitor in visitors:
            await room.leave(visitor, with_pass=proof.granted is not None)
        cleared = (self.desk.clear_cookie(room.name, "ticket"), self.desk.clear_cookie(room.name, "pass"))
        await respond(send, 204, headers=cleared)


class PublicRoom(Endpoint):
    """GET /v1/rooms/{room}"""

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """What anybody may know, for caches to keep for a second."""
        room = self.room(scope)
        # The older it is when it goes into a cache, the sooner everybody who watches must come again.
        await self.rooms.freshen(room)
        body = orjson.dumps(documents.public(room))
        await respond(send, 200, body, cache=(b"cache-control", b"public, max-age=1"))


def grant(desk: ProofDesk, room: Room, place: Place, bound: str) -> tuple[str, list[Header]]:
    """The pass of an admitted place, bound to a client if `bound` names one, and the headers that hand it out."""
    offer = place.standing is Standing.OFFERED
    text = desk.issue_pass(room.name, Pass(place.visitor, place.expires_us / 1_000_000, offer=offer, bound=bound))
    seconds = (place.expires_us - place.now_us) / 1_000_000
    headers = [desk.set_cookie(room.name, "pass", text, seconds=seconds)]
    if offer and place.serial:
        # Admitted at first contact: should the offer lapse, in an outage say, the ticket gives the place back.
        ticket = desk.issue_ticket(room.name, Ticket(place.visitor, place.serial, place.now_us, bound))
        headers.append(desk.set_cookie(room.name, "ticket", ticket, seconds=room.settings.ticket_seconds))
    elif not offer:
        headers.append(desk.clear_cookie(room.name, "ticket"))
    return text, headers


def refusal(room: Room, standing: Standing) -> Problem:
    """The problem document of a standing that is no place."""
    if standing is Standing.CLOSED:
        return Problem(403, "closed", "The room is closed", room.settings.message)
    if standing is Standing.FULL:
        detail = f"{room.settings.max_waiting} visitors wait already"
        return Problem(503, "full", "The wait queue is full", detail, headers=(retry_after(15),))
    if standing in (Standing.USED, Standing.LEFT):  # also of a customer or a solution: one turn each
        return Problem(410, "turn-over", "The turn is over", "the visitor had their turn or left; enter again")
    detail = "a valid ticket or pass of this room is needed, as its cookie or as a bearer"
    return Problem(401, "no-proof", "No valid proof", detail, headers=(_CHALLENGE,))


def refuse_fields(document: dict[str, Any]) -> None:
    """Visitors decide nothing about their place: no field is accepted."""
    if document:
        names = ", ".join(repr(name[:40]) for name in list(document)[:5])
        raise Problem(400, "unknown-field", "Unknown field", f"no field is accepted here, got {names}")


def refuse_cross_site(scope: Scope, room: Room) -> None:
    """A page of another origin may not act for its visitor, unless the room allows that origin.

    Browsers say where a request comes from; other clients say nothing, and act for nobody else. A sibling host is
    another origin too: it shares the site's cookies, but need not be trusted.
    """
    if header(scope, b"sec-fetch-site") in (None, b"same-origin", b"none"):
        return
    origin = (header(scope, b"origin") or b"").decode("latin-1")
    if origin not in room.settings.return_origins:
        raise Problem(403, "cross-site", "Cross-site request", f"{origin[:80]!r} is not among return_origins")
