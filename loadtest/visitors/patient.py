"""Somebody who waits as told, comes in, looks round and says goodbye."""

from __future__ import annotations

from loadtest.visitors.visitor import Visitor


class Patient(Visitor):
    """The visitor one would like to have."""

    habit = "patient"

    def turn(self) -> None:
        """Wait, look round, leave; whoever still waits when the run is over leaves too."""
        if self.queue(self.enter()):
            self.look_round()
        if self.identity:
            self.leave()
