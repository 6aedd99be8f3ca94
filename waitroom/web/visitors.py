"""What visitors call: enter, status, leave, and the public room document.

Plain ASGI callables: these are the hot endpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson
from starlette.types import Receive, Scope, Send

from waitroom.model import Place, Standing
from waitroom.rooms.registry import Rooms
from waitroom.rooms.room import Room
from waitroom.web import documents
from waitroom.web.answers import Problem
from waitroom.web.arrivals import Reception
from waitroom.web.headers import Header, header, retry_after
from waitroom.web.instance import Instance
from waitroom.web.places import held, no_place
from waitroom.web.proofs import ProofDesk
from waitroom.web.wire import VISITOR_BODY, json_body, respond

#: What a token or a solution is told that has given its one turn.
_HAD: Final = "this token or solution has had its turn, or its visitor gave it up: another one is needed"


class Enter:
    """POST /v1/rooms/{room}/enter"""

    def __init__(self, instance: Instance, reception: Reception) -> None:
        self._own = instance.settings.own_origin
        self._rooms = instance.rooms
        self._desk = instance.desk
        self._reception = reception

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """202 waiting, 200 admitted, with a proof the same place again."""
        room = self._rooms.get(scope["path_params"]["room"])
        refuse_cross_site(scope, room, self._own)
        refuse_fields(await json_body(scope, receive, limit=VISITOR_BODY))
        proof = self._desk.of_visitor(scope, room)
        place = await self._reception.enter(scope, room, proof)
        if place.standing is Standing.USED:
            raise Problem(410, "turn-over", "The turn is over", _HAD)
        await _tell(send, self._desk, room, place, bound=proof.bound, waiting_status=202)


class Status:
    """GET /v1/rooms/{room}/status"""

    def __init__(self, instance: Instance) -> None:
        self._own = instance.settings.own_origin
        self._rooms = instance.rooms
        self._desk = instance.desk

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Where the ticket's holder stands. Needs a ticket or a pass."""
        room = self._rooms.get(scope["path_params"]["room"])
        if self._own:  # a picture on another site would claim the visitor's turn
            refuse_cross_site(scope, room, self._own)
        proof = self._desk.of_visitor(scope, room)
        place = await held(room, proof)
        await _tell(send, self._desk, room, place, bound=proof.bound, waiting_status=200)


class Leave:
    """POST /v1/rooms/{room}/leave"""

    def __init__(self, instance: Instance) -> None:
        self._own = instance.settings.own_origin
        self._rooms = instance.rooms
        self._desk = instance.desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """204, also the second time. The visitor's proofs are spent."""
        room = self._rooms.get(scope["path_params"]["room"])
        refuse_cross_site(scope, room, self._own)
        refuse_fields(await json_body(scope, receive, limit=VISITOR_BODY))
        proof = self._desk.of_visitor(scope, room)
        visitors = {brought.visitor for brought in (proof.ticket, proof.granted) if brought is not None}
        if not visitors:
            raise no_place(room, Standing.EXPIRED)
        for visitor in visitors:
            await room.leave(visitor, with_pass=proof.granted is not None)
        cleared = (self._desk.clear_cookie(room.name, "ticket"), self._desk.clear_cookie(room.name, "pass"))
        await respond(send, 204, headers=cleared)


class PublicRoom:
    """GET /v1/rooms/{room}"""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """What anybody may know, for caches to keep for a second."""
        room = self._rooms.get(scope["path_params"]["room"])
        # The older it is when it goes into a cache, the sooner all watching clients must come again.
        await self._rooms.freshen(room)
        body = orjson.dumps(documents.public(room))
        await respond(send, 200, body, cache=(b"cache-control", b"public, max-age=1"))


async def _tell(send: Send, desk: ProofDesk, room: Room, place: Place, *, bound: str, waiting_status: int) -> None:
    """Answer with the document of a place. Raises Problem for a standing that is not one."""
    if place.standing is Standing.WAITING:
        status, (document, headers) = waiting_status, _waiting(desk, room, place, bound)
    elif place.standing in (Standing.ADMITTED, Standing.OFFERED):
        status, (document, headers) = 200, _admitted(desk, room, place, bound)
    else:
        raise no_place(room, place.standing)
    await respond(send, status, orjson.dumps(document), headers=headers)


def _waiting(desk: ProofDesk, room: Room, place: Place, bound: str) -> tuple[dict[str, Any], Sequence[Header]]:
    text, cookie = desk.ticket(room, place, bound)
    document = documents.waiting(room, place, ticket=text)
    return document, (cookie, retry_after(document["poll_after_seconds"]))


def _admitted(desk: ProofDesk, room: Room, place: Place, bound: str) -> tuple[dict[str, Any], Sequence[Header]]:
    text, headers = desk.grant(room, place, bound)
    return documents.admitted(room, place, text=text), headers


def refuse_fields(document: dict[str, Any]) -> None:
    """Visitors decide nothing about their place: no field is accepted."""
    if document:
        names = ", ".join(repr(name[:40]) for name in list(document)[:5])
        raise Problem(400, "unknown-field", "Unknown field", f"no field is accepted here, got {names}")


def refuse_cross_site(scope: Scope, room: Room, own: str = "") -> None:
    """A page of another origin may not act for its visitor, unless the room allows that origin.

    Browsers say where a request comes from. Other clients say nothing, and act only for themselves. A sibling host is
    another origin too: it shares the site's cookies, but need not be trusted. `own`: the site's origin, where cookies
    come along with other sites' requests. There a browser that does not say where a request comes from is judged by
    Origin.
    """
    site, origin = header(scope, b"sec-fetch-site"), (header(scope, b"origin") or b"").decode("latin-1")
    if site in (b"same-origin", b"none") or (site is None and (not own or origin in ("", own))):
        return
    if origin not in room.settings.return_origins:
        raise Problem(403, "cross-site", "Cross-site request", f"{origin[:80]!r} is not among return_origins")
