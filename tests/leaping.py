"""An event loop whose time leaps: a wait is measured as what it was asked to be, however busy the machine is."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Iterator
from contextlib import contextmanager


class LeapingLoop(asyncio.SelectorEventLoop):
    """Its time is the machine's, and what it leapt so far; within `leaping` it goes on by leaps alone."""

    def __init__(self) -> None:
        #: The time while it leaps.
        self.at: float | None = None
        self._ahead = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        """Seconds."""
        return super().time() + self._ahead if self.at is None else self.at

    def go_on(self) -> None:
        """Leap no more; time never goes back."""
        assert self.at is not None
        self._ahead = max(self._ahead, self.at - super().time())
        self.at = None


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: LeapingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._loop.at is None or not timeout:
            return super().select(timeout)
        ready = super().select(0)
        if not ready:
            self._loop.at += timeout
        return ready


@contextmanager
def leaping() -> Iterator[None]:
    """In the running loop time stands still while anything is to be done, and then leaps to the next timer.

    What another process or thread would say in a moment comes too late. `time.monotonic()` goes on as ever.
    """
    loop = asyncio.get_running_loop()
    assert isinstance(loop, LeapingLoop)
    loop.at = loop.time()
    try:
        yield
    finally:
        loop.go_on()
