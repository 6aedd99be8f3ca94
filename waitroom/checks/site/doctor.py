"""`waitroom doctor`: what is wrong with an installation, asked from outside as a visitor's browser would.

The doctor's visitors take places in the room, some six of them for about a minute, and give them back at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from waitroom.checks.finding import Finding
from waitroom.checks.site import caches, clocks, cookies, gate, origin, reach, seen, sizes, streams
from waitroom.checks.site.ending import ENDING
from waitroom.checks.site.line import SILENCE, Answer, Site, parse
from waitroom.checks.site.visit import Places, Visitor, claims, document, fresh, problem, told_time
from waitroom.errors import SettingsError

#: Seconds that a stream is listened to: longer than the time-outs of a minute that are common.
LISTEN_SECONDS: Final = 65.0

#: Seconds after which the public document tells what has just happened.
_TOLD_SECONDS: Final = 2.2

#: Visitors that enter by a call. One sees whether the other's answers are shown to it.
_VISITORS: Final = 2


@dataclass(frozen=True)
class Questions:
    """What is to be asked, as the operator says it. `urls`: the site's address first, then more that need a pass."""

    urls: Sequence[str]
    paths: Sequence[str] = ()
    room: str = ""
    admin_key: str = ""
    direct: str = ""
    connect: str = ""
    ca_file: str = ""
    own_address: str = ""
    body_bytes: int = 0
    body_path: str = ""
    header_bytes: int = sizes.HEADER_BYTES
    listen_seconds: float = LISTEN_SECONDS
    safe: bool = False


@dataclass(frozen=True)
class Report:
    """What was found, at which site and in which room."""

    site: str
    room: str
    findings: tuple[Finding, ...]

    @property
    def code(self) -> int:
        """0: nothing is wrong as far as could be told; 1: something is; 3: the site or its gate did not answer."""
        if any(found.verdict == "fail" for found in self.findings):
            return 1
        return (
            3 if any(found.name in ("reach", "gate") and found.verdict == "unknown" for found in self.findings) else 0
        )


@dataclass(frozen=True)
class Entered:
    """A visitor that asked for a place, what was answered, and this machine's time before and after."""

    visitor: Visitor
    answer: Answer
    before: float
    after: float

    @property
    def reading(self) -> clocks.Reading:
        """The times that the answer tells."""
        told = document(self.answer)
        issued = claims(str(told.get("pass", ""))).get("iat")
        redis = float(issued) if isinstance(issued, int | float) else told_time(told.get("as_of"))
        return clocks.Reading(self.answer, redis, self.before, self.after)


def examine(questions: Questions, *, say: Callable[[str], None] = lambda _: None) -> Report:
    """Ask everything; `say` hears what takes long and what stays. Raises SettingsError for what is no address."""
    given = [
        parse(url, connect=questions.connect if number == 0 else "", authorities=questions.ca_file)
        for number, url in enumerate(questions.urls)
    ]
    direct = _direct(questions)
    site, target = given[0]
    places = Places()
    try:
        reached, site = reach.arrive(site, target, places)
        if reached.verdict != "ok":
            return Report(site.origin, questions.room, (reached,))
        targets = list(dict.fromkeys([target, *questions.paths]))
        room = questions.room or reach.find_room(site, targets, places)
        # Its numbers are told without the doctor.
        places.leave()
        case = _Case(questions, site, room, targets, direct, places)
        return Report(site.origin, room, (reached, *case.findings(given[1:], say)))
    finally:
        if stay := places.leave():
            ends = "each ends by itself, in the queue after abandon_seconds, inside after claim_seconds"
            say(f"{stay} places could not be given back; {ends}")


def _direct(questions: Questions) -> Site | None:
    try:
        return parse(questions.direct, authorities=questions.ca_file)[0] if questions.direct else None
    except SettingsError as error:
        raise SettingsError(f"direct: {error}") from None


@dataclass(frozen=True)
class _Case:
    """One site that answers, and what is asked of it."""

    questions: Questions
    site: Site
    room: str
    targets: list[str]
    direct: Site | None
    places: Places

    def findings(self, elsewhere: Sequence[tuple[Site, str]], say: Callable[[str], None]) -> list[Finding]:
        """Everything, in the order in which to read it."""
        site, asked, first_target = self.site, self.questions, self.targets[0]
        room = self._room()
        attempts, gated = self._gate(elsewhere)
        usable = room.verdict != "fail"
        sights = seen.look(site, self.room if usable else "", asked.admin_key)
        entered = [self._enter() for _ in range(_VISITORS)] if usable else []
        visitors = [each.visitor for each in entered if each and each.visitor.told]
        first = visitors[0] if visitors else None
        browser = self._cookies(entered)
        if browser.verdict in ("ok", "unknown"):
            browser = cookies.examine_gate(attempts) or browser
        found = [
            *(room, gated, browser, caches.examine(site, visitors, first_target, attempts, self.places)),
            seen.examine_address(sights, own=asked.own_address),
            seen.examine_public_url(site, sights, _names(entered)),
            origin.examine(site, first, self.targets, sights),
            sizes.examine_headers(
                *(site, first, self.room if usable else "", first_target),
                size=asked.header_bytes,
                direct=self.direct,
                places=self.places,
            ),
            sizes.examine_body(
                *(site, first, asked.body_path or first_target),
                size=asked.body_bytes,
                whole=bool(asked.body_path),
                direct=self.direct,
            ),
            clocks.examine(
                [*(each.reading for each in entered if each), *(sight.reading for sight in sights.seen)],
                [float(sight.told["clock_ahead_seconds"]) for sight in sights.seen],
            ),
        ]
        return [*found, self._streams(visitors, usable=usable, by_key=bool(sights.seen), say=say)]

    def _room(self) -> Finding:
        if self.room:
            return reach.examine_room(self.site, self.room)
        return Finding(
            *("room", "fail", "no answer of the site names a room"),
            "In nginx put `set $waitroom_room NAME;` and `include waitroom-locations.conf;` into the server. Where "
            "other addresses only are gated, name one (--path). Where the room is in bypass, name it: --room NAME.",
            "The gate is not asked for these addresses, or the room is in bypass.",
        )

    def _gate(self, elsewhere: Sequence[tuple[Site, str]]) -> tuple[list[gate.Attempt], Finding]:
        if self._public().get("state") == "bypass":
            remedy = f"Ask while it is paused: waitroom room pause {self.room}."
            return [], Finding("gate", "unknown", f"room {self.room} is in bypass: everybody passes by rights", remedy)
        asked = [*((self.site, target) for target in self.targets), *elsewhere]
        attempts, before = [], self._inside()
        for attempt in gate.examine(asked, safe=self.questions.safe, noted=self.places.note):
            attempts.append(attempt)
            if attempt.let_in:
                # A room has few places perhaps: none is held longer than it takes.
                self.places.leave()
        admitted = self._inside() - before if all(attempt.verdict == "open" for attempt in attempts) else 0
        return attempts, gate.finding(attempts, admitted=admitted)

    def _public(self) -> dict[str, Any]:
        try:
            return document(self.site.ask("GET", fresh(f"/v1/rooms/{self.room}"))) if self.room else {}
        except SILENCE:
            return {}

    def _inside(self) -> int:
        """How many are inside, once what was just done is told."""
        ENDING.rest()
        time.sleep(_TOLD_SECONDS if self.room else 0)
        occupancy = self._public().get("occupancy")
        return occupancy if isinstance(occupancy, int) else 0

    def _enter(self) -> Entered | None:
        visitor, before = Visitor(self.site, self.room, self.places), time.time()
        try:
            return Entered(visitor, visitor.enter(), before, time.time())
        except SILENCE:
            return None

    def _cookies(self, entered: Sequence[Entered | None]) -> Finding:
        first = entered[0] if entered else None
        if first is None:
            return Finding("cookies", "unknown", "no visitor could enter the room", "See the finding `room`.")
        if not first.visitor.told:
            kind = problem(first.answer) or "not an answer of waitroom"
            remedy = "Ask while the room gives places to newcomers from here: open or paused, below its limits."
            return Finding("cookies", "unknown", f"no place was given: {first.answer.status}, {kind}", remedy)
        return cookies.examine(first.visitor, first.answer, self.targets[0])

    def _streams(
        self, visitors: Sequence[Visitor], *, usable: bool, by_key: bool, say: Callable[[str], None]
    ) -> Finding:
        waiting = next((visitor for visitor in visitors if not visitor.admitted), None)
        seconds = self.questions.listen_seconds
        if not usable or not (by_key or waiting):
            why = (
                "no visitor waits, and the stream of an admitted visitor ends at once" if usable else "there is no room"
            )
            return Finding("streams", "unknown", f"not tried: {why}", streams.NEEDS)
        say(f"listening to an event stream for {seconds:.0f} s")
        if by_key:
            headers = seen.question(self.site, self.room, self.questions.admin_key)
        else:
            # As a bearer: whether cookies come through is another question.
            headers = {"Authorization": f"Bearer {waiting.bearer if waiting else ''}"}
        return streams.examine(self.site, self.room, headers, listen_seconds=seconds, by_key=by_key)


def _names(entered: Sequence[Entered | None]) -> list[str]:
    """Names of the proofs' cookies that were set, kept or not."""
    lines = [cookie.partition("=")[0] for each in entered if each for cookie in each.answer.cookies]
    return [name for name in lines if "waitroom_" in name]
