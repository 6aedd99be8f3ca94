"""The waiting page's address: GET enters the room, tells where the visitor stands, and sends them on when admitted.

Two things hold whatever a browser keeps, follows or fetches ahead:

- A browser that does not keep cookies gets one place at most. Where the gate asks for a pass, only a visitor that has
  brought it back is sent to the site. All others come to this page once more, by an address that tells until when they
  have the cookie (`kept`). Where it is not brought then, the page says so, and gives no further place.
- A link with a token takes no turn. Its token becomes a cookie that no call looks at, and the page shows a button. The
  button's POST makes it the token that `enter` takes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from starlette.types import Receive, Scope, Send

from waitroom.errors import RoomBroken, RoomUnknown, Unavailable
from waitroom.model import ROOM_NAME, Place, Standing, arrived_us
from waitroom.proofs.tokens import TokenRefused
from waitroom.rooms.eta.estimate import poll_after
from waitroom.rooms.room import Room
from waitroom.settings.room import RoomSettings
from waitroom.web.answers import Problem
from waitroom.web.arrivals import Demand, Reception
from waitroom.web.headers import Header, retry_after
from waitroom.web.instance import Instance
from waitroom.web.page.address import asked_kept, asked_return, asked_token, invitation_was_refused, join_address
from waitroom.web.page.assets import PAGE_HEADERS
from waitroom.web.page.rendering import Page, Situation
from waitroom.web.proofs import Proof
from waitroom.web.visitors import refuse_cross_site
from waitroom.web.visits import shows_page
from waitroom.web.way_back import way_back
from waitroom.web.wire import VISITOR_BODY, respond, whole_body

_HTML: Final = b"text/html; charset=utf-8"
_HEADERS: Final[tuple[Header, ...]] = tuple(
    (name.lower().encode(), value.encode()) for name, value in PAGE_HEADERS.items() if name.lower() != "cache-control"
)

#: The same for an answer at an address that holds a token.
_SECRET_HEADERS: Final[tuple[Header, ...]] = tuple(
    (name, b"no-referrer" if name == b"referrer-policy" else value) for name, value in _HEADERS
)

#: Seconds after which a page without a place tries again.
_TRY_AGAIN_SECONDS: Final = 15.0

#: Seconds that a browser keeps a token that came in the address.
_TOKEN_SECONDS: Final = 3600.0

#: Seconds within which an admitted visitor follows the way to the page that looks for the pass.
_FOLLOW_SECONDS: Final = 60.0

#: What is told to a visitor without a place, and with which status.
_WITHOUT_PLACE: Final[dict[Standing, tuple[Situation, int]]] = {
    Standing.FULL: ("full", 503),
    Standing.CLOSED: ("closed", 403),
    Standing.USED: ("had", 410),
}

#: The same where a new place takes something that was not brought, by the problem's slug.
_DEMANDED: Final[dict[str, Situation]] = {
    "too-many-places": "limited",
    "challenge-required": "challenge",
    "token-required": "token",
}


#: What is told to a visitor that has to act first, and with which status where it is not the room's own.
_HELD_UP: Final[dict[Situation, int]] = {"invited": 200, "refused": 403, "over": 410}

#: Seconds after which a crawler is told to come again at the latest.
_LATEST_SECONDS: Final = 3600.0


class Wait:
    """GET /wait/{room}?return=…, and POST by the button of an invitation."""

    def __init__(self, instance: Instance, reception: Reception) -> None:
        self._own = instance.settings.own_origin
        self._rooms = instance.rooms
        self._clock = instance.clock
        self._desk = instance.desk
        self._pages = instance.pages
        self._streams = instance.streams
        self._reception = reception

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A page for waiting visitors, 303 for admitted ones, and to this page without the token in its address."""
        refuse_drive_by(scope)
        try:
            room = self._rooms.get(scope["path_params"]["room"])
        except Unavailable:
            await self._tell_no_room(scope, send, "unavailable", 503)
            return
        except RoomUnknown:
            await self._tell_no_room(scope, send, "unmade", 404)
            return
        return_to = way_back(room.name, asked_return(scope["query_string"]), room.settings.return_origins)
        if scope["method"] == "HEAD":
            # Looking is not entering: no place is given, so it is not known what GET would answer.
            headers = _come_again(room.settings.page_status, _TRY_AGAIN_SECONDS)
            await _send(send, room.settings.page_status, b"", headers=headers, sized=False)
            return
        if scope["method"] == "POST":
            refuse_cross_site(scope, room, self._own)
            await whole_body(receive, VISITOR_BODY)
            await self._accept_invitation(scope, send, room, return_to)
            return
        token = asked_token(scope["query_string"])
        if token:
            await self._take_token(send, room, token, return_to)
            return
        await self._enter(scope, send, room, return_to)

    async def _enter(self, scope: Scope, send: Send, room: Room, return_to: str) -> None:
        proof = self._desk.of_visitor(scope, room)
        if proof.granted and not proof.ticket and room.is_revoked(proof.granted):
            await self._tell_away(send, room, return_to)
            return
        try:
            place, situation = await self._place(scope, room, proof)
        except (Unavailable, RoomBroken):
            await self._tell_unplaced(send, room, "unavailable", 503, return_to)
            return
        except Demand as demand:
            await self._tell_demand(send, room, demand, return_to)
            return
        if place is None:
            await self._tell_held_up(send, room, situation, return_to)
        elif place.standing in (Standing.ADMITTED, Standing.OFFERED):
            await self._send_on(send, room, place, proof, return_to)
        elif place.standing is Standing.WAITING:
            await self._tell_waiting(send, room, place, return_to, proof.bound)
        else:
            situation, status = _WITHOUT_PLACE[place.standing]
            await self._tell_unplaced(send, room, situation, status, return_to)

    async def _place(self, scope: Scope, room: Room, proof: Proof) -> tuple[Place | None, Situation]:
        """The visitor's place, or None and what keeps the page from giving a new one."""
        query, now, settings = scope["query_string"], self._clock.now(), room.settings
        sent_here = (
            now < asked_kept(query) <= now + max(settings.ticket_seconds, settings.session_seconds) + _FOLLOW_SECONDS
        )
        invited = bool(self._reception.invited(scope, room))
        refused = invitation_was_refused(query) and not self._desk.cookie(scope, room.name, "enqueue")
        if settings.state == "bypass" or not (sent_here or invited or refused):
            return await self._reception.enter(scope, room, proof), "waiting"
        place = await self._reception.back(room, proof)
        if place is not None:
            return place, "waiting"
        if invited:
            return None, "invited"
        if refused:
            return None, "refused"
        return None, "cookie" if proof.ticket is None and proof.granted is None else "over"

    async def _send_on(self, send: Send, room: Room, place: Place, proof: Proof, return_to: str) -> None:
        """To the site with a pass that was brought, or that the gate would not ask for. Else to this page once more:
        there it shows whether the pass was kept."""
        _, headers = self._desk.grant(room, place, proof.bound)
        brought = proof.granted is not None and proof.granted.visitor == place.visitor
        if not brought and not _stands_open(room):
            until = min(place.expires_us / 1_000_000, place.now_us / 1_000_000 + _FOLLOW_SECONDS)
            return_to = join_address(room.name, return_to, kept=math.ceil(until))
        await _send(send, 303, b"", headers=[*headers, (b"location", return_to.encode("ascii"))])

    async def _tell_held_up(self, send: Send, room: Room, situation: Situation, return_to: str) -> None:
        """A page for a visitor that has to act before there is a place."""
        page = replace(
            _page(room.name, room.settings, room.reading.now_us, situation, return_to),
            enqueue_url=room.settings.enqueue_url if situation == "refused" else "",
        )
        status = _HELD_UP.get(situation, room.settings.page_status)
        await _send(send, status, self._pages.render(page), headers=_come_again(status, page.poll_after_seconds))

    async def _tell_waiting(self, send: Send, room: Room, place: Place, return_to: str, bound: str) -> None:
        eta = room.eta(place.rank)
        page = replace(
            _page(room.name, room.settings, place.now_us, "waiting", return_to),
            poll_after_seconds=poll_after(eta, room.settings),
            latest_poll_seconds=room.settings.latest_poll_seconds,
            rank=place.rank,
            serial=place.serial,
            waiting=max(room.reading.waiting, place.rank),
            eta_seconds=eta.seconds if eta else None,
            eta_low_seconds=eta.low if eta else None,
            eta_high_seconds=eta.high if eta else None,
            entered_at=_time(arrived_us(place.serial)),
            streams=not self._streams.full,
            lanes=room.settings.enqueue_tokens != "off",
            kept_until=int(place.now_us / 1_000_000 + room.settings.ticket_seconds),
        )
        status = room.settings.page_status
        headers = [
            self._desk.ticket(room, place, bound)[1],
            *_come_again(status, max(page.poll_after_seconds, min(page.eta_seconds or 0, _LATEST_SECONDS))),
        ]
        await _send(send, status, self._pages.render(page), headers=headers)

    async def _tell_away(self, send: Send, room: Room, return_to: str) -> None:
        """The pass was withdrawn. The visitor is told once, and may then join again."""
        page = _page(room.name, room.settings, room.reading.now_us, "away", return_to)
        await _send(send, 410, self._pages.render(page), headers=[self._desk.clear_cookie(room.name, "pass")])

    async def _tell_demand(self, send: Send, room: Room, demand: Demand, return_to: str) -> None:
        """A page for a visitor that has to bring more: the page itself does the work, a token comes from the site."""
        situation: Situation = "challenge" if demand.challenge else _DEMANDED[demand.slug]
        page = replace(
            _page(room.name, room.settings, room.reading.now_us, situation, return_to),
            poll_after_seconds=max(demand.again_seconds, _TRY_AGAIN_SECONDS),
            challenge=demand.challenge,
            again_seconds=demand.again_seconds,
            enqueue_url=demand.enqueue_url,
        )
        await _send(send, demand.status, self._pages.render(page), headers=[retry_after(page.poll_after_seconds)])

    async def _take_token(self, send: Send, room: Room, token: str, return_to: str) -> None:
        """Put the token into a cookie and have the page come again: it stays in no history, log or Referer. It gives no
        place yet, for a mail server that looks into its visitors' links may have opened this one."""
        more: dict[str, object] = {}
        headers: list[Header] = []
        try:
            if self._reception.grant(room, token):
                headers.append(self._desk.set_cookie(room.name, "invite", token, seconds=_TOKEN_SECONDS))
                more["kept"] = int(self._clock.now() + _FOLLOW_SECONDS)
        except TokenRefused:
            # Into no cookie: it would only hide the one that the cookie may hold.
            more["invitation"] = "refused"
        headers.append((b"location", join_address(room.name, return_to, **more).encode("ascii")))
        await respond(send, 303, headers=[*_SECRET_HEADERS, *headers], content_type=_HTML)

    async def _accept_invitation(self, scope: Scope, send: Send, room: Room, return_to: str) -> None:
        """From now on the token is the one that `enter` takes, here and where the page asks by itself."""
        token = self._reception.invited(scope, room)
        headers: list[Header] = [(b"location", join_address(room.name, return_to).encode("ascii"))]
        if token:
            headers.append(self._desk.set_cookie(room.name, "enqueue", token, seconds=_TOKEN_SECONDS))
            headers.append(self._desk.clear_cookie(room.name, "invite"))
        await _send(send, 303, b"", headers=headers)

    async def _tell_unplaced(self, send: Send, room: Room, situation: Situation, status: int, return_to: str) -> None:
        page = _page(room.name, room.settings, room.reading.now_us, situation, return_to)
        await _send(send, status, self._pages.render(page), headers=[retry_after(page.poll_after_seconds)])

    async def _tell_no_room(self, scope: Scope, send: Send, situation: Situation, status: int) -> None:
        """There is no such room, or Redis has not been reached since the start and there may be one."""
        name = scope["path_params"]["room"]
        if not ROOM_NAME.match(name):
            raise RoomUnknown(f"no room {name!r}")
        return_to = way_back(name, asked_return(scope["query_string"]))
        page = _page(name, RoomSettings(), self._clock.now_us(), situation, return_to)
        await _send(send, status, self._pages.render(page), headers=[retry_after(page.poll_after_seconds)])


def refuse_drive_by(scope: Scope) -> None:
    """Only a visit enters: not an image that another page embeds, nor a browser that fetches ahead."""
    if not shows_page(scope):
        raise Problem(
            403, "not-a-visit", "Not a visit", "open the waiting page by itself, not in a frame or from a script"
        )


def _stands_open(room: Room) -> bool:
    """Whether the gate lets a visitor without a pass straight through."""
    if room.settings.state == "bypass":
        return True
    return not room.settings.guarded and room.reachable and room.reading.waiting == 0


def _come_again(status: int, seconds: float) -> list[Header]:
    """When a client may come again, where the status says that it came in vain."""
    return [retry_after(seconds)] if status != 200 else []


def _page(name: str, settings: RoomSettings, now_us: int, situation: Situation, return_to: str) -> Page:
    return Page(
        room=name,
        situation=situation,
        return_to=return_to,
        as_of=_time(now_us),
        poll_after_seconds=_TRY_AGAIN_SECONDS,
        ticket_seconds=settings.ticket_seconds,
        message=settings.message,
        room_state=settings.state,
    )


def _time(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1_000_000, UTC)


async def _send(send: Send, status: int, body: bytes, *, headers: Sequence[Header] = (), sized: bool = True) -> None:
    await respond(send, status, body, headers=[*_HEADERS, *headers], content_type=_HTML, sized=sized)
