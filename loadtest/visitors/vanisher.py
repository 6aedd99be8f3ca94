"""Somebody who closes the tab without a word, waiting or inside."""

from __future__ import annotations

from loadtest.visitors.visitor import Visitor


class Vanisher(Visitor):
    """A ghost: abandoned, a no-show, or a session that runs out."""

    habit = "vanisher"

    def turn(self) -> None:
        """Look a few times, then never again; somebody else comes from here a little later."""
        answer = self.enter()
        for _ in range(self.dice.randint(0, 3)):
            if answer.state != "waiting" or not self.idle(answer.poll_after):
                break
            answer = self.status()
        self.hang_up()
        self.idle(self.dice.uniform(1, 3))
