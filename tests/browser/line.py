"""The line between a browser and an instance, on which a test holds things back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from anyio.from_thread import start_blocking_portal

from rig.raw import Arrived, Mishap, Part, Relay

#: Seconds after which what is held goes on by itself: longer than any test waits.
PATIENCE_SECONDS: Final = 60.0

#: The header by which a test's tab is told from others.
TAB: Final = "x-tab"


@dataclass
class Held:
    """The next call of that kind: whether it `came`, is `free` to go on, and is `over`."""

    call: str
    part: Part
    tab: str
    came: threading.Event = field(default_factory=threading.Event)
    free: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    lost: bool = False

    def go(self) -> None:
        """Let it go on."""
        self.free.set()

    def lose(self) -> None:
        """Cut the connection where it is held."""
        self.lost = True
        self.free.set()

    async def at(self, part: Part) -> None:
        """Wait here, if it is held here; raises ConnectionError where it is cut."""
        if part == self.part:
            self.came.set()
            await asyncio.to_thread(self.free.wait, PATIENCE_SECONDS)
            if self.lost:
                raise ConnectionError(f"{self.call} is cut")
        if part == "over":
            self.over.set()


class Line(Relay):
    """Hands each request on to the instance, and holds some."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self._holds: list[Held] = []

    def verbs(self, tab: str) -> list[str]:
        """The calls of one tab, as they came."""
        return [_verb(request) for request in self.lines(" /v1/") if request.all(TAB) == [tab]]

    @contextmanager
    def holding(self, call: str, part: Part, tab: str) -> Iterator[Held]:
        """Hold the next such call of that tab."""
        held = Held(call, part, tab)
        self._holds.append(held)
        try:
            yield held
        finally:
            held.go()

    def fate(self, request: Arrived) -> Mishap | None:
        for held in self._holds:
            if (held.call, [held.tab]) == (_verb(request), request.all(TAB)):
                self._holds.remove(held)
                return held.at
        return None


def _verb(request: Arrived) -> str:
    return request.target.decode().partition("?")[0].rpartition("/")[2]


@contextmanager
def line_to(target: str) -> Iterator[Line]:
    """A line to the instance at that URL, in a thread of its own."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(Line(target)) as line:
        yield line
