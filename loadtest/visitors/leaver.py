"""Somebody who loses patience and says goodbye in the queue, now and then twice."""

from __future__ import annotations

from loadtest.visitors.visitor import Visitor


class Leaver(Visitor):
    """Gives up after a look or two; a second goodbye with the same ticket changes nothing."""

    habit = "leaver"

    def turn(self) -> None:
        """Look a few times, then leave."""
        answer = self.enter()
        for _ in range(self.dice.randint(0, 2)):
            if answer.state != "waiting" or not self.idle(answer.poll_after):
                break
            answer = self.status()
        held = self.jar.header()
        self.leave()
        if self.dice.random() < 0.3:
            self.leave(headers=held)
        self.idle(self.dice.uniform(0, 1))
