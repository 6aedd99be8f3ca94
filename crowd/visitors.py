"""Visitors over HTTP, each with a habit, and crowds of them; what each asked and was told goes into a history."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from crowd import habits
from crowd.answers import Answer
from crowd.browser import Browser, gently
from crowd.habits import HABITS, Ask, Both, Idle, Manner, Step, Steps, T
from crowd.history import History, Operation, Outcome, Recorder
from waitroom.cancelling import cancelled

#: Times that no visitor of a test exceeds, however busy the machine is.
PATIENT: Final = {"session_seconds": 600, "claim_seconds": 300, "abandon_seconds": 600}

#: Seconds between two questions of the visitors of a steady crowd at most: with times as above the room asks for fewer.
LONGEST_POLL_SECONDS: Final = 3.0

#: Seconds over which a steady crowd arrives.
_ARRIVAL_SECONDS: Final = 3.0


class _Noted(Recorder):
    """Writes into a history in memory. An answer that never came is never completed."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._begun: list[dict[str, Any]] = []

    def invoke(self, at: float, **said: Any) -> int:
        self._begun.append({"invoked": at, **said})
        return len(self._begun) - 1

    def complete(self, number: int, outcome: Outcome, at: float, said: Mapping[str, Any]) -> None:
        completed = at if "status" in said else None
        self._history.operations.append(Operation(**self._begun[number], outcome=outcome, completed=completed, **said))


class Visitor(habits.Visitor):
    """A turn with asyncio, in a browser; there is time left until `over`."""

    def __init__(
        self,
        name: str,
        browser: Browser,
        manner: Manner,
        history: History,
        *,
        habit: str = "patient",
        seed: int = 0,
        over: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(name, habit, manner, _Noted(history), random.Random(seed))
        self.browser, self.jar, self.history = browser, browser.cookies, history
        self._turn, self._over = HABITS[habit], over

    async def visit(self) -> None:
        """The whole turn."""
        try:
            await self.take(self._turn(self))
        finally:
            await self.browser.close()

    async def take(self, steps: Steps[T]) -> T:
        """Take these steps; what they return."""
        came: Any = None
        try:
            while True:
                came = await self._step(steps.send(came))
        except StopIteration as done:
            result: T = done.value
            return result

    async def _step(self, step: Step) -> Any:
        match step:
            case Ask():
                try:
                    return await self.browser.send(step.method, step.path, step.headers)
                except OSError as error:
                    return Answer(error=repr(error)[:200])
            case Idle():
                if step.offline:
                    await self.browser.close()
                await asyncio.sleep(step.seconds)
                return not self._over()
            case Both():  # one after the other: this browser has one connection
                return [await self.take(each) for each in step]
            case _:
                raise TypeError(f"a browser does not take the step {step!r}")


def visitors(browsers: Sequence[Browser], room: str, history: History, **how: Any) -> list[Visitor]:
    """A patient visitor of a room for each browser; `how` they go about it."""
    manner = Manner(room=room, gate=f"/gate/{room}", **how)
    return [Visitor(f"{room}-{index}", browser, manner, history, seed=index) for index, browser in enumerate(browsers)]


async def all_enter(crowd: Sequence[Visitor]) -> None:
    """Everybody gets a place, some at a time. Raises AssertionError where a visitor was told what none may be told."""
    await gently(visitor.take(visitor.enter()) for visitor in crowd)
    _all_well_told(crowd)


async def all_come(crowd: Sequence[Visitor]) -> list[asyncio.Task[None]]:
    """Everybody gets a place, some at a time, and goes on from there while the others come; raises as `all_enter` does.

    So a ticket gets no older than visitors let it, however long it takes all to come. The tasks are their visits.
    """
    visits: list[asyncio.Task[None]] = []

    async def come(visitor: Visitor) -> None:
        await visitor.take(visitor.enter())
        visits.append(asyncio.create_task(visitor.take(visitor.go_through())))

    await gently(map(come, crowd))
    _all_well_told(crowd)
    return visits


async def all_stay(crowd: Sequence[Visitor]) -> None:
    """Everybody comes in, looks round and leaves. Raises AssertionError as `all_enter` does."""
    await asyncio.gather(*(visitor.take(visitor.go_through()) for visitor in crowd))
    _all_well_told(crowd)


def _all_well_told(crowd: Sequence[Visitor]) -> None:
    histories = {id(visitor.history): visitor.history for visitor in crowd}.values()
    wrong = [
        operation.told() for history in histories for operation in history.operations if operation.outcome == "fail"
    ]
    wrong += [f"{visitor.name} has no place" for visitor in crowd if not visitor.serial]
    if wrong:
        raise AssertionError("\n".join(wrong[:5]))


class SteadyCrowd:
    """`size` visitors of a room behind nginx, each at an address of its own. Those who have left come back as new ones.

    A visitor who still waits when the crowd is told to end leaves the queue. `ended` counts the visits that are over.
    """

    def __init__(self, port: int, room: str, *, size: int, seed: int) -> None:
        self.history = History()
        self.ended = 0
        self._port, self._size = port, size
        self._manner = Manner(
            room=room,
            gate="/",
            pages=(2, 2),
            stay_seconds=1.0,
            claims=False,
            longest_poll_seconds=LONGEST_POLL_SECONDS,
            gives_up=True,
        )
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
            seed = self._chance.randrange(1_000_000)
            over = self._over.is_set
            await Visitor(f"{number}.{turn}", browser, self._manner, self.history, seed=seed, over=over).visit()
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
