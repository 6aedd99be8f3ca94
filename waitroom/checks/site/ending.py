"""When the doctor is told to end: at once while it rests, else once the answer that it waits for has come.

An answer may bring a place, and a place whose proof is lost on the way cannot be given back.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ending:
    """One for the process, since signals are the process's."""

    def __init__(self) -> None:
        self._asks = False
        self._told = False

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Signals end the block with KeyboardInterrupt."""
        before = {number: signal.signal(number, self._hear) for number in _SIGNALS}
        try:
            yield
            self.rest()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def ask(self) -> None:
        """A question begins. Until the next one, or a rest, what its answer brought is noted."""
        self._heed()
        self._asks = True

    def rest(self) -> None:
        """Nothing that was answered is still to be noted. Raises KeyboardInterrupt where the doctor was told to end."""
        self._asks = False
        self._heed()

    def _heed(self) -> None:
        if self._told:
            self._told = False
            raise KeyboardInterrupt

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        if not self._asks or self._told:
            # Told twice, it does not wait for the answer.
            self._told = False
            raise KeyboardInterrupt
        self._told = True


ENDING: Final = Ending()
