"""The waiting page's address: GET enters the room, tells where the visitor stands, and sends them on when admitted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote

from starlette.types import Receive, Scope, Send

from waitroom.errors import RoomBroken, RoomUnknown, Unavailable
from waitroom.model import ROOM_NAME, Place, Standing, Ticket, arrived_us
from waitroom.proofs.tokens import TokenRefused
from waitroom.returns import return_address
from waitroom.rooms.eta.estimate import poll_after
from waitroom.rooms.room import Room
from waitroom.rooms.streams import Streams
from waitroom.settings.room import RoomSettings
from waitroom.web.arrivals import Demand
from waitroom.web.page import rendering
from waitroom.web.page.rendering import Page, Situation
from waitroom.web.visitors import Enter, grant
from waitroom.web.wire import Header, Problem, header, respond, retry_after

_HTML: Final = b"text/html; charset=utf-8"
_HEADERS: Final[tuple[Header, ...]] = tuple(
    (name.lower().encode(), value.encode())
    for name, value in rendering.PAGE_HEADERS.items()
    if name.lower() != "cache-control"
)

#: Seconds after which a page without a place tries again.
_TRY_AGAIN_SECONDS: Final = 15.0

#: Seconds that a browser keeps a token that came in the address.
_TOKEN_SECONDS: Final = 3600.0

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


class Wait:
    """GET /wait/{room}?return=…"""

    def __init__(self, enter: Enter, streams: Streams) -> None:
        self._enter = enter
        self._streams = streams
        self._desk = enter.desk

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """A page for those who wait, 303 for the admitted, and to this page without the token in its address."""
        refuse_drive_by(scope)
        try:
            room = self._enter.room(scope)
        except Unavailable:
            await self._tell_unread(scope, send)
            return
        return_to = return_address(asked_return(scope["query_string"]), room.settings.return_origins)
        if scope["method"] == "HEAD":
            # Looking is not entering: no place is given, so it is not known what GET would answer.
            await self._send(send, 200, b"", sized=False)
            return
        token = asked_token(scope["query_string"])
        if token:
            await self._take_token(send, room, token, return_to)
            return
        proof = self._desk.of_visitor(scope, room)
        try:
            place = await self._enter.place(scope, room, proof)
        except (Unavailable, RoomBroken):
            await self._tell_unplaced(send, room, "unavailable", 503, return_to)
            return
        except Demand as demand:
            await self._tell_demand(send, room, demand, return_to)
            return
        if place.standing in (Standing.ADMITTED, Standing.OFFERED):
            _, headers = grant(self._desk, room, place, proof.bound)
            await self._send(send, 303, b"", headers=[*headers, (b"location", return_to.encode("ascii"))])
        elif place.standing is Standing.WAITING:
            await self._tell_waiting(send, room, place, return_to, proof.bound)
        else:
            situation, status = _WITHOUT_PLACE[place.standing]
            await self._tell_unplaced(send, room, situation, status, return_to)

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
        )
        await self._send(send, 200, rendering.render(page), headers=[self._ticket(room, place, bound)])

    def _ticket(self, room: Room, place: Place, bound: str) -> Header:
        """The cookie of a place."""
        ticket = self._desk.issue_ticket(room.name, Ticket(place.visitor, place.serial, place.now_us, bound))
        return self._desk.set_cookie(room.name, "ticket", ticket, seconds=room.settings.ticket_seconds)

    async def _tell_demand(self, send: Send, room: Room, demand: Demand, return_to: str) -> None:
        """A page for who has to bring more: the work is done by the page itself, a token is had elsewhere."""
        situation: Situation = "challenge" if demand.challenge else _DEMANDED[demand.slug]
        page = replace(
            _page(room.name, room.settings, room.reading.now_us, situation, return_to),
            poll_after_seconds=max(demand.again_seconds, _TRY_AGAIN_SECONDS),
            challenge=demand.challenge,
            enqueue_url=demand.enqueue_url,
        )
        await self._send(send, demand.status, rendering.render(page), headers=[retry_after(page.poll_after_seconds)])

    async def _take_token(self, send: Send, room: Room, token: str, return_to: str) -> None:
        """Put the token into a cookie and have the page come again: it stays in no history, log or Referer, and what
        the page asks by itself brings it too."""
        headers: list[Header] = [(b"location", rendering.join_address(room.name, return_to).encode("ascii"))]
        # One that is not good would only hide the one that the cookie may hold.
        with suppress(TokenRefused):
            if self._enter.reception.grant(room, token):
                headers.append(self._desk.set_cookie(room.name, "enqueue", token, seconds=_TOKEN_SECONDS))
        await self._send(send, 303, b"", headers=headers)

    async def _tell_unplaced(self, send: Send, room: Room, situation: Situation, status: int, return_to: str) -> None:
        page = _page(room.name, room.settings, room.reading.now_us, situation, return_to)
        await self._send(send, status, rendering.render(page), headers=[retry_after(page.poll_after_seconds)])

    async def _tell_unread(self, scope: Scope, send: Send) -> None:
        """Redis has not been reached since the start: there may be such a room, and a browser wants a page."""
        name = scope["path_params"]["room"]
        if not ROOM_NAME.match(name):
            raise RoomUnknown(f"no room {name!r}")
        return_to = return_address(asked_return(scope["query_string"]))
        page = _page(name, RoomSettings(), self._enter.now_us(), "unavailable", return_to)
        await self._send(send, 503, rendering.render(page), headers=[retry_after(page.poll_after_seconds)])

    async def _send(
        self, send: Send, status: int, body: bytes, *, headers: Sequence[Header] = (), sized: bool = True
    ) -> None:
        await respond(send, status, body, headers=[*_HEADERS, *headers], content_type=_HTML, sized=sized)


class Asset:
    """GET /wait/_assets/{name}"""

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """A file of the waiting page."""
        asset = rendering.ASSETS.get(scope["path_params"]["name"])
        if asset is None:
            raise Problem(404, "not-found", "Not found")
        headers = [(name.lower().encode(), value.encode()) for name, value in asset.headers.items()]
        unchanged = header(scope, b"if-none-match") == asset.etag.encode()
        lines = [line for line in headers if line[0] not in (b"cache-control", b"content-type")]
        await respond(
            send,
            304 if unchanged else 200,
            b"" if unchanged else asset.body,
            headers=lines,
            content_type=asset.content_type.encode(),
            # While instances are replaced one by one, a page of the newer version may ask an older one for its files:
            # what that one has must not be kept under the newer name.
            cache=next(line for line in headers if line[0] == b"cache-control")
            if _asks_for(scope, asset)
            else (b"cache-control", b"no-cache"),
        )


def _asks_for(scope: Scope, asset: rendering.Asset) -> bool:
    """Whether the address names this very content."""
    return bytes(scope["query_string"]) == asset.url.partition("?")[2].encode()


def refuse_drive_by(scope: Scope) -> None:
    """Only a visit enters: not an image that another page embeds, nor a browser that fetches ahead."""
    destination, purpose = header(scope, b"sec-fetch-dest"), header(scope, b"sec-purpose") or b""
    if destination not in (None, b"document") or b"prefetch" in purpose:
        raise Problem(403, "not-a-visit", "Not a visit", "the waiting page is to be opened by itself")


def asked_return(query: bytes) -> str | None:
    """The return address in a query: all that follows `return=`.

    nginx cannot percent-encode, so its redirect puts the request's address there as it came; other callers encode it.
    An address begins with a slash or a scheme: encoded exactly when these are.
    """
    before, found, raw = query.decode("latin-1").partition("return=")
    if not found or (before and not before.endswith("&")):
        return None
    if raw.startswith("/") or "://" in raw[:8]:
        return raw
    try:
        return unquote(raw.partition("&")[0], errors="strict")
    except UnicodeDecodeError:
        return None


def asked_token(query: bytes) -> str:
    """The enqueue token in a query, which stands before the return address; empty where there is none."""
    before = query.decode("latin-1").partition("return=")[0]
    return next((pair[len("enqueue=") :] for pair in before.split("&") if pair.startswith("enqueue=")), "")


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
