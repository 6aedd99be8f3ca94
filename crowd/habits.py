"""What visitors do, a function for each habit, without input or output: each world has a driver that takes the steps.

A turn is a generator. It yields steps and is sent what came of each: of `Ask` an `Answer`, of `Idle` and `Watch`
whether there is time left, of `Both` what the two returned. What a visitor asks and is told is noted on the way.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from crowd.answers import Answer, Jar
from crowd.forgeries import forged_passes, forged_proofs
from crowd.history import Recorder, clock
from crowd.proofs import noted
from rig.instance import KEYS

#: Seconds after which a visitor asks again who was not told when, and between two looks of one in a hurry.
_AGAIN_SECONDS: Final = 0.5
_HURRY_SECONDS: Final = 0.2

#: Seconds between two tries of a prober or an intruder.
_TRY_SECONDS: Final = 0.1

#: Answers to a forged proof.
_REFUSED: Final = (400, 401, 403, 410)


class Ask(NamedTuple):
    """Send a request. `good` are the answers that this visitor may get."""

    call: str
    method: str
    path: str
    headers: Mapping[str, str]
    good: Collection[int]


class Idle(NamedTuple):
    """Do nothing for so long; `offline`: with the connections closed."""

    seconds: float
    offline: bool = False


class Both(NamedTuple):
    """Take the steps of two at the same time, as far as the driver can."""

    first: Steps[Answer]
    second: Steps[Answer]


class Watch:
    """Watch the event stream until it is time to ask in person."""


Step: TypeAlias = Ask | Idle | Both | Watch
T = TypeVar("T")
Steps: TypeAlias = Generator[Step, Any, T]


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How the visitors of a crowd go about it, whatever their habits.

    `gate`: the path of the gate, or of a page behind it. `pages`: how many a visitor looks at, least and most;
    `stay_seconds`: how long at each, at most. `claims`: whether an offer at first contact is claimed by asking once
    more, or by the first page. `bears`: whether visitors bear outages, and ask again as told. `refusals`: what a gate
    may say to a visitor inside where data may be lost, and what a goodbye to an offer may hear that is over by itself.
    `gives_up`: whether a visitor who still waits when time is over counts as a leaver.
    """

    room: str
    gate: str
    pages: tuple[int, int] = (1, 1)
    stay_seconds: float = 0.2
    longest_poll_seconds: float = float("inf")
    abandon_seconds: float = 120.0
    claims: bool = True
    bears: bool = True
    refusals: tuple[int, ...] = (401,)
    gives_up: bool = False


class Visitor:
    """One turn of a visitor with a habit, and what turns are made of. `name` is that of the turn in the history.

    `entered` and `inside` say how far it has come; `answer` is the latest to the question where the visitor stands.
    `due`: when an arrival by schedule should be sent.
    """

    def __init__(
        self, name: str, habit: str, manner: Manner, notes: Recorder, dice: random.Random, due: float | None = None
    ) -> None:
        self.name, self.habit, self.manner, self.notes, self.dice = name, habit, manner, notes, dice
        self.jar, self.answer, self.due = Jar(), Answer(), due
        self.identity, self.serial = "", 0
        self.offered = self.inside = False

    @property
    def entered(self) -> bool:
        """Whether it has a place. A visitor who is admitted at first contact has none until the offer is claimed."""
        return self.inside or self.serial > 0

    def enter(self) -> Steps[Answer]:
        """Ask for a place, with the proofs at hand."""
        return self.served("enter", (200, 202), due=self.due)

    def status(self) -> Steps[Answer]:
        """Ask for the place that it has."""
        return self.served("status", (200,))

    def leave(self, headers: Mapping[str, str] | None = None, *, offered: bool = False) -> Steps[Answer]:
        """Say goodbye; with `headers`, to what they prove, which was `offered` at first contact or not."""
        over = self.manner.refusals if (self.offered if headers is None else offered) else ()
        return self.served("leave", (204, *over), headers=headers)

    def wait(self) -> Step:
        """Stay away as told."""
        return Idle(min(self.answer.poll_after, self.manner.longest_poll_seconds))

    def go_through(
        self, wait: Callable[[], Step] | None = None, look: Callable[[], Steps[Any]] | None = None
    ) -> Steps[None]:
        """Wait, look round, and leave, also where time was over first."""
        if (yield from self._queue(wait or self.wait, look or self.status)):
            for _ in range(self.dice.randint(*self.manner.pages)):
                yield from self._see_page()
                yield Idle(self.dice.uniform(0, self.manner.stay_seconds))
        elif self.manner.gives_up:
            self.habit = "leaver"
        if self.identity:
            yield from self.leave()

    def _queue(self, wait: Callable[[], Step], look: Callable[[], Steps[Any]]) -> Steps[bool]:
        """Wait until admitted; False when time was over first, or nothing good came any more."""
        while self.answer.state == "waiting" or (self.answer.state and self.offered and self.manner.claims):
            if not (yield wait()):
                return False
            yield from look()
        return self.answer.state == "admitted"

    def _see_page(self) -> Steps[None]:
        """Look at a page. A visitor who is refused, as it may be, waits anew and tries once more."""
        for _ in range(2):
            answer = yield from self.served("gate", (200, 204, *self.manner.refusals))
            if answer.status not in self.manner.refusals:
                return
            yield from self.status()
            yield from self._queue(self.wait, self.status)

    def glance(self, most: int) -> Steps[None]:
        """Enter, and ask a few times."""
        yield from self.enter()
        for _ in range(self.dice.randint(0, most)):
            if self.answer.state != "waiting" or not (yield self.wait()):
                break
            yield from self.status()

    def served(self, call: str, good: Collection[int], **how: Any) -> Steps[Answer]:
        """Ask, and in a crowd that bears outages ask again as told; the last answer."""
        while True:
            answer = yield from self.ask(call, good, **how)
            if not (self.manner.bears and answer.again):
                return answer
            if not (yield Idle((answer.retry_after or _AGAIN_SECONDS) * self.dice.uniform(1, 1.1))):
                return answer

    def ask(
        self, call: str, good: Collection[int], *, headers: Mapping[str, str] | None = None, **known: Any
    ) -> Steps[Answer]:
        """Ask once, and note it. With `headers` instead of the cookies the visitor keeps nothing of the answer.

        `known`: what the history says beforehand: `attempt`, `brought` (by default the own identity), `due`.
        """
        manner, jar = self.manner, self.jar if headers is None else Jar()
        said: dict[str, Any] = {name: value for name, value in ({"brought": self.identity} | known).items() if value}
        number = self.notes.invoke(clock(), visitor=self.name, habit=self.habit, call=call, **said)
        path = manner.gate if call == "gate" else f"/v1/rooms/{manner.room}/{call}"
        method = "POST" if call in ("enter", "leave") else "GET"
        shown = jar.header() if headers is None else headers
        answer: Answer = yield Ask(call, method, path, shown, good)
        if not answer.status:
            self.notes.complete(number, "unknown", answer.at, {"error": answer.error})
            return answer
        jar.store(answer.cookies)
        if call == "gate" and answer.status in (200, 204):
            given = jar.proof("pass", manner.room)
            anew = given and not any(given in value for value in shown.values())
            granted = {"state": "admitted", "pass": given} if anew else {}
            answer = replace(answer, document=granted, passed=True)
        outcome = answer.outcome(good, bearing=manner.bears, bare=path.startswith("/gate/"))
        said = answer.said("" if outcome == "ok" else answer.text)
        self.notes.complete(number, outcome, answer.at, said)
        if headers is None:
            if call in ("enter", "status"):
                self.answer = answer
            self.identity, self.serial = said.get("identity", self.identity), said.get("serial", self.serial)
            if "state" in said:
                self.offered = "offer" in said
                self.inside = said["state"] == "admitted" and not self.offered
        return answer


def patient(visitor: Visitor) -> Steps[None]:
    """Waits as told, comes in, looks round and says goodbye: the visitor one would like to have."""
    yield from visitor.enter()
    yield from visitor.go_through()


def leaver(visitor: Visitor) -> Steps[None]:
    """Loses patience and says goodbye in the queue, now and then twice: the second one changes nothing."""
    yield from visitor.glance(2)
    held = visitor.jar.header()
    yield from visitor.leave()
    if visitor.dice.random() < 0.3:
        yield from visitor.leave(held)
    yield Idle(visitor.dice.uniform(0, 1))


def sleeper(visitor: Visitor) -> Steps[None]:
    """A phone that goes to sleep: silent once, for up to twice `abandon_seconds`, then back at the old place."""
    yield from visitor.enter()
    if visitor.answer.state == "waiting" and (yield visitor.wait()):
        yield from visitor.status()
    silence = visitor.manner.abandon_seconds * visitor.dice.uniform(0.4, 2)
    if visitor.answer.state == "waiting" and (yield Idle(silence, offline=True)):
        yield from visitor.status()
    yield from visitor.go_through()


def vanisher(visitor: Visitor) -> Steps[None]:
    """Closes the tab without a word, waiting or inside: abandoned, a no-show, or a session that runs out."""
    yield from visitor.glance(3)
    yield Idle(visitor.dice.uniform(1, 3), offline=True)


def reloader(visitor: Visitor) -> Steps[None]:
    """Reloads the page, clicks twice, and has it open in two tabs: enters again and again with the same cookies."""

    def look() -> Steps[None]:
        if visitor.dice.random() < 0.5:
            yield from visitor.enter()
            return
        answers: list[Answer] = yield Both(visitor.enter(), visitor.status())
        # A page that is told "admitted" goes on, whatever the other tab was told a moment before.
        visitor.answer = next((each for each in answers if each.state == "admitted"), answers[0])

    yield from visitor.enter()
    yield from visitor.go_through(look=look)


def impatient(visitor: Visitor) -> Steps[None]:
    """A script that polls much harder than it was told to. Gains nothing by it; a proxy may turn it away with 429."""
    yield from visitor.enter()
    while visitor.answer.state == "waiting" or visitor.answer.status == 429:
        if not (yield Idle(_HURRY_SECONDS)):
            break
        yield from visitor.served("status", (200, 429))
    if visitor.identity:
        yield from visitor.leave()


def forgetful(visitor: Visitor) -> Steps[None]:
    """Keeps no cookies: each time it comes it is a new visitor at the end of the queue, and leaves a ghost behind."""
    yield from visitor.enter()
    yield Idle(max(visitor.answer.poll_after, 1.0))


def stranger(visitor: Visitor) -> Steps[None]:
    """Walks up to the gate without having queued: turned away while others wait, else let in. Leaves no word."""
    yield from visitor.ask("gate", (200, 204, 303, 401))
    yield Idle(visitor.dice.uniform(0.5, 1.5))


def arrival(visitor: Visitor) -> Steps[Answer]:
    """Nothing but an entry, at the time that a schedule says."""
    return visitor.enter()


def watcher(visitor: Visitor) -> Steps[None]:
    """Waits at an event stream, like the waiting page."""
    yield from visitor.enter()
    yield from visitor.go_through(wait=Watch)


def forger(visitor: Visitor) -> Steps[None]:
    """Has an honest place, makes forgeries of it, tries each everywhere, and leaves; then tries the spent ticket."""
    room, dice = visitor.manner.room, visitor.dice
    yield from visitor.enter()
    ticket = str(visitor.answer.document.get("ticket", ""))
    brought = visitor.identity
    for name, forged in forged_proofs(room, ticket, brought, dice).items() if ticket else ():
        cookies = f"waitroom_ticket_{room}={forged}; waitroom_pass_{room}={forged}"
        headers = {"Cookie": cookies, "X-Waitroom-Pass": forged} if dice.random() < 0.5 else _bearing(forged)
        yield from visitor.ask("status", _REFUSED, headers=headers, attempt=name, brought=brought)
        # The gate may let a visitor pass while none waits: as a new one.
        yield from visitor.ask("gate", (*_REFUSED, 200, 204, 303), headers=headers, attempt=name, brought=brought)
        if not (yield Idle(dice.uniform(0, 0.2))):
            break
    yield from visitor.leave()
    for call, good in (("status", _REFUSED), ("enter", (200, 202, *_REFUSED))) if ticket else ():
        yield from visitor.ask(call, good, headers=_bearing(ticket), attempt="a spent ticket", brought=brought)
    yield Idle(dice.uniform(0.5, 1.5))


def intruder(visitor: Visitor) -> Steps[None]:
    """Tries the gate with nothing, with passes that it made up, and with its own ticket, while there is time.

    An intruder that is let straight through without a pass, as every visitor is of an empty room, leaves at once.
    """
    room = visitor.manner.room
    visitor.habit = "forger"
    yield from visitor.enter()
    ticket = str(visitor.answer.document.get("ticket", ""))
    yield from visitor.leave()
    while True:
        for name, forged in (forged_passes(room, KEYS) | ({"a ticket": ticket} if ticket else {})).items():
            shown = {"Cookie": f"waitroom_pass_{room}={forged}"} if forged else {}
            answer = yield from visitor.ask("gate", (204, 401, 403), headers=shown, attempt=name, brought="nobody")
            if answer.state:
                given = {"Cookie": f"waitroom_pass_{room}={answer.document['pass']}"}
                yield from visitor.leave(given, offered=noted(answer.document).get("offer", False))
            if not (yield Idle(_TRY_SECONDS)):
                return


def prober(visitor: Visitor) -> Steps[None]:
    """Enters again and again with the same ticket, and so sees first when the room serves again."""
    while (yield Idle(_TRY_SECONDS)):
        yield from visitor.ask("enter", (200, 202))


def _bearing(proof: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {proof}"}


#: Every habit by its name.
HABITS: Final[Mapping[str, Callable[[Visitor], Steps[Any]]]] = {
    habit.__name__: habit
    for habit in (
        *(patient, leaver, sleeper, vanisher, reloader, impatient, forgetful, stranger, arrival, watcher),
        *(forger, intruder, prober),
    )
}
