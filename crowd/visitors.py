"""Visitors over HTTP, a class for each habit, and crowds of them; what each asked and was told goes into a history."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Literal, Protocol

from crowd.answers import Answer
from crowd.browser import Browser, gently
from crowd.forgeries import forged_passes
from crowd.history import History, Operation, clock
from rig.instance import KEYS
from waitroom.cancelling import cancelled

#: Times that no visitor of a test exceeds, however busy the machine is.
PATIENT: Final = {"session_seconds": 600, "claim_seconds": 300, "abandon_seconds": 600}

#: Seconds between two questions of the visitors of a steady crowd at most: with times as above the room asks for fewer.
LONGEST_POLL_SECONDS: Final = 3.0

#: Seconds over which a steady crowd arrives.
_ARRIVAL_SECONDS: Final = 3.0

#: Seconds between two tries of a prober or a forger.
_TRY_SECONDS: Final = 0.1


class Rejected(AssertionError):
    """A visitor was told what no visitor may be told; the history has it too."""


class Visitor:
    """One turn of a visitor who waits as told, looks at some pages, and says goodbye.

    `entered`, `inside`, `over` and `told_to_wait` (how often) say how far it has come. `pages`: how many it looks at,
    least and most; `stay_seconds`: how long at each, at most; `page`: where they are, by default the gate itself.
    `claims`: whether an offer at first contact is claimed by asking once more, or by the first page. A visitor who
    `gives_up` while waiting is a leaver.
    """

    habit = "patient"

    def __init__(
        self,
        name: str,
        browser: Browser,
        room: str,
        history: History,
        *,
        seed: int = 0,
        pages: tuple[int, int] = (1, 1),
        stay_seconds: float = 0.2,
        page: str = "",
        claims: bool = True,
        longest_poll_seconds: float = float("inf"),
        gives_up: Callable[[], bool] = lambda: False,
    ) -> None:
        self.name, self.browser, self.history = name, browser, history
        self.chance = random.Random(seed)
        self.entered = asyncio.Event()
        self.inside = self.over = False
        self.told_to_wait = 0
        self._room, self._page, self._claims = room, page or f"/gate/{room}", claims
        self._pages, self._stay_seconds, self._longest_poll_seconds = pages, stay_seconds, longest_poll_seconds
        self._gives_up = gives_up
        self._identity, self._offered, self._answer = "", False, Answer()

    async def visit(self) -> None:
        """The whole turn, as far as the answers let it come."""
        with suppress(Rejected):
            await self.enter()
            await self.come_in_and_leave()

    async def come_in_and_leave(self) -> None:
        """All that follows upon the entry."""
        if await self.come_in():
            await self.look_round()
        await self.leave()

    async def enter(self) -> None:
        """Get a place, or be let in at once. Raises Rejected."""
        await self._until_told("POST", "enter")

    async def status(self) -> None:
        """Ask where one stands. Raises Rejected."""
        await self._until_told("GET", "status")

    async def come_in(self) -> bool:
        """Wait as told until admitted; False if the visitor gave up. Raises Rejected."""
        while not self.inside:
            # An offer says nothing of when to ask: at once, which claims it.
            told = float(self._answer.document.get("poll_after_seconds", 0.0))
            await asyncio.sleep(min(told, self._longest_poll_seconds))
            if self._gives_up():
                self.habit = "leaver"
                return False
            await self.status()
        return True

    async def look_round(self) -> None:
        """Look at some pages."""
        for _ in range(self.chance.randint(*self._pages)):
            await self.gate()
            await asyncio.sleep(self.chance.uniform(0, self._stay_seconds))

    async def gate(self) -> None:
        """Look at a page. A visitor who is told to wait, holding a pass, asks for the status and tries once more."""
        for _ in range(2):
            if (await self.ask("GET", "gate", good=(200, 204, 401)))[1].passed:
                return
            self.inside = False
            await self.come_in()

    async def leave(self) -> None:
        """Say goodbye until it is heard. An offer at first contact that was not claimed may be over by itself."""
        good = (204, 401) if self._offered else (204,)
        while not self.over:
            operation, _ = await self.ask("POST", "leave", good=good)
            self.over = operation.outcome == "ok"
            if not self.over:
                self._refuse_to_go_on(operation)
                await self._pause()
        await self.browser.close()

    async def _until_told(self, method: Literal["GET", "POST"], call: str) -> None:
        """Ask until the room says something. Raises Rejected where it says what it may not."""
        while True:
            operation, self._answer = await self.ask(method, call, good=(200, 202))
            if operation.state:
                self.inside = operation.state == "admitted" and not (operation.offer and self._claims)
                return
            self._refuse_to_go_on(operation)
            await self._pause()

    def _refuse_to_go_on(self, operation: Operation) -> None:
        if operation.outcome == "fail":
            raise Rejected(operation.told())

    async def ask(
        self, method: str, call: str, *, good: Sequence[int], attempt: str = "", brought: str = ""
    ) -> tuple[Operation, Answer]:
        """Ask once, and note it. A documented 503 says "perhaps": the call may have been carried out."""
        path = self._page if call == "gate" else f"/v1/rooms/{self._room}/{call}"
        said: dict[str, Any] = {"visitor": self.name, "habit": self.habit, "call": call, "attempt": attempt}
        said |= {"brought": brought or self._identity, "invoked": clock()}
        held, answer = self.browser.cookies.proof("pass", self._room), Answer()
        try:
            status, document = await self.browser.ask(method, path)
        except OSError as error:
            said["error"], self.browser.retry_after = repr(error), None
        else:
            given = self.browser.cookies.proof("pass", self._room)
            granted = given if given != held else ""
            answer = Answer.of(call, status, document, self.browser.retry_after, granted)
            outcome = answer.outcome(good, bare=call == "gate")
            said |= answer.said(str(document) if outcome == "fail" else "") | {"outcome": outcome, "completed": clock()}
        operation = Operation(**said)
        self.history.operations.append(operation)
        self.told_to_wait += operation.status == 503
        if operation.state:
            self._offered = operation.offer
            # A visitor who is admitted at first contact holds no ticket until the offer is claimed.
            if not operation.offer:
                self.entered.set()
        if not attempt:
            self._identity = operation.identity or self._identity
        return operation, answer

    async def _pause(self) -> None:
        """Stay away until the next try: as told, else shortly."""
        told = self.browser.retry_after
        await asyncio.sleep(self.chance.uniform(0.2, 0.5) if told is None else told * self.chance.uniform(1.0, 1.1))


class Prober(Visitor):
    """Enters again and again with the same ticket, and so sees first when the room serves again."""

    habit = "prober"

    async def visit(self) -> None:
        """Enter until cancelled."""
        while True:
            await self.ask("POST", "enter", good=(200, 202))
            await asyncio.sleep(_TRY_SECONDS)


class Forger(Visitor):
    """Tries the gate with nothing, with what it made up, and with its own ticket, until cancelled.

    A forger that is let straight through without a pass, as every visitor is of an empty room, leaves at once.
    """

    habit = "forger"

    async def visit(self) -> None:
        """Try."""
        operation, answer = await self.ask("POST", "enter", good=(200, 202))
        ticket = str(answer.document.get("ticket", ""))
        if operation.state:
            await self.leave()
        while True:
            tries = forged_passes(self._room, KEYS) | ({"a ticket": ticket} if ticket else {})
            for name, forged in tries.items():
                await self._try(name, forged)
                await asyncio.sleep(_TRY_SECONDS)

    async def _try(self, name: str, forged: str) -> None:
        self.browser.cookies.clear()
        if forged:
            self.browser.cookies[f"waitroom_pass_{self._room}"] = forged
        operation, _ = await self.ask("GET", "gate", good=(204, 401, 403), attempt=name, brought="nobody")
        if operation.identity:
            self.over = False
            await self.leave()


def visitors(browsers: Sequence[Browser], room: str, history: History, **how: Any) -> list[Visitor]:
    """A patient visitor of a room for each browser."""
    return [
        Visitor(f"{room}-{index}", browser, room, history, seed=index, **how) for index, browser in enumerate(browsers)
    ]


async def all_enter(crowd: Iterable[Visitor]) -> None:
    """Everybody gets a place, some at a time. Raises Rejected."""
    await gently(visitor.enter() for visitor in crowd)


async def all_stay(crowd: Iterable[Visitor]) -> None:
    """Everybody comes in, looks round and leaves. Raises Rejected."""
    await asyncio.gather(*(visitor.come_in_and_leave() for visitor in crowd))


class SteadyCrowd:
    """`size` visitors of a room behind nginx, each at an address of its own. Those who have left come back as new ones.

    A visitor who still waits when the crowd is told to end leaves the queue. `ended` counts the visits that are over.
    """

    def __init__(self, port: int, room: str, *, size: int, seed: int) -> None:
        self.history = History()
        self.ended = 0
        self._port, self._room, self._size = port, room, size
        self._chance = random.Random(seed)
        self._over = asyncio.Event()

    @property
    def visits(self) -> int:
        """How many came."""
        return len(self.history.by_visitor())

    @property
    def gave_up(self) -> int:
        """How many of them left the queue at the end."""
        return len({each.visitor for each in self.history.operations if each.habit == "leaver"})

    @property
    def statuses(self) -> Counter[int]:
        """The answers, counted."""
        return Counter(each.status for each in self.history.operations)

    def told(self) -> str:
        """The figures of it."""
        bad = sum(each.outcome != "ok" for each in self.history.operations)
        slowest = max(each.took_ms for each in self.history.operations if each.completed is not None) / 1000
        return f"{self.visits} visits, {len(self.history.operations)} requests, {bad} errors, slowest {slowest:.2f} s"

    def end(self) -> None:
        """Let no visitor come back. Those inside finish the visit, those who wait leave."""
        self._over.set()

    async def run(self) -> None:
        """Let everybody come and go until `end`, and all visits are finished."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._size):
                group.create_task(self._come_and_go(number))

    async def _come_and_go(self, number: int) -> None:
        await asyncio.sleep(self._chance.uniform(0, _ARRIVAL_SECONDS))
        turn = 0
        while not self._over.is_set():
            browser = Browser([self._port], tries=1, address=f"127.9.{number // 200}.{number % 200 + 1}")
            visitor = Visitor(
                f"{number}.{turn}",
                browser,
                self._room,
                self.history,
                seed=self._chance.randrange(1_000_000),
                pages=(2, 2),
                stay_seconds=1.0,
                page="/",
                claims=False,
                longest_poll_seconds=LONGEST_POLL_SECONDS,
                gives_up=self._over.is_set,
            )
            await visitor.visit()
            await browser.close()
            self.ended += 1
            turn += 1


class Comers(Protocol):
    """A crowd: `run` lasts until `end` was called and all are done."""

    def end(self) -> None:
        """Let it come to an end."""

    async def run(self) -> None:
        """Come and go."""


@asynccontextmanager
async def coming(crowd: Comers) -> AsyncIterator[None]:
    """The crowd comes and goes for the length of the block, and then comes to its end."""
    running = asyncio.create_task(crowd.run())
    try:
        yield
        crowd.end()
        await running
    finally:
        await cancelled(running)


async def ended(tasks: Sequence[asyncio.Task[None]], crowd: Sequence[Visitor]) -> None:
    """Stop the tasks of visitors that never end by themselves. Raises what has ended one of them."""
    await cancelled(*tasks)
    await asyncio.gather(*(visitor.browser.close() for visitor in crowd))
    for task in tasks:
        if not task.cancelled() and (error := task.exception()):
            raise error
