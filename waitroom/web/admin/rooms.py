"""What operators call: /admin/rooms and what is below it. A bearer key guards it all."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from typing import Any, Final

import orjson
from starlette.types import Receive, Scope, Send

from waitroom.errors import RoomUnknown, SettingsError, VersionConflict
from waitroom.model import ROOM_NAME, VISITOR_ID, Standing, Visitor
from waitroom.rooms.room import Room
from waitroom.settings.room import parse_room
from waitroom.web.instance import Instance
from waitroom.web.wire import OPERATOR_BODY, Header, Problem, header, headers_of, json_body, respond

logger = logging.getLogger(__name__)

#: What a command does to a room's state.
_COMMANDS: Final = {"pause": "paused", "resume": "open", "close": "closed"}

Answer = tuple[int, Any, tuple[Header, ...]]


class Operators:
    """The admin endpoints of one instance."""

    def __init__(self, instance: Instance) -> None:
        self._rooms = instance.rooms
        self._tickets = instance.tickets
        self._passes = instance.passes
        self._clock = instance.clock
        self._key = sha256(instance.settings.admin_key.encode()).digest()
        self._open = bool(instance.settings.admin_key)
        self._takes_tokens = bool(instance.settings.enqueue_keys)

    def endpoint(self, handle: Callable[[Scope, Receive], Awaitable[Answer]]) -> Callable[..., Awaitable[None]]:
        """An ASGI callable that checks the key first."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            self._check_key(scope)
            status, document, headers = await handle(scope, receive)
            if scope["method"] not in ("GET", "HEAD"):
                # What was done well was done to a room whose name is one: nothing in the path needs to be escaped.
                logger.info("admin: %s %s: %d", scope["method"], scope["path"], status)
            await respond(send, status, b"" if document is None else orjson.dumps(document), headers=headers)

        return _AsgiCallable(guarded)

    async def list_rooms(self, _scope: Scope, _receive: Receive) -> Answer:
        """GET /admin/rooms"""
        await self._rooms.refresh(in_part=False)
        documents = [describe(room) for room in self._rooms]
        return 200, {"rooms": documents, "faults": self._rooms.faults}, ()

    async def read(self, scope: Scope, _receive: Receive) -> Answer:
        """GET /admin/rooms/{room}"""
        return _answer(await self._rooms.adopt(_name(scope)))

    async def put(self, scope: Scope, receive: Receive) -> Answer:
        """PUT /admin/rooms/{room}: create it, or replace its settings; what is not given gets its default."""
        name, expected = _name(scope), _expected(scope)
        if header(scope, b"if-match") == b"*":
            await self._existing(name)
        with _mapped_errors():
            settings = parse_room(await json_body(scope, receive, limit=OPERATOR_BODY))
            self._check_tokens(settings.enqueue_tokens)
            version = await self._rooms.create(name, settings, expected=expected)
        status, document, headers = _answer(await self._rooms.adopt(name))
        return (201 if version == 1 else status), document, headers

    async def patch(self, scope: Scope, receive: Receive) -> Answer:
        """PATCH /admin/rooms/{room}: change what is given."""
        changes = await json_body(scope, receive, limit=OPERATOR_BODY)
        if not changes:
            raise Problem(400, "nothing-to-change", "Nothing to change", "the body names no setting")
        return await self._patched(scope, changes)

    async def revoke(self, scope: Scope, receive: Receive) -> Answer:
        """POST /admin/rooms/{room}/revoke: send one visitor away, named by id or by a proof of theirs."""
        room = await self._rooms.adopt(_name(scope))
        visitor = self._visitor(room.name, await json_body(scope, receive, limit=OPERATOR_BODY))
        standing = await room.leave(visitor, with_pass=True)
        return 200, {"room": room.name, "visitor": visitor, "had_place": standing is Standing.LEFT}, ()

    def _visitor(self, room: str, body: dict[str, Any]) -> Visitor:
        if len(body) != 1 or not body.keys() <= {"visitor", "proof"}:
            shown = ", ".join(repr(name[:40]) for name in list(body)[:5]) or "nothing"
            detail = f"exactly one of `visitor` and `proof` is accepted, got {shown}"
            raise Problem(400, "unknown-field", "Unknown field", detail)
        visitor, proof = body.get("visitor"), body.get("proof")
        if isinstance(visitor, str) and VISITOR_ID.match(visitor):
            return Visitor(visitor)
        if isinstance(proof, str):
            held = self._tickets.verify(room, proof) or self._passes.verify(room, proof, now=self._clock.now())
            if held is not None:
                return held.visitor
            raise Problem(400, "no-proof", "No valid proof", "`proof` is not a ticket or pass of this room")
        name = next(iter(body))
        kind = "an id of 22 characters" if name == "visitor" else "a ticket or pass"
        raise Problem(400, "visitor", "No visitor", f"`{name}` must be {kind}, got {str(body[name])[:40]!r}")

    def commands(self) -> Iterator[tuple[str, Callable[[Scope, Receive], Awaitable[Answer]]]]:
        """POST /admin/rooms/{room}/pause, resume, close: each command's name and handler."""
        for command, state in _COMMANDS.items():
            yield command, partial(self._command, state)

    async def _command(self, state: str, scope: Scope, receive: Receive) -> Answer:
        """Change the state; the body may carry the message to show."""
        body = await json_body(scope, receive, limit=OPERATOR_BODY)
        unknown = [name for name in body if name != "message"]
        if unknown:
            raise Problem(400, "unknown-field", "Unknown field", f"only `message` is accepted, got {unknown[0][:40]!r}")
        return await self._patched(scope, {**body, "state": state})

    async def delete(self, scope: Scope, _receive: Receive) -> Answer:
        """DELETE /admin/rooms/{room}: the room and everybody in it are gone."""
        name, expected = _name(scope), _expected(scope)
        if expected is not None and (version := (await self._existing(name)).reading.version) != expected:
            raise _changed(VersionConflict(name, version))
        if not await self._rooms.delete(name):
            raise RoomUnknown(f"no room {name!r}")
        return 204, None, ()

    async def _existing(self, name: str) -> Room:
        """The room that a condition on its version needs."""
        try:
            return await self._rooms.adopt(name)
        except RoomUnknown:
            raise _changed(VersionConflict(name, 0)) from None

    async def _patched(self, scope: Scope, changes: dict[str, Any]) -> Answer:
        with _mapped_errors():
            self._check_tokens(changes.get("enqueue_tokens"))
            return _answer(await self._rooms.change(_name(scope), changes, expected=_expected(scope)))

    def _check_tokens(self, wanted: object) -> None:
        """Raise SettingsError for tokens that this instance has no key to verify by: they would shut everybody out."""
        if wanted in ("accepted", "required") and not self._takes_tokens:
            raise SettingsError(f"enqueue_tokens: {wanted!r} needs enqueue_keys; without one no token is good")

    def _check_key(self, scope: Scope) -> None:
        brought = headers_of(scope, b"authorization")
        scheme, _, key = (brought[0] if len(brought) == 1 else b"").partition(b" ")
        # Digests are compared, so that neither length nor content shows in the time it takes.
        good = hmac.compare_digest(sha256(key).digest(), self._key)
        if not (good and self._open and scheme.lower() == b"bearer"):
            challenge = (b"www-authenticate", b'Bearer realm="waitroom admin"')
            raise Problem(401, "no-admin-key", "No valid admin key", headers=(challenge,))


class _AsgiCallable:
    """Starlette takes a function for a request handler; an object with __call__ is taken for an ASGI application."""

    def __init__(self, call: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._call = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._call(scope, receive, send)


def describe(room: Room) -> dict[str, Any]:
    """Everything that an operator may know of a room."""
    reading = room.reading
    return {
        "room": room.name,
        "version": reading.version,
        "settings": room.settings.model_dump(),
        "waiting": reading.waiting,
        "occupancy": reading.occupancy,
        "offered": reading.offered,
        "counts": asdict(reading.counts),
    }


def _answer(room: Room) -> Answer:
    return 200, describe(room), ((b"etag", b'"%d"' % room.reading.version),)


def _name(scope: Scope) -> str:
    name = str(scope["path_params"]["room"])
    if not ROOM_NAME.match(name):
        detail = f"{name[:80]!r} is not 1-64 of a-z, 0-9, _ and -, a letter or digit first"
        raise Problem(400, "room-name", "Not a room name", detail)
    return name


def _expected(scope: Scope) -> int | None:
    """The version that If-Match asks for (0 for `If-None-Match: *`: must not exist), or None."""
    if header(scope, b"if-none-match") == b"*":
        return 0
    match = header(scope, b"if-match")
    if match is None or match == b"*":
        return None
    text = match.strip().strip(b'"')
    if not text.isdigit() or len(text) > 15:
        raise Problem(400, "if-match", "Not a version", 'If-Match must be a version like "3", as ETag gave it')
    return int(text)


@contextmanager
def _mapped_errors() -> Iterator[None]:
    try:
        yield
    except SettingsError as error:
        raise Problem(400, "settings", "Settings are not valid", str(error)) from None
    except VersionConflict as conflict:
        raise _changed(conflict) from None


def _changed(conflict: VersionConflict) -> Problem:
    return Problem(412, "version", "The room has another version", str(conflict))
