"""What operators do with rooms: /admin/rooms and what is below it."""

from __future__ import annotations

from typing import Any

from starlette.types import Receive, Scope

from waitroom.errors import RoomUnknown, SettingsError, VersionConflict
from waitroom.model import VISITOR_ID, Standing, Visitor, room_name
from waitroom.rooms.room import Room
from waitroom.settings.room import parse_room
from waitroom.web.admin.calls import Answer
from waitroom.web.answers import Problem
from waitroom.web.documents import for_operators
from waitroom.web.headers import header
from waitroom.web.instance import Instance
from waitroom.web.wire import OPERATOR_BODY, json_body


class RoomAdmin:
    """The calls of operators that look at rooms and change them."""

    def __init__(self, instance: Instance) -> None:
        self._rooms = instance.rooms
        self._tickets = instance.tickets
        self._passes = instance.passes
        self._clock = instance.clock
        self._settings = instance.settings

    async def list_rooms(self, _scope: Scope, _receive: Receive) -> Answer:
        """GET /admin/rooms"""
        await self._rooms.refresh(in_part=False)
        documents = [for_operators(room) for room in self._rooms]
        return 200, {"rooms": documents, "faults": self._rooms.faults}, ()

    async def read(self, scope: Scope, _receive: Receive) -> Answer:
        """GET /admin/rooms/{room}"""
        return _answer(await self._rooms.adopt(_name(scope)))

    async def put(self, scope: Scope, receive: Receive) -> Answer:
        """PUT /admin/rooms/{room}: create it, or replace its settings. A setting that is not given gets its default."""
        name, expected = _name(scope), _expected(scope)
        if header(scope, b"if-match") == b"*":
            await self._existing(name)
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

    async def pause(self, scope: Scope, receive: Receive) -> Answer:
        """POST /admin/rooms/{room}/pause: admit no visitor. The body may carry the message to show."""
        return await self._told(scope, receive, state="paused")

    async def resume(self, scope: Scope, receive: Receive) -> Answer:
        """POST /admin/rooms/{room}/resume: the same for an open room."""
        return await self._told(scope, receive, state="open")

    async def close(self, scope: Scope, receive: Receive) -> Answer:
        """POST /admin/rooms/{room}/close: the same for a closed room."""
        return await self._told(scope, receive, state="closed")

    async def _told(self, scope: Scope, receive: Receive, *, state: str) -> Answer:
        """Change the state, and the message with it."""
        body = await json_body(scope, receive, limit=OPERATOR_BODY)
        unknown = [name for name in body if name != "message"]
        if unknown:
            raise Problem(400, "unknown-field", "Unknown field", f"only `message` is accepted, got {unknown[0][:40]!r}")
        return await self._patched(scope, {**body, "state": state})

    async def delete(self, scope: Scope, _receive: Receive) -> Answer:
        """DELETE /admin/rooms/{room}: the room and all its visitors are gone."""
        name, expected = _name(scope), _expected(scope)
        if expected is not None and (version := (await self._existing(name)).reading.version) != expected:
            raise VersionConflict(name, version)
        if not await self._rooms.delete(name):
            raise RoomUnknown(f"no room {name!r}")
        return 204, None, ()

    async def _existing(self, name: str) -> Room:
        """The room that a condition on its version needs."""
        try:
            return await self._rooms.adopt(name)
        except RoomUnknown:
            raise VersionConflict(name, 0) from None

    async def _patched(self, scope: Scope, changes: dict[str, Any]) -> Answer:
        self._check_tokens(changes.get("enqueue_tokens"))
        return _answer(await self._rooms.change(_name(scope), changes, expected=_expected(scope)))

    def _check_tokens(self, wanted: object) -> None:
        """Raise SettingsError for tokens that this instance has no key to verify by: they would shut everybody out."""
        if fault := self._settings.fault_of_tokens(wanted):
            raise SettingsError(fault)


def _answer(room: Room) -> Answer:
    return 200, for_operators(room), ((b"etag", b'"%d"' % room.reading.version),)


def _name(scope: Scope) -> str:
    try:
        return room_name(str(scope["path_params"]["room"]))
    except ValueError as error:
        raise Problem(400, "room-name", "Not a room name", str(error)) from None


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
