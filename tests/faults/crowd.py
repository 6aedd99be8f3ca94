"""Visitors who live through a fault, and forgers who try to use it; what each asked and was told is a history."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from crowd.browser import Browser
from crowd.history import Operation
from crowd.proofs import noted
from rig.instance import KEYS
from waitroom.model import Pass
from waitroom.proofs import keyring
from waitroom.proofs.passes import PassOffice
from waitroom.proofs.tickets import new_visitor

#: Seconds after which a visitor gives an answer up and asks somebody else.
PATIENCE_SECONDS: Final = 4.0

#: Seconds between two looks at a page inside, at most.
_READING_SECONDS: Final = 0.3

#: Times that a visitor looks at a page inside, at most.
_PAGES: Final = 3

#: Seconds between two tries of a forger.
_TRY_SECONDS: Final = 0.1


class Journal:
    """The history of a run, as it is written. Times are seconds since the epoch on a clock that never goes back."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._offset = time.time() - time.perf_counter()

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.perf_counter() + self._offset

    def good(self, call: str, *, since: float) -> float:
        """Seconds from then until the first good answer to such a call that was sent later; infinite without one."""
        answered = (
            each.completed - since
            for each in self.operations
            if each.call == call and each.outcome == "ok" and each.completed is not None and each.invoked >= since
        )
        return min(answered, default=float("inf"))


class Guest:
    """A visitor: one browser, one turn. `entered`, `inside` and `left` say how far it has come."""

    habit = "guest"

    def __init__(self, name: str, ports: Sequence[int], room: str, journal: Journal, *, seed: int) -> None:
        self.name = name
        self.chance = random.Random(seed)
        turn = seed % len(ports)
        self.browser = Browser([*ports[turn:], *ports[:turn]], tries=1, patience=PATIENCE_SECONDS)
        self.entered = asyncio.Event()
        self.inside = False
        self.left = False
        self.told_to_wait = 0
        self._room, self._journal = room, journal
        self._identity = ""
        self._offered = False

    async def visit(self) -> None:
        """Enter, wait, look at some pages, leave."""
        document = await self._until_told("POST", "enter")
        while not self.inside:
            # An offer says nothing of when to ask: at once, which claims it.
            await self._pause(float(document.get("poll_after_seconds", 0.0)))
            document = await self._until_told("GET", "status")
        for _ in range(self.chance.randint(1, _PAGES)):
            await self.gate()
            await self._pause(self.chance.uniform(0, _READING_SECONDS))
        await self.leave()

    async def leave(self) -> None:
        """Say goodbye until it is heard. An offer at first contact that nobody claimed may be over by itself."""
        good = (204, 401) if self._offered else (204,)
        while not self.left:
            self.left = (await self.ask("POST", "leave", good=good))[0].status in good
            if not self.left:
                await self._pause(self._patiently())
        await self.browser.close()

    async def gate(self) -> None:
        """Look at a page. Who is told to wait, holding a pass, asks for the status and tries once more."""
        for _ in range(2):
            answer, _ = await self.ask("GET", "gate", good=(204, 401))
            if answer.passed:
                return
            self.inside = False
            while not self.inside:
                document = await self._until_told("GET", "status")
                await self._pause(float(document.get("poll_after_seconds", 0.0)))

    async def _until_told(self, method: Literal["GET", "POST"], call: str) -> dict[str, Any]:
        """What the room says at last."""
        while True:
            operation, document = await self.ask(method, call, good=(200, 202))
            if operation.state:
                self.inside = operation.state == "admitted" and not operation.offer
                self._note_entry(operation)
                return document
            if operation.outcome == "fail":
                raise Rejected(f"{self.name}: {call}: {operation.status} {operation.error}")
            await self._pause(self._patiently())

    def _note_entry(self, operation: Operation) -> None:
        # Who is admitted at first contact holds no ticket until the offer is claimed.
        if operation.state and not operation.offer:
            self.entered.set()

    async def ask(
        self, method: str, call: str, *, good: Sequence[int], attempt: str = "", brought: str = ""
    ) -> tuple[Operation, dict[str, Any]]:
        """Ask once, and note it. 503 with a Retry-After says "perhaps": the call may have been carried out."""
        path = f"/gate/{self._room}" if call == "gate" else f"/v1/rooms/{self._room}/{call}"
        said: dict[str, Any] = {"visitor": self.name, "habit": self.habit, "call": call, "attempt": attempt}
        said |= {"brought": brought or self._identity, "invoked": self._journal.now()}
        document: dict[str, Any] = {}
        held = dict(self.browser.cookies)
        try:
            status, document = await self.browser.ask(method, path)
        except OSError as error:
            said["error"], self.browser.retry_after = repr(error), None
        else:
            again = status == 503 and self.browser.retry_after is not None
            said |= {"status": status, "completed": self._journal.now(), "passed": call == "gate" and status == 204}
            said["outcome"] = "ok" if status in good else "unknown" if again else "fail"
            if said["outcome"] == "fail":
                said["error"] = str(document)[:200]
            self.told_to_wait += status == 503
            granted = self._granted(held) if call == "gate" else ""
            said |= noted({"state": "admitted", "pass": granted} if granted else document)
        operation = Operation(**said)
        if operation.state:
            self._offered = operation.offer
        self._journal.operations.append(operation)
        if not attempt:
            self._identity = operation.identity or self._identity
        return operation, document

    def _granted(self, held: dict[str, str]) -> str:
        """The pass that the gate has just given, if it has."""
        name = f"waitroom_pass_{self._room}"
        now = self.browser.cookies.get(name, "")
        return now if now != held.get(name) else ""

    def _patiently(self) -> float:
        """Seconds until the next try: as told, else soon."""
        told = self.browser.retry_after
        return self.chance.uniform(0.2, 0.5) if told is None else told * self.chance.uniform(1.0, 1.1)

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Rejected(AssertionError):
    """A visitor was told what nobody may be told."""


class Prober(Guest):
    """Somebody who enters again and again with the same ticket, and by that sees first when the room serves again."""

    habit = "prober"

    async def visit(self) -> None:
        """Enter until cancelled."""
        while True:
            operation, _ = await self.ask("POST", "enter", good=(200, 202))
            self._note_entry(operation)
            await self._pause(_TRY_SECONDS)


#: A pass that is forged, from what the forger can see.
Forgery = Callable[[str], str]

_OWN: Final = PassOffice(keyring.parse(["k1:" + secrets.token_urlsafe(32)]))
_TRUE: Final = PassOffice(keyring.parse([KEYS]))


def _signed(office: PassOffice, room: str) -> str:
    now = time.time()
    return office.issue(room, Pass(new_visitor(), now + 3600), now=now)


FORGERIES: Final[dict[str, Forgery]] = {
    "no pass": lambda _room: "",
    "garbage": lambda _room: "a.b.c",
    "a key of one's own": lambda room: _signed(_OWN, room),
    "a pass of another room": lambda room: _signed(_TRUE, f"{room}-other"),
    "a cut pass": lambda room: _signed(_TRUE, room)[:-3],
}


class Forger(Guest):
    """Tries the gate with nothing, with what it made up, and with its own ticket, until cancelled.

    Whoever is let straight through without a pass, as anybody is where nobody waits, leaves at once.
    """

    habit = "forger"

    async def visit(self) -> None:
        """Try."""
        operation, document = await self.ask("POST", "enter", good=(200, 202))
        ticket = str(document.get("ticket", ""))
        tries = dict(FORGERIES)
        if ticket:
            tries["a ticket"] = lambda _room: ticket
        if operation.state:
            await self.leave()
        while True:
            for name, forge in tries.items():
                await self._try(name, forge(self._room))
                await self._pause(_TRY_SECONDS)

    async def _try(self, name: str, forged: str) -> None:
        self.browser.cookies = {f"waitroom_pass_{self._room}": forged} if forged else {}
        operation, _ = await self.ask("GET", "gate", good=(204, 401, 403), attempt=name, brought="nobody")
        if operation.identity:
            self.left = False
            await self.leave()


def past_the_gate(operations: Sequence[Operation]) -> list[str]:
    """Each try of a forger that went through without a pass of their own being given."""
    return [
        f"{each.visitor}: past the gate with {each.attempt}"
        for each in operations
        if each.attempt and each.passed and not each.identity
    ]


async def ended(tasks: Sequence[asyncio.Task[None]], guests: Sequence[Guest]) -> None:
    """Stop who never stops by themselves; raises what has ended one of them."""
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.gather(*(guest.browser.close() for guest in guests))
    for result in results:
        if isinstance(result, Exception):
            raise result
