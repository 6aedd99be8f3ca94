"""How a visitor gets a new place, where it takes more than to come.

In a guarded room three things may be asked for: that the address and its network have not taken all their places, a
token of the site, and the solution of a challenge. A token or a solution goes past the limits and is good for one place
however often it is shown. A place that is held already needs none of them: its ticket gives it back.
"""

from __future__ import annotations

import logging
import math
from typing import Any, Final

from starlette.types import Scope

from waitroom import metrics
from waitroom.addresses import Proxies
from waitroom.model import Arrival, Place, Standing, Ticket
from waitroom.proofs.challenge import SECONDS, SEED_CHARACTERS, ChallengeOffice
from waitroom.proofs.disguise import Disguise
from waitroom.proofs.tickets import new_visitor
from waitroom.proofs.tokens import EnqueueOffice, Grant, TokenRefused
from waitroom.rooms.room import Room
from waitroom.web.answers import Problem
from waitroom.web.documents import iso
from waitroom.web.headers import header, headers_of, retry_after
from waitroom.web.instance import Instance
from waitroom.web.places import inside
from waitroom.web.proofs import Proof

logger = logging.getLogger(__name__)

#: The headers of a site's token, beside the room's cookie `waitroom_enqueue_<room>`, and of a solution.
TOKEN_HEADER: Final = b"x-waitroom-enqueue"
SOLUTION_HEADER: Final = b"x-waitroom-challenge"

#: The standings in which a ticket gives no place back: a new place has to be earned.
_OVER: Final = (Standing.USED, Standing.EXPIRED)


class Demand(Problem):
    """What a new place takes here that was not brought.

    `challenge`: the one to solve, where that is a way. `enqueue_url`: where to get a token. `again_seconds`: when a
    place may be had without either.
    """

    def __init__(
        self,
        status: int,
        slug: str,
        title: str,
        detail: str,
        *,
        challenge: dict[str, Any] | None = None,
        enqueue_url: str = "",
        again_seconds: float = 0.0,
    ) -> None:
        more = {"challenge": challenge, "enqueue_url": enqueue_url}
        super().__init__(
            *(status, slug, title, detail),
            headers=(retry_after(again_seconds),) if again_seconds else (),
            more={name: value for name, value in more.items() if value},
        )
        self.challenge = challenge
        self.enqueue_url = enqueue_url
        self.again_seconds = again_seconds


class Reception:
    """Gives places to visitors that come, by what they bring and by what the room's settings ask for."""

    def __init__(self, instance: Instance) -> None:
        self._desk = instance.desk
        self._clock = instance.clock
        self._proxies: Proxies = instance.proxies
        self._disguise: Disguise = instance.disguise
        self._tokens: EnqueueOffice = instance.enqueue_tokens
        self._challenges: ChallengeOffice = instance.challenges
        self._warned: set[tuple[str, str]] = set()

    async def enter(self, scope: Scope, room: Room, proof: Proof) -> Place:
        """The place that the proofs give back, or a new one. Raises Demand where that takes more."""
        place = await inside(room, proof.granted) if proof.granted else None
        if place is not None:
            return place
        if room.settings.guarded and room.settings.state != "bypass":
            return await self._enter_guarded(scope, room, proof.ticket)
        return await room.enter(new_visitor(), proof.ticket)

    async def back(self, room: Room, proof: Proof) -> Place | None:
        """The place that the proofs give back, or None: no new one is given."""
        place = await inside(room, proof.granted) if proof.granted else None
        if place is None and proof.ticket is not None:
            place = await room.status(proof.ticket)
        return place if place is not None and place.standing not in _OVER else None

    def invited(self, scope: Scope, room: Room) -> str:
        """The good token of a link that the visitor has opened and not used yet. Empty where there is none."""
        text = self._desk.cookie(scope, room.name, "invite")
        try:
            return text if text and self.grant(room, text) else ""
        except TokenRefused:
            return ""

    async def _enter_guarded(self, scope: Scope, room: Room, ticket: Ticket | None) -> Place:
        settings, refused = room.settings, ""
        try:
            proved = self._by_token(scope, room)
        except TokenRefused as error:
            proved, refused = None, str(error)
        proved = proved or self._by_solution(scope, room)
        if proved is not None:
            return await self._proved_place(room, proved, ticket)
        if settings.enqueue_tokens == "required" or settings.challenge == "always":
            return await self._only_back(room, ticket, refused)
        address, network = self._sources(scope)
        if not address and (settings.places_per_address or settings.places_per_network):
            self._warn_of_limits(room)
        place = await room.enter_guarded(Arrival(new_visitor(), ticket, address=address, network=network))
        if place.standing is Standing.LIMITED:
            raise self._too_many(room, place)
        return place

    async def _proved_place(self, room: Room, proved: Arrival, ticket: Ticket | None) -> Place:
        """The place that belongs to the proof, or the place of another's ticket as long as it is held.

        No visitor loses a place by what is brought later, least of all by a link that a stranger may have written.
        """
        if ticket is not None and ticket.visitor != proved.fresh:
            held = await room.status(ticket)
            if held.standing not in _OVER:
                return held
            ticket = None
        return await room.enter_guarded(proved._replace(ticket=ticket))

    async def _only_back(self, room: Room, ticket: Ticket | None, refused: str) -> Place:
        """The place that a ticket gives back. Raises Demand where there is none. `refused`: what a token lacked."""
        if ticket is not None:
            place = await room.status(ticket)
            if place.standing not in _OVER:
                return place
        if room.settings.state == "closed":
            return Place(Standing.CLOSED, self._clock.now_us(), new_visitor())
        if room.settings.enqueue_tokens == "required":
            detail = "bring a token of the site that is good for this room, as X-Waitroom-Enqueue or as its cookie"
            detail = f"the token is not good: {refused}" if refused else detail
            if not self._tokens.ready:
                detail = "this server has no enqueue_keys, so no token is good"
                self._warn(room, f"enqueue_tokens is 'required', and {detail}")
            metrics.DEMANDS.labels(room.name, "token").inc()
            raise Demand(403, "token-required", "A token is needed", detail, enqueue_url=_way(room))
        detail = "solve the challenge, and enter with the solution as X-Waitroom-Challenge"
        metrics.DEMANDS.labels(room.name, "challenge").inc()
        raise Demand(
            *(403, "challenge-required", "A piece of work is needed", detail),
            challenge=self._challenge(room),
            enqueue_url=_way(room),
        )

    def _too_many(self, room: Room, place: Place) -> Demand:
        again = max((place.expires_us - place.now_us) / 1_000_000, 1.0)
        detail = (
            f"this address or its network has taken all its places. It may have the next one in {math.ceil(again)} s"
        )
        if room.settings.challenge != "off":
            detail += ", or one now with the solution of the challenge, as X-Waitroom-Challenge"
        return Demand(
            *(429, "too-many-places", "Too many places", detail),
            challenge=self._challenge(room) if room.settings.challenge != "off" else None,
            enqueue_url=_way(room),
            again_seconds=again,
        )

    def grant(self, room: Room, text: str | None) -> Grant | None:
        """What a token grants in that room now, or None without one, or if it takes none. Raises TokenRefused."""
        if not text or room.settings.enqueue_tokens == "off":
            return None
        return self._tokens.verify(room.name, text, now=self._clock.now())

    def _by_token(self, scope: Scope, room: Room) -> Arrival | None:
        brought = header(scope, TOKEN_HEADER)
        text = brought.decode("latin-1") if brought else self._desk.cookie(scope, room.name, "enqueue")
        granted = self.grant(room, text)
        return Arrival(granted.visitor, keyed=True, priority=granted.priority) if granted else None

    def _by_solution(self, scope: Scope, room: Room) -> Arrival | None:
        settings = room.settings
        brought = header(scope, SOLUTION_HEADER)
        if brought is None or settings.challenge == "off" or settings.enqueue_tokens == "required":
            return None
        visitor = self._challenges.verify(
            *(room.name, brought.decode("latin-1")),
            bits=settings.challenge_bits,
            now_us=self._clock.now_us(),
            seconds=settings.ticket_seconds,
        )
        return Arrival(visitor, keyed=True) if visitor is not None else None

    def _warn_of_limits(self, room: Room) -> None:
        if not self._proxies.known:
            self._warn(room, "places_per_address and places_per_network do nothing until trusted_proxies is set")
        else:
            self._warn(room, "a visitor is not limited, for no proxy in trusted_proxies told the visitor's address")

    def _warn(self, room: Room, fault: str) -> None:
        """Say once that a setting has no effect, or shuts all visitors out: else an operator would notice too late."""
        if (room.name, fault) not in self._warned:
            self._warned.add((room.name, fault))
            logger.warning("room %s: %s", room.name, fault)

    def _sources(self, scope: Scope) -> tuple[str, str]:
        """The address and network that the places count for, disguised. Both empty where the address is not known."""
        client = scope.get("client")
        address = self._proxies.client(client[0] if client else None, headers_of(scope, b"x-forwarded-for"))
        if address is None:
            return "", ""
        return self._disguise.address(address), self._disguise.network(address)

    def _challenge(self, room: Room) -> dict[str, Any]:
        now_us = self._clock.now_us()
        return {
            "text": self._challenges.set(room.name, bits=room.settings.challenge_bits, now_us=now_us),
            "bits": room.settings.challenge_bits,
            "seed_characters": SEED_CHARACTERS,
            "expires_at": iso(now_us + int(SECONDS * 1_000_000)),
        }


def _way(room: Room) -> str:
    """Where to get a token: the way out for visitors hit wrongly by limits or challenge."""
    settings = room.settings
    return settings.enqueue_url if settings.enqueue_tokens != "off" else ""
