"""Somebody who walks up to the gate without having queued."""

from __future__ import annotations

from loadtest.visitors.visitor import Visitor


class Stranger(Visitor):
    """Turned away while anybody waits; else let in, and then a visitor like any other who leaves no word."""

    habit = "stranger"

    def turn(self) -> None:
        """Try the gate."""
        self.gate(good=(200, 204, 303, 401))
        self.idle(self.dice.uniform(0.5, 1.5))
