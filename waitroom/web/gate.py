"""The gate: may this request go on to the origin? 204 yes, 401 it must wait, 403 revoked or closed. Nothing else.

The decision rests on the room that the proxy's configuration names, on the pass, on the time and on what was revoked:
never on the URL. What else is told of the request lets none through. It names the form of a "no", and keeps free places
for visits (`web/visits.py`). A pass is verified once and remembered. Redis is asked only to claim an offer, to lengthen
a sliding session, to let a visitor straight through, and at each check of a `strict` room or one with `when_down` =
`closed`.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from starlette.types import Receive, Scope, Send

from waitroom import metrics
from waitroom.errors import Full, Overloaded, RoomBroken, RoomUnknown, Unavailable
from waitroom.model import ROOM_NAME, Pass, Place, Standing, Visitor
from waitroom.proofs.tickets import new_visitor
from waitroom.rooms.room import Room
from waitroom.web.headers import Header, retry_after
from waitroom.web.instance import Instance
from waitroom.web.proofs import PASS_HEADER, fingerprint, fits, worth
from waitroom.web.visits import FORM_HEADER, form_of_no, may_take_place
from waitroom.web.wire import respond

logger = logging.getLogger(__name__)

#: Verified passes that are remembered: about 60 MB at most.
_REMEMBERED: Final = 100_000

#: Share of a sliding session that may pass before the next request lengthens it again.
_SLIDE_AFTER: Final = 0.1

#: Seconds by which a pass may end before its place, being rounded down.
_ROUNDING_SECONDS: Final = 0.002

#: Seconds that a pass given while Redis is down lives at most.
_OPEN_PASS_SECONDS: Final = 60.0

#: Seconds between two lines of the log about the same unknown room, and how many rooms are remembered meanwhile.
_QUIET_SECONDS: Final = 60.0
_MOST_UNKNOWN: Final = 100

#: Seconds after which a turned-away client may look again.
_LOOK_AGAIN_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Decision:
    """A status code and what to hand to the visitor along with it."""

    status: int
    headers: tuple[Header, ...] = ()


GO_ON: Final = Decision(204)
MUST_WAIT: Final = Decision(401, (retry_after(_LOOK_AGAIN_SECONDS),))
FORBIDDEN: Final = Decision(403)


class Gate:
    """GET /gate/{room}, for a proxy's sub-request. Some proxies ask with the method of the request itself."""

    def __init__(self, instance: Instance) -> None:
        self._rooms = instance.rooms
        self._clock = instance.clock
        self._desk = instance.desk
        self._known: OrderedDict[tuple[str, str], Pass] = OrderedDict()
        self._open_until: dict[str, float] = {}
        self._unknown: dict[str, float] = {}

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer with the decision."""
        decision = await self.decide(scope, scope["path_params"]["room"])
        headers = decision.headers
        if decision.status != GO_ON.status:
            headers = (*headers, (FORM_HEADER, form_of_no(scope).encode()))
        await respond(send, decision.status, headers=headers)

    async def decide(self, scope: Scope, name: str) -> Decision:
        """204, 401 or 403 for a request to what that room protects. No request gets past by an error."""
        try:
            room = self._rooms.get(name)
            decision = await self._decide(room, self._desk.of_gate(scope, name), fingerprint(scope, room), scope)
            metrics.gate_answers(name, decision.status).inc()
        except RoomUnknown:
            self._warn_of_unknown(name)
            decision = FORBIDDEN
        except Unavailable:
            # Before the rooms could be read for the first time nothing is known, not even `when_down`.
            decision = MUST_WAIT
        except Exception:
            metrics.GATE_FAULTS.inc()
            logger.exception("gate: room %s: unexpected failure, the request does not go on", name)
            decision = MUST_WAIT
        return decision

    async def _decide(self, room: Room, texts: list[str], bound: str, scope: Scope) -> Decision:
        if room.settings.state == "bypass":
            return GO_ON
        proofs = self._proofs(room, texts, bound)
        if not proofs:
            return await self._without_pass(room, bound, scope)
        good = [proof for proof in proofs if not room.is_revoked(proof)]
        decision = FORBIDDEN
        for proof in good:
            decision = await self._with_redis(room, proof, bound) if self._asks_redis(room, proof) else GO_ON
            if decision.status == GO_ON.status:
                break
        return decision

    def _proofs(self, room: Room, texts: list[str], bound: str) -> list[Pass]:
        """The passes that verify, the best first, and of a visitor that one alone."""
        verified = (self._verified(room, text) for text in texts)
        found = [proof for proof in verified if proof is not None and fits(proof, bound)]
        if len(found) < 2:
            return found
        best: dict[Visitor, Pass] = {}
        for proof in sorted(found, key=worth, reverse=True):
            best.setdefault(proof.visitor, proof)
        return list(best.values())

    def _verified(self, room: Room, text: str) -> Pass | None:
        known = self._known.get((room.name, text))
        if known is not None:
            return known if known.expires > self._clock.now() else None
        proof = self._desk.verified_pass(room.name, text)
        if proof is not None:
            self._known[room.name, text] = proof
            self._forget()
            if not proof.offer:
                room.note_session(proof.visitor, int(proof.expires * 1_000_000))
        return proof

    def _forget(self) -> None:
        """Let the oldest go, if they are over or too many. More are never over than were remembered."""
        for _ in range(2):
            oldest = next(iter(self._known.values()), None)
            if oldest and (len(self._known) > _REMEMBERED or oldest.expires < self._clock.now()):
                self._known.popitem(last=False)

    def _asks_redis(self, room: Room, proof: Pass) -> bool:
        settings = room.settings
        if settings.when_down == "closed":
            return True
        if not room.reachable:
            # It would only be waited for: what the pass says is as good as it gets.
            return False
        if proof.offer or settings.strict:
            return True
        slid = settings.session_seconds - (proof.expires - self._clock.now())
        return settings.sliding and slid > settings.session_seconds * _SLIDE_AFTER

    async def _with_redis(self, room: Room, proof: Pass, bound: str) -> Decision:
        try:
            place = await room.extend(proof)
        except (Unavailable, RoomBroken):
            return MUST_WAIT if room.settings.when_down == "closed" else GO_ON
        if place.standing is Standing.USED:
            return FORBIDDEN if room.is_revoked(proof) else MUST_WAIT
        if place.standing is Standing.UNKNOWN:
            return GO_ON if room.takes_at_its_word(proof) else MUST_WAIT
        if proof.offer or place.expires_us / 1_000_000 > proof.expires + _ROUNDING_SECONDS:
            return self._handing_out(room, place, bound)
        return GO_ON

    async def _without_pass(self, room: Room, bound: str, scope: Scope) -> Decision:
        """Straight through if no visitor waits and there is room, but never into the queue."""
        if room.settings.state == "closed":
            return FORBIDDEN
        if room.settings.state == "paused" or not may_take_place(scope):
            return MUST_WAIT
        if not room.reachable:
            return self._while_down(room, bound)
        # In a guarded room the waiting page asks for what a place takes: not the gate, which knows passes only.
        if room.reading.waiting > 0 or room.settings.guarded:
            return MUST_WAIT
        try:
            place = await room.pass_through(new_visitor())
        except (Full, Overloaded, RoomBroken):
            # Redis is up: what it says, or what this instance can take, is no outage.
            return MUST_WAIT
        except Unavailable:
            return self._while_down(room, bound)
        if place.standing is Standing.OFFERED:
            return self._handing_out(room, place, bound)
        return FORBIDDEN if place.standing is Standing.CLOSED else MUST_WAIT

    def _while_down(self, room: Room, bound: str) -> Decision:
        """With `when_down = "open"`: a short pass, at the room's own rate, counted."""
        settings, now = room.settings, self._clock.now()
        if settings.when_down != "open" or now < self._open_until.get(room.name, 0.0):
            return MUST_WAIT
        seconds = min(settings.session_seconds, _OPEN_PASS_SECONDS)
        rates = [rate for rate in (settings.admit_per_second, settings.capacity / seconds) if rate > 0]
        if rates:
            self._open_until[room.name] = now + 1 / min(rates)
        metrics.OPEN_PASSES.labels(room.name).inc()
        now_us = self._clock.now_us()
        place = Place(Standing.ADMITTED, now_us, new_visitor(), expires_us=now_us + int(seconds * 1_000_000))
        return self._handing_out(room, place, bound)

    def _handing_out(self, room: Room, place: Place, bound: str) -> Decision:
        text, headers = self._desk.grant(room, place, bound)
        # A proxy hands on one Set-Cookie from a sub-request, so the pass's comes alone.
        return Decision(204, (headers[0], (PASS_HEADER, text.encode("ascii"))))

    def _warn_of_unknown(self, name: str) -> None:
        """Say that a proxy asks for a room that is not there: once a minute for each name."""
        now = self._clock.now()
        self._unknown = {each: until for each, until in self._unknown.items() if until > now}
        if name in self._unknown or len(self._unknown) >= _MOST_UNKNOWN or not ROOM_NAME.match(name):
            return
        self._unknown[name] = now + _QUIET_SECONDS
        logger.warning("gate: no room %s, every request is refused", name)
